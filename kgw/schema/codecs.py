"""The codec of each schema that records name: read from the registry, made in a thread, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.schema.codec import Codec
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import (
    RegistryUnauthorised,
    RegistryUnavailable,
    ResolvedSchema,
    SchemaNotFound,
    Undecodable,
)

#: A schema as records name it: its number, or the 16 bytes of its GUID.
Key: TypeAlias = int | bytes

#: Of a payload and its indexes (L{Codec.row}) the full name of the message, empty where it is none.
MessageName: TypeAlias = Callable[[bytes, tuple[int, ...] | None], str]

#: Codecs kept, and schemas asked for at a time.
MOST = 1000
MOST_PENDING = 1000
#: Seconds for which a schema is believed to be of no use, and for which nobody is asked where nobody answered.
UNUSABLE_S = 60.0
PAUSE_S = 1.0

_log = Logger("kgw.schema")


class Known:
    """
    A schema whose values can be read.

    @ivar key: as the records name it.
    @ivar message_name: the full name of the type that a value is of, where a schema has several; else C{None}.
    """

    __slots__ = ("codec", "key", "message_name", "resolved")

    def __init__(self, key: Key, resolved: ResolvedSchema, codec: Codec) -> None:
        self.key = key
        self.resolved = resolved
        self.codec = codec
        self.message_name: MessageName | None = getattr(codec, "message_name", None)


class Unusable:
    """
    A schema of which no values can be read.

    @ivar result: what becomes of the records that name it (L{kgw.schema.counts}).
    @ivar reason: for people.
    """

    __slots__ = ("reason", "result", "until")

    def __init__(self, result: str, reason: str, until: float) -> None:
        self.result = result
        self.reason = reason
        self.until = until


Found: TypeAlias = Known | Unusable


class Flight:
    """
    One that is being read or made.

    @ivar began: in the clock's seconds.
    """

    __slots__ = ("began", "waiters")

    def __init__(self, began: float) -> None:
        self.began = began
        self.waiters: list[Deferred[Found]] = []


class Codecs:
    """
    Finds codecs; each is made once, however many ask for it.

    @ivar unavailable: why the registry did not answer the last question, C{None} where it did or nobody asked.
    """

    def __init__(
        self,
        registry: ISchemaRegistry,
        call: Callable[[Callable[[ResolvedSchema], Codec], ResolvedSchema], Deferred[Codec]],
        clock: IReactorTime,
        make: Callable[[ResolvedSchema], Codec],
    ) -> None:
        """
        @param call: runs a function that takes long somewhere else (L{kgw.engine.bridge.IBridge.call}).
        @param make: makes a codec (L{kgw.schema.formats.codec_of}).
        """
        self._registry = registry
        self._call = call
        self._clock = clock
        self._make = make
        self._found: dict[Key, Found] = {}
        self._flights: dict[Key, Flight] = {}
        self._paused_until = 0.0
        self.unavailable: str | None = None

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._found)

    def known(self, key: Key) -> Found | None:
        """What is known at once; C{None}: ask for it."""
        found = self._found.pop(key, None)
        if found is None:
            return None
        if isinstance(found, Unusable) and found.until <= self._clock.seconds():
            return None
        self._found[key] = found  # the last one again
        return found

    def began(self, key: Key) -> float:
        """Since when it is asked for; the time now where it is not."""
        flight = self._flights.get(key)
        return self._clock.seconds() if flight is None else flight.began

    def find(self, key: Key) -> Deferred[Found]:
        """
        Read a schema and make its codec; what is known already is not looked for.

        Cancelling gives up waiting only.

        @return: fails with L{RegistryUnavailable} or L{RegistryUnauthorised}, at once for a second behind another that
            failed so.
        """
        answer: Deferred[Found] = Deferred()
        flight = self._flights.get(key)
        if flight is None:
            now = self._clock.seconds()
            if now < self._paused_until:
                answer.errback(RegistryUnavailable(self.unavailable or "the schema registry does not answer"))
                return answer
            if len(self._flights) >= MOST_PENDING:
                answer.errback(RegistryUnavailable("too many schemas are asked for"))
                return answer
            flight = self._flights[key] = Flight(now)
            flight.waiters.append(answer)
            Deferred.fromCoroutine(self._find(key)).addBoth(self._land, key)
        else:
            flight.waiters.append(answer)
        return answer

    def _land(self, result: Found | Failure, key: Key) -> None:
        flight = self._flights.pop(key)
        if isinstance(result, Failure):
            error = result.value
            if not isinstance(error, RegistryUnavailable | RegistryUnauthorised):
                _log.failure("schema {key}: a bug", result, key=_shown(key))
                error = RegistryUnavailable(f"schema {_shown(key)} cannot be read now")
            elif not isinstance(error, RegistryUnauthorised):
                self.unavailable = error.message
                self._paused_until = self._clock.seconds() + PAUSE_S
            for waiter in flight.waiters:
                # an exception of its own for each: they are raised again, and grow with it
                waiter.errback(type(error)(error.message))
            return
        self.unavailable = None
        for waiter in flight.waiters:
            waiter.callback(result)

    async def _find(self, key: Key) -> Found:
        now = self._clock.seconds
        try:
            asked = self._registry.by_id(key) if isinstance(key, int) else self._registry.by_guid(key)
            resolved = await asked
        except SchemaNotFound as error:
            # the registry remembers that for as long as it likes
            return Unusable("unknown_schema", error.message, now())
        found: Found
        try:
            found = Known(key, resolved, await self._call(self._make, resolved))
        except Undecodable as error:
            found = Unusable("unusable_schema", f"schema {_shown(key)}: {error.reason}", now() + UNUSABLE_S)
        except (RegistryUnavailable, RegistryUnauthorised):
            raise
        except Exception:
            _log.failure("schema {key} cannot be used because of a bug", key=_shown(key))
            found = Unusable("unusable_schema", f"schema {_shown(key)} cannot be used here", now() + UNUSABLE_S)
        while len(self._found) >= MOST:
            del self._found[next(iter(self._found))]
        self._found[key] = found
        return found


def _shown(key: Key) -> str:
    return str(key) if isinstance(key, int) else key.hex()
