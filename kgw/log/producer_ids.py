"""Gives out producer ids, each of them once in the life of the data directory."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.turns import OwnTurns, Turns

#: How many ids are reserved at a time (Kafka: C{ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE}).
BLOCK_SIZE = 1000
#: The state store's key for the first id that no block has reserved yet: 8 bytes, big-endian.
KEY = "producer-ids/next"

_MAX_ID = (1 << 63) - 1


class ProducerIds:
    """
    The source of producer ids (Kafka: C{InitProducerId}, KIP-98).

    Ids are reserved in the state store in blocks, and a block is durable before the first of its ids is given out;
    what is left of a block when the process ends is never used.
    """

    def __init__(self, store: IStateStore, turns: Turns | None = None) -> None:
        """
        @param store: open, for as long as ids are asked for.
        @param turns: where other gateways give out ids, too.
        """
        self._store = store
        self._turns = turns or OwnTurns()
        self._next = 0
        self._end = 0
        self._waiting: deque[Deferred[int]] = deque()

    def next(self) -> Deferred[int]:
        """
        An id that nobody had before.

        @return: fires at once while a block lasts, else when the next one is reserved; fails with
            C{KAFKA_STORAGE_ERROR} where it cannot be, and a later call tries again.
        """
        if self._next < self._end:
            self._next += 1
            return succeed(self._next - 1)
        waiter: Deferred[int] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            self._reserve()
        return waiter

    def _reserve(self) -> None:
        # Read again each time: a commit that failed may have been written all the same.
        self._turns.run(self._reserve_block).addCallbacks(self._hand_out, self._give_up)

    def _reserve_block(self) -> Deferred[int]:
        return Deferred.fromCoroutine(self._reserved_block())

    async def _reserved_block(self) -> int:
        stored = await self._store.get(KEY)
        if stored is not None and len(stored) != 8:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{KEY} holds {len(stored)} bytes instead of 8")
        first = 0 if stored is None else int.from_bytes(stored, "big")
        if first > _MAX_ID - BLOCK_SIZE:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "there are no producer ids left")
        await self._store.commit({KEY: (first + BLOCK_SIZE).to_bytes(8, "big")})
        return first

    def _hand_out(self, first: int) -> None:
        self._next, self._end = first, first + BLOCK_SIZE
        while self._waiting:
            if self._next == self._end:
                self._reserve()
                return
            waiter = self._waiting.popleft()
            if not waiter.called:  # else it was cancelled
                self._next += 1
                waiter.callback(self._next - 1)

    def _give_up(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(failure)
