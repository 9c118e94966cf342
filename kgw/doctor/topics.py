"""Topics as clients use them: the one the user names, and one of the doctor's own that is written, read and removed."""

from __future__ import annotations

import difflib
import time
import uuid

from kgw.doctor.connection import NoAnswer
from kgw.doctor.findings import listed
from kgw.doctor.visit import Visit, code_name
from kgw.errors import ErrorCode, WireError
from kgw.handlers import create_topics, delete_topics, fetch, metadata, produce
from kgw.wire.records import RecordBatch, build_batch

#: Of these APIs, the last versions that name topics by name.
_PRODUCE, _FETCH, _DELETE = 12, 12, 5
#: The first version in which the broker chooses the replication factor (KIP-464).
_DEFAULT_REPLICAS = 4
_MOST_RECORD = 1 << 16
#: Seconds between two looks at a topic that has no leader yet.
_PAUSE = 0.1
#: Seconds by which clocks may differ before it is worth a note, and before it is a problem.
_CLOCK_NOTE, _CLOCK_PROBLEM = 2.0, 60.0


def check_topic(visit: Visit, name: str) -> None:
    """Whether a topic is there and can be used; nothing is created or written."""
    asked = metadata.Request(topics=[metadata.RequestTopic(name=name)], allow_auto_topic_creation=False)
    try:
        (row,) = visit.ask(metadata.API, asked).topics
        if row.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            _missing(visit, name)
            return
    except NoAnswer as refusal:
        visit.findings.problem("topic", str(refusal))
        return
    if row.error_code:
        visit.findings.problem("topic", f"topic {name} cannot be used: {code_name(row.error_code)}")
        return
    leaderless = [one.partition_index for one in row.partitions if one.leader_id < 0 or one.error_code]
    if leaderless:
        numbers = listed([str(index) for index in sorted(leaderless)])
        visit.findings.problem("topic", f"topic {name}: no broker leads partitions {numbers}")
    else:
        visit.findings.ok("topic", f"topic {name} is there, with {_partitions(len(row.partitions))}")


def _partitions(count: int) -> str:
    return "one partition" if count == 1 else f"{count} partitions"


def _missing(visit: Visit, name: str) -> None:
    there = sorted(row.name for row in visit.ask(metadata.API, metadata.Request(topics=None)).topics if row.name)
    near = difflib.get_close_matches(name, there, 3)
    told = f"topic {name} does not exist" + (f" (but {listed(near)} does)" if near else "")
    if _creates_topics(visit):
        visit.findings.note("topic", f"{told}; the first client that asks for it makes it, with the broker's defaults")
        return
    visit.findings.problem(
        "topic",
        f"{told}, and is not made by being asked for (auto.create.topics.enable is false): make it by an admin client",
        "auto.create.topics.enable=true, if clients shall make topics by asking",
    )


def check_auto_creation(visit: Visit) -> None:
    """Whether clients make topics by asking for them, as many expect."""
    if not _creates_topics(visit):
        visit.findings.note(
            "topics",
            "topics are not made by being asked for: whoever produces to a new one gets UNKNOWN_TOPIC_OR_PARTITION"
            " until an admin client has made it",
            "auto.create.topics.enable=true, if clients shall make topics by asking",
        )


def _creates_topics(visit: Visit) -> bool:
    return visit.configs.get("auto.create.topics.enable", "true") == "true"


class TopicTrial:
    """
    A topic of the doctor's own, from its creation to its removal.

    @ivar name: what it is called; nobody has one of that name.
    @ivar leader: the node that leads its partition, once it is made.
    """

    def __init__(self, visit: Visit) -> None:
        self.name = f"kgw-doctor-{uuid.uuid4().hex[:12]}"
        self.leader = -1
        self._visit = visit

    def create(self) -> bool:
        """
        Make the topic.

        @return: whether it is there.
        """
        findings, visit = self._visit.findings, self._visit
        row = create_topics.RequestTopic(
            name=self.name,
            num_partitions=1,
            replication_factor=-1,
            # so that the answer to Produce says what the broker's clock is
            configs=[create_topics.RequestConfig("message.timestamp.type", "LogAppendTime")],
        )
        request = create_topics.Request(topics=[row], timeout_ms=int(visit.patience * 1000))
        try:
            (made,) = visit.ask(create_topics.API, request, visit.controller).topics
            if made.error_code:
                reason = code_name(made.error_code) + (f" ({made.error_message})" if made.error_message else "")
                findings.problem("create", f"topics cannot be created: {reason}")
                return False
            seconds = visit.seconds
            self.leader = self._led_by()
        except NoAnswer as refusal:
            findings.problem("create", str(refusal))
            return False
        if self.leader < 0:
            findings.problem("create", f"a new topic has no leader after {visit.patience:g} s")
            return False
        findings.ok("create", "topics can be created", seconds)
        return True

    def _led_by(self) -> int:
        deadline = time.monotonic() + self._visit.patience
        asked = metadata.Request(topics=[metadata.RequestTopic(name=self.name)], allow_auto_topic_creation=False)
        while True:
            (row,) = self._visit.ask(metadata.API, asked).topics
            if not row.error_code and row.partitions and row.partitions[0].leader_id >= 0:
                leader: int = row.partitions[0].leader_id
                return leader
            if time.monotonic() > deadline:
                return -1
            time.sleep(_PAUSE)

    def write_and_read(self) -> None:
        """Produce one record, look at the broker's clock, and fetch the record."""
        visit = self._visit
        value = uuid.uuid4().bytes
        before = visit.now()
        batch = build_batch([(b"kgw-doctor", value, [], int(before * 1000))])
        data = [produce.RequestTopic(self.name, partition_data=[produce.RequestPartition(0, batch)])]
        request = produce.Request(acks=-1, timeout_ms=int(visit.patience * 1000), topic_data=data)
        try:
            answer = visit.ask(produce.API, request, self.leader, _PRODUCE)
            after = visit.now()
            row = answer.responses[0].partition_responses[0]
            if row.error_code:
                told = f" ({row.error_message})" if row.error_message else ""
                visit.findings.problem("produce", f"a record is refused: {code_name(row.error_code)}{told}")
                return
            visit.findings.ok("produce", "a record was written, acks=all", visit.seconds)
            self._clock(row.log_append_time_ms, before, after)
            self._read(row.base_offset, value)
        except NoAnswer as refusal:
            visit.findings.problem("produce", str(refusal))

    def _read(self, offset: int, value: bytes) -> None:
        visit = self._visit
        row = fetch.RequestPartition(fetch_offset=offset, partition_max_bytes=_MOST_RECORD)
        request = fetch.Request(
            max_wait_ms=int(visit.patience * 500),
            min_bytes=1,
            max_bytes=_MOST_RECORD,
            topics=[fetch.RequestTopic(self.name, partitions=[row])],
        )
        try:
            answer = visit.ask(fetch.API, request, self.leader, _FETCH)
            found = answer.responses[0].partitions[0] if answer.responses else None
            code = answer.error_code or (found.error_code if found is not None else ErrorCode.UNKNOWN_SERVER_ERROR)
            if code or found is None:
                visit.findings.problem("fetch", f"the record cannot be read: {code_name(code)}")
                return
            batch = RecordBatch.parse(bytes(found.records or b""))
            whole = batch.crc_valid() and [one.value for one in batch.records(_MOST_RECORD)] == [value]
        except NoAnswer as refusal:
            visit.findings.problem("fetch", str(refusal))
        except WireError as error:
            visit.findings.problem("fetch", f"no record comes back: {error}")
        else:
            if whole:
                visit.findings.ok("fetch", "the record was read, and is the one that was written", visit.seconds)
            else:
                visit.findings.problem("fetch", "what is read is not the record that was written")

    def _clock(self, broker_ms: int, before: float, after: float) -> None:
        """
        Compare clocks.

        @param broker_ms: when the broker says that it appended the record, which was between the two others.
        """
        findings = self._visit.findings
        if broker_ms < 0:
            findings.note("clock", "the broker does not tell its time")
            return
        broker = broker_ms / 1000
        # milliseconds are cut off there
        skew = min(broker + 0.001 - before, 0.0) or max(broker - after, 0.0)
        if abs(skew) < _CLOCK_NOTE:
            findings.ok("clock", "the broker's clock and this machine's agree")
            return
        told = f"the broker's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        if abs(skew) < _CLOCK_PROBLEM:
            findings.note("clock", f"{told}: timestamps of records, and searches by time, are wrong by that")
            return
        findings.problem(
            "clock",
            f"{told}: records may be refused with INVALID_TIMESTAMP, or go too early or too late by retention.ms",
            "none of kgw's: let both machines' clocks follow the same time servers (NTP)",
        )

    def remove(self) -> None:
        """Delete the topic, if it was made."""
        visit = self._visit
        request = delete_topics.Request(topic_names=[self.name], timeout_ms=int(visit.patience * 1000))
        change = None
        try:
            (row,) = visit.ask(delete_topics.API, request, visit.controller, _DELETE).responses
            if row.error_code in (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
                return
            reason = code_name(row.error_code)
            if row.error_code == ErrorCode.TOPIC_DELETION_DISABLED:
                change = "delete.topic.enable=true"
        except NoAnswer as refusal:
            reason = str(refusal)
        visit.findings.note("cleanup", f"topic {self.name} is left behind, it cannot be deleted: {reason}", change)
