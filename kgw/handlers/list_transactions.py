"""ListTransactions (key 66): transactional ids and their states (KIP-664, KIP-994, KIP-1152); there are none yet."""

from __future__ import annotations

import re
import warnings

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING

#: The states a transaction can be in, by Kafka's names (C{TransactionState}).
STATES = frozenset(
    (
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "Empty",
        "Dead",
        "PrepareEpochFence",
    )
)
#: Longer patterns are refused: to compile one takes the reactor's thread.
_MAX_PATTERN = 4096


@message
class Request:
    """
    Kafka: ListTransactionsRequest.

    @ivar duration_filter: ms that transactions must have been open for, negative for any.
    @ivar transactional_id_pattern: a regular expression that ids must match.
    """

    state_filters: list[str] = field(array(STRING))
    producer_id_filters: list[int] = field(array(INT64))
    duration_filter: int = field(INT64, since=1, default=-1)
    transactional_id_pattern: str | None = field(STRING, since=2, nullable=2, default=None)


@message
class ResponseState:
    transactional_id: str = field(STRING)
    producer_id: int = field(INT64)
    transaction_state: str = field(STRING)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    unknown_state_filters: list[str] = field(array(STRING))
    transaction_states: list[ResponseState] = field(array(ResponseState))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with no transactions, and with the states asked for that no transaction can be in.

    @raise KafkaError: C{INVALID_REGULAR_EXPRESSION}.
    """
    pattern = request.transactional_id_pattern
    if pattern:
        _check_pattern(pattern)
    return Response(unknown_state_filters=[state for state in request.state_filters if state not in STATES])


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _MAX_PATTERN:
        raise KafkaError(ErrorCode.INVALID_REGULAR_EXPRESSION, f"the pattern is longer than {_MAX_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            # what Python may read otherwise some day is nothing to write to our log
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise KafkaError(ErrorCode.INVALID_REGULAR_EXPRESSION, f"the pattern cannot be read: {error}") from error


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code)


API = Api(
    key=66,
    name="ListTransactions",
    versions=range(0, 3),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
