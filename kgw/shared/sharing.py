"""This gateway among others: joining them, leading what it is given, learning what they change, and leaving."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw import __version__
from kgw.brokers.duties import Timings
from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.member import Card, Member
from kgw.brokers.model import Slot
from kgw.brokers.processes import Processes, uptime
from kgw.config import Config
from kgw.errors import ErrorCode, KafkaError, StartError
from kgw.groups.coordinator import GroupCoordinator
from kgw.interfaces import ISharedLogs
from kgw.log.dynamic_configs import DynamicConfigs
from kgw.log.topics import TopicCatalog
from kgw.model import LogConfig, Topic
from kgw.quotas.client_quotas import ClientQuotas
from kgw.shared.duties import Journalled, LeadingDuties
from kgw.shared.turns import ClusterTurns, Sections

log = Logger("kgw.cluster")

#: How often facts of which no word comes are read anew, in seconds, and how soon after word of others.
_POLL_S, _SOON_S = 5.0, 0.02
#: How long a change of topics waits for its partitions to be led, in seconds, and how often that is looked at.
_SETTLE_S, _LOOK_S = 5.0, 0.02
#: After so many seconds of waiting for its share a gateway that starts says so.
_TELL_S = 10.0
#: How often the controller looks for what belongs to no topic, in seconds.
_TIDY_S = 60.0

Address = tuple[str, int]


class Ground(NamedTuple):
    """
    What gateways share, as a storage has it.

    @ivar store: the state store.
    @ivar logs: the engine.
    """

    place: IMeetingPlace
    sections: Sections
    store: Journalled
    logs: ISharedLogs


def told_addresses(config: Config, bound: Mapping[str, Address]) -> dict[str, Address]:
    """
    The address of each listener that other gateways tell clients.

    @param bound: host and port of the listeners that have some.
    @return: what is advertised, else where it is bound, else this machine's name (as Kafka does); nothing of a UNIX
        socket that is not advertised.
    """
    names = {listener.name for listener in config.listeners}
    told = {name: address for name, address in config.advertised_listeners.items() if name in names}
    for name, (host, port) in bound.items():
        if host in ("", "0.0.0.0", "::"):
            host = socket.getfqdn()
        told.setdefault(name, (host, port))
    return told


class Sharing:
    """
    One gateway's part in the cluster.

    @ivar member: known once L{join} was called.
    @ivar turns: in which facts are changed.
    """

    member: Member
    turns: ClusterTurns

    def __init__(self, config: Config, reactor: Any, monotonic: Callable[[], float] = uptime) -> None:
        """
        @param monotonic: seconds of a clock that goes on while the process is stopped.
        """
        self._config = config
        self._reactor = reactor
        self._monotonic = monotonic
        self._ground: Ground | None = None
        self._duties: LeadingDuties | None = None
        self._catalog: TopicCatalog | None = None
        #: What was to be taken up before there was anything to lead it with.
        self._early: list[tuple[dict[Slot, int], Deferred[None]]] = []
        self._waiters: list[Deferred[None]] = []
        #: Those who wait for L{when_known}.
        self._waiting: list[Deferred[None]] = []
        self._taking = 0
        #: The incarnation whose journal the state store has.
        self._entered = ""
        self._refreshers: list[tuple[str, Callable[[], Deferred[None]]]] = []
        #: What could not be read anew the last time, so that it is said once.
        self._unread: set[str] = set()
        self._tidying = False
        self._refreshing: Deferred[None] | None = None
        self._again = False
        self._alarm: Any = None
        self._loops = [(LoopingCall(self.changed), _POLL_S), (LoopingCall(self._tidy), _TIDY_S)]
        self._stopped = False
        #: Journals that nobody seemed to keep when that was looked at last.
        self._left: set[str] = set()

    def may_lead(self) -> bool:
        """Whether this gateway may publish and acknowledge at this moment."""
        return self._ground is not None and self.member.may_act()

    def may_wait(self) -> bool:
        """Whether what it may not at this moment may wait for that here: nobody else leads anything."""
        return self._ground is not None and self.member.may_wait()

    def when_known(self) -> Deferred[None]:
        """Fires, never with a failure, when this gateway may lead, or may not wait for that any more."""
        if self.may_lead() or not self.may_wait():
            return succeed(None)
        known: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(known)
        return known

    def _tell_waiting(self) -> None:
        if self._waiting and (self.may_lead() or not self.may_wait()):
            waiting, self._waiting = self._waiting, []
            for known in waiting:
                known.callback(None)

    def may_write(self) -> bool:
        """Whether it may write facts at this moment."""
        return self.may_lead() and self.turns.may_write()

    def join(self, ground: Ground, bound: Mapping[str, Address]) -> Deferred[int]:
        """
        Become one of the gateways; nothing is led before L{begin}.

        @param bound: host and port of the listeners that have some.
        @return: fires with the node id; fails with L{StartError} or C{KAFKA_STORAGE_ERROR}, may be called again then.
        """
        if self._ground is not None:
            # the same member tries again: it knows what it may have written the last time
            return self.member.start()
        config = self._config
        given = {"node.id", "broker.id"} & config.properties.keys()
        card = Card(
            config.node_id if given else None,
            told_addresses(config, bound),
            config.broker_rack,
            __version__,
            Processes().this(),
        )
        try:
            timings = Timings.of(config.broker_heartbeat_interval_ms, config.broker_session_timeout_ms)
        except ValueError as error:
            raise StartError(str(error)) from error
        self.turns = ClusterTurns(ground.sections, ground.store.drained, ground.store.turn_over)
        self.member = Member(ground.place, self._reactor, self._monotonic, card, timings, self)
        self.member.watch(self._tell_waiting)
        self._ground = ground
        return self.member.start()

    def enter(self) -> Deferred[None]:
        """
        Have the state store take commits, with the journal of the incarnation that this gateway has now.

        @return: fails with C{KAFKA_STORAGE_ERROR}, may be called again then; nothing happens where that is done.
        """
        return Deferred.fromCoroutine(self._enter())

    async def _enter(self) -> None:
        assert self._ground is not None, "it has not joined"
        incarnation = self.member.incarnation
        if not incarnation:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "this gateway was fenced and has not joined again yet")
        if incarnation != self._entered:
            await self._ground.store.enter(incarnation)
            self._entered = incarnation

    def begin(
        self, groups: GroupCoordinator, catalog: TopicCatalog, configs: DynamicConfigs, quotas: ClientQuotas
    ) -> None:
        """Lead what this gateway is given, and learn from now on what others change."""
        ground = self._ground
        assert ground is not None, "it has not joined"
        duties = self._duties = LeadingDuties(
            ground.store,
            ground.logs,
            groups,
            catalog,
            self._config.offsets_topic_num_partitions,
            lambda: self.member.incarnation,
            self._entered,
        )
        self._catalog = catalog
        self._refreshers = [("configs", configs.refresh), ("topics", catalog.refresh), ("quotas", quotas.refresh)]
        self.turns.refreshing = [ground.store.recover, *(refresh for _, refresh in self._refreshers)]
        for loop, period_s in self._loops:
            loop.clock = self._reactor
            loop.start(period_s, now=False).addErrback(_broken)
        early, self._early = self._early, []
        for gained, answer in early:
            duties.take(gained).chainDeferred(answer)
        self._tell_waiters()

    def stop(self) -> Deferred[None]:
        """Hand over what is led here, and leave; never fails."""
        self._stopped = True
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._duties is None:
            # the start was broken off, and what was waited for will never come
            self._drop_early()
            self._tell_waiters()
        stopped = succeed(None) if self._ground is None else self.member.stop()
        return stopped.addCallback(self._has_left)

    def _has_left(self, _: None) -> Deferred[None] | None:
        self._tell_waiting()
        return self._refreshing

    # What others change.

    def changed(self) -> None:
        """Others may have changed facts: read them anew, soon."""
        if self._stopped or self._duties is None:
            return
        if self._refreshing is not None:
            self._again = True
        elif self._alarm is None:
            self._alarm = self._reactor.callLater(_SOON_S, self._refresh)

    def _refresh(self) -> None:
        self._alarm = None
        self._again = False
        self._refreshing = Deferred.fromCoroutine(self._refresh_all()).addErrback(_broken)
        self._refreshing.addCallback(self._refreshed)

    async def _refresh_all(self) -> None:
        unread, why = set(), ""
        for what, refresh in self._refreshers:
            try:
                await refresh()
            except KafkaError as error:
                # the next look, a poll at the latest, finds it; one that cannot be read does not hide the others
                unread.add(what)
                why = why or str(error)
        if unread - self._unread:
            what = ", ".join(sorted(unread))
            log.warn("{what} that others may have changed cannot be read now: {error}", what=what, error=why)
        elif self._unread and not unread:
            log.info("{what} are read again", what=", ".join(sorted(self._unread)))
        self._unread = unread
        self.member.topics_changed()
        for slot, epoch in self._own_epochs():
            self.member.raise_epoch(slot, epoch)

    def _refreshed(self, _: None) -> None:
        self._refreshing = None
        if self._again:
            self.changed()

    def _tidy(self) -> None:
        ground, catalog = self._ground, self._catalog
        if ground is None or catalog is None or self._tidying or not self.is_controller():
            return
        self._tidying = True
        Deferred.fromCoroutine(self._tidied(ground, catalog)).addErrback(_untidy).addCallback(self._tidy_again)

    def _tidy_again(self, _: None) -> None:
        self._tidying = False

    def is_controller(self) -> bool:
        """Whether this gateway computes assignments, as far as it knows."""
        return self.may_lead() and self.member.controller_id == self.member.node_id

    async def _tidied(self, ground: Ground, catalog: TopicCatalog) -> None:
        await self.turns.run(lambda: ground.logs.tidy(catalog.known()))
        # gateways that stopped in order leave the folders of their journals
        alive = {entry.incarnation for entry in self.member.brokers().values()}
        alive.update(self.member.assignment().members.values(), [self.member.incarnation])
        left = set(await ground.store.journals()) - alive
        # twice: one that has just come may be neither here nor there yet
        for incarnation in sorted(left & self._left):
            await ground.store.replay(incarnation)
        self._left = left

    def _own_epochs(self) -> list[tuple[Slot, int]]:
        """What is led here with a greater leader epoch than it was given."""
        ground = self._ground
        if ground is None:
            return []
        assigned = self.member.assignment()
        led = [(Slot(id, index), epoch) for (id, index), epoch in ground.logs.epochs().items()]
        return [(slot, epoch) for slot, epoch in led if epoch > assigned.leader(slot)[1]]

    # What topics need (L{kgw.log.topics.Others}).

    def learn(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{ISharedLogs.learn}."""
        assert self._ground is not None
        learnt: Deferred[None] = self._ground.logs.learn(topic, config)
        return learnt

    def forget(self, topic: Topic) -> Deferred[None]:
        """See L{ISharedLogs.forget}."""
        assert self._ground is not None
        forgotten: Deferred[None] = self._ground.logs.forget(topic)
        return forgotten

    def nodes(self) -> Collection[int]:
        """The node ids of all live gateways."""
        return self.member.brokers().keys()

    def settled(self, topic: Topic | None = None) -> Deferred[None]:
        """
        Wait until a topic's partitions are led, some seconds at most; or until all is that this gateway is given.

        @return: never fails.
        """
        if topic is not None:
            self.member.topics_changed()
        return Deferred.fromCoroutine(self._settled(topic))

    async def _settled(self, topic: Topic | None) -> None:
        now = self._reactor.seconds()
        deadline = now + (_SETTLE_S if topic is not None else float("inf"))
        telling = now + _TELL_S
        is_settled: Callable[[], bool] = self._is_calm if topic is None else lambda: self._is_led(topic)
        while not is_settled() and now < deadline and not self._stopped:
            if now >= telling and topic is None:
                log.info("waiting for this gateway's share of the partitions; no client is let in before")
                telling = float("inf")
            await deferLater(self._reactor, _LOOK_S)
            now = self._reactor.seconds()

    def _is_calm(self) -> bool:
        member = self.member
        # what was assigned before it came has nothing for it
        is_known = member.incarnation and member.assignment().members.get(member.node_id) == member.incarnation
        return bool(is_known) and member.is_calm() and not self._taking

    def _is_led(self, topic: Topic) -> bool:
        if self._taking:
            return False
        leaders = [self.member.leader(Slot(topic.id, index)) for index in range(topic.partitions)]
        return all(leader.node_id >= 0 for leader in leaders)

    # The work of leading, once there is something to lead it with.

    def topics(self) -> Deferred[Mapping[bytes, int]]:
        """See L{kgw.brokers.duties.Duties}."""
        return Deferred.fromCoroutine(self._topics())

    async def _topics(self) -> Mapping[bytes, int]:
        if self._duties is None:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter
        if self._duties is None:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "this gateway is stopping")
        return await self._duties.topics()

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def take(self, gained: Mapping[Slot, int]) -> Deferred[None]:
        """See L{kgw.brokers.duties.Duties}."""
        self._taking += 1
        if self._duties is not None:
            return self._duties.take(gained).addBoth(self._took)
        answer: Deferred[None] = Deferred()
        self._early.append((dict(gained), answer))
        return answer.addBoth(self._took)

    def _took(self, result: Any) -> Any:
        self._taking -= 1
        return result

    def release(self, lost: frozenset[Slot]) -> Deferred[None]:
        """See L{kgw.brokers.duties.Duties}."""
        if self._duties is not None:
            return self._duties.release(lost)
        for gained, _ in self._early:
            for slot in lost:
                gained.pop(slot, None)
        return succeed(None)

    def replay(self, incarnation: str) -> Deferred[None]:
        """See L{kgw.brokers.duties.Duties}."""
        assert self._ground is not None
        return self._ground.store.replay(incarnation)

    def fenced(self) -> Deferred[None]:
        """See L{kgw.brokers.duties.Duties}."""
        self._drop_early()
        if self._duties is not None:
            return self._duties.fenced()
        assert self._ground is not None
        return self._ground.store.leave()

    def _drop_early(self) -> None:
        early, self._early = self._early, []
        for _, answer in early:
            answer.callback(None)


def _untidy(failure: Failure) -> None:
    if failure.check(KafkaError):
        log.warn("what belongs to no topic stays for now: {reason}", reason=failure.getErrorMessage())
    else:
        log.failure("looking for what belongs to no topic", failure)


def _broken(failure: Failure) -> None:
    log.failure("what other gateways change is not learnt any more", failure)
