"""The storage in SeaweedMQ: found or started, waited for, and closed without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

import kgw
from kgw.config import Config
from kgw.engine.memory import MemoryLogEngine
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.errors import StartError
from kgw.group_model import CommittedOffset
from kgw.groups import facts
from kgw.interfaces import ILogEngine
from kgw.log.topics import TopicCatalog
from kgw.shared.sharing import Sharing
from kgw.storage.seaweedmq import Parts, SeaweedStorage
from kgw.test.seaweed import Engine

reactor: Any = global_reactor


@implementer(ILogObserver)
class Complaint:
    """
    Waits for the line that says there are no clients yet.

    @ivar line: fires with it.
    """

    def __init__(self) -> None:
        self.line: Deferred[str] = Deferred()

    def __call__(self, event: LogEvent) -> None:
        text = formatEvent(event) if event.get("log_namespace") == "kgw.engine.seaweed" else ""
        if text.startswith("no clients yet") and not self.line.called:
            self.line.callback(text)


class StorageTests(TestCase):
    """With a real engine below, and one in memory for the records."""

    timeout = 180

    def setUp(self) -> None:
        self.parts: list[Parts] = []

    def make_engine(self, parts: Parts, config: Config, reactor: Any) -> ILogEngine:
        """Logs that are not the point here."""
        self.parts.append(parts)
        engine: ILogEngine = MemoryLogEngine(reactor)
        return engine

    def storage(self, **properties: str) -> SeaweedStorage:
        given = {f"kgw.{name.replace('_', '.')}": text for name, text in properties.items()}
        config = Config({"kgw.engine": "seaweedmq", **given})
        storage = SeaweedStorage(config, reactor, self.make_engine)
        self.addCleanup(storage.close)
        return storage

    async def enter(self, storage: SeaweedStorage) -> Sharing:
        """Open it, if it is not, and join the other gateways, of which there are none."""
        if not hasattr(storage, "logs"):
            await storage.open()
        sharing = Sharing(Config(), reactor)
        self.addCleanup(sharing.stop)
        await storage.join(sharing, {})
        return sharing

    async def leave(self, storage: SeaweedStorage, sharing: Sharing) -> None:
        """The other way round."""
        await sharing.stop()
        await storage.close()

    async def test_embedded(self) -> None:
        """
        Facts outlive the gateway: the cluster's id, topics others made, offsets where others look for them; a stop
        leaves no process and no thread.
        """
        directory = os.path.abspath(self.mktemp())
        threads = threading.active_count()
        storage = self.storage(seaweedmq_embedded_dir=directory)
        sharing = await self.enter(storage)
        cluster_id = storage.cluster_id
        self.assertEqual(len(cluster_id), 22)
        parts = self.parts[-1]
        await parts.broker.configure_topic("theirs", 3)
        key = facts.offset_key(facts.group_prefix("billing"), "theirs", 2)
        kept = facts.KeptOffset(CommittedOffset(42, 7, "here"), 1_700_000_000_000)
        await storage.facts.commit({key: facts.encode_offset(kept)})
        entry = await parts.filer.lookup("/topics/kafka/.meta/consumer_offsets/billing/theirs/2", "offset")
        assert entry is not None
        self.assertIn(b'"value":42', entry.content.replace(b" ", b""))
        await self.leave(storage, sharing)
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(self.processes(directory), [])

        storage = self.storage(seaweedmq_embedded_dir=directory)
        sharing = await self.enter(storage)
        self.assertEqual(storage.cluster_id, cluster_id)
        catalog = TopicCatalog(storage.facts, storage.logs, Config(), 1)
        await catalog.start()
        self.assertEqual([(topic.name, topic.partitions) for topic in catalog.all()], [("theirs", 3)])
        value = await storage.facts.get(key)
        assert value is not None
        self.assertEqual(facts.decode_offset(value), kept)
        await self.leave(storage, sharing)

        storage = self.storage(seaweedmq_embedded_dir=directory, cluster_id="4L6g3nShT-eMCtK--X86sw")
        try:
            await self.enter(storage)
        except StartError as error:
            self.assertIn(f"belongs to cluster {cluster_id}, not to 4L6g3nShT-eMCtK--X86sw", str(error))
        else:
            self.fail("another cluster's data were taken")
        await storage.close()
        self.assertEqual(self.processes(directory), [])

    async def test_not_there_yet(self) -> None:
        """An engine that is not there is waited for, with a line that says what to do, and used once it is."""
        engine = Engine()
        self.addCleanup(engine.discard)
        complaint = Complaint()
        globalLogPublisher.addObserver(complaint)
        self.addCleanup(globalLogPublisher.removeObserver, complaint)
        storage = self.storage(seaweedmq_masters=engine.masters[0])
        opened = storage.open()
        line = await complaint.line
        self.assertIn(engine.masters[0], line)
        self.assertIn("weed mq.broker", line)
        self.assertFalse(opened.called)
        engine.start()
        await opened
        sharing = await self.enter(storage)
        self.assertTrue(storage.cluster_id)
        await self.leave(storage, sharing)

    async def test_given_up(self) -> None:
        """Waiting can be cut short, and nothing is left."""
        threads = threading.active_count()
        storage = self.storage(seaweedmq_masters="127.0.0.1:1")
        opened = storage.open()
        opened.cancel()
        opened.addErrback(lambda _: None)
        await opened
        await storage.close()
        self.assertEqual(threading.active_count(), threads)

    def test_certificates(self) -> None:
        """Files that are there and no certificates are told at the start, not by connections that fail for ever."""
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("hunter2")
        refusal = self.assertRaises(StartError, self.storage, seaweedmq_masters="m:9333", seaweedmq_tls_ca_file=path)
        self.assertIn(f"no certificate is in {path}", str(refusal))
        with open(path, "w", encoding="ascii") as file:
            file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        refusal = self.assertRaises(StartError, self.storage, seaweedmq_masters="m:9333", seaweedmq_tls_ca_file=path)
        self.assertIn("kgw.seaweedmq.tls cannot be used", str(refusal))

    def processes(self, directory: str) -> list[str]:
        """The command lines that name a directory, of all processes there are."""
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                    line = file.read().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if directory in line:
                found.append(line)
        return found


class AwayTests(SynchronousTestCase):
    """An engine that goes away between the moment it was ready and the end of the start."""

    def setUp(self) -> None:
        self.clock = Clock()
        config = Config({"kgw.engine": "seaweedmq", "kgw.seaweedmq.masters": "m:9333"})
        self.storage = SeaweedStorage(config, self.clock)
        self.failures: list[Exception] = []
        self.tries = 0

    def work(self) -> Deferred[None]:
        """Fails as the test wants."""
        self.tries += 1
        return fail(self.failures.pop()) if self.failures else succeed(None)

    def test_waited_for(self) -> None:
        """The start is tried again until it succeeds, and an operator is told why nothing is served."""
        self.failures = [EngineUnavailable("the filer does not answer") for _ in range(6)]
        complaint = Complaint()
        globalLogPublisher.addObserver(complaint)
        self.addCleanup(globalLogPublisher.removeObserver, complaint)
        done = self.storage.while_away(self.work)
        self.clock.pump([1] * 5)
        self.assertNoResult(done)
        line = self.successResultOf(complaint.line)
        self.assertIn("weed mq.broker", line)
        self.assertIn("the filer does not answer", line)
        self.clock.advance(1)
        self.successResultOf(done)
        self.assertEqual((self.tries, self.clock.getDelayedCalls()), (7, []))

    def test_what_does_not_pass(self) -> None:
        """A bug, or what an operator has to change, ends the start."""
        for error in (ZeroDivisionError(), StartError("another cluster")):
            self.failures = [error]
            self.failureResultOf(self.storage.while_away(self.work), type(error))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_up(self) -> None:
        """Nothing goes on."""
        self.failures = [EngineUnavailable("gone")]
        done = self.storage.while_away(self.work)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


_WITHOUT = """
import sys
sys.modules["grpc"] = None
from kgw.config import Config
from kgw.errors import StartError
from kgw.storage import storage_of
import kgw.cli, kgw.gateway, kgw.tap
try:
    storage_of(Config({"kgw.engine": "seaweedmq", "kgw.seaweedmq.masters": "m:9333"}), None)
except StartError as error:
    print(error)
"""


class ExtraTests(SynchronousTestCase):
    """Where kgw was installed without C{[seaweed]}."""

    def test_without(self) -> None:
        """kgw runs without gRPC; only this engine says that it needs it, and how to get it."""
        environ = dict(os.environ, PYTHONPATH=str(Path(kgw.__file__).parent.parent))
        told = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True, env=environ)
        self.assertEqual(
            told.stdout.strip(),
            "kgw.engine=seaweedmq needs grpc, which is not installed: pip install 'kgw[seaweed]'",
        )
