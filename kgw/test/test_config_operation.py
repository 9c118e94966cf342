"""The properties of the manhole and of the log."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError
from kgw.config.operation import private_endpoint


class ManholeTests(SynchronousTestCase):
    """Where the door may be."""

    def configured(self, endpoint: str, **others: str) -> Config:
        given = {"kgw.manhole.endpoint": endpoint, "kgw.manhole.authorized.keys.file": "keys"}
        return Config(given | {name.replace("_", "."): value for name, value in others.items()})

    def refusal(self, endpoint: str, **others: str) -> str:
        return str(self.assertRaises(ConfigError, self.configured, endpoint, **others))

    def test_off(self) -> None:
        """There is none unless one asks for it."""
        self.assertEqual(Config().kgw_manhole_endpoint, "")

    def test_local(self) -> None:
        """Loopback addresses and UNIX sockets."""
        for endpoint in ("tcp:2222:interface=127.0.0.1", "tcp6:2222:interface=\\:\\:1", "unix:/run/kgw.sock"):
            self.assertEqual(self.configured(endpoint).kgw_manhole_endpoint, endpoint)

    def test_remote(self) -> None:
        """Whatever else is there for others only where somebody insists."""
        for endpoint in ("tcp:2222", "tcp:2222:interface=10.0.0.1", "tcp6:2222", "systemd:domain=INET:name=manhole"):
            self.assertIn("kgw.manhole.allow.remote=true", self.refusal(endpoint))
            self.configured(endpoint, kgw_manhole_allow_remote="true")

    def test_not_understood(self) -> None:
        """Other endpoints are named as what they are."""
        for endpoint in ("2222", "ssl:2222:interface=127.0.0.1", "unix"):
            self.assertIn("is not understood", self.refusal(endpoint, kgw_manhole_allow_remote="true"))

    def test_keys(self) -> None:
        """Somebody must be able to open it, and it needs a place for its own key."""
        self.assertIn(
            "needs kgw.manhole.authorized.keys.file",
            self.refusal("unix:/run/kgw.sock", kgw_manhole_authorized_keys_file=""),
        )
        self.assertIn("needs kgw.manhole.host.key.file", self.refusal("unix:/run/kgw.sock", kgw_engine="memory"))

    def test_unix_mode(self) -> None:
        """A UNIX socket is its owner's, unless it says otherwise."""
        self.assertEqual(private_endpoint("unix:/run/a"), "unix:/run/a:mode=600")
        self.assertEqual(private_endpoint("unix:/run/a:mode=660"), "unix:/run/a:mode=660")
        self.assertEqual(private_endpoint("tcp:1"), "tcp:1")

    def test_log_format(self) -> None:
        """Two forms of log lines, and no other."""
        self.assertEqual(Config().kgw_log_format, "text")
        self.assertIn("text, json", str(self.assertRaises(ConfigError, Config, {"kgw.log.format": "xml"})))
