"""The names one session of the manhole knows: what is connected, kept and committed, and what is said right now."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from kgw.engine.bridge import IBridge
from kgw.errors import ErrorCode, KafkaError
from kgw.gateway import Gateway
from kgw.handlers.contract import Services
from kgw.interfaces import IPartitionLog
from kgw.manhole.table import Page, Table
from kgw.model import Bounds, Topic
from kgw.net.protocol import KafkaProtocol
from kgw.net.trace import MOST_REQUESTS, Trace

#: Partitions whose logs are asked for one list: each may be a question to a distant engine.
MOST_PARTITIONS = 1000
#: Characters of a cell that holds a sentence.
_WIDE = 120
#: Events of a group's history that are shown.
_MOST_EVENTS = 20

_HELP = (
    ("conns()", "the connections of clients: who, what software, how much is on its way"),
    ("brokers()", "the nodes of the cluster: where they are, what each leads, when it was heard of"),
    ('topics("orders*")', "topics and how much is in them; without a pattern all"),
    ('groups("orders*")', "consumer groups and how far they are behind; without a pattern all"),
    ('group("billing")', "one group: its members, its offsets, what happened to it lately"),
    ('log("orders", 0)', "one partition's log: its bounds and what it obeys"),
    ("schemas()", "the schema registry, and what became of records that name a schema"),
    ("compatible(new, old)", 'Avro schemas as text; others: compatible(new, old, "FULL", "JSON")'),
    ('trace("billing")', "print what a group, a client id, an address or address:port says from now on"),
    ("untrace()", 'stop printing; untrace("billing") stops one'),
    ("gateway", "the service itself: gateway.config, gateway.services, gateway.connections"),
    ("exit()", "leave; so does Ctrl-D. Whatever you type runs inside the service: a loop stops it"),
)


class Names:
    """
    What a session may call. Nothing here blocks: what has to wait is a Deferred, which the prompt shows when it fires.
    """

    def __init__(
        self, gateway: Gateway, write: Callable[[str], None], has_room: Callable[[], bool], bridge: IBridge
    ) -> None:
        """
        @param write: prints a line at any time.
        @param has_room: whether the other end takes what is printed.
        @param bridge: runs what would keep clients waiting.
        """
        self._gateway = gateway
        self._write = write
        self._has_room = has_room
        self._bridge = bridge
        self._traces: dict[str, Trace] = {}

    def namespace(self) -> dict[str, Any]:
        """The names and what they mean."""
        return {
            "gateway": self._gateway,
            "conns": self.conns,
            "brokers": self.brokers,
            "topics": self.topics,
            "groups": self.groups,
            "group": self.group,
            "log": self.log,
            "schemas": self.schemas,
            "compatible": self.compatible,
            "trace": self.trace,
            "untrace": self.untrace,
            "help": self.help,
        }

    @property
    def _services(self) -> Services:
        return self._gateway.services

    def help(self) -> Table:
        """What there is to call."""
        return Table(("name", "shows"), _HELP, most=_WIDE)

    def conns(self) -> Table:
        """The connections of clients, the busiest first."""
        found = [one for one in self._gateway.connections if isinstance(one, KafkaProtocol)]
        found.sort(key=lambda one: one.requests, reverse=True)
        return Table(
            ("client", "client id", "software", "listener", "requests", "in flight", "unsent bytes"),
            [
                (
                    one.remote,
                    one.client_id,
                    f"{one.software_name} {one.software_version}".strip(),
                    one.listener,
                    one.requests,
                    one.in_flight,
                    one.unsent,
                )
                for one in found
            ],
            "no client is connected",
        )

    def brokers(self) -> Table:
        """The nodes of the cluster that are alive, as this one sees it."""
        cluster = self._services.cluster
        rows = []
        for node in cluster.standings():
            own = self._services.config.advertised_listeners.values()
            addresses = [f"{host}:{port}" for host, port in node.listeners.values() or own] or ["as it was reached"]
            roles = ["this one"] if node.node_id == cluster.node_id else []
            roles += ["controller"] if node.node_id == cluster.controller_id else []
            roles += ["leaving"] if node.is_leaving else []
            led = "all" if node.partitions is None else node.partitions
            slots = "all" if node.slots is None else node.slots
            rows.append(
                (
                    node.node_id,
                    " ".join(addresses),
                    node.rack,
                    ", ".join(roles),
                    led,
                    slots,
                    node.silence_s,
                    node.incarnation[:8],
                )
            )
        columns = ("node", "address", "rack", "is", "leads", "group slots", "heartbeat age s", "incarnation")
        return Table(columns, rows, "no node is alive: this one is out of the cluster for now")

    def topics(self, pattern: str = "*") -> Deferred[Table]:
        """Topics whose names fit a shell's pattern, and what is in them."""
        return Deferred.fromCoroutine(self._topics(pattern))

    async def _topics(self, pattern: str) -> Table:
        found = [topic for topic in self._services.topics.all() if fnmatch.fnmatchcase(topic.name, pattern)]
        rows: list[tuple[object, ...]] = []
        asked = 0
        for topic in found:
            asked += topic.partitions
            records = await self._records(topic) if asked <= MOST_PARTITIONS else None
            config = self._services.config.log_config(topic.configs)
            configs = " ".join(f"{name}={value}" for name, value in sorted(topic.configs.items()))
            rows.append((topic.name, topic.partitions, records, ",".join(config.cleanup_policy), configs))
        return Table(("topic", "partitions", "records", "cleanup", "configs"), rows, "there is no such topic")

    async def _records(self, topic: Topic) -> int | None:
        total = 0
        for index in range(topic.partitions):
            bounds = await self._bounds(topic.name, index)
            if bounds is None:
                return None
            total += bounds.high_watermark - bounds.log_start_offset
        return total

    async def _bounds(self, topic: str, partition: int) -> Bounds | None:
        """The bounds of a log; C{None} where it is not there or cannot be read now."""
        try:
            return await self._services.logs.partition(topic, partition).bounds()
        except KafkaError:
            return None

    def groups(self, pattern: str = "*") -> Deferred[Table]:
        """Consumer groups whose ids fit a shell's pattern, and how far they are behind."""
        return Deferred.fromCoroutine(self._groups(pattern))

    async def _groups(self, pattern: str) -> Table:
        groups = self._services.groups
        rows: list[tuple[object, ...]] = []
        asked = 0
        for one in await groups.list_groups():
            if not fnmatch.fnmatchcase(one.group_id, pattern):
                continue
            try:
                members = len((await groups.describe(one.group_id)).members)
                committed = await groups.committed(one.group_id, None)
            except KafkaError:
                continue  # deleted meanwhile
            asked += len(committed)
            lag: int | None = None
            if asked <= MOST_PARTITIONS:
                lags = [await self._lag(place, kept.offset) for place, kept in committed.items()]
                lag = sum(found for found in lags if found is not None) if lags else None
            rows.append((one.group_id, one.state, members, one.protocol_type, len(committed), lag))
        return Table(("group", "state", "members", "protocol", "offsets", "lag"), rows, "there is no such group")

    async def _lag(self, place: tuple[str, int], offset: int) -> int | None:
        bounds = await self._bounds(*place)
        return None if bounds is None or offset < 0 else max(0, bounds.high_watermark - offset)

    def group(self, group_id: str) -> Deferred[Page]:
        """One group: its members, its offsets and what happened to it lately."""
        return Deferred.fromCoroutine(self._group(group_id))

    async def _group(self, group_id: str) -> Page:
        groups = self._services.groups
        found = await groups.describe(group_id)
        committed = await groups.committed(group_id, None)
        members = Table(
            ("member", "client id", "host", "assignment bytes"),
            [(one.member_id, one.client_id, one.client_host, len(one.assignment)) for one in found.members],
            "no members",
        )
        rows: list[tuple[object, ...]] = [
            (*place, kept.offset, await self._lag(place, kept.offset))
            for place, kept in sorted(committed.items())[:MOST_PARTITIONS]
        ]
        offsets = Table(("topic", "partition", "committed", "lag"), rows, "nothing is committed")
        events = Table(
            ("at", "what happened"),
            [
                (time.strftime("%H:%M:%S", time.localtime(event.time)), event.text)
                for event in groups.history(group_id)[-_MOST_EVENTS:]
            ],
            "nothing has happened since the start",
            _WIDE,
        )
        protocol = f", {found.protocol_type} {found.protocol_name}".rstrip(" ,")
        return Page(f"group {group_id}: {found.state}{protocol}", members, offsets, events)

    def log(self, topic: str, partition: int = 0) -> Deferred[Table]:
        """One partition's log."""
        return Deferred.fromCoroutine(self._log(topic, partition))

    async def _log(self, topic: str, partition: int) -> Table:
        log: IPartitionLog = self._services.logs.partition(topic, partition)
        bounds = await log.bounds()
        newest = await log.offset_of_max_timestamp()
        config = log.config
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(newest.timestamp / 1000))
        return Table(
            ("of the log", "is"),
            [
                ("partition", f"{topic}-{partition}"),
                ("engine", self._services.logs.describe()),
                ("offsets", f"{bounds.log_start_offset} to {bounds.high_watermark}"),
                ("last stable offset", str(bounds.last_stable_offset)),
                ("leader epoch", str(bounds.leader_epoch)),
                ("newest record", f"{stamp}, offset {newest.offset}" if newest.timestamp >= 0 else "none"),
                ("cleanup.policy", ",".join(config.cleanup_policy)),
                ("retention.ms", str(config.retention_ms)),
                ("retention.bytes", str(config.retention_bytes)),
                ("segment.bytes", str(config.segment_bytes)),
                ("max.message.bytes", str(config.max_message_bytes)),
            ],
        )

    def schemas(self) -> Page:
        """The schema registry, and what became of records, over all and by topic."""
        policy = self._services.schemas
        if policy is None:
            return Page("no schema registry is configured (kgw.schema.registry.url)")
        state = policy.registry.state
        numbers = Table(("number", "is"), sorted(policy.measure().items()))
        results = Table(
            ("result", "records"), [(name, n) for name, n in policy.counts.records.items() if n], "none yet"
        )
        topics = Table(
            ("topic", "records"),
            [
                (topic, " ".join(f"{name}={count}" for name, count in sorted(found.items())))
                for topic, found in sorted(policy.counts.topics.items())
            ],
            "of no topic",
            _WIDE,
        )
        answers = "answers" if state.available else f"does not answer: {state.why}"
        return Page(f"schema registry {policy.registry.describe()} {answers}", numbers, results, topics)

    def compatible(self, new: str, old: str, level: str = "BACKWARD", type: str = "AVRO") -> Deferred[Table]:
        """
        What stands in the way of a new schema, after an old one.

        @param new: its text.
        @param level: C{BACKWARD}, C{FORWARD} or C{FULL}.
        @param type: C{AVRO}, C{JSON} or C{PROTOBUF}.
        @raise TypeError: a schema is no text.
        """
        if not isinstance(new, str) or not isinstance(old, str):
            raise TypeError("schemas are texts: compatible('\"long\"', '\"int\"')")
        found: Deferred[Table] = self._bridge.call(_compared, new, old, str(level).upper(), str(type).upper())
        return found

    def trace(self, what: str, requests: int = MOST_REQUESTS) -> Page:
        """
        Print the requests and answers of a group's or a client's connections from now on.

        @param what: a group id, a client id, an address, or address and port as conns() shows them.
        @param requests: after so many the trace ends.
        @raise TypeError: C{what} is no text.
        """
        if not isinstance(what, str) or not what:
            raise TypeError('name a group, a client id or an address: trace("billing")')
        self.untrace(what)
        traces = self._gateway.traces
        self._traces[what] = traces.add(what, self._write, self._has_room, max(1, int(requests)))
        return Page(f"tracing {what!r}; untrace() stops it")

    def untrace(self, what: str | None = None) -> Page:
        """
        Stop printing.

        @param what: as given to L{trace}; C{None} for everything.
        """
        ended = [one for one in list(self._traces) if what is None or one == what]
        for one in ended:
            self._gateway.traces.remove(self._traces.pop(one))
        return Page(f"{len(ended)} {'trace' if len(ended) == 1 else 'traces'} ended")


def _compared(new: str, old: str, level: str, kind: str) -> Table:
    """Compare schemas; on a thread, which imports what that takes."""
    from kgw.schema.compatibility import Level, incompatibilities
    from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType

    one, other = (ResolvedSchema(RegisteredSchema(0, SchemaType(kind), text)) for text in (new, old))
    found = incompatibilities(one, [other], Level(level))
    rows = [(one.rule, one.path, one.message) for one in found]
    return Table(("rule", "at", "what"), rows, "nothing stands in the way", _WIDE)


def in_words(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, KafkaError):
        message = f": {error.message}" if error.message else ""
        return f"{ErrorCode(error.code).name}{message}"
    return f"{type(error).__name__}: {error}"
