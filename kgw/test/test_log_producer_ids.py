"""Producer ids are given out once each, whatever happens to the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.log.producer_ids import BLOCK_SIZE, KEY, ProducerIds


@implementer(IStateStore)
class SlowStore(MemoryStateStore):
    """A store whose commits wait for the test, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Mapping[str, bytes], Deferred[None]]] = []

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """Wait for L{write} or L{lose}."""
        waiter: Deferred[None] = Deferred()
        self.waiting.append((puts, waiter))
        return waiter

    def write(self) -> None:
        """The oldest commit succeeds."""
        puts, waiter = self.waiting.pop(0)
        super().commit(puts).chainDeferred(waiter)

    def lose(self, written: bool) -> None:
        """The oldest commit fails, though it may have been written."""
        puts, waiter = self.waiting.pop(0)
        if written:
            super().commit(puts)
        waiter.errback(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "disk full"))


class ProducerIdsTests(SynchronousTestCase):
    """Against a store that answers at once, and one that does not."""

    def setUp(self) -> None:
        """Two open stores."""
        self.store = MemoryStateStore()
        self.slow = SlowStore()
        self.successResultOf(self.store.open())
        self.successResultOf(self.slow.open())

    def taken(self, ids: ProducerIds, count: int) -> list[int]:
        """So many ids."""
        return [self.successResultOf(ids.next()) for _ in range(count)]

    def test_ids_count_up_over_blocks(self) -> None:
        self.assertEqual(self.taken(ProducerIds(self.store), 2 * BLOCK_SIZE + 5), list(range(2 * BLOCK_SIZE + 5)))

    def test_a_restart_begins_a_new_block(self) -> None:
        self.taken(ProducerIds(self.store), 3)
        self.assertEqual(self.taken(ProducerIds(self.store), 2), [BLOCK_SIZE, BLOCK_SIZE + 1])

    def test_no_id_before_its_block_is_durable(self) -> None:
        ids = ProducerIds(self.slow)
        first = ids.next()
        self.assertNoResult(first)
        self.slow.write()
        self.assertEqual(self.successResultOf(first), 0)

    def test_one_reservation_serves_all_who_wait(self) -> None:
        ids = ProducerIds(self.slow)
        waiting = [ids.next() for _ in range(10)]
        self.assertEqual(len(self.slow.waiting), 1)
        self.slow.write()
        self.assertEqual([self.successResultOf(one) for one in waiting], list(range(10)))
        self.assertEqual(self.slow.waiting, [])

    def test_more_who_wait_than_a_block_has(self) -> None:
        ids = ProducerIds(self.slow)
        waiting = [ids.next() for _ in range(BLOCK_SIZE + 2)]
        self.slow.write()
        self.assertEqual([self.successResultOf(one) for one in waiting[:BLOCK_SIZE]], list(range(BLOCK_SIZE)))
        self.assertNoResult(waiting[BLOCK_SIZE])
        self.slow.write()
        self.assertEqual([self.successResultOf(one) for one in waiting[BLOCK_SIZE:]], [BLOCK_SIZE, BLOCK_SIZE + 1])

    def test_asking_again_while_ids_are_handed_out(self) -> None:
        ids = ProducerIds(self.slow)
        nested: list[Deferred[int]] = []
        ids.next().addCallback(lambda _: nested.append(ids.next()))
        last = ids.next()
        self.slow.write()
        self.assertEqual({self.successResultOf(last), self.successResultOf(nested[0])}, {1, 2})

    def test_a_lost_commit_fails_all_who_wait_and_the_next_tries_again(self) -> None:
        for written, first in ((False, 0), (True, 2 * BLOCK_SIZE)):
            ids = ProducerIds(self.slow)
            waiting = [ids.next(), ids.next()]
            self.slow.lose(written)
            for one in waiting:
                self.assertEqual(self.failureResultOf(one, KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)
            again = ids.next()
            self.slow.write()
            self.assertEqual(self.successResultOf(again), first)

    def test_who_no_longer_waits_takes_no_id(self) -> None:
        ids = ProducerIds(self.slow)
        gone, stays = ids.next(), ids.next()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.slow.write()
        self.assertEqual(self.successResultOf(stays), 0)

    def test_a_store_that_cannot_be_read(self) -> None:
        ids = ProducerIds(self.store)
        self.successResultOf(self.store.close())
        self.assertEqual(self.failureResultOf(ids.next(), KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.successResultOf(self.store.open())
        self.assertEqual(self.successResultOf(ids.next()), 0)

    def test_a_damaged_counter_is_never_taken_for_zero(self) -> None:
        for damaged in (b"", b"12", (1 << 63).to_bytes(8, "big")):
            self.successResultOf(self.store.commit({KEY: damaged}))
            failure = self.failureResultOf(ProducerIds(self.store).next(), KafkaError)
            self.assertEqual(failure.value.code, ErrorCode.KAFKA_STORAGE_ERROR)
