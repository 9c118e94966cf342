"""Whether kgw can serve clients right now: asked of the engine and the state store, not guessed."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Services
from kgw.interfaces import IStateStore
from kgw.model import HEALTH_FACTS, HEALTH_TOPIC, NewTopic
from kgw.wire.records import RecordBatch, build_batch

log = Logger("kgw.web")

#: What was found is good for so many seconds: however many ask, no more is written than that.
FRESH_SECONDS = 2.0
#: Who asks is told after so many seconds that there was no answer; together with the above less than 5.
PATIENCE_SECONDS = 2.0

#: The records of probes are of no use to anybody afterwards.
_CONFIGS = {
    "cleanup.policy": "delete",
    "retention.ms": "3600000",
    "retention.bytes": "1048576",
    "segment.bytes": "1048576",
    "segment.ms": "3600000",
}
_FACT = f"{HEALTH_FACTS}probe"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What a check has found.

    @ivar reason: why it is not in order; C{""} where it is.
    @ivar seconds: how long it took.
    """

    reason: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it is in order."""
        return not self.reason


class Check:
    """
    One thing that is looked at when somebody asks, not oftener than L{FRESH_SECONDS}.

    Whoever asks while a look is under way waits for that one, but never longer than L{PATIENCE_SECONDS} after it has
    begun. A look is never broken off: an engine that has gone away may still keep what it was given, and answers when
    it is back.
    """

    def __init__(self, name: str, look: Callable[[], Coroutine[Deferred[Any], Any, None]], clock: IReactorTime) -> None:
        """
        @param look: raises L{KafkaError} where something is not in order.
        """
        self.name = name
        self._look = look
        self._clock = clock
        self._found: Finding | None = None
        self._found_at = 0.0
        self._begun_at: float | None = None
        self._waiting: list[Deferred[Finding]] = []

    def ask(self) -> Deferred[Finding]:
        """What was found lately or is found now; never fails. May be cancelled."""
        now = self._clock.seconds()
        if self._begun_at is None:
            # a clock that was set back makes nothing young again
            if self._found is not None and 0 <= now - self._found_at < FRESH_SECONDS:
                return succeed(self._found)
            self._begun_at = now
            Deferred.fromCoroutine(self._look()).addCallbacks(lambda _: "", _reason).addCallback(self._settle)
        begun_at = self._begun_at
        if begun_at is None:  # it was over at once
            assert self._found is not None
            return succeed(self._found)
        waited = max(now - begun_at, 0.0)
        if waited >= PATIENCE_SECONDS:
            return succeed(_no_answer(waited))
        answer: Deferred[Finding] = Deferred(self._waiting_ended)
        self._waiting.append(answer)
        alarm = self._clock.callLater(PATIENCE_SECONDS - waited, self._give_up, answer)

        def ended(result: Any) -> Any:
            if alarm.active():
                alarm.cancel()
            return result

        return answer.addBoth(ended)

    def _settle(self, reason: str) -> None:
        assert self._begun_at is not None
        now = self._clock.seconds()
        self._found = Finding(reason, max(now - self._begun_at, 0.0))
        self._found_at, self._begun_at = now, None
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer.callback(self._found)

    def _give_up(self, answer: Deferred[Finding]) -> None:
        self._waiting.remove(answer)
        answer.callback(_no_answer(PATIENCE_SECONDS))

    def _waiting_ended(self, answer: Deferred[Finding]) -> None:
        """It was cancelled."""
        if answer in self._waiting:
            self._waiting.remove(answer)


def _no_answer(seconds: float) -> Finding:
    return Finding(f"no answer for {seconds:.0f} s", seconds)


def _reason(failure: Failure) -> str:
    if isinstance(failure.value, KafkaError):
        return str(failure.value)
    log.failure("a readiness check has failed by a bug", failure)
    return f"a defect in kgw, see the log: {failure.getErrorMessage()}"


class Readiness:
    """The checks of one gateway that has started."""

    def __init__(self, services: Services, facts: IStateStore) -> None:
        self._services = services
        self._facts = facts
        self._checks = [
            Check("engine", self._engine, services.clock),
            Check("state", self._state, services.clock),
        ]
        self._told_ready = True

    async def report(self) -> dict[str, Finding]:
        """What each check finds, by its name; takes L{PATIENCE_SECONDS} at most. May be cancelled."""
        try:
            findings = await gatherResults([check.ask() for check in self._checks], consumeErrors=True)
        except FirstError as error:
            # checks never fail but where all of this is cancelled, which it is then to be seen as
            error.subFailure.raiseException()
        report = {check.name: finding for check, finding in zip(self._checks, findings, strict=True)}
        reasons = [f"{name}: {finding.reason}" for name, finding in report.items() if finding.reason]
        if reasons and self._told_ready:
            log.warn("not ready: {reasons}", reasons="; ".join(reasons))
        elif not (reasons or self._told_ready):
            log.info("ready again")
        self._told_ready = not reasons
        return report

    async def _engine(self) -> None:
        """Append a record to the health topic and read it; where others lead all of it, the other check will do."""
        services = self._services
        if services.topics.get(HEALTH_TOPIC) is None:
            try:
                await services.topics.create(NewTopic(HEALTH_TOPIC, 1, 1, configs=_CONFIGS))
            except KafkaError as error:
                if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS:
                    raise
        token = os.urandom(8).hex().encode()
        batch = build_batch([(None, token, (), int(services.clock.seconds() * 1000))])
        own = await self._own_partition()
        if own is None:
            return
        partition = services.logs.partition(HEALTH_TOPIC, own)
        # what the disks of a distant engine are waited for, every producer's own acks say
        appended = await partition.append(RecordBatch.parse(batch), 1)
        fetched = await partition.read(appended.base_offset, 64 * 1024)
        if token not in b"".join(fetched.records):
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the record just written is not what is read")

    async def _own_partition(self) -> int | None:
        """
        The partition of the health topic that this node leads; there are as many as brokers, so mostly each has one.

        @return: C{None} where it has none, as one that has just joined or is about to leave.
        @raise KafkaError: C{NOT_LEADER_OR_FOLLOWER}: this node is not one of the brokers now, or partitions are led by
            nobody.
        """
        services = self._services
        cluster, nodes = services.cluster, services.cluster.node_ids()
        if cluster.node_id not in nodes:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "this node is not in the cluster now")
        topic = services.topics.get(HEALTH_TOPIC)
        if topic is not None and topic.partitions < len(nodes):
            try:
                await services.topics.extend(HEALTH_TOPIC, len(nodes))
            except KafkaError as error:
                # another node has just done so
                if error.code is not ErrorCode.INVALID_PARTITIONS:
                    raise
            topic = services.topics.get(HEALTH_TOPIC)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"somebody has deleted {HEALTH_TOPIC}")
        leaders = [cluster.leader(topic, index).node_id for index in range(topic.partitions)]
        if cluster.node_id in leaders:
            return leaders.index(cluster.node_id)
        if max(leaders) < 0:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "nothing is led by anybody")
        return None

    async def _state(self) -> None:
        """Keep a fact and read it."""
        token = os.urandom(8)
        # of this node's own: others probe as well
        key = f"{_FACT}/{self._services.cluster.node_id}"
        await self._facts.commit({key: token})
        if await self._facts.get(key) != token:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the fact just kept is not what is read")
