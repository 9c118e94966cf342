"""The properties of the SeaweedMQ engine: where it is, what goes together, files that must be there."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError


class SeaweedMqTests(SynchronousTestCase):
    """C{kgw.engine=seaweedmq}."""

    def config(self, **properties: str) -> Config:
        """The engine chosen, and these under C{kgw.seaweedmq}, dots for underscores."""
        given = {f"kgw.seaweedmq.{name.replace('_', '.')}": text for name, text in properties.items()}
        return Config({"kgw.engine": "seaweedmq", **given})

    def refusal(self, **properties: str) -> str:
        return str(self.assertRaises(ConfigError, self.config, **properties))

    def pem(self) -> str:
        """A file that is there."""
        path: str = self.mktemp()
        with open(path, "w", encoding="ascii"):
            return path

    def test_masters(self) -> None:
        """Some masters are enough; each has a port, and may have another for gRPC."""
        config = self.config(masters="one.example:9333, [::1]:9333,10.0.0.3:9333.19444")
        self.assertEqual(config.kgw_seaweedmq_masters, ("one.example:9333", "[::1]:9333", "10.0.0.3:9333.19444"))
        for wrong in ("one.example", "http://one.example:9333", "one:two:9333", "one:9333/x"):
            self.assertIn("allowed: host:port", self.refusal(masters=wrong))

    def test_embedded(self) -> None:
        """So is a directory for an engine of kgw's own."""
        config = self.config(embedded_dir="/var/lib/kgw")
        self.assertEqual(config.kgw_seaweedmq_embedded_dir, "/var/lib/kgw")
        self.assertEqual(config.kgw_seaweedmq_masters, ())

    def test_one_of_them(self) -> None:
        """Neither or both is an error that says what to do."""
        self.assertIn("--masters HOST:9333", self.refusal())
        self.assertIn("set one, not both", self.refusal(masters="m:9333", embedded_dir="/x"))

    def test_careful_by_default(self) -> None:
        """acks=all is answered when the records are in a file, unless an operator wants otherwise."""
        self.assertEqual(self.config(masters="m:9333").kgw_seaweedmq_acks_all, "flushed")
        self.assertEqual(self.config(masters="m:9333", acks_all="acknowledged").kgw_seaweedmq_acks_all, "acknowledged")
        self.assertIn("one of: flushed, acknowledged", self.refusal(masters="m:9333", acks_all="maybe"))

    def test_tls(self) -> None:
        """A certificate goes with its key and an authority, and files that are not there are told at the start."""
        pem = self.pem()
        self.config(masters="m:9333", tls_ca_file=pem, tls_cert_file=pem, tls_key_file=pem)
        self.config(masters="m:9333", tls_ca_file=pem)
        self.assertIn("needs kgw.seaweedmq.tls.key.file", self.refusal(masters="m:9333", tls_cert_file=pem))
        self.assertIn("needs kgw.seaweedmq.tls.cert.file", self.refusal(masters="m:9333", tls_key_file=pem))
        self.assertIn(
            "needs kgw.seaweedmq.tls.ca.file", self.refusal(masters="m:9333", tls_cert_file=pem, tls_key_file=pem)
        )
        self.assertIn("can be read", self.refusal(masters="m:9333", tls_ca_file=f"{pem}-not"))
        self.assertIn("without TLS", self.refusal(embedded_dir="/x", tls_ca_file=pem))

    def test_another_engine(self) -> None:
        """Where another engine is chosen they have no effect, whatever they say."""
        config = Config({"kgw.seaweedmq.masters": "nonsense", "kgw.seaweedmq.tls.ca.file": "/nowhere"})
        self.assertEqual(config.kgw_engine, "local")
