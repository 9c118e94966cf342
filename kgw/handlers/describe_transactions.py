"""DescribeTransactions (key 65): what transactional ids are doing (KIP-664); there are no transactions yet."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class Request:
    transactional_ids: list[str] = field(array(STRING))


@message
class ResponseTopic:
    topic: str = field(STRING)
    partitions: list[int] = field(array(INT32))


@message
class ResponseState:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    transactional_id: str = field(STRING)
    transaction_state: str = field(STRING)
    transaction_timeout_ms: int = field(INT32)
    transaction_start_time_ms: int = field(INT64)
    producer_id: int = field(INT64)
    producer_epoch: int = field(INT16)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    transaction_states: list[ResponseState] = field(array(ResponseState))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer that no transactional id is known.

    None can be: InitProducerId refuses them. An empty one is C{INVALID_REQUEST}, as in Kafka.
    """
    return Response(
        transaction_states=[
            ResponseState(ErrorCode.TRANSACTIONAL_ID_NOT_FOUND if name else ErrorCode.INVALID_REQUEST, name)
            for name in request.transactional_ids
        ]
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every id that was asked for."""
    return Response(transaction_states=[ResponseState(code, name) for name in request.transactional_ids])


API = Api(
    key=65,
    name="DescribeTransactions",
    versions=range(0, 1),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
