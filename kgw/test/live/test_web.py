"""HTTP of a real kgw: readiness follows the engine, metrics and pages say what real clients did."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import kafka
from prometheus_client.parser import text_string_to_metric_families

from kgw.test import seaweed
from kgw.test.live.clients import Record, confluent_consume, confluent_produce
from kgw.test.live.server import LiveTestCase

#: Seconds until the end of an engine is seen.
RED_SECONDS = 5.0
#: Seconds from when an engine runs until records flow again: about 1, but at times its broker needs 25 for itself.
RECOVERY = 60.0


def free_port() -> int:
    """A port nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def until(met: Callable[[], bool], seconds: float) -> None:
    """Wait until C{met}, which has to be soon."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < seconds, f"not after {seconds} s"
        time.sleep(0.1)


class Http:
    """A client of one site."""

    def __init__(self) -> None:
        self.port = free_port()
        self.option = f"kgw.http.endpoint=tcp:{self.port}:interface=127.0.0.1"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The value of a page that is there."""
        status, body = self.get(path)
        assert status == 200, (path, status, body)
        return json.loads(body)


class WebTests(LiveTestCase):
    """A kgw with HTTP and real clients."""

    def test_what_clients_did(self) -> None:
        """Metrics and pages count what was written and read; the health topic is in no list of a client."""
        web = Http()
        server = self.serve("--set", web.option)
        # on SeaweedMQ the first answer may come while the health topic is made
        until(lambda: web.get("/readyz")[0] == 200, RECOVERY)
        records = [Record(b"k", b"v%d" % number, 1_700_000_000_000 + number) for number in range(30)]
        confluent_produce(server.bootstrap, "orders", records, "none")
        self.assertEqual(len(confluent_consume(server.bootstrap, "orders", 30)), 30)
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(web.get("/metrics")[1].decode())
            for sample in family.samples
        }
        self.assertEqual(samples[("kafka_server_brokertopicmetrics_messagesin_total",)], 30)
        partition = web.json("/api/topics/orders")["partitions"]["items"][0]
        self.assertEqual(partition["high_watermark"], 30)
        client = kafka.KafkaConsumer(bootstrap_servers=server.bootstrap)
        try:
            self.assertEqual(client.topics(), {"orders"})
            software = {one["software_name"] for one in web.json("/api/connections")["connections"]}
            self.assertIn("kafka-python", software)
        finally:
            client.close()
        self.assertEqual(server.terminate(), 0)
        self.assertRaises(ConnectionRefusedError, web.get, "/livez")


class SeaweedTests(WebTests):
    """The same with SeaweedMQ as the engine."""

    engine = "seaweedmq"


class EngineGoneTests(LiveTestCase):
    """A kgw on a SeaweedMQ that belongs to this test alone."""

    def setUp(self) -> None:
        super().setUp()
        self.weed = seaweed.Engine()
        self.addCleanup(self.weed.discard)
        self.weed.start()

    def account(self) -> str:
        """What is shown when a test fails."""
        return f"{super().account()}\n--- broker\n{self.weed.output('broker')}"

    def failing(self, web: Http) -> set[str]:
        """The checks that fail now."""
        status, body = web.get("/readyz")
        failing = {name for name, check in json.loads(body)["checks"].items() if not check["ok"]}
        self.assertEqual(status, 503 if failing else 200)
        return failing

    def test_red_and_green(self) -> None:
        """Readiness is red soon after the engine's end and green after its return; kgw is alive all the time."""
        web = Http()
        server = self.serve("--masters", ",".join(self.weed.masters), "--set", web.option)
        until(lambda: web.get("/readyz")[0] == 200, RECOVERY)
        self.weed.kill()
        until(lambda: self.failing(web) == {"engine", "state"}, RED_SECONDS)
        self.assertEqual(web.get("/livez")[0], 200)
        self.weed.start()
        until(lambda: web.get("/readyz")[0] == 200, RECOVERY)
        self.assertTrue(server.alive)
