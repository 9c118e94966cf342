"""A filer, its locks and a broker in memory, which fail, stop and answer late where a test wants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from kgw.engine.seaweed.broker import PartitionRange
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.filer import Entry
from kgw.engine.seaweed.proto import filer_pb2
from kgw.engine.seaweed.proto.filer_pb2 import Entry as RawEntry
from kgw.errors import ErrorCode, KafkaError
from kgw.schema.columns import RecordOf

RING = 2520
NAMESPACE = "/topics/kafka"


class Tree:
    """
    What a filer holds; several fake filers, one after another, may stand on one.

    @ivar files: contents by path.
    @ivar folders: paths.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = set()

    def copy(self) -> Tree:
        """What is there now, for a test that tries several futures of it."""
        copied = Tree()
        copied.files.update(self.files)
        copied.folders |= self.folders
        return copied

    def put(self, path: str, content: bytes) -> None:
        """Write a file, making its folders."""
        if path in self.folders:
            raise _refused(f"{path} is a folder")
        above = path.rpartition("/")[0]
        while above and above not in self.folders:
            if above in self.files:
                raise _refused(f"{above} is a file")
            self.folders.add(above)
            above = above.rpartition("/")[0]
        self.files[path] = content

    def delete(self, path: str, recursive: bool) -> None:
        """Remove a file or a folder."""
        below = [name for name in (*self.files, *self.folders) if name.startswith(path + "/")]
        if below and not recursive:
            raise _refused(f"{path} is not empty")
        for name in (path, *below):
            self.files.pop(name, None)
            self.folders.discard(name)


class FakeFiler:
    """
    Does what L{kgw.engine.seaweed.filer.Filer} does, on a L{Tree}.

    @ivar writes_left: how many writes it still takes; afterwards every call fails, as if the filer were gone.
    @ivar last_write_counts: whether the write that finds none left is done nevertheless, and fails all the same.
    @ivar held: whether calls wait for L{step}.
    @ivar calls: the methods called and their paths, in order.
    """

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self.writes_left: int | None = None
        self.last_write_counts = False
        self.held = False
        self.calls: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self._waiting: list[Callable[[], None]] = []
        self._gone = False

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """One entry."""
        return self._call("lookup", f"{directory}/{name}", self._entry)

    def list(self, directory: str, start_after: str = "", limit: int = 0) -> Deferred[Any]:
        """All entries of a folder."""

        def listed(path: str) -> object:
            names = {p for p in (*self.tree.files, *self.tree.folders) if p.rpartition("/")[0] == path}
            entries = [self._entry(name) for name in sorted(names)]
            return [entry for entry in entries if entry is not None and entry.name > start_after]

        return self._call("list", directory, listed)

    def put(self, directory: str, name: str, content: bytes, extended: object = None) -> Deferred[None]:
        """Write an entry."""
        return self._write("put", f"{directory}/{name}", lambda path: self.tree.put(path, content))

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry."""
        return self._write("delete", f"{directory}/{name}", lambda path: self.tree.delete(path, recursive))

    def step(self, index: int = 0) -> bool:
        """Do one of the calls that are held, the first or another one; whether there was any."""
        if self._waiting:
            self._waiting.pop(index % len(self._waiting))()
        return bool(self._waiting)

    def run(self) -> None:
        """Do all calls that are held, and those that they lead to."""
        while self._waiting:
            self.step()

    def restore(self) -> None:
        """Take writes again without an end."""
        self.writes_left = None
        self._gone = False

    def _entry(self, path: str) -> Entry | None:
        name = path.rpartition("/")[2]
        if path in self.tree.files:
            content = self.tree.files[path]
            return Entry(name, False, len(content), content, {}, 0, RawEntry())
        return Entry(name, True, 0, b"", {}, 0, RawEntry()) if path in self.tree.folders else None

    def _write(self, what: str, path: str, work: Callable[[str], None]) -> Deferred[Any]:
        def counted(path: str) -> None:
            if path in self.refused:
                raise _refused(f"{path} cannot be written")
            if self.writes_left is not None:
                if not self.writes_left:
                    self._gone = True
                    if self.last_write_counts:
                        work(path)
                    raise _refused("the filer does not answer")
                self.writes_left -= 1
            work(path)

        return self._call(what, path, counted)

    def _call(self, what: str, path: str, work: Callable[[str], object]) -> Deferred[Any]:
        self.calls.append((what, path))
        answer: Deferred[Any] = Deferred()

        def perform() -> None:
            try:
                if self._gone:
                    raise _refused("the filer does not answer")
                result = work(path)
            except KafkaError as error:
                answer.errback(error)
            else:
                answer.callback(result)

        if self.held:
            self._waiting.append(perform)
        else:
            perform()
        return answer


class FakeBroker:
    """
    Configures topics as L{kgw.engine.seaweed.broker.Broker} does, with their C{topic.conf} in a L{FakeFiler}.

    @ivar now_ns: the stamp of the next generation.
    @ivar failures: how many of the next configurations fail.
    @ivar done_nevertheless: whether those are done all the same.
    """

    def __init__(self, filer: FakeFiler) -> None:
        self._filer = filer
        self.now_ns = 1_700_000_000_000_000_000
        self.failures = 0
        self.done_nevertheless = False
        self.configured: list[tuple[str, int]] = []
        self.types: dict[str, tuple[RecordOf, str]] = {}

    def configure_topic(self, topic: str, count: int) -> Deferred[Any]:
        """Make a topic of so many ranges, unless it is there."""
        self.configured.append((topic, count))
        there = self._ranges(topic)
        if there is not None and len(there) != count:
            return fail(KafkaError(ErrorCode.INVALID_PARTITIONS, f"{topic} has {len(there)} ranges"))
        failing = self.failures > 0
        self.failures -= failing
        if there is None and (not failing or self.done_nevertheless):
            there = self.make(topic, count)
        return fail(_refused("the broker does not answer")) if failing else succeed(there)

    def existing(self, topic: str) -> Deferred[Any]:
        """The ranges of a topic."""
        return succeed(self._ranges(topic))

    def declared(self, topic: str) -> Deferred[tuple[RecordOf, str]]:
        """The columns of a topic, and their format."""
        return succeed(self.types.get(topic, (RecordOf(), "")))

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """Let a topic have these columns."""
        self.types[topic] = columns, format
        return succeed([])

    def make(self, topic: str, count: int) -> list[PartitionRange]:
        """Have a topic made by somebody else; again with another count it is another generation."""
        self.now_ns += 1
        width = RING // count
        starts = [index * width for index in range(count)]
        ranges = [
            PartitionRange(start, stop, self.now_ns) for start, stop in zip(starts, [*starts[1:], RING], strict=True)
        ]
        self.place(topic, ranges)
        return ranges

    def place(self, topic: str, ranges: list[PartitionRange]) -> None:
        """Have a topic with these ranges."""
        self._filer.tree.put(f"{NAMESPACE}/{topic}/topic.conf", json.dumps(ranges).encode())

    def _ranges(self, topic: str) -> list[PartitionRange] | None:
        content = self._filer.tree.files.get(f"{NAMESPACE}/{topic}/topic.conf")
        return None if content is None else [PartitionRange(*fields) for fields in json.loads(content)]


class FakeLocks:
    """
    Filers with locks, which keep time by the test's clock.

    @ivar away: addresses that do not answer.
    @ivar keeper: which filer keeps all locks, as SeaweedFS writes addresses.
    @ivar asked: the addresses that were asked.
    @ivar passes_on: whether other filers ask the keeper themselves.
    """

    timeout_s = 1.0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.away: set[str] = set()
        self.keeper = ""
        self.asked: list[str] = []
        self.passes_on = True
        self.locks: dict[str, tuple[str, str, float, int]] = {}
        self._number = 0

    def restart(self) -> None:
        """Every lock is forgotten."""
        self.locks.clear()

    def unary(self, address: str, path: str, request: Any, response_type: Any, timeout_s: float = 0) -> Deferred[Any]:
        """Answer a call."""
        self.asked.append(address)
        if address in self.away:
            return fail(EngineUnavailable("away"))
        elsewhere = self.keeper and not self.keeper.startswith(address.rpartition(":")[0])
        moved = self.keeper if elsewhere else ""
        if "Unlock" in path:
            held = self.locks.get(request.name)
            if held is None or held[1] != request.renew_token:
                return succeed(filer_pb2.UnlockResponse(error="unlock: token mismatch", moved_to=moved))
            del self.locks[request.name]
            return succeed(filer_pb2.UnlockResponse(moved_to=moved))
        if "Find" in path:
            if request.name not in self.locks:
                return fail(KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "lock not found"))
            return succeed(filer_pb2.FindLockOwnerResponse(owner=self.locks[request.name][0]))
        if elsewhere and not self.passes_on:
            return succeed(filer_pb2.LockResponse(error="it is elsewhere", lock_host_moved_to=moved))
        owner, token, until, generation = self.locks.get(request.name, ("", "", 0.0, 0))
        if token and until > self.clock.seconds() and token != request.renew_token:
            words = "token mismatch" if request.renew_token else "already locked"
            return succeed(filer_pb2.LockResponse(error=words, lock_owner=owner, lock_host_moved_to=moved))
        if request.renew_token and request.renew_token != token:
            return succeed(filer_pb2.LockResponse(error="no such lock", lock_host_moved_to=moved))
        self._number += 1
        made = str(self._number)
        generation += not request.renew_token
        self.locks[request.name] = request.owner, made, self.clock.seconds() + request.seconds_to_lock, generation
        return succeed(
            filer_pb2.LockResponse(
                renew_token=made, lock_owner=request.owner, generation=generation, lock_host_moved_to=moved
            )
        )


def _refused(what: str) -> EngineUnavailable:
    return EngineUnavailable(what)
