"""Fetch sessions: who gets one, what answers leave out, and who has to go when the cache is full (KIP-227)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.log.fetch_session import (
    EVICTION_SECONDS,
    MAX_PARTITIONS,
    FetchPartition,
    FetchSession,
    FetchSessions,
    PartitionKey,
)

A0, A1, B0 = PartitionKey("a", 0), PartitionKey("a", 1), PartitionKey("b", 0)


def wanted(offset: int = 0) -> FetchPartition:
    """A consumer that wants this partition from C{offset} on."""
    return FetchPartition(offset, 1 << 20, -1, -1)


class FetchSessionsTests(SynchronousTestCase):
    """Requests against one cache."""

    def setUp(self) -> None:
        """Room for two sessions."""
        self.sessions = FetchSessions(2)

    def begin(
        self, session_id: int = 0, epoch: int = 0, *keys: PartitionKey, now: float = 0.0, by_id: bool = False
    ) -> FetchSession:
        """One request naming C{keys}."""
        return self.sessions.begin(session_id, epoch, {key: wanted() for key in keys}, (), by_id, now)

    def refusal(self, session_id: int, epoch: int, by_id: bool = False) -> ErrorCode:
        """The error one request gets."""
        with self.assertRaises(KafkaError) as caught:
            self.begin(session_id, epoch, A0, by_id=by_id)
        code: ErrorCode = caught.exception.code
        return code

    def test_sessionless(self) -> None:
        """A client that sends epoch -1 keeps no session and nothing is remembered."""
        session = self.begin(0, -1, A0)
        self.assertEqual((session.id, list(session.partitions), len(self.sessions)), (0, [A0], 0))

    def test_incremental(self) -> None:
        """The second request names nothing and is served all partitions of the first."""
        first = self.begin(0, 0, A0, B0)
        again = self.begin(first.id, 1)
        self.assertIs(again, first)
        self.assertEqual(list(again.partitions), [A0, B0])

    def test_changes(self) -> None:
        """Partitions are added, moved and forgotten by later requests."""
        first = self.begin(0, 0, A0, B0)
        self.sessions.begin(first.id, 1, {A0: wanted(7), A1: wanted()}, [B0], False, 0.0)
        self.assertEqual({key: p.fetch_offset for key, p in first.partitions.items()}, {A0: 7, A1: 0})

    def test_forgetting_all_ends_the_session(self) -> None:
        """A session without partitions is gone."""
        first = self.begin(0, 0, A0)
        last = self.sessions.begin(first.id, 1, {}, [A0], False, 0.0)
        self.assertEqual((last.id, len(self.sessions)), (0, 0))

    def test_refusals(self) -> None:
        """Unknown ids, epochs out of turn, and topics named the other way are refused by Kafka's codes."""
        first = self.begin(0, 0, A0)
        self.assertEqual(self.refusal(first.id + 1, 1), ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        self.assertEqual(self.refusal(first.id, 5), ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        self.assertEqual(self.refusal(first.id, 1, by_id=True), ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)

    def test_close(self) -> None:
        """Epoch -1 with an id ends that session."""
        first = self.begin(0, 0, A0)
        self.begin(first.id, -1, A0)
        self.assertEqual(self.refusal(first.id, 1), ErrorCode.FETCH_SESSION_ID_NOT_FOUND)

    def test_only_changes_are_told(self) -> None:
        """An incremental answer leaves out what is as the client knows it, and tells what changed."""
        session = self.begin(0, 0, A0)
        self.assertTrue(session.must_tell(A0, 0, 0, 5, 0), "a full answer names every partition")
        self.begin(session.id, 1)
        self.assertFalse(session.must_tell(A0, 0, 0, 5, 0))
        self.assertTrue(session.must_tell(A0, 0, 10, 5, 0), "records")
        self.assertTrue(session.must_tell(A0, 0, 0, 6, 0), "high watermark")
        self.assertTrue(session.must_tell(A0, 0, 0, 6, 2), "log start offset")
        self.assertTrue(session.must_tell(A0, int(ErrorCode.OFFSET_OUT_OF_RANGE), 0, -1, -1), "error")
        self.assertTrue(session.must_tell(A0, 0, 0, 6, 2), "the error has gone")
        self.assertFalse(session.must_tell(A0, 0, 0, 6, 2))

    def test_turns(self) -> None:
        """A partition that was served goes behind those that were not, so that none starves."""
        session = self.begin(0, 0, A0, A1)
        self.begin(session.id, 1)
        session.must_tell(A0, 0, 10, 5, 0)
        self.assertEqual(list(session.partitions), [A1, A0])

    def test_full_cache(self) -> None:
        """When the cache is full of fresh sessions a new client is served without one."""
        self.begin(0, 0, A0)
        self.begin(0, 0, A0)
        self.assertEqual(self.begin(0, 0, A0, now=1.0).id, 0)
        self.assertEqual(len(self.sessions), 2)

    def test_stale_sessions_go(self) -> None:
        """A session that nobody used for two minutes makes room."""
        stale = self.begin(0, 0, A0)
        kept = self.begin(0, 0, A0, now=1.0)
        fresh = self.begin(0, 0, A0, now=EVICTION_SECONDS)
        self.assertNotEqual(fresh.id, 0)
        self.assertEqual(self.refusal(stale.id, 1), ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        self.assertIs(self.begin(kept.id, 1), kept)

    def test_larger_sessions_are_worth_more(self) -> None:
        """A large session displaces a smaller one that is in use, once that has had its two minutes."""
        small = self.begin(0, 0, A0)
        large = self.begin(0, 0, A0, A1, B0)
        for epoch, now in ((1, 60.0), (2, 130.0)):
            self.begin(small.id, epoch, now=now)
            self.begin(large.id, epoch, now=now)
        self.assertEqual(self.begin(0, 0, B0, now=130.0).id, 0)
        self.assertNotEqual(self.begin(0, 0, A0, A1, now=130.0).id, 0)
        self.assertEqual(self.refusal(small.id, 3), ErrorCode.FETCH_SESSION_ID_NOT_FOUND)

    def test_epochs_wrap(self) -> None:
        """After the largest epoch comes 1; 0 would start anew."""
        session = self.begin(0, 0, A0)
        session.epoch = (1 << 31) - 1
        self.begin(session.id, (1 << 31) - 1)
        self.assertEqual(session.epoch, 1)


class RememberedTests(SynchronousTestCase):
    """How much all sessions may remember."""

    def many(self, topic: str, count: int) -> dict[PartitionKey, FetchPartition]:
        """So many partitions of a topic."""
        return {PartitionKey(topic, number): wanted() for number in range(count)}

    def test_no_room(self) -> None:
        """A consumer with more partitions than there is room for is served without a session, until one ends."""
        sessions = FetchSessions(10)
        half = MAX_PARTITIONS // 2
        first = sessions.begin(0, 0, self.many("a", half), (), False, 0.0)
        second = sessions.begin(0, 0, self.many("b", half), (), False, 0.0)
        self.assertTrue(first.id and second.id)
        self.assertEqual(sessions.begin(0, 0, self.many("c", 1), (), False, 0.0).id, 0)
        sessions.begin(first.id, -1, {}, (), False, 0.0)
        self.assertNotEqual(sessions.begin(0, 0, self.many("c", half), (), False, 0.0).id, 0)

    def test_a_session_that_grows(self) -> None:
        """One that adds more than there is room for ends, and the client begins anew."""
        sessions = FetchSessions(10)
        session = sessions.begin(0, 0, self.many("a", MAX_PARTITIONS - 1), (), False, 0.0)
        sessions.begin(session.id, 1, self.many("b", 1), (), False, 0.0)
        with self.assertRaises(KafkaError) as caught:
            sessions.begin(session.id, 2, self.many("c", 1), (), False, 0.0)
        self.assertEqual(caught.exception.code, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        self.assertEqual(len(sessions), 0)
        again = sessions.begin(0, 0, self.many("a", MAX_PARTITIONS), (), False, 0.0)
        self.assertNotEqual(again.id, 0)
        forgotten = list(again.partitions)[1:]
        sessions.begin(again.id, 1, {}, forgotten, False, 0.0)
        self.assertNotEqual(sessions.begin(0, 0, self.many("b", MAX_PARTITIONS - 1), (), False, 0.0).id, 0)
