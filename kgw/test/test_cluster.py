"""What address clients are told."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from kgw.cluster import Cluster
from kgw.model import Broker


@dataclass
class Arrived:
    """A connection that came in here."""

    listener: str = "PLAINTEXT"
    local_host: str = "192.0.2.7"
    local_port: int = 9092


class ClusterTests(SynchronousTestCase):
    """The address told depends on the connection it is told on."""

    def test_where_it_came_in(self) -> None:
        """Without advertised.listeners a client is told the address it has just reached."""
        cluster = Cluster("id", 1, "rack-a", {})
        self.assertEqual(cluster.brokers(Arrived()), [Broker(1, "192.0.2.7", 9092, "rack-a")])
        self.assertEqual(cluster.here(Arrived(local_host="::1", local_port=7)), Broker(1, "::1", 7, "rack-a"))

    def test_advertised(self) -> None:
        """advertised.listeners decides for the listeners it names, and for no other."""
        cluster = Cluster("id", 1, None, {"EXTERNAL": ("kafka.example.com", 19092)})
        self.assertEqual(cluster.here(Arrived("EXTERNAL")), Broker(1, "kafka.example.com", 19092, None))
        self.assertEqual(cluster.here(Arrived()), Broker(1, "192.0.2.7", 9092, None))
