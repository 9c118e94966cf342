"""The load generator and the limit server of C{kgw bench}, against each other and against a gateway."""

from __future__ import annotations

import os
import threading

from twisted.trial.unittest import SynchronousTestCase

from kgw.bench import gauges
from kgw.bench.cases import Fetch, Plan, Produce, Sample, records_in
from kgw.bench.limit import Answers, LimitServer, Store
from kgw.bench.load import Load, idle, paced, percentile, pipelined
from kgw.bench.requests import (
    Address,
    BenchError,
    ask,
    batch_of,
    check_fetched,
    check_produced,
    create_request,
    create_topics_on,
    fetch_request,
    produce_request,
    versions_request,
)
from kgw.bench.server import KGW, Server
from kgw.testing import KafkaGateway

#: A tenth of a second of everything.
PLAN = Plan(rounds=1, seconds=0.1, latency_seconds=0.1)


class PercentileTests(SynchronousTestCase):
    """Values that are there several times."""

    def test_weights(self) -> None:
        """A value that is there ninety-eight times is the median; the last percent is the two others."""
        weighted = [(9.0, 1), (1.0, 98), (5.0, 1)]
        self.assertEqual(percentile(weighted, 0.5), 1.0)
        self.assertEqual(percentile(weighted, 0.98), 1.0)
        self.assertEqual(percentile(weighted, 0.99), 5.0)
        self.assertEqual(percentile(weighted, 1.0), 9.0)

    def test_nothing(self) -> None:
        """No values, no latency."""
        self.assertEqual(percentile([], 0.99), 0.0)


class GatewayTests(SynchronousTestCase):
    """Loads on a kgw in this process, a moment each."""

    def setUp(self) -> None:
        gateway = KafkaGateway().start()
        self.addCleanup(gateway.stop)
        self.address = Address("127.0.0.1", gateway.port)
        self.server = Server(KGW, self.address, os.getpid())

    def check(self, samples: list[Sample]) -> None:
        """One sample of something that happened."""
        self.assertEqual(len(samples), 1)
        self.assertGreater(samples[0].count, 10)
        self.assertGreater(samples[0].server_cpu or 0.0, 0.0)
        self.assertGreaterEqual(samples[0].p99, samples[0].p50)
        self.assertGreater(samples[0].p50, 0.0)

    def test_produce(self) -> None:
        """Every Produce that counts is in the partition, pipelined over several connections or not."""
        self.check(Produce("tiny", 170, 100, connections=3, window=5)(self.server, PLAN))

    def test_large(self) -> None:
        """Batches larger than any socket buffer pass."""
        self.check(Produce("large", 1_000_000, 1000, connections=1, window=4)(self.server, PLAN))

    def test_paced(self) -> None:
        """The generator keeps to its rate."""
        samples = Produce("paced", 170, 100, rate=500.0)(self.server, PLAN)
        self.check(samples)
        self.assertEqual(samples[0].count, 50)
        self.assertGreaterEqual(samples[0].seconds, 49 / 500)

    def test_fetch(self) -> None:
        """Fetches bring a batch each, from all over the partition."""
        self.check(Fetch("fetch", 20_000, 2, stored=200_000, read=200_000)(self.server, PLAN))

    def test_most(self) -> None:
        """A load ends at the number it was given, and each request was sent once."""
        batch = batch_of(1000, 100)
        with self.address.connect() as connection:
            create_topics_on(connection, ["most"])
            request = produce_request("most", batch)
            answer = ask(connection, request)
            outcome = pipelined(self.address, Load([request], len(answer), 2, 4), None, 60.0, 25)
            self.assertEqual(outcome.count, 25)
            self.assertIsNone(outcome.spent.server)
            self.assertEqual(check_produced(ask(connection, request)), 26 * records_in(batch))

    def test_answers_of_another_size(self) -> None:
        """A wrong size is found out instead of being counted."""
        request = versions_request()
        with self.address.connect() as connection:
            size = len(ask(connection, request))
        load = Load([request], size - 1)
        self.assertRaises(BenchError, pipelined, self.address, load, None, 0.0, 1)

    def test_refused(self) -> None:
        """An error that the server answers is not taken for a Produce."""
        with self.address.connect() as connection:
            create_topics_on(connection, ["refused"])
            answer = ask(connection, produce_request("refused", batch_of(200, 100), partition=7))
            error = self.assertRaises(BenchError, check_produced, answer)
            self.assertIn("UNKNOWN_TOPIC_OR_PARTITION", str(error))
            error = self.assertRaises(BenchError, create_topics_on, connection, ["refused"])
            self.assertIn("TOPIC_ALREADY_EXISTS", str(error))

    def test_gauges(self) -> None:
        """A steady load of a second, and idle connections."""
        found = gauges.steady(self.server, 0.5)
        self.assertEqual([one.unit for one in found], ["MB", "MB"])
        self.assertGreater(found[1].value, 1.0)
        with idle(self.address, 5), self.address.connect() as connection:
            ask(connection, versions_request())


class LimitTests(SynchronousTestCase):
    """The limit server, in a thread."""

    def serve(self, store: str = "append", read: str = "memory", fetch_bytes: int = 5000) -> Address:
        """Its address; it is gone with the test."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.frames = os.path.join(folder, "frames")
        kept = Store(folder, store)
        answers = Answers(folder, fetch_bytes, read == "file")
        server = LimitServer(kept, answers)
        thread = threading.Thread(target=server.serve)
        thread.start()
        self.addCleanup(answers.close)
        self.addCleanup(kept.close)
        self.addCleanup(thread.join)
        self.addCleanup(server.stop)
        return Address("127.0.0.1", server.port)

    def test_appends(self) -> None:
        """Each frame is in the file once, and its answer is that of a Produce that went well."""
        address = self.serve()
        request = produce_request("t", batch_of(100_000, 1000))
        with address.connect() as connection:
            answer = ask(connection, request)
        self.assertEqual(check_produced(answer), 0)
        outcome = pipelined(address, Load([request], len(answer), 2, 3), None, 5.0, 20)
        self.assertEqual(outcome.count, 20)
        with open(self.frames, "rb") as frames:
            self.assertEqual(frames.read(), request * 21)

    def test_drops(self) -> None:
        """Without a store the answers are the same."""
        address = self.serve("drop")
        request = produce_request("t", batch_of(170, 100))
        with address.connect() as connection:
            answer = ask(connection, request)
        outcome = paced(address, Load([request], len(answer)), None, 0.05, 200.0)
        self.assertEqual(outcome.count, 10)
        self.assertEqual(os.path.getsize(self.frames), 0)

    def test_fetches(self) -> None:
        """Records come whole, from memory and from a file, also where they do not fit the socket at once."""
        for read in ("memory", "file"):
            address = self.serve(read=read, fetch_bytes=3_000_000)
            request = fetch_request("t", 0, 3_000_000)
            with address.connect() as connection:
                answer = ask(connection, request)
                self.assertEqual(check_fetched(answer), len(batch_of(3_000_000, 1000)))
            outcome = pipelined(address, Load([request], len(answer), 2, 2), None, 5.0, 12)
            self.assertEqual(outcome.count, 12)

    def test_other_requests(self) -> None:
        """What a run asks for besides is answered."""
        with self.serve().connect() as connection:
            for request in (versions_request(), create_request(["t"])):
                self.assertGreater(len(ask(connection, request)), 8)
