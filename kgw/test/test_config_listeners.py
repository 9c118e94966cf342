"""Listeners in Kafka's form and in Twisted's, and what they advertise."""

from __future__ import annotations

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError, Listener
from kgw.config import listeners as listeners_module


class ListenerTests(SynchronousTestCase):
    """C{listeners}."""

    def setUp(self) -> None:
        self.dual_stack(True)

    def dual_stack(self, works: bool) -> None:
        """Whether a socket on :: takes IPv4 as well here."""
        self.patch(listeners_module, "has_dualstack_ipv6", lambda: works)

    def parsed(self, text: str, **properties: str) -> tuple[Listener, ...]:
        more = {name.replace("_", "."): value for name, value in properties.items()}
        return Config({"listeners": text, **more}).listeners

    def refusal(self, text: str, **properties: str) -> str:
        return str(self.assertRaises(ConfigError, self.parsed, text, **properties))

    def test_default(self) -> None:
        """Without any, every address at 9092."""
        self.assertEqual(Config().listeners, (Listener("PLAINTEXT", "PLAINTEXT", "tcp6:9092:backlog=1024", "", 9092),))

    def test_kafkas_form(self) -> None:
        """Hosts become interfaces; wildcards none."""
        endpoints = {
            "PLAINTEXT://:9092": "tcp6:9092",
            "PLAINTEXT://0.0.0.0:0": "tcp:0",
            "PLAINTEXT://127.0.0.1:9092": "tcp:9092:interface=127.0.0.1",
            "PLAINTEXT://[::1]:9092": "tcp6:9092:interface=\\:\\:1",
            "PLAINTEXT://[::]:9092": "tcp6:9092",
            "plaintext://localhost:19092": "tcp:19092:interface=localhost",
        }
        for text, endpoint in endpoints.items():
            (listener,) = self.parsed(text, socket_listen_backlog_size="50")
            self.assertEqual((listener.name, listener.endpoint), ("PLAINTEXT", endpoint))

    def test_without_ipv6(self) -> None:
        """Where a socket on :: takes no IPv4, every address is every IPv4 address."""
        self.dual_stack(False)
        (listener,) = self.parsed("PLAINTEXT://:9092", socket_listen_backlog_size="50")
        self.assertEqual(listener.endpoint, "tcp:9092")

    def test_backlog(self) -> None:
        """socket.listen.backlog.size is the endpoint's."""
        (listener,) = self.parsed("PLAINTEXT://:9092", socket_listen_backlog_size="128")
        self.assertEqual(listener.endpoint, "tcp6:9092:backlog=128")
        for text, endpoint in (
            ("tcp:9092:interface=10.0.0.1", "tcp:9092:interface=10.0.0.1:backlog=128"),
            ("haproxy:tcp:9094", "haproxy:tcp:9094:backlog=128"),
            ("tcp:9092:backlog=7", "tcp:9092:backlog=7"),
            ("tcp:9092:127.0.0.1:7", "tcp:9092:127.0.0.1:7"),
            ("unix:/run/kgw.sock", "unix:/run/kgw.sock"),
        ):
            (listener,) = self.parsed(text, socket_listen_backlog_size="128")
            self.assertEqual(listener.endpoint, endpoint)

    def test_names(self) -> None:
        """Listeners have names of their own where the map says how they are secured."""
        protocols = "INTERNAL:PLAINTEXT,OUTSIDE:PLAINTEXT"
        listeners = self.parsed("INTERNAL://:19092, OUTSIDE://:9092", listener_security_protocol_map=protocols)
        self.assertEqual([(one.name, one.port) for one in listeners], [("INTERNAL", 19092), ("OUTSIDE", 9092)])
        self.assertIn("add INTERNAL:PLAINTEXT to listener.security.protocol.map", self.refusal("INTERNAL://:19092"))
        self.assertIn("two listeners are called PLAINTEXT", self.refusal("PLAINTEXT://:1,PLAINTEXT://:2"))
        self.assertIn("not understood", self.refusal("A://:1", listener_security_protocol_map="A:TELNET"))

    def test_controllers_are_left_out(self) -> None:
        """A file for Kafka's combined mode works as it is."""
        (listener,) = self.parsed("PLAINTEXT://:9092,CONTROLLER://:9093", controller_listener_names="CONTROLLER")
        self.assertEqual(listener.port, 9092)
        self.assertIn("no listener for clients", self.refusal("C://:9093", controller_listener_names="C"))

    def test_not_served(self) -> None:
        """SASL and SSL are refused with what to do instead."""
        self.assertIn("no SASL yet", self.refusal("SASL_PLAINTEXT://:9092"))
        self.assertIn("no SASL yet", self.refusal("A://:1", listener_security_protocol_map="A:SASL_SSL"))
        self.assertIn("SSL=ssl:9093:privateKey=", self.refusal("SSL://:9093"))

    def test_ports(self) -> None:
        """A listener needs a port that there can be."""
        for text in ("PLAINTEXT://:65536", "PLAINTEXT://localhost", "PLAINTEXT://:-1", "tcp:http", "tcp:99999"):
            self.assertIn("needs a port", self.refusal(text))

    def test_twisted_endpoints(self) -> None:
        """Endpoint strings are taken as they are, but for a backlog; the security protocol follows from their type."""
        text = (
            "tcp:9092:interface=127.0.0.1,tcp6:port=9093:interface=\\:\\:1,unix:/run/kgw.sock:mode=660,"
            "systemd:domain=INET:name=kafka,haproxy:tcp:9094,IN=tcp:0,ssl:9095:privateKey=k.pem,tls:/certs:port=9096"
        )
        self.assertEqual(
            [(one.name, one.security_protocol, one.host, one.port) for one in self.parsed(text)],
            [
                ("PLAINTEXT", "PLAINTEXT", "127.0.0.1", 9092),
                ("PLAINTEXT2", "PLAINTEXT", "::1", 9093),
                ("PLAINTEXT3", "PLAINTEXT", "", None),
                ("PLAINTEXT4", "PLAINTEXT", "", None),
                ("PLAINTEXT5", "PLAINTEXT", "", 9094),
                ("IN", "PLAINTEXT", "", 0),
                ("SSL", "SSL", "", 9095),
                ("SSL2", "SSL", "", 9096),
            ],
        )

    def test_both_forms(self) -> None:
        """They may stand side by side."""
        listeners = self.parsed("PLAINTEXT://:9092,unix:/run/kgw.sock")
        self.assertEqual([one.name for one in listeners], ["PLAINTEXT", "PLAINTEXT2"])

    def test_not_understood(self) -> None:
        """Anything else is refused, with a hint for the commonest slip."""
        self.assertIn("write tcp:9092", self.refusal("9092"))
        for text in ("localhost:9092", "tcp", "carrier:pigeon", "PLAINTEXT:9092", "http://[::1", " , "):
            self.assertIn("allowed:", self.refusal(text))

    def test_twisted_listens(self) -> None:
        """Twisted reads the endpoints made of Kafka's form."""
        for text, want in (("PLAINTEXT://[::1]:9092", (9092, "::1")), ("PLAINTEXT://10.1.2.3:7", (7, "10.1.2.3"))):
            (listener,) = self.parsed(text)
            reactor = MemoryReactorClock()
            self.successResultOf(serverFromString(reactor, listener.endpoint).listen(Factory()))
            ((port, _, _, interface),) = reactor.tcpServers
            self.assertEqual((port, interface), want)


class AdvertisedTests(SynchronousTestCase):
    """C{advertised.listeners}."""

    def advertised(
        self, text: str, listeners: str = "PLAINTEXT://:9092", **properties: str
    ) -> dict[str, tuple[str, int]]:
        more = {name.replace("_", "."): value for name, value in properties.items()}
        config = Config({"advertised.listeners": text, "listeners": listeners, **more})
        return dict(config.advertised_listeners)

    def test_per_listener(self) -> None:
        """Each name has its own host and port."""
        self.assertEqual(Config().advertised_listeners, {})
        self.assertEqual(self.advertised("PLAINTEXT://kafka.example:29092"), {"PLAINTEXT": ("kafka.example", 29092)})
        both = self.advertised("IN://kgw:19092,PLAINTEXT://[2001:db8::1]:9092", "PLAINTEXT://:9092,IN=tcp:19092")
        self.assertEqual(both, {"IN": ("kgw", 19092), "PLAINTEXT": ("2001:db8::1", 9092)})

    def test_controllers_are_left_out(self) -> None:
        """As in listeners."""
        told = self.advertised(
            "PLAINTEXT://a:1,CONTROLLER://b:2",
            "PLAINTEXT://:9092,CONTROLLER://:9093",
            controller_listener_names="CONTROLLER",
        )
        self.assertEqual(told, {"PLAINTEXT": ("a", 1)})

    def test_refused(self) -> None:
        """An address that nobody can connect to is never told to anybody."""
        reasons = {
            "PLAINTEXT://0.0.0.0:9092": "no address that clients can connect to",
            "PLAINTEXT://[::]:9092": "no address that clients can connect to",
            "PLAINTEXT://:9092": "no address that clients can connect to",
            "PLAINTEXT://host": "needs the port",
            "PLAINTEXT://host:0": "needs the port",
            "OTHER://host:9092": "there is no listener OTHER; listeners has PLAINTEXT",
            "PLAINTEXT://a:1,PLAINTEXT://b:2": "twice",
            "host:9092": "not understood",
        }
        for text, reason in reasons.items():
            self.assertIn(reason, str(self.assertRaises(ConfigError, self.advertised, text)))
