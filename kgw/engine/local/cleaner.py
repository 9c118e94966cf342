"""The log cleaner: which compacted log is the dirtiest, and the steps of its compaction, one log at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kgw.engine.bridge import IBridge
from kgw.engine.local.cleaning import Cleaned, Source, Uncleanable, clean, newest_offsets
from kgw.engine.local.key_map import KeyMap
from kgw.engine.local.pace import NotWanted, Pace
from kgw.engine.local.rewriting import Rules
from kgw.engine.local.segment import Segment
from kgw.engine.local.swaps import commit, discard, settle
from kgw.errors import KafkaError
from kgw.model import TopicPartition

if TYPE_CHECKING:
    from kgw.engine.local.partition import LocalPartitionLog

_NEVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class CleanerLimits:
    """
    What the cleaner may use; Kafka's C{log.cleaner.*}.

    @ivar enabled: whether anything is compacted (C{log.cleaner.enable}).
    @ivar backoff_ms: how long it waits where nothing is to be done.
    @ivar dedupe_bytes: memory for keys.
    @ivar bytes_per_second: of reading and writing together.
    @ivar chunk_bytes: read at a time (C{log.cleaner.io.buffer.size}).
    @ivar sleep: how its thread rests.
    """

    enabled: bool = True
    backoff_ms: int = 15_000
    dedupe_bytes: int = 128 << 20
    bytes_per_second: float = float("inf")
    chunk_bytes: int = 1 << 19
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class LogState:
    """
    One compacted log, as the cleaner saw it last.

    @ivar dirty_ratio: bytes not compacted yet, of all that may be; 0 where there are none.
    @ivar cleaned_to: as far as compaction has come, an offset.
    @ivar cleaned_at: when its last compaction ended, in seconds since the epoch; 0 before.
    @ivar uncleanable: why it is left alone until the next start, or empty.
    """

    name: TopicPartition
    clean_bytes: int = 0
    dirty_bytes: int = 0
    cleaned_to: int = 0
    cleaned_at: float = 0.0
    uncleanable: str = ""

    @property
    def dirty_ratio(self) -> float:
        """What C{min.cleanable.dirty.ratio} is compared with."""
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0


@dataclass(slots=True)
class CleanerFacts:
    """
    What the cleaner has done since the start.

    @ivar running: the log being compacted now, or C{None}.
    @ivar runs: compactions that came to their end.
    @ivar bytes_before: in the segments they looked at; C{bytes_after} what was left of them.
    @ivar last_run_at: when the last one ended, in seconds since the epoch; 0 before.
    @ivar last_run_s: how long it took.
    @ivar logs: the compacted logs by name, as they were when the cleaner looked last.
    """

    running: TopicPartition | None = None
    runs: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    last_run_at: float = 0.0
    last_run_s: float = 0.0
    logs: dict[TopicPartition, LogState] = field(default_factory=dict)

    @property
    def max_dirty_ratio(self) -> float:
        """The dirtiest log's."""
        return max((state.dirty_ratio for state in self.logs.values()), default=0.0)

    @property
    def uncleanable(self) -> list[TopicPartition]:
        """The logs that are left alone until the next start."""
        return [name for name, state in self.logs.items() if state.uncleanable]


@dataclass(slots=True)
class _Plan:
    """
    What would be cleaned of one log: segments with the base offset of the next, from where on they are dirty.

    @ivar done: how many of the segments were cleaned by now.
    """

    log: LocalPartitionLog
    state: LogState
    segments: list[tuple[Segment, int]]
    first_dirty: int
    overdue: bool = False
    done: int = 0


class Cleaner:
    """
    Compacts logs (Kafka: C{LogCleaner}), one at a time, the dirtiest first.

    All that reads and writes runs in calls of C{bridge}, which hold up nobody but each other; what is exchanged in
    the log is exchanged on the reactor's thread.

    @ivar facts: for metrics and for people.
    """

    _log = Logger("kgw.engine.local")

    def __init__(
        self,
        logs: Callable[[], Iterable[LocalPartitionLog]],
        clock: IReactorTime,
        bridge: IBridge,
        limits: CleanerLimits,
        persist: Callable[[], Deferred[None]],
    ) -> None:
        """
        @param persist: writes down how far all logs are cleaned.
        """
        self.facts = CleanerFacts()
        self._logs = logs
        self._clock = clock
        self._bridge = bridge
        self._limits = limits
        self._persist = persist
        self._running = False
        #: The logs that C{facts.logs} speaks of.
        self._seen: dict[TopicPartition, LocalPartitionLog] = {}
        self._call: IDelayedCall | None = None
        self._round: Deferred[None] = succeed(None)

    def start(self) -> None:
        """Look for work from now on."""
        self.facts.logs.clear()
        self._seen.clear()
        self._running = self._limits.enabled
        if self._running:
            self._later()

    def stop(self) -> Deferred[None]:
        """
        Give up what is being done.

        @return: fires when no file is in use any more.
        """
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        ended: Deferred[None] = Deferred()
        self._round.addBoth(lambda _: ended.callback(None))
        return ended

    def _later(self) -> None:
        self._call = self._clock.callLater(self._limits.backoff_ms / 1000, self._begin)

    def _begin(self) -> None:
        self._call = None

        def over(_: object) -> None:
            self.facts.running = None
            if self._running:
                self._later()

        work = Deferred.fromCoroutine(self._clean_all())
        work.addErrback(lambda failure: self._log.failure("the log cleaner failed", failure))
        self._round = work.addBoth(over)

    async def _clean_all(self) -> None:
        """Compact one log after the other, until none is dirty enough."""
        done: set[TopicPartition] = set()
        while self._running:
            plan = await self._dirtiest(done)
            if plan is None:
                return
            log, state = plan.log, plan.state
            self.facts.running = log.name
            try:
                if not await self._clean(plan):
                    done.add(log.name)
            except NotWanted:
                done.add(log.name)
            except Exception as error:
                # Whatever is wrong with one log, the others are not to suffer for it.
                done.add(log.name)
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
                if log.is_gone or any(segment.gone for segment, _ in plan.segments[plan.done :]):
                    continue
                if not isinstance(error, OSError):
                    state.uncleanable = reason
                if isinstance(error, (OSError, Uncleanable)):
                    self._log.error("{name} is not compacted: {reason}", name=log.name, reason=reason)
                else:
                    self._log.failure("{name} is not compacted", name=log.name)

    # Which

    async def _dirtiest(self, done: set[TopicPartition]) -> _Plan | None:
        best: _Plan | None = None
        now_ms = int(self._clock.seconds() * 1000)
        states = self.facts.logs
        there = {log.name: log for log in self._logs() if "compact" in log.config.cleanup_policy}
        for name in [name for name in states if name not in there]:
            del states[name]
        for name, log in there.items():
            if self._seen.get(name) is not log:
                # What was wrong with a deleted topic says nothing of another one of its name.
                states[name] = LogState(name)
            state = states[name]
            plan = await self._plan(log, state, now_ms)
            if name in done or state.uncleanable or not state.dirty_bytes:
                continue
            if not plan.overdue and state.dirty_ratio <= log.config.min_cleanable_dirty_ratio:
                continue
            if best is None or state.dirty_ratio > best.state.dirty_ratio:
                best = plan
        self._seen = there
        return best if self._running else None

    async def _plan(self, log: LocalPartitionLog, state: LogState, now_ms: int) -> _Plan:
        """What might be cleaned of a log (Kafka: C{LogCleanerManager.cleanableOffsets})."""
        segments, first_dirty = log.cleanable(), log.cleaned_to
        if first_dirty < log.first_file_offset or first_dirty > log.end_offset:
            # Records before it were deleted, or it is of what a power cut took.
            first_dirty = log.first_file_offset
        plan = _Plan(log, state, segments, first_dirty)
        config = log.config
        dirty = [each for each in segments if each[1] > first_dirty]
        if dirty and (config.min_compaction_lag_ms > 0 or config.max_compaction_lag_ms < _NEVER):
            ages = await self._ages(dirty)
            young = [at for at, age in enumerate(ages) if age[1] > now_ms - config.min_compaction_lag_ms]
            if young and config.min_compaction_lag_ms > 0:
                keep = young[0]
                plan.segments = segments[: len(segments) - len(dirty) + keep]
                dirty, ages = dirty[:keep], ages[:keep]
            first = [age[0] for age in ages if age[0] >= 0]
            plan.overdue = bool(first) and now_ms - min(first) > config.max_compaction_lag_ms
        state.dirty_bytes = sum(segment.position for segment, _ in dirty)
        state.clean_bytes = sum(segment.position for segment, _ in plan.segments) - state.dirty_bytes
        state.cleaned_to = log.cleaned_to
        return plan

    async def _ages(self, segments: Sequence[tuple[Segment, int]]) -> list[tuple[int, int]]:
        views = [segment.view() for segment, _ in segments]
        try:
            ages: list[tuple[int, int]] = await self._bridge.call(_find_ages, views)
        except OSError as error:
            # One of them is gone meanwhile, or cannot be read: by its age nothing is compacted now.
            self._log.debug("no ages: {reason}", reason=error.strerror)
            return [(-1, _NEVER)] * len(views)
        finally:
            for view in views:
                view.release()
        return ages

    # How

    async def _clean(self, plan: _Plan) -> bool:
        """
        Compact a log as far as the keys fit into memory; returns whether it came further.

        @raise NotWanted: the log or the cleaner has gone away, or it is not to be compacted any more.
        """
        log, limits, config = plan.log, self._limits, plan.log.config
        began, now_ms = self._clock.seconds(), int(self._clock.seconds() * 1000)
        pace = Pace(lambda: self._running and _is_compacted(log), limits.bytes_per_second, limits.sleep)
        rules = Rules(now_ms, config.delete_retention_ms, log.last_offsets())
        sources = [Source(segment.view(), following) for segment, following in plan.segments]
        before = after = 0
        try:
            keys: KeyMap = await self._bridge.call(
                newest_offsets, sources, plan.first_dirty, limits.dedupe_bytes, limits.chunk_bytes, pace
            )
            if any(segment.gone for segment, _ in plan.segments):
                # Its file may be written again by now, so some keys may be of batches that are not durable.
                raise NotWanted
            count = sum(source.view.base_offset < keys.end_offset for source in sources)
            while (at := plan.done) < count:
                cleaned: Cleaned = await self._bridge.call(
                    clean, sources[at:count], keys, rules, config, limits.chunk_bytes, pace
                )
                old = [segment for segment, _ in plan.segments[at : at + cleaned.count]]
                if cleaned.segment is not None:
                    await self._exchange(log, old, cleaned.segment)
                plan.done += cleaned.count
                before, after = before + cleaned.bytes_before, after + cleaned.bytes_after
        finally:
            for source in sources:
                source.view.release()
        further = keys.end_offset > plan.first_dirty
        log.cleaned_to = keys.end_offset
        try:
            await self._persist()
        except KafkaError as error:
            # The next start has more to do, that is all.
            self._log.error("{name}: {reason}", name=log.name, reason=error.message)
        self._tell(plan, keys, before, after, began)
        return further

    def _tell(self, plan: _Plan, keys: KeyMap, before: int, after: int, began: float) -> None:
        facts, now = self.facts, self._clock.seconds()
        facts.runs += 1
        facts.bytes_before += before
        facts.bytes_after += after
        facts.last_run_at = plan.state.cleaned_at = now
        facts.last_run_s = now - began
        self._log.info(
            "compacted {name} to offset {end}: {before} bytes are {after} now, {keys} keys, {seconds:.1f} s",
            name=plan.log.name,
            end=keys.end_offset,
            before=before,
            after=after,
            keys=len(keys),
            seconds=now - began,
        )

    async def _exchange(self, log: LocalPartitionLog, old: Sequence[Segment], cleaned: Segment) -> None:
        """
        Put a cleaned segment in the place of others.

        @raise NotWanted: something happened to them, or to the log.
        """
        stem = cleaned.stem
        if not _is_compacted(log) or any(segment.gone for segment in old):
            await self._bridge.call(discard, stem)
            raise NotWanted
        log.hold_files()
        try:
            await self._bridge.call(commit, stem)
            if not log.is_gone:
                log.replace(old, cleaned)
                await self._bridge.call(settle, stem)
        except OSError as error:
            if not log.is_gone:
                # What the files are now only a start finds out; nothing is lost.
                log.offline(f"compacted files cannot be put in place: {error.strerror}")
        finally:
            log.release_files()
        if log.is_gone:
            raise NotWanted


def _is_compacted(log: LocalPartitionLog) -> bool:
    """Whether a log is there and its topic a compacted one, both of which may change at any time."""
    return not log.is_gone and "compact" in log.config.cleanup_policy


def _find_ages(views: Sequence[Segment]) -> list[tuple[int, int]]:
    """Of each segment the largest timestamp of its first batch, -1 where it has none, and of all; blocks."""
    ages = []
    for view in views:
        first = next((header.max_timestamp for _, header in view.headers(0)), -1)
        ages.append((first, view.largest_timestamp_ms()))
    return ages
