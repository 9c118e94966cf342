"""The machine of quotas: finds the limit of a client, measures what it does, and says how long it has to wait."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from kgw.quotas.entities import (
    CLIENT_ID,
    CONNECTION_CREATION_RATE,
    CONSUMER_BYTE_RATE,
    IP,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    USER,
    Entity,
    Limits,
    plain_ip,
)
from kgw.quotas.rate import Rate, Windows

#: Rates that are measured at a time; those of clients that were silent longest are forgotten, and begin anew.
MAX_METERS = 10_000
#: Clients whose meters need not be looked up.
_MAX_CALLERS = 4096
#: A client id that no entity names: that of a client without one.
_NOBODY = "\0"
#: Longer client ids are told apart by their digest: what is remembered of a client is bounded.
_LONGEST = 249


class Meter:
    """
    What those do who share one quota.

    @ivar limit: an amount a second.
    """

    __slots__ = ("_rate", "limit", "used")

    def __init__(self, windows: Windows) -> None:
        self._rate = Rate(windows)
        self.limit = 0.0
        self.used = 0.0

    def record(self, amount: float, now: float) -> float:
        """
        Count an amount.

        @return: seconds to wait.
        """
        self.used = now
        self._rate.record(amount, now)
        return self._rate.excess(self.limit, now)

    def take_back(self, amount: float, now: float) -> None:
        """An amount that was counted just now has not been used after all."""
        self._rate.record(-amount, now)

    def counted(self, now: float) -> float:
        """The amounts that count now."""
        return self._rate.counted(now)

    def is_idle(self, now: float) -> bool:
        """Whether it may be forgotten and nobody would notice."""
        return self._rate.is_idle(now)


class Caller:
    """
    The meters of one client; C{None} where it has no limit.

    @ivar produce: bytes; C{fetch} as well.
    @ivar requests: seconds of work, in percent.
    """

    __slots__ = ("fetch", "produce", "requests")

    def __init__(self, produce: Meter | None, fetch: Meter | None, requests: Meter | None) -> None:
        self.produce = produce
        self.fetch = fetch
        self.requests = requests


class Meters:
    """
    All that is measured for the quotas that are set.

    Knows no time: C{now} is in seconds, from any beginning, and does not fall.
    """

    def __init__(self, windows: Windows | None = None, most: int = MAX_METERS) -> None:
        """
        @param most: meters at a time.
        """
        self._windows = windows or Windows()
        self._most = most
        # by quota key, then by user and client id, "" for an entity without one
        self._limits: dict[str, dict[tuple[str | None, str | None], float]] = {}
        self._ip_limits: dict[str | None, float] = {}
        self._meters: dict[tuple[str, str, str], Meter] = {}
        self._callers: dict[tuple[str, str], Caller] = {}

    def __len__(self) -> int:
        return len(self._meters)

    def set(self, quotas: Mapping[Entity, Limits]) -> None:
        """Have these quotas in place of those before; what was measured goes on to count."""
        self._callers.clear()
        self._limits = {key: {} for key in (PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE, REQUEST_PERCENTAGE)}
        self._ip_limits = {}
        for entity, limits in quotas.items():
            names = dict(entity)
            if IP in names:
                address = names[IP]
                if CONNECTION_CREATION_RATE in limits:
                    key = None if address is None else plain_ip(address)
                    self._ip_limits[key] = limits[CONNECTION_CREATION_RATE]
                continue
            for key, limit in limits.items():
                if key in self._limits:
                    self._limits[key][names.get(USER, ""), names.get(CLIENT_ID, "")] = limit

    def caller(self, user: str, client_id: str, now: float) -> Caller:
        """
        The meters of a client.

        @return: to be used at once and not kept.
        """
        known = self._callers.get((user, client_id))
        if known is not None:
            return known
        produce = self._meter_of(PRODUCER_BYTE_RATE, user, client_id, now)
        fetch = self._meter_of(CONSUMER_BYTE_RATE, user, client_id, now)
        requests = self._meter_of(REQUEST_PERCENTAGE, user, client_id, now)
        caller = Caller(produce, fetch, requests)
        if len(client_id) <= _LONGEST:
            if len(self._callers) >= _MAX_CALLERS:
                self._callers.clear()
            self._callers[user, client_id] = caller
        return caller

    def _meter_of(self, key: str, user: str, client_id: str, now: float) -> Meter | None:
        """
        The meter of the most specific quota, which it shares with whom that is for.

        Kafka: C{DefaultQuotaCallback.quotaMetricTags} and C{quotaLimit}.
        """
        limits = self._limits.get(key)
        if not limits:
            return None
        own = client_id or _NOBODY
        for entity in (
            (user, own),
            (user, None),
            (user, ""),
            (None, own),
            (None, None),
            (None, ""),
            ("", own),
            ("", None),
        ):
            limit = limits.get(entity)
            if limit is not None:
                of_user, of_client = entity
                meter = self._meter(
                    key, "" if of_user == "" else user, "" if of_client == "" else _short(client_id), now
                )
                meter.limit = limit
                return meter
        return None

    def _meter(self, key: str, user: str, client_id: str, now: float) -> Meter:
        meter = self._meters.get((key, user, client_id))
        if meter is None:
            if len(self._meters) >= self._most:
                self._make_room(now)
            meter = self._meters[key, user, client_id] = Meter(self._windows)
            meter.used = now
        return meter

    def _make_room(self, now: float) -> None:
        """Forget who is idle; where nobody is, the half that was silent longest."""
        self._callers.clear()
        busy = {key: meter for key, meter in self._meters.items() if not meter.is_idle(now)}
        if len(busy) >= self._most:
            latest = sorted(busy.items(), key=lambda pair: pair[1].used, reverse=True)
            busy = dict(latest[: self._most // 2])
        self._meters = busy

    def charge(self, user: str, client_id: str, work: float, produced: int, now: float) -> float:
        """
        A request was worked on.

        @param work: seconds.
        @param produced: its size in bytes where it carries records to be appended.
        @return: seconds for which its connection is not to be read.
        """
        caller = self.caller(user, client_id, now)
        wait = 0.0
        if produced and caller.produce is not None:
            wait = caller.produce.record(produced, now)
        if caller.requests is not None:
            # Kafka: what requests cost never holds a client longer than one window (ClientRequestQuotaManager)
            wait = max(wait, min(caller.requests.record(work * 100, now), self._windows.seconds))
        return wait

    def fetch_room(self, user: str, client_id: str, now: float) -> float:
        """Bytes that one Fetch may ask for (Kafka: C{getMaxValueInQuotaWindow})."""
        meter = self.caller(user, client_id, now).fetch
        return float("inf") if meter is None else self._burst(meter)

    def _burst(self, meter: Meter) -> float:
        return max(self._windows.least, self._windows.seconds) * meter.limit

    def fetched(self, user: str, client_id: str, size: int, now: float) -> tuple[float, bool]:
        """
        A Fetch has found so many bytes.

        A single batch that is more than all windows hold is let through where nothing else counts, and waited for
        afterwards; Kafka answers such a client with nothing, for ever.

        @return: seconds to wait, and whether the answer may have the bytes; where not, they do not count.
        """
        meter = self.caller(user, client_id, now).fetch
        if meter is None or not size:
            return 0.0, True
        alone = meter.counted(now) <= 0
        wait = meter.record(size, now)
        if wait <= 0 or (alone and size > self._burst(meter)):
            return wait, True
        meter.take_back(size, now)
        return wait, False

    def connected(self, address: str, now: float) -> bool:
        """
        Somebody wants to connect.

        @param address: an IP address.
        @return: whether that is not too fast; where it is, it does not count.
        """
        limits = self._ip_limits
        limit = limits.get(address, limits.get(None))
        if limit is None:
            return True
        meter = self._meter(CONNECTION_CREATION_RATE, address, "", now)
        meter.limit = limit
        if meter.record(1, now) <= 0:
            return True
        meter.take_back(1, now)
        return False


def _short(client_id: str) -> str:
    return client_id if len(client_id) <= _LONGEST else f"sha256:{sha256(client_id.encode()).hexdigest()}"
