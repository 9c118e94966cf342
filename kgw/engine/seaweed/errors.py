"""What the engine answers, as the Kafka errors that clients understand: one table per kind of answer."""

from __future__ import annotations

from kgw.engine.seaweed.h2.status import (
    ABORTED,
    ALREADY_EXISTS,
    CANCELLED,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
)
from kgw.errors import ErrorCode, KafkaError


class EngineUnavailable(KafkaError):
    """
    The engine cannot be reached, or cannot serve for the moment: to be tried again.

    Its code is C{KAFKA_STORAGE_ERROR}, which every client answers by asking again: it is what a broker says whose disk
    has gone.
    """

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.KAFKA_STORAGE_ERROR, message)


class EntryChanged(EngineUnavailable):
    """An entry of the filer was to be written as it was read, and is another by now."""


#: gRPC statuses after which the same call may succeed (gRPC: statuscodes.md). The engine's Go code returns plain
#: errors, which arrive as C{UNKNOWN}, for outages behind it too.
_PASSING = frozenset({UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, ABORTED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN})
#: Others that say something a client can use; what is in neither is C{KAFKA_STORAGE_ERROR}.
_STATUSES = {
    INVALID_ARGUMENT: ErrorCode.INVALID_REQUEST,
    NOT_FOUND: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ALREADY_EXISTS: ErrorCode.DUPLICATE_RESOURCE,
    OUT_OF_RANGE: ErrorCode.OFFSET_OUT_OF_RANGE,
    UNIMPLEMENTED: ErrorCode.UNSUPPORTED_VERSION,
}

#: C{error_code} of PublishMessage: no leader was found, which a range or generation that is not there is answered with
#: too. Where to publish has to be found out again.
PUBLISH_NO_LEADER = 2
#: Another broker leads; the same.
PUBLISH_NOT_LEADER = 6
#: The first message was no init message.
PUBLISH_NO_INIT = 42
#: The follower that was named cannot be reached.
PUBLISH_NO_FOLLOWER = 102
_PUBLISH = {PUBLISH_NO_INIT: ErrorCode.UNKNOWN_SERVER_ERROR}

#: C{error_code} of FetchMessage, which has a table of its own: the partition is not to be found at this broker.
FETCH_NOT_FOUND = 1
#: The offset was negative.
FETCH_BAD_OFFSET = 2
_FETCH = {FETCH_BAD_OFFSET: ErrorCode.OFFSET_OUT_OF_RANGE}


def from_status(code: int, message: str, call: str) -> KafkaError:
    """
    What a gRPC call failed with.

    @param code: gRPC's status code, never 0.
    @param call: which call, and to whom, for people.
    """
    said = f"{call}: {message or 'no reason given'} (gRPC status {code})"
    if code in _PASSING:
        return EngineUnavailable(said)
    if code == FAILED_PRECONDITION:
        return EntryChanged(said)
    return KafkaError(_STATUSES.get(code, ErrorCode.KAFKA_STORAGE_ERROR), said)


def from_publish(code: int, message: str) -> KafkaError:
    """What a reply on a PublishMessage stream says, where its C{error} or C{error_code} is set."""
    said = f"the engine refuses to publish: {message or 'no reason given'} (code {code})"
    return KafkaError(_PUBLISH[code], said) if code in _PUBLISH else EngineUnavailable(said)


def from_fetch(code: int, message: str) -> KafkaError:
    """What the answer to a FetchMessage says, where its C{error} or C{error_code} is set."""
    said = f"the engine refuses to fetch: {message or 'no reason given'} (code {code})"
    return KafkaError(_FETCH[code], said) if code in _FETCH else EngineUnavailable(said)
