"""Word of changes below a folder: from events of a filer of the test, and from a real one that is killed meanwhile."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.folder_watch import FolderWatch
from kgw.engine.seaweed.h2.client import connect
from kgw.engine.seaweed.h2.status import GrpcStatus
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import KafkaError
from kgw.test import seaweed
from kgw.test.seaweed_stage import reactor, spin, turn

FOLDER = "/topics/kafka/.meta/kgw/state"
NOW = 1_800_000_000.0


class Heard:
    """
    Keeps what it is told.

    @ivar entries: contents by path, as they are by word of changes.
    @ivar looks: how often everything was to be looked at.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes | None]] = []
        self.entries: dict[str, bytes] = {}
        self.looks = 0
        self.failing = False

    def changed(self, directory: str, name: str, content: bytes | None) -> None:
        """A change."""
        if self.failing:
            raise ValueError("a bug")
        self.told.append((directory, name, content))
        if content is None:
            self.entries.pop(f"{directory}/{name}", None)
        else:
            self.entries[f"{directory}/{name}"] = content

    def look_anew(self) -> None:
        """All of it."""
        self.looks += 1


class FakeConnection:
    """A connection whose streams the test talks on."""

    is_open = True

    def __init__(self) -> None:
        self.streams: list[FakeConnection] = []
        self.receiver: Any = None
        self.written = b""

    def open(self, path: bytes, receiver: Any) -> FakeConnection:
        """Open a stream."""
        stream = FakeConnection()
        stream.receiver = receiver
        self.streams.append(stream)
        return stream

    def write(self, data: bytes) -> None:
        """Take the request."""
        self.written += data

    def finish(self) -> None:
        """There is one request only."""

    def cancel(self) -> None:
        """End it."""
        self.receiver.ended(GrpcStatus(1))

    def close(self) -> Deferred[None]:
        """Gone."""
        return succeed(None)


class WatchTests(SynchronousTestCase):
    """On a connection of the test's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.connection: Any = FakeConnection()
        self.away = False
        self.heard = Heard()

        def connected(address: str) -> Deferred[Any]:
            return fail(EngineUnavailable("away")) if self.away else succeed(self.connection)

        self.watch = FolderWatch(Connections(connected), lambda: "filer:1", self.clock, FOLDER, self.heard)
        self.watch.start()

    def request(self) -> Any:
        """What the last subscription asked for."""
        written: bytes = self.connection.streams[-1].written
        return filer_pb2.SubscribeMetadataRequest.FromString(written[5:])

    def send(
        self, directory: str, old: str | None, new: str | None, content: bytes = b"", ts_ns: int = 1, to: str = ""
    ) -> None:
        """An event comes."""
        event = filer_pb2.SubscribeMetadataResponse(directory=directory, ts_ns=ts_ns)
        event.event_notification.SetInParent()
        if old is not None:
            event.event_notification.old_entry.name = old
        if new is not None:
            event.event_notification.new_entry.name = new
            event.event_notification.new_entry.content = content
        event.event_notification.new_parent_path = to
        data: bytes = event.SerializeToString()
        self.connection.streams[-1].receiver.received(b"\0" + len(data).to_bytes(4, "big") + data)

    def test_changes(self) -> None:
        self.send(f"{FOLDER}/topics", None, "=x", b"1", to=f"{FOLDER}/topics")
        self.send(f"{FOLDER}/topics", "=x", "=x", b"2", to=f"{FOLDER}/topics")
        self.send(FOLDER, "=y", None)
        self.send(f"{FOLDER}/a", "=from", "=to", b"3", to=f"{FOLDER}/b")
        # the folder itself, one beside it, and an event of nothing
        self.send("/topics/kafka/.meta/kgw", None, "state")
        self.send(f"{FOLDER}-of-another", None, "=z")
        self.send(FOLDER, None, None)
        self.assertEqual(
            self.heard.told,
            [
                (f"{FOLDER}/topics", "=x", b"1"),
                (f"{FOLDER}/topics", "=x", b"2"),
                (FOLDER, "=y", None),
                (f"{FOLDER}/a", "=from", None),
                (f"{FOLDER}/b", "=to", b"3"),
            ],
        )
        self.assertEqual(self.heard.looks, 1)

    def test_a_stream_that_ends_is_opened_again_where_it_ended(self) -> None:
        """And everything is looked at anew, for the filer may have forgotten what it did last."""
        self.assertEqual(self.request().path_prefix, f"{FOLDER}/")
        self.assertEqual(self.request().since_ns, (NOW - 10) * 1e9)
        last = int((NOW + 5) * 1e9)
        self.send(FOLDER, None, "=x", ts_ns=last)
        self.away = True
        self.connection.is_open = False
        self.connection.streams[-1].receiver.ended(GrpcStatus(14, "gone"))
        self.clock.pump([1.0] * 10)
        self.assertEqual((len(self.connection.streams), self.heard.looks), (1, 1))
        self.away, self.connection.is_open = False, True
        self.clock.advance(1)
        self.assertEqual((len(self.connection.streams), self.heard.looks), (2, 2))
        self.assertEqual(self.request().since_ns, last)
        self.assertEqual(self.request().client_epoch, 2)

    def test_a_listener_that_fails_is_told_the_rest(self) -> None:
        self.heard.failing = True
        self.send(FOLDER, None, "=x")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.heard.failing = False
        self.send(FOLDER, None, "=y")
        self.assertEqual(self.heard.told, [(FOLDER, "=y", b"")])

    def test_stop(self) -> None:
        self.watch.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.heard.told), ([], []))


class RealWatchTests(SynchronousTestCase):
    """A filer of SeaweedFS, killed and started again meanwhile: what is heard and looked at is all there is."""

    def test_no_change_is_missed(self) -> None:
        engine = seaweed.Engine().start()
        self.addCleanup(engine.discard)
        bridge = ThreadBridge(reactor, 4)
        bridge.start()
        self.addCleanup(bridge.stop)
        calls = Calls(bridge, None)
        self.addCleanup(calls.stop)
        filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
        connections = Connections(lambda address: connect(reactor, address))
        self.addCleanup(lambda: spin(connections.stop()))
        heard = Heard()
        folder = f"{FOLDER}/watched"
        watch = FolderWatch(connections, lambda: engine.filer, reactor, folder, heard)
        watch.start()
        self.addCleanup(watch.stop)

        def until(name: str, content: bytes | None) -> None:
            deadline = time.monotonic() + 30
            while heard.entries.get(f"{folder}/{name}") != content:
                self.assertLess(time.monotonic(), deadline, heard.told)
                turn(0.02)

        def put(name: str, content: bytes) -> None:
            deadline = time.monotonic() + 30
            while True:
                try:
                    spin(filer.put(folder, name, content))
                    return
                except KafkaError:
                    self.assertLess(time.monotonic(), deadline)
                    turn(0.1)

        put("=a", b"1")
        put("=a", b"2")
        until("=a", b"2")
        put("=b", b"1")
        spin(filer.delete(folder, "=b"))
        until("=b", None)
        looks = heard.looks
        for round in range(2):
            put(f"=before{round}", b"x")
            engine.kill()
            engine.start()
            put(f"=after{round}", b"x")
            until(f"=after{round}", b"x")
            # what may have been forgotten is there to be looked at
            self.assertGreater(heard.looks, looks)
            looks = heard.looks
            listed = {entry.name for entry in spin(filer.list(folder))}
            self.assertIn(f"=before{round}", listed)
