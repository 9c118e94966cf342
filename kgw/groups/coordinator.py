"""The group coordinator: all consumer groups of this node and their committed offsets, over the state store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import (
    CommitRequest,
    CommittedOffset,
    GroupCensus,
    GroupDescription,
    GroupEvent,
    GroupListing,
    Joined,
    JoinRequest,
    Leaving,
    Left,
    Synced,
    SyncRequest,
)
from kgw.groups.effects import GroupLimits
from kgw.groups.group import Group
from kgw.groups.history import GroupHistory
from kgw.groups.journal import GroupJournal
from kgw.groups.machine import GroupMachine
from kgw.groups.offsets import OffsetLimits, Place
from kgw.groups.shelf import load
from kgw.groups.slots import Slots
from kgw.groups.surroundings import Surroundings
from kgw.groups.sweeper import Sweeper
from kgw.interfaces import IStateStore

if TYPE_CHECKING:
    from kgw.config import Config

log = Logger("kgw.group")

T = TypeVar("T")

#: The only type of group there is yet, in Kafka's word (KIP-848 has others).
GROUP_TYPE = "classic"


class GroupCoordinator:
    """
    All groups of this node.

    What a method answers is durable: it survives the end of the process. Everything is in memory too, so questions
    never touch the store. Where the store fails, what was asked for fails with C{COORDINATOR_NOT_AVAILABLE}, which
    clients try again; the group is left as consistent as it was.

    Every method but L{census}, L{history} and L{topic_deleted} fires with an error of C{COORDINATOR_LOAD_IN_PROGRESS}
    before L{start} has, and with C{COORDINATOR_NOT_AVAILABLE} after L{stop}. Cancelling the Deferred of a join or a
    sync tells the machine that the client is gone; other Deferreds may be cancelled, what was asked for is done.

    Where several gateways share the groups, each has those of some slots (L{kgw.groups.slots.slot_of}), which come and
    go by L{take} and L{release}; what is asked of another one's group fails with C{NOT_COORDINATOR}.
    """

    def __init__(
        self,
        store: IStateStore,
        clock: IReactorTime,
        limits: GroupLimits | None = None,
        offset_limits: OffsetLimits | None = None,
        history: GroupHistory | None = None,
        monotonic: Callable[[], float] | None = None,
        slots: int | None = None,
    ) -> None:
        """
        @param store: open from L{start} to the end of L{stop}.
        @param clock: C{seconds()} is epoch seconds.
        @param monotonic: seconds of a clock that only goes forward, for sessions and rebalances, which must not end
            when somebody sets the time; C{None} where that of C{clock} does.
        @param slots: how many slots all groups are in, of which none are here until they are taken; C{None} where all
            groups are this node's.
        """
        self._store = store
        self._clock = clock
        self._limits = limits or GroupLimits()
        self._offset_limits = offset_limits or OffsetLimits()
        self._history = history or GroupHistory()
        self._journal = GroupJournal(store)
        self._around = Surroundings(
            clock,
            monotonic or clock.seconds,
            self._journal,
            self._history,
            self._limits,
            self._offset_limits,
            self._forgotten,
        )
        self._groups: dict[str, Group] = {}
        self._slots = Slots(slots)
        self._topic_exists: Callable[[str], bool] | None = None
        self._closed: ErrorCode | None = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        self._sweeper = Sweeper(self._groups, self._journal, clock)

    @classmethod
    def configured(
        cls,
        config: Config,
        store: IStateStore,
        clock: IReactorTime,
        monotonic: Callable[[], float] | None = None,
        slots: int | None = None,
    ) -> GroupCoordinator:
        """The coordinator of a node with this configuration; else as L{__init__}."""
        return cls(
            store,
            clock,
            GroupLimits(
                min_session_timeout_ms=config.group_min_session_timeout_ms,
                max_session_timeout_ms=config.group_max_session_timeout_ms,
                initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
                max_size=config.group_max_size,
                max_bytes=config.kgw_group_max_bytes,
            ),
            OffsetLimits(
                retention_ms=config.offsets_retention_minutes * 60_000,
                check_interval_s=config.offsets_retention_check_interval_ms / 1000,
                max_metadata=config.offset_metadata_max_bytes,
            ),
            monotonic=monotonic,
            slots=slots,
        )

    def start(self, topic_exists: Callable[[str], bool] | None = None) -> Deferred[None]:
        """
        Load all groups and offsets. Members of a stable group go on as if nothing had happened.

        A fact that is damaged is logged and moved to another key; what it held is lost, and nothing else.

        @param topic_exists: offsets of other topics are forgotten: their topic was deleted just before a crash.
        @return: fires when all groups are here; fails with C{KAFKA_STORAGE_ERROR}.
        """
        return Deferred.fromCoroutine(self._start(topic_exists))

    def take(self, slots: Collection[int]) -> Deferred[None]:
        """
        Load the groups of these slots, which no other gateway has now, and coordinate them; nothing for those here.

        @return: fires when they are here; fails with C{KAFKA_STORAGE_ERROR}, and they are not taken.
        """
        return Deferred.fromCoroutine(self._take(frozenset(slots)))

    def release(self, slots: Collection[int]) -> Deferred[None]:
        """
        Coordinate the groups of these slots no more: who waits is told to look for another coordinator.

        @return: fires when nothing of theirs is on its way to the store.
        """
        self._slots.release(slots)
        going = [group for group in self._groups.values() if self._slots.of(group.id) in slots]
        self._sweeper.forget({group.id for group in going})
        for group in going:
            group.stop()
            self._groups.pop(group.id, None)
        return self._journal.idle()

    def stop(self) -> Deferred[None]:
        """Answer all who wait with an error, take nothing any more; fires when nothing is on its way to the store."""
        self._closed = ErrorCode.COORDINATOR_NOT_AVAILABLE
        self._sweeper.stop()
        for group in list(self._groups.values()):
            group.stop()
        return self._journal.idle()

    def join(self, request: JoinRequest) -> Deferred[Joined]:
        """
        Have a member join its group, or give it an id to join with; waits for the others.

        @return: fails with C{INVALID_GROUP_ID}, C{INVALID_SESSION_TIMEOUT}, C{UNKNOWN_MEMBER_ID},
            C{INCONSISTENT_GROUP_PROTOCOL}, C{FENCED_INSTANCE_ID}, C{GROUP_MAX_SIZE_REACHED}.
        """
        return _answered(self._join, request)

    def sync(self, request: SyncRequest) -> Deferred[Synced]:
        """
        Get a member its assignment; waits for the leader.

        @return: fails with C{INVALID_GROUP_ID}, C{UNKNOWN_MEMBER_ID}, C{ILLEGAL_GENERATION}, C{FENCED_INSTANCE_ID},
            C{INCONSISTENT_GROUP_PROTOCOL}, C{REBALANCE_IN_PROGRESS}.
        """
        return _answered(self._sync, request)

    def heartbeat(
        self, group_id: str, generation_id: int, member_id: str, instance_id: str | None = None
    ) -> Deferred[None]:
        """
        Note that a member is alive.

        @return: fails with C{INVALID_GROUP_ID}, C{UNKNOWN_MEMBER_ID}, C{ILLEGAL_GENERATION}, C{FENCED_INSTANCE_ID},
            C{REBALANCE_IN_PROGRESS}.
        """
        return execute(self._heartbeat, group_id, generation_id, member_id, instance_id)

    def leave(self, group_id: str, leavings: Sequence[Leaving]) -> Deferred[list[Left]]:
        """
        Have members leave.

        @return: fires with what became of each; fails with C{INVALID_GROUP_ID} or, for a group that is not there,
            C{UNKNOWN_MEMBER_ID}.
        """
        return _answered(self._leave, group_id, leavings)

    def commit(self, request: CommitRequest) -> Deferred[dict[Place, ErrorCode]]:
        """
        Keep offsets: all that can be kept in one step, or none.

        Whether their topics exist is for the caller to know.

        @return: fires with C{NONE} or C{OFFSET_METADATA_TOO_LARGE} for each; fails with C{UNKNOWN_MEMBER_ID},
            C{ILLEGAL_GENERATION}, C{FENCED_INSTANCE_ID}, C{REBALANCE_IN_PROGRESS}, or C{GROUP_ID_NOT_FOUND} for
            a generation of a group that is not there (before OffsetCommit v9 clients are told
            C{ILLEGAL_GENERATION}).
        """
        return _answered(self._commit, request)

    def committed(
        self, group_id: str, places: Sequence[Place] | None = None, require_stable: bool = False
    ) -> Deferred[dict[Place, CommittedOffset]]:
        """
        What a group has committed.

        @param places: those asked for; C{None} for all there are.
        @param require_stable: refuse what a transaction may yet change (KIP-447); there are none yet.
        @return: an offset of -1 for what was asked for and is not committed; a group that is not there has none.
        """
        return execute(self._committed, group_id, places)

    def describe(self, group_id: str) -> Deferred[GroupDescription]:
        """
        A group as it is.

        @return: fails with C{GROUP_ID_NOT_FOUND} (before DescribeGroups v6 clients are told of a dead group).
        """
        return execute(self._describe, group_id)

    def list_groups(self, states: Collection[str] = (), types: Collection[str] = ()) -> Deferred[list[GroupListing]]:
        """
        All groups by id.

        @param states: only groups in these, in any case; empty for all (KIP-518).
        @param types: only groups of these, in any case; empty for all (KIP-848).
        """
        return execute(self._list, {state.lower() for state in states}, {type.lower() for type in types})

    def delete_group(self, group_id: str) -> Deferred[None]:
        """
        Forget a group and its offsets.

        @return: fails with C{NON_EMPTY_GROUP} or C{GROUP_ID_NOT_FOUND}.
        """
        return _answered(self._delete_group, group_id)

    def delete_offsets(self, group_id: str, places: Sequence[Place]) -> Deferred[dict[Place, ErrorCode]]:
        """
        Forget committed offsets.

        @return: fires with C{NONE}, also where there was none, or C{GROUP_SUBSCRIBED_TO_TOPIC} for each; fails with
            C{INVALID_GROUP_ID}, C{GROUP_ID_NOT_FOUND}, or C{NON_EMPTY_GROUP} for a group with members that are
            no consumers.
        """
        return _answered(self._delete_offsets, group_id, places)

    def topic_deleted(self, name: str) -> Deferred[None]:
        """
        Forget what any group has committed for a topic.

        @return: never fails: what the store does not take is tried again later.
        """
        return Deferred.fromCoroutine(self._sweeper.topic_deleted(name))

    def census(self) -> list[GroupCensus]:
        """All groups in numbers, at once; none before L{start} has fired."""
        return [
            GroupCensus(group_id, group.machine.state, group.machine.member_count, len(group.offsets))
            for group_id, group in self._groups.items()
        ]

    def history(self, group_id: str) -> list[GroupEvent]:
        """What happened to a group lately, oldest first; also for one that is deleted by now."""
        return self._history.of(group_id)

    async def _start(self, topic_exists: Callable[[str], bool] | None) -> None:
        self._topic_exists = topic_exists
        if not self._slots.are_shared:
            await self._load(lambda group_id: True)
        if self._closed is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            self._closed = None
            self._sweeper.start(self._offset_limits.check_interval_s)

    async def _take(self, slots: frozenset[int]) -> None:
        shared = self._slots
        wanted = shared.begin(slots)
        try:
            await self._load(lambda group_id: shared.is_loading(group_id, wanted))
        except Exception:
            shared.give_up(wanted)
            raise
        shared.taken(wanted)

    async def _load(self, wanted: Callable[[str], bool]) -> None:
        around, topic_exists = self._around, self._topic_exists
        shelf = await load(self._store, wanted)
        for group_id, (stored_snapshot, stored) in shelf.states.items():
            snapshot = replace(stored_snapshot, state_time=around.from_epoch(stored_snapshot.state_time))
            machine = GroupMachine.restored(around.monotonic(), snapshot, self._limits)
            self._groups[group_id] = Group(machine, around, stored)
        strays: dict[str, set[str]] = {}
        for group_id, offsets in shelf.offsets.items():
            group = self._groups.get(group_id) or self._make(group_id)
            group.offsets.put(offsets)
            for topic in {topic for topic, _ in offsets}:
                if topic_exists is not None and not topic_exists(topic):
                    strays.setdefault(topic, set()).add(group_id)
        for topic in strays:
            log.info("forgetting the offsets of topic {topic}, which was deleted", topic=topic)
            await self._sweeper.topic_deleted(topic)

    def _make(self, group_id: str) -> Group:
        machine = GroupMachine(self._around.monotonic(), group_id, self._limits)
        group = self._groups[group_id] = Group(machine, self._around)
        return group

    def _forgotten(self, group: Group) -> None:
        group.silence()
        if self._groups.get(group.id) is group:
            del self._groups[group.id]

    def _check_open(self, group_id: str | None = None) -> None:
        if self._closed is not None:
            raise KafkaError(self._closed)
        if group_id is not None:
            self._slots.check(group_id)

    def _group(self, group_id: str, otherwise: ErrorCode) -> Group:
        """
        The group of this id.

        @raise KafkaError: C{otherwise} where there is none.
        """
        group = self._groups.get(group_id)
        if group is None or self._closed is not None:
            self._check_open(group_id)
            raise KafkaError(otherwise, f"there is no group {group_id!r}")
        return group

    def _join(self, request: JoinRequest) -> Deferred[Joined]:
        _check_id(request.group_id)
        self._limits.check_session_timeout(request.session_timeout_ms)
        if request.member_id or request.group_id in self._groups:
            return self._group(request.group_id, ErrorCode.UNKNOWN_MEMBER_ID).join(request)
        self._check_open(request.group_id)
        group = self._make(request.group_id)
        try:
            return group.join(request)
        finally:
            if group.is_nothing:
                self._forgotten(group)

    def _sync(self, request: SyncRequest) -> Deferred[Synced]:
        _check_id(request.group_id)
        return self._group(request.group_id, ErrorCode.UNKNOWN_MEMBER_ID).sync(request)

    def _heartbeat(self, group_id: str, generation_id: int, member_id: str, instance_id: str | None) -> None:
        _check_id(group_id)
        self._group(group_id, ErrorCode.UNKNOWN_MEMBER_ID).heartbeat(generation_id, member_id, instance_id)

    def _leave(self, group_id: str, leavings: Sequence[Leaving]) -> Deferred[list[Left]]:
        _check_id(group_id)
        return self._group(group_id, ErrorCode.UNKNOWN_MEMBER_ID).leave(leavings)

    def _commit(self, request: CommitRequest) -> Deferred[dict[Place, ErrorCode]]:
        group = self._groups.get(request.group_id)
        if group is not None and self._closed is None:
            return group.commit(request)
        self._check_open(request.group_id)
        if request.generation_id >= 0:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"there is no group {request.group_id!r}")
        group = self._make(request.group_id)
        try:
            return group.commit(request)
        finally:
            if group.is_nothing:
                self._forgotten(group)

    def _committed(self, group_id: str, places: Sequence[Place] | None) -> dict[Place, CommittedOffset]:
        group = self._groups.get(group_id)
        if group is None or self._closed is not None:
            self._check_open(group_id)
        if group is None:
            return {place: CommittedOffset(-1) for place in places or ()}
        return group.offsets.read(places)

    def _describe(self, group_id: str) -> GroupDescription:
        machine = self._group(group_id, ErrorCode.GROUP_ID_NOT_FOUND).machine
        if machine.state == "Dead":
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"group {group_id!r} is just being deleted")
        return machine.describe()

    def _delete_group(self, group_id: str) -> Deferred[None]:
        return self._group(group_id, ErrorCode.GROUP_ID_NOT_FOUND).forget()

    def _list(self, states: Collection[str], types: Collection[str]) -> list[GroupListing]:
        self._check_open()
        if types and GROUP_TYPE not in types:
            return []
        return [
            GroupListing(group_id, group.machine.protocol_type or "", group.machine.state, GROUP_TYPE)
            for group_id, group in sorted(self._groups.items())
            if group.machine.state != "Dead" and (not states or group.machine.state.lower() in states)
        ]

    def _delete_offsets(self, group_id: str, places: Sequence[Place]) -> Deferred[dict[Place, ErrorCode]]:
        _check_id(group_id)
        group = self._group(group_id, ErrorCode.GROUP_ID_NOT_FOUND)
        machine = group.machine
        if machine.state == "Dead":
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"group {group_id!r} is just being deleted")
        if machine.member_count and machine.protocol_type != "consumer":
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP, f"group {group_id!r} has members that are no consumers")
        codes = {
            place: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if machine.is_subscribed(place[0]) else ErrorCode.NONE
            for place in places
        }
        going = [place for place, code in codes.items() if code is ErrorCode.NONE]
        return group.drop(going).addCallback(lambda _: codes)


def _check_id(group_id: str) -> None:
    if not group_id:
        raise KafkaError(ErrorCode.INVALID_GROUP_ID, "the group id is empty")


def _answered(work: Callable[..., Deferred[T]], *args: Any) -> Deferred[T]:
    """The Deferred that C{work} returns, or one that fails with what it raises."""
    try:
        return work(*args)
    except Exception:
        return fail(Failure())
