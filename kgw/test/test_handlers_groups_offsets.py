"""OffsetCommit, OffsetFetch and OffsetDelete: what a group has consumed is kept, told and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode
from kgw.handlers import offset_commit, offset_delete, offset_fetch
from kgw.model import Topic
from kgw.test.group_stage import GroupStage

NOBODY = bytes(15) + b"\7"


class OffsetsTestCase(SynchronousTestCase):
    """Topics C{t} and C{u} with two partitions each."""

    def setUp(self) -> None:
        """The services and the topics."""
        self.store = MemoryStateStore()
        self.successResultOf(self.store.open())
        self.stage = GroupStage(self, {"offset.metadata.max.bytes": "10"}, store=self.store)
        self.topics = {name: self.stage.create(name, 2) for name in ("t", "u")}

    def id_of(self, name: str) -> bytes:
        """A topic's id, or one that no topic has."""
        topic: Topic | None = self.topics.get(name)
        return topic.id if topic else NOBODY

    def commit(self, version: int, *rows: tuple[str, int, int], group: str = "g", **fields: Any) -> list[Any]:
        """
        Commit offsets.

        @param rows: topic, partition and offset, each as a topic of its own in the request.
        @return: topic, partition and error of each.
        """
        metadata, epoch = fields.pop("metadata", "m"), fields.pop("epoch", 5)
        request = offset_commit.Request(
            group_id=group,
            topics=[
                offset_commit.RequestTopic(
                    name, self.id_of(name), [offset_commit.RequestPartition(index, offset, epoch, metadata)]
                )
                for name, index, offset in rows
            ],
            **fields,
        )
        answer = self.stage.answered(offset_commit, version, request)
        found = []
        for asked, topic in zip(request.topics, answer.topics, strict=True):
            self.assertEqual(
                (topic.name, topic.topic_id), (asked.name, bytes(16)) if version < 10 else ("", asked.topic_id)
            )
            found += [(asked.name, one.partition_index, ErrorCode(one.error_code)) for one in topic.partitions]
        return found

    def fetch(
        self, version: int, *rows: tuple[str, int], group: str = "g", everything: bool = False
    ) -> tuple[ErrorCode, list[Any]]:
        """
        Ask for offsets.

        @return: the group's error; topic, partition, offset, leader epoch, metadata and error of each.
        """
        if version < 8:
            topics = [offset_fetch.RequestTopic(name, [index]) for name, index in rows]
            request = offset_fetch.Request(group_id=group, topics=None if everything else topics)
            answer = self.stage.answered(offset_fetch, version, request)
            return ErrorCode(answer.error_code), self.flat(answer.topics)
        named = [offset_fetch.RequestGroupTopic(name, self.id_of(name), [index]) for name, index in rows]
        request = offset_fetch.Request(groups=[offset_fetch.RequestGroup(group, topics=None if everything else named)])
        (row,) = self.stage.answered(offset_fetch, version, request).groups
        self.assertEqual(row.group_id, group)
        return ErrorCode(row.error_code), self.flat(row.topics)

    def flat(self, topics: Sequence[Any]) -> list[Any]:
        """The rows of an answer, topics by name."""
        names = {topic.id: topic.name for topic in self.topics.values()} | {NOBODY: "?"}
        return [
            (
                topic.name or names[topic.topic_id],
                one.partition_index,
                one.committed_offset,
                one.committed_leader_epoch,
                one.metadata,
                ErrorCode(one.error_code),
            )
            for topic in topics
            for one in topic.partitions
        ]


class OffsetCommitTests(OffsetsTestCase):
    """What is kept."""

    def test_every_version(self) -> None:
        """Offset, leader epoch and metadata come back as they were given, to consumers that no group manages."""
        for version in offset_commit.API.versions:
            group = f"g{version}"
            self.assertEqual(self.commit(version, ("t", 1, 70), group=group), [("t", 1, ErrorCode.NONE)])
            epoch = 5 if version >= 6 else -1
            self.assertEqual(
                self.fetch(10, ("t", 1), group=group)[1], [("t", 1, 70, epoch, "m", ErrorCode.NONE)], version
            )

    def test_by_a_member(self) -> None:
        """A member of the generation commits; others are refused for all partitions."""
        joined = self.stage.stable()
        for version in offset_commit.API.versions:
            for generation_id, member_id, code in (
                (joined.generation_id, joined.member_id, ErrorCode.NONE),
                (joined.generation_id, "stranger", ErrorCode.UNKNOWN_MEMBER_ID),
                (joined.generation_id + 1, joined.member_id, ErrorCode.ILLEGAL_GENERATION),
                (-1, "", ErrorCode.UNKNOWN_MEMBER_ID),
            ):
                rows = self.commit(
                    version,
                    ("t", 0, 1),
                    ("u", 1, 2),
                    generation_id_or_member_epoch=generation_id,
                    member_id=member_id,
                )
                self.assertEqual(rows, [("t", 0, code), ("u", 1, code)], (version, member_id))

    def test_by_a_member_of_no_group(self) -> None:
        """A generation of a group that is not there: clients before v9 know of no such error."""
        for version in offset_commit.API.versions:
            code = ErrorCode.GROUP_ID_NOT_FOUND if version >= 9 else ErrorCode.ILLEGAL_GENERATION
            rows = self.commit(version, ("t", 0, 1), generation_id_or_member_epoch=3, member_id="m")
            self.assertEqual(rows, [("t", 0, code)], version)

    def test_what_is_not_there(self) -> None:
        """Unknown topics and partitions are errors of their own, and others are kept beside them."""
        for version in offset_commit.API.versions:
            missing = ErrorCode.UNKNOWN_TOPIC_ID if version >= 10 else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            self.assertEqual(
                self.commit(version, ("nowhere", 0, 1), ("t", 0, version), ("t", 2, 1), ("t", -1, 1)),
                [
                    ("nowhere", 0, missing),
                    ("t", 0, ErrorCode.NONE),
                    ("t", 2, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
                    ("t", -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
                ],
            )
            self.assertEqual(self.fetch(5, ("t", 0))[1][0][2], version)

    def test_long_metadata(self) -> None:
        """More than C{offset.metadata.max.bytes} is refused, and what was kept stays."""
        self.commit(8, ("t", 0, 1), metadata="0123456789")
        self.assertEqual(
            self.commit(8, ("t", 0, 2), metadata="0123456789a"), [("t", 0, ErrorCode.OFFSET_METADATA_TOO_LARGE)]
        )
        self.assertEqual(self.fetch(8, ("t", 0))[1], [("t", 0, 1, 5, "0123456789", ErrorCode.NONE)])

    def test_no_metadata(self) -> None:
        """Null is kept as nothing."""
        self.commit(8, ("t", 0, 1), metadata=None)
        self.assertEqual(self.fetch(8, ("t", 0))[1], [("t", 0, 1, 5, "", ErrorCode.NONE)])

    def test_survives(self) -> None:
        """Another gateway on the same store tells the same."""
        self.commit(8, ("t", 0, 7))
        self.stage = GroupStage(self, engine=self.stage.engine, store=self.store)
        self.assertEqual(self.fetch(8, ("t", 0))[1], [("t", 0, 7, 5, "m", ErrorCode.NONE)])


class OffsetFetchTests(OffsetsTestCase):
    """What is told."""

    def test_every_version(self) -> None:
        """What was committed, and -1 for what was not, be it there or not."""
        self.commit(9, ("t", 1, 70))
        for version in offset_fetch.API.versions:
            epoch = 5 if version >= 5 else -1
            self.assertEqual(
                self.fetch(version, ("t", 1), ("u", 0), ("t", 9)),
                (
                    ErrorCode.NONE,
                    [
                        ("t", 1, 70, epoch, "m", ErrorCode.NONE),
                        ("u", 0, -1, -1, "", ErrorCode.NONE),
                        ("t", 9, -1, -1, "", ErrorCode.NONE),
                    ],
                ),
                version,
            )

    def test_everything(self) -> None:
        """Null topics ask for all that is committed, in order."""
        self.commit(9, ("u", 1, 4), ("t", 1, 2), ("u", 0, 3))
        for version in range(2, 11):
            code, rows = self.fetch(version, everything=True)
            self.assertEqual(code, ErrorCode.NONE)
            self.assertEqual([row[:3] for row in rows], [("t", 1, 2), ("u", 0, 3), ("u", 1, 4)])

    def test_no_such_group(self) -> None:
        """A group that never was has committed nothing; that is no error, and neither is the empty group id."""
        for version in offset_fetch.API.versions:
            for group in ("nowhere", ""):
                self.assertEqual(
                    self.fetch(version, ("t", 0), group=group),
                    (ErrorCode.NONE, [("t", 0, -1, -1, "", ErrorCode.NONE)]),
                )
                if version >= 2:
                    self.assertEqual(self.fetch(version, group=group, everything=True), (ErrorCode.NONE, []))

    def test_several_groups(self) -> None:
        """From v8 on each has its own answer, in the order in which they were asked for."""
        self.commit(9, ("t", 0, 1), group="a")
        self.commit(9, ("u", 0, 2), group="b")
        for version in range(8, 11):
            groups = [
                offset_fetch.RequestGroup("b", topics=None),
                offset_fetch.RequestGroup("c", topics=None),
                offset_fetch.RequestGroup("a", "m", 3, [offset_fetch.RequestGroupTopic("t", self.id_of("t"), [0])]),
            ]
            request = offset_fetch.Request(groups=groups, require_stable=True)
            answer = self.stage.call(offset_fetch.API, version, request)
            self.assertEqual(
                [(row.group_id, row.error_code, [one[:3] for one in self.flat(row.topics)]) for row in answer.groups],
                [("b", 0, [("u", 0, 2)]), ("c", 0, []), ("a", 0, [("t", 0, 1)])],
            )

    def test_unknown_id(self) -> None:
        """From v10 on an id that no topic has is an error of its partitions."""
        self.commit(10, ("t", 0, 1))
        self.assertEqual(
            self.fetch(10, ("nowhere", 0), ("t", 0)),
            (
                ErrorCode.NONE,
                [("?", 0, -1, -1, "", ErrorCode.UNKNOWN_TOPIC_ID), ("t", 0, 1, 5, "m", ErrorCode.NONE)],
            ),
        )

    def test_refusal(self) -> None:
        """The error for every group; before there was a place for it, for every partition."""
        for version in offset_fetch.API.versions:
            request = (
                offset_fetch.Request(groups=[offset_fetch.RequestGroup("a"), offset_fetch.RequestGroup("b")])
                if version >= 8
                else offset_fetch.Request(group_id="a", topics=[offset_fetch.RequestTopic("t", [0, 1])])
            )
            code = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            answer = self.stage.refuse(offset_fetch.API, version, request, code)
            if version >= 8:
                self.assertEqual([(row.group_id, row.error_code) for row in answer.groups], [("a", 14), ("b", 14)])
            else:
                self.assertEqual(answer.error_code, code if version >= 2 else ErrorCode.NONE)
                self.assertEqual(
                    self.flat(answer.topics), [("t", 0, -1, -1, "", code), ("t", 1, -1, -1, "", code)], version
                )


class OffsetDeleteTests(OffsetsTestCase):
    """What is forgotten."""

    def delete(self, *rows: tuple[str, int], group: str = "g") -> tuple[ErrorCode, list[Any]]:
        """The answer's error; topic, partition and error of each."""
        request = offset_delete.Request(
            group, [offset_delete.RequestTopic(name, [offset_delete.RequestPartition(index)]) for name, index in rows]
        )
        answer = self.stage.answered(offset_delete, 0, request)
        return ErrorCode(answer.error_code), [
            (topic.name, one.partition_index, ErrorCode(one.error_code))
            for topic in answer.topics
            for one in topic.partitions
        ]

    def test_of_an_empty_group(self) -> None:
        """It is forgotten, or was never there; both are well. Topics that are not there are an error."""
        self.commit(9, ("t", 0, 1), ("t", 1, 2))
        missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self.assertEqual(
            self.delete(("t", 0), ("u", 0), ("nowhere", 0), ("t", 2)),
            (
                ErrorCode.NONE,
                [("t", 0, ErrorCode.NONE), ("u", 0, ErrorCode.NONE), ("nowhere", 0, missing), ("t", 2, missing)],
            ),
        )
        self.assertEqual([row[:3] for row in self.fetch(9, everything=True)[1]], [("t", 1, 2)])

    def test_subscribed(self) -> None:
        """What members consume keeps its offsets."""
        self.commit(9, ("t", 0, 1), ("u", 0, 2))
        self.stage.stable(topics=("t",))
        self.assertEqual(
            self.delete(("t", 0), ("u", 0)),
            (ErrorCode.NONE, [("t", 0, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC), ("u", 0, ErrorCode.NONE)]),
        )
        self.assertEqual([row[:3] for row in self.fetch(9, everything=True)[1]], [("t", 0, 1)])

    def test_errors_of_the_group(self) -> None:
        """They are the answer's, which then has no topics."""
        self.stage.stable("connect", protocol_type="connect")
        for group, code in (
            ("connect", ErrorCode.NON_EMPTY_GROUP),
            ("nowhere", ErrorCode.GROUP_ID_NOT_FOUND),
            ("", ErrorCode.INVALID_GROUP_ID),
        ):
            self.assertEqual(self.delete(("t", 0), group=group), (code, []), group)
