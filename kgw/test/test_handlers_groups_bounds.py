"""Group requests that name things twice, or what is not there: the answer says each thing once, and the right error."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import describe_groups, leave_group, offset_commit, offset_fetch
from kgw.test.group_stage import GroupStage


class RepetitionTests(SynchronousTestCase):
    """A small request must not get a large answer by naming one thing again and again."""

    def setUp(self) -> None:
        self.stage = GroupStage(self)
        self.topic = self.stage.create("t", 2)

    def test_describe_groups(self) -> None:
        """One row for each group, also of a refusal."""
        self.stage.stable()
        request = describe_groups.Request(groups=["g", "g", "h", "g"])
        rows = self.stage.answered(describe_groups, 5, request).groups
        self.assertEqual([(row.group_id, row.group_state) for row in rows], [("g", "Stable"), ("h", "Dead")])
        refused = self.stage.refuse(describe_groups.API, 5, request, ErrorCode.NOT_COORDINATOR).groups
        self.assertEqual([row.group_id for row in refused], ["g", "h"])

    def test_offset_fetch_groups(self) -> None:
        """One row for each group, with the partitions of all places where it is named."""
        for version in range(8, 11):
            topics = [
                [offset_fetch.RequestGroupTopic("t", self.topic.id, [partition, partition])] for partition in (0, 1, 0)
            ]
            groups = [offset_fetch.RequestGroup("g", topics=each) for each in topics]
            groups += [offset_fetch.RequestGroup("h", topics=topics[0]), offset_fetch.RequestGroup("h", topics=None)]
            rows = self.stage.answered(offset_fetch, version, offset_fetch.Request(groups=groups)).groups
            told = [(row.group_id, [p.partition_index for t in row.topics for p in t.partitions]) for row in rows]
            self.assertEqual(told, [("g", [0, 1]), ("h", [])])
            refused = self.stage.refuse(
                offset_fetch.API, version, offset_fetch.Request(groups=groups), ErrorCode.NOT_COORDINATOR
            )
            self.assertEqual([row.group_id for row in refused.groups], ["g", "h"])

    def test_offset_fetch_partitions(self) -> None:
        """Each partition once, also in versions of one group."""
        topics = [offset_fetch.RequestTopic("t", [0, 1, 0]), offset_fetch.RequestTopic("t", [1, 0])]
        answer = self.stage.answered(offset_fetch, 7, offset_fetch.Request(group_id="g", topics=topics))
        self.assertEqual([[p.partition_index for p in topic.partitions] for topic in answer.topics], [[0, 1]])


class AbsenceTests(SynchronousTestCase):
    """What is not there has its own error, whatever else is wrong."""

    def setUp(self) -> None:
        self.stage = GroupStage(self)
        self.topic = self.stage.create("t")

    def test_leaving_no_group(self) -> None:
        """Each member has the error where there are several, the request where it names one only."""
        for version in leave_group.API.versions:
            answer = self.stage.leave("m", version=version, group="nowhere")
            rows = [(row.member_id, row.error_code) for row in answer.members]
            if version >= 3:
                self.assertEqual((answer.error_code, rows), (0, [("m", ErrorCode.UNKNOWN_MEMBER_ID)]))
            else:
                self.assertEqual((answer.error_code, rows), (ErrorCode.UNKNOWN_MEMBER_ID, []))
        self.assertEqual(self.stage.leave("m", group="").error_code, ErrorCode.INVALID_GROUP_ID)

    def commit(self, version: int, **fields: Any) -> list[int]:
        """The errors of a partition, one that is not there, and a topic that is not there."""
        rows = [offset_commit.RequestPartition(partition, 1, -1, "") for partition in (0, 9)]
        topics = [
            offset_commit.RequestTopic("t", self.topic.id, rows),
            offset_commit.RequestTopic("nowhere", bytes(15) + b"\7", rows[:1]),
        ]
        answer = self.stage.answered(offset_commit, version, offset_commit.Request("g", topics=topics, **fields))
        return [row.error_code for topic in answer.topics for row in topic.partitions]

    def test_committing(self) -> None:
        """What the group says of the member is not said of topics and partitions that are not there."""
        for version in offset_commit.API.versions:
            found = self.commit(version, generation_id_or_member_epoch=5, member_id="m")
            refused = ErrorCode.GROUP_ID_NOT_FOUND if version >= 9 else ErrorCode.ILLEGAL_GENERATION
            unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            self.assertEqual(found, [refused, unknown, ErrorCode.UNKNOWN_TOPIC_ID if version >= 10 else unknown])

    def test_committing_for_ever(self) -> None:
        """A retention time that ends after the end of time is as good as any."""
        for version in (2, 3, 4):
            self.assertEqual(self.commit(version, retention_time_ms=(1 << 63) - 1)[0], ErrorCode.NONE)
