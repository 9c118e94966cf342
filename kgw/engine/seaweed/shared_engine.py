"""The engine on SeaweedMQ where several gateways share the partitions: it leads those that it is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.engine import SeaweedLogEngine, engine_topics_of
from kgw.engine.seaweed.layout import Place
from kgw.engine.seaweed.led_topic import LedTopic, Taking, broken_off
from kgw.engine.seaweed.opening import open_partition
from kgw.engine.seaweed.partition_facts import forget_facts
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, ISharedLogs
from kgw.model import LogConfig, Topic

#: The engine has so many seconds to write a partition to files when another gateway is to lead it: less than a
#: gateway may take to let go.
DRAIN_S = 5.0
#: A broker that loses the only stream of a partition takes a moment to let go of it, and for so many seconds a new
#: stream may come to what is about to go: it fails then, and no other can be opened for about 20 s (SeaweedFS 4.48).
_QUIET_S = 1.5


@implementer(ILogEngine, ISharedLogs)
class SharedSeaweedLogEngine(SeaweedLogEngine):
    """
    Leads the partitions that L{lead} names; of all topics it only knows that they are there.

    C{create} and C{delete} change what all gateways share, so nobody else may do so at the same time; what others
    changed before is read first.
    """

    _log = Logger()

    def __init__(self, *, drain_s: float = DRAIN_S, **options: Any) -> None:
        """
        @param drain_s: how long closing a partition may take.
        @param options: of L{SeaweedLogEngine}.
        """
        super().__init__(drain_s=drain_s, sweeps=False, **options)
        self._quieting: list[Deferred[None]] = []

    async def _start(self, topics: list[tuple[Topic, LogConfig]]) -> None:
        await self._layout.load()
        self._around.publishing.start()
        self._topics = {topic.name: LedTopic(topic, config) for topic, config in topics}
        self._begin_loops()

    # What all gateways share

    async def _create(self, topic: Topic, config: LogConfig) -> None:
        self._check_running()
        await self._layout.refresh()
        try:
            engine_topics = engine_topics_of(await self._layout.create(topic))
            if len(engine_topics) > 1:
                await self._spread(engine_topics)
        except (KafkaError, CancelledError) as error:
            await self._undo(topic)
            self._check_running()
            if isinstance(error, KafkaError):
                raise
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{topic.name} was deleted meanwhile") from error
        self._know(topic, config)

    async def _delete(self, topic: Topic) -> None:
        self._check_running()
        await self._layout.refresh()
        await super()._delete(topic)
        # those that another one led, and a topic that was retired by one that did not come to this
        await forget_facts(self._around.store, topic)

    def tidy(self, topics: Collection[Topic]) -> Deferred[None]:
        """
        Take out of the layout what belongs to no topic, and remove the directories that are due; for one gateway at a
        time, while nobody creates or deletes topics.

        @param topics: all that there are.
        @return: fails with C{KAFKA_STORAGE_ERROR}; it may be tried again.
        """
        return Deferred.fromCoroutine(self._tidy({topic.id for topic in topics}))

    async def _tidy(self, named: set[bytes]) -> None:
        self._check_running()
        await self._layout.refresh()
        for id in self._layout.known():
            if id not in named and id not in self._making:
                forgotten = Topic("", id, 0)
                await self._layout.retire(forgotten)
                await forget_facts(self._around.store, forgotten)
        await self._layout.sweep()

    def learn(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{ISharedLogs.learn}."""
        return Deferred.fromCoroutine(self._learn(topic, config))

    async def _learn(self, topic: Topic, config: LogConfig) -> None:
        self._check_running()
        try:
            self._layout.places(topic)
        except KafkaError:
            await self._layout.refresh()
        self._know(topic, config)

    def _know(self, topic: Topic, config: LogConfig) -> None:
        led = self._topics.get(topic.name)
        if led is None or led.topic.id != topic.id:
            if led is not None:
                self._let_go(led.topic)
            self._topics[topic.name] = LedTopic(topic, config)
        else:
            led.topic = topic
            led.configure(config)

    def forget(self, topic: Topic) -> Deferred[None]:
        """See L{ISharedLogs.forget}."""
        return DeferredList(self._let_go(topic)).addCallback(_nothing)

    # What is led here

    def lead(self, topic: Topic, epochs: Mapping[int, int]) -> Deferred[None]:
        """See L{ISharedLogs.lead}."""
        # a Deferred of its own: who gives up waiting does not break it off, resign() does
        answer: Deferred[None] = Deferred()
        leading = Deferred.fromCoroutine(self._lead(topic, dict(epochs)))
        leading.addCallbacks(answer.callback, answer.errback)
        return answer

    async def _lead(self, topic: Topic, epochs: Mapping[int, int]) -> None:
        led = self._led(topic)
        # what is led already stays as it is, though its epoch may have become a greater one here
        former = [index for index, epoch in epochs.items() if led.given.get(index, epoch) != epoch]
        closed = self.resign(topic, former)
        # all at once: what is resigned from here on is not given any more
        led.given.update(epochs)
        await closed
        places = await self._places(led)
        outcomes = [self._taken(led, index, epoch, places[index]) for index, epoch in epochs.items()]
        for _, error in await DeferredList(outcomes):
            if error is not None:
                raise error

    def _led(self, topic: Topic) -> LedTopic:
        self._check_running()
        led = self._topics.get(topic.name)
        if led is None or led.topic.id != topic.id:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {topic.name} is not known here yet")
        return led

    async def _places(self, led: LedTopic) -> list[Place]:
        try:
            return self._layout.places(led.topic)
        except KafkaError:
            await self._layout.refresh()
        return self._layout.places(led.topic)

    def _taken(self, led: LedTopic, index: int, epoch: int, place: Place) -> Taking:
        """Open a partition, unless that is done or under way; fires with what it failed with."""
        answer: Taking = Deferred()
        if led.given.get(index) != epoch or self._topics.get(led.topic.name) is not led:
            answer.callback(_not_here(led, index))
        elif index in led.logs:
            answer.callback(None)
        else:
            taking = led.taking.get(index)
            if taking is None:
                taking = Deferred.fromCoroutine(self._take(led, index, epoch, place))
                if not taking.called:
                    led.taking[index] = taking
                    taking.addCallback(self._no_longer, led, index, taking)
            taking.addCallback(_told, answer)
        return answer

    async def _take(self, led: LedTopic, index: int, epoch: int, place: Place) -> KafkaError | None:
        try:
            log = await self._around.opening.run(
                open_partition, led.topic, index, place, led.config, self._around, epoch
            )
        except CancelledError:
            return _not_here(led, index)
        except KafkaError as error:
            return error
        except Exception as error:
            self._log.failure("opening {name}-{index} has failed by a bug", name=led.topic.name, index=index)
            return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{led.topic.name}-{index} cannot be opened: {error!r}")
        if led.given.get(index) != epoch:
            refusal = _not_here(led, index)
            log.abandon(refusal.code, refusal.message)
            return refusal
        log.config = led.config
        led.logs[index] = log
        return None

    def _no_longer(self, outcome: KafkaError | None, led: LedTopic, index: int, taking: Taking) -> KafkaError | None:
        if led.taking.get(index) is taking:
            del led.taking[index]
        return outcome

    def resign(self, topic: Topic, indexes: Collection[int]) -> Deferred[None]:
        """See L{ISharedLogs.resign}."""
        led = self._topics.get(topic.name)
        if led is None or led.topic.id != topic.id:
            return succeed(None)
        ends: list[Deferred[None]] = []
        for index in indexes:
            led.given.pop(index, None)
            taking = led.taking.pop(index, None)
            if taking is not None:
                ends.append(broken_off(taking))
            log = led.logs.pop(index, None)
            if log is not None:
                refusal = _not_here(led, index)
                closing = Deferred.fromCoroutine(log.close(refusal.code, refusal.message))
                ends.append(closing.addErrback(self._not_closed, log.name))
        # a Deferred of its own: who gives up waiting must not break them off
        answer: Deferred[None] = Deferred()
        DeferredList(ends).addCallback(lambda _: answer.callback(None))
        return answer

    def _not_closed(self, failure: Failure, name: str) -> None:
        if failure.check(KafkaError):
            self._log.warn("{name} is let go as it is: {reason}", name=name, reason=failure.getErrorMessage())
        else:
            self._log.failure("{name} could not be closed in order", failure, name=name)

    def fence(self) -> Deferred[None]:
        """See L{ISharedLogs.fence}."""
        had = 0
        for led in self._topics.values():
            taking = led.give_up()
            for one in taking:
                one.cancel()
            logs, led.logs = led.logs, {}
            had += len(taking) + len(logs)
            for index, log in logs.items():
                refusal = _not_here(led, index)
                with self._log.failuresHandled("letting go of {name}", name=log.name):
                    log.abandon(refusal.code, refusal.message)
        if not had:
            return succeed(None)
        quiet: Deferred[None] = deferLater(self._around.timer, _QUIET_S)
        self._quieting = [*[one for one in self._quieting if not one.called], quiet]
        return quiet.addErrback(lambda failure: _nothing(failure.trap(CancelledError)))

    async def _stop(self) -> None:
        for quiet in self._quieting:
            quiet.cancel()
        await super()._stop()

    def epochs(self) -> dict[tuple[bytes, int], int]:
        """See L{ISharedLogs.epochs}."""
        return {
            (led.topic.id, index): log.leader_epoch for led in self._topics.values() for index, log in led.logs.items()
        }


def _not_here(led: LedTopic, index: int) -> KafkaError:
    return KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"{led.topic.name}-{index} is not led here any more")


def _told(outcome: KafkaError | None, answer: Taking) -> KafkaError | None:
    answer.callback(outcome)
    return outcome


def _nothing(_: object) -> None:
    return None
