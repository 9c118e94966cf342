"""The composition root: a gateway that starts, is told to stop too early, or cannot start."""

from __future__ import annotations

import os
import threading
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from kgw.config import Config
from kgw.engine.local.directory import DataDirectory
from kgw.errors import StartError
from kgw.gateway import Gateway
from kgw.model import NewTopic
from kgw.test.builders import EPOCH_MS, batch, offsets_in


class GatewayTests(TestCase):
    """Gateways on a directory of the test's own."""

    def setUp(self) -> None:
        """Where the data are."""
        self.directory = self.mktemp()
        self.threads = threading.active_count()

    def gateway(self, **properties: str) -> Gateway:
        """A gateway on a free port."""
        given = {"log.dirs": self.directory, "listeners": "PLAINTEXT://127.0.0.1:0"}
        return Gateway(Config(given | {name.replace("_", "."): value for name, value in properties.items()}), reactor)

    def assertReleased(self) -> None:
        """No thread is left, and another process may have the directory."""
        self.assertEqual(threading.active_count(), self.threads)
        DataDirectory.open(self.directory, 1).close()

    async def test_stopped_while_it_starts(self) -> None:
        """A stop that comes before the start is over lets go of all that was opened."""
        gateway = self.gateway()
        gateway.startService()
        gateway.started.addErrback(lambda _: None)
        await gateway.stopService()
        self.assertReleased()

    async def test_stopped(self) -> None:
        """A stop lets go of everything, and a start afterwards finds the same cluster."""
        ids: list[Any] = []
        for _ in range(2):
            gateway = self.gateway()
            gateway.startService()
            await gateway.started
            ids.append(gateway.services.cluster.cluster_id)
            await gateway.stopService()
            self.assertReleased()
        self.assertEqual(ids[0], ids[1])

    async def refusal(self, **properties: str) -> str:
        """Why a gateway does not start."""
        gateway = self.gateway(**properties)
        gateway.startService()
        refusal = ""
        try:
            await gateway.started
        except StartError as error:
            refusal = str(error)
        await gateway.stopService()
        return refusal

    async def test_no_such_host(self) -> None:
        """An address that is not here is told as such, and nothing is said of ports in use."""
        text = await self.refusal(listeners="PLAINTEXT://192.0.2.1:0")
        self.assertIn("192.0.2.1", text)
        self.assertNotIn("stop what uses", text)
        self.assertReleased()

    async def test_port_in_use(self) -> None:
        """A port in use is told as such."""
        gateway = self.gateway()
        gateway.startService()
        await gateway.started
        self.directory, first = self.mktemp(), self.directory
        text = await self.refusal(listeners=f"PLAINTEXT://127.0.0.1:{gateway.port()}")
        self.assertIn("stop what uses that port", text)
        await gateway.stopService()
        self.assertReleased()
        self.assertTrue(os.path.exists(first))


class EmbeddedTests(TestCase):
    """Gateways on a SeaweedFS of their own."""

    timeout = 180

    async def test_records_outlive_it(self) -> None:
        """What was acknowledged with acks=all is there for the next gateway on the directory, as is the cluster."""
        directory = os.path.abspath(self.mktemp())
        config = Config(
            {
                "kgw.engine": "seaweedmq",
                "kgw.seaweedmq.embedded.dir": directory,
                "listeners": "PLAINTEXT://127.0.0.1:0",
            }
        )
        ids = []
        for appended in range(2):
            gateway = Gateway(config, reactor)
            self.addCleanup(gateway.stopService)
            gateway.startService()
            await gateway.started
            self.assertIn(f"engine seaweedmq, {directory}, {appended} topics", gateway.banner())
            services = gateway.services
            ids.append(services.cluster.cluster_id)
            if not appended:
                await services.topics.create(NewTopic("orders", 1))
                await services.logs.partition("orders", 0).append(batch(EPOCH_MS, EPOCH_MS + 1))
            fetched = await services.logs.partition("orders", 0).read(0, 1 << 20)
            self.assertEqual(offsets_in(fetched), [0, 1])
            await gateway.stopService()
        self.assertEqual(ids[0], ids[1])
