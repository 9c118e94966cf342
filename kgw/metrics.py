"""What a gateway counts while it works: plain numbers, added to in passing and read when somebody asks."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Bounds of the times of requests, in seconds: a request took at most so long.
REQUEST_BOUNDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: A request that takes less is in the first bucket; most are, and this is cheaper to ask than L{Times.add}.
QUICK = REQUEST_BOUNDS[0]
#: Bounds of how late the reactor is, in seconds.
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: How often it is measured how late the reactor is, and over how many of these it is said how busy it was.
_LAG_INTERVAL = 1.0
_BUSY_SAMPLES = 60


class Times:
    """
    A histogram of durations.

    @ivar quick: how many were below the first bound and not given to L{add}, whose place they take.
    @ivar seconds: all of them together.
    """

    __slots__ = ("_bounds", "_counts", "quick", "seconds")

    def __init__(self, bounds: tuple[float, ...] = REQUEST_BOUNDS) -> None:
        """
        @param bounds: in seconds, rising; a duration belongs to the first that is not less.
        """
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.quick = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; the caller adds it to C{seconds}."""
        self._counts[bisect_left(self._bounds, seconds)] += 1

    @property
    def count(self) -> int:
        """How many there were."""
        return self.quick + sum(self._counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity at last, and how many durations were not above it."""
        total = self.quick
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            yield bound, total


class TopicMeter:
    """
    What was done with the records of one topic, by Kafka's notions (C{BrokerTopicMetrics}).

    Requests are counted once for each partition in them, as Kafka does.

    @ivar bytes_in: of record batches that were appended; C{bytes_out} of those that were sent.
    @ivar failed_produce_requests: those that failed for something the broker is to be asked about.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "failed_fetch_requests",
        "failed_produce_requests",
        "fetch_requests",
        "messages_in",
        "produce_requests",
    )

    def __init__(self) -> None:
        self.messages_in = self.bytes_in = self.bytes_out = 0
        self.produce_requests = self.fetch_requests = 0
        self.failed_produce_requests = self.failed_fetch_requests = 0

    def absorb(self, other: TopicMeter) -> None:
        """Add what another one has counted."""
        for name in TopicMeter.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class TopicMeters:
    """
    The meters of topics, so many and no more; what they have counted together never falls.

    A deleted topic's meter stays until another topic needs its place: one of that name goes on where it was, and who
    holds the meter need not be told.

    @ivar most: topics with a meter of their own.
    @ivar exists: whether there is a topic of this name.
    @ivar other: of topics above that number.
    @ivar shared: whether there ever were such topics.
    @ivar unknown: of requests for topics that are not there.
    """

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.other = TopicMeter()
        self.shared = False
        self.unknown = TopicMeter()
        self.exists: Callable[[str], bool] = lambda name: True
        self._gone = TopicMeter()
        self._deleted: set[str] = set()
        self._meters: dict[str, TopicMeter] = {}

    def of(self, name: str) -> TopicMeter:
        """The meter of a topic that exists."""
        meter = self._meters.get(name)
        if meter is None:
            if len(self._meters) >= self.most:
                self._make_room()
            if len(self._meters) >= self.most:
                self.shared = True
                return self.other
            meter = self._meters[name] = TopicMeter()
        return meter

    def deleted(self, name: str) -> None:
        """There is no such topic any more; what was counted of it stays in the total."""
        if name in self._meters:
            self._deleted.add(name)

    def items(self) -> list[tuple[str, TopicMeter]]:
        """The topics that have meters of their own, and exist."""
        return [(name, meter) for name, meter in self._meters.items() if self.exists(name)]

    def _make_room(self) -> None:
        deleted, self._deleted = self._deleted, set()
        for name in deleted:
            if not self.exists(name):
                self._gone.absorb(self._meters.pop(name))

    def total(self) -> TopicMeter:
        """Everything that was ever counted."""
        total = TopicMeter()
        for meter in (self._gone, self.unknown, self.other, *self._meters.values()):
            total.absorb(meter)
        return total


class Metrics:
    """
    What the rooms of one gateway count.

    @ivar timer: seconds of a clock that only goes forward.
    @ivar topics: the meters of topics.
    @ivar lag: how late the reactor is; counts only while it runs.
    """

    def __init__(self, most_topics: int = 1000, timer: Callable[[], float] = time.perf_counter) -> None:
        """
        @param most_topics: that are counted by name (C{kgw.metrics.max.topics}).
        """
        self.timer = timer
        self.topics = TopicMeters(most_topics)
        self.lag = ReactorLag(timer)
        self._times: dict[tuple[str, int], Times] = {}
        self._errors: dict[tuple[str, int], int] = {}

    def times(self, api: str, version: int) -> Times:
        """The times of the requests of one API in one version; keep it, for it is looked up."""
        times = self._times.get((api, version))
        if times is None:
            times = self._times[api, version] = Times()
        return times

    def count_errors(self, api: str, codes: Iterable[int]) -> None:
        """Answers of an API carry these error codes."""
        errors = self._errors
        for code in codes:
            key = (api, code)
            errors[key] = errors.get(key, 0) + 1

    @property
    def all_times(self) -> list[tuple[tuple[str, int], Times]]:
        """By name and version of the API."""
        return list(self._times.items())

    @property
    def errors(self) -> list[tuple[tuple[str, int], int]]:
        """How often, by name of the API and error code."""
        return list(self._errors.items())


class ReactorLag:
    """
    Asks the reactor for a call now and then, and sees how late it comes; and how much of the time its thread worked.

    @ivar times: how late, in seconds.
    @ivar busy_seconds: of its thread's CPU, since this was started.
    """

    def __init__(
        self,
        timer: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
        interval: float = _LAG_INTERVAL,
    ) -> None:
        """
        @param timer: seconds of a clock that only goes forward.
        @param cpu: seconds of CPU that the calling thread has used.
        """
        self.times = Times(LAG_BOUNDS)
        self.busy_seconds = 0.0
        self._timer = timer
        self._cpu = cpu
        self._interval = interval
        self._samples: deque[tuple[float, float]] = deque(maxlen=_BUSY_SAMPLES)
        self._call: IDelayedCall | None = None

    @property
    def idle_ratio(self) -> float:
        """The part of the last minute in which the reactor's thread had nothing to do, 0 to 1."""
        (first, busy), (last, busier) = (self._samples[0], self._samples[-1]) if self._samples else ((0, 0), (0, 0))
        if last <= first:
            return 1.0
        return min(max(1.0 - (busier - busy) / (last - first), 0.0), 1.0)

    def start(self, clock: IReactorTime) -> None:
        """Begin; on the reactor's thread."""
        self._samples.append((self._timer(), self._cpu()))
        self._next(clock)

    def stop(self) -> None:
        """End; nothing where it does not run."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _next(self, clock: IReactorTime) -> None:
        self._call = clock.callLater(self._interval, self._measure, clock, self._timer() + self._interval)

    def _measure(self, clock: IReactorTime, due: float) -> None:
        now, cpu = self._timer(), self._cpu()
        late = max(now - due, 0.0)
        self.times.seconds += late
        self.times.add(late)
        self.busy_seconds += cpu - self._samples[-1][1]
        self._samples.append((now, cpu))
        self._next(clock)
