"""InitProducerId (key 22): a producer id for an idempotent producer (KIP-98, KIP-360)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING

#: The most characters of a name that a client made up which go to the log.
_SHOWN = 100


@message
class Request:
    transactional_id: str | None = field(STRING, nullable=0)
    transaction_timeout_ms: int = field(INT32)
    producer_id: int = field(INT64, since=3, default=-1)
    producer_epoch: int = field(INT16, since=3, default=-1)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    producer_id: int = field(INT64, default=-1)
    producer_epoch: int = field(INT16)


async def handle(request: Request, call: Call) -> Response:
    """
    Give out a producer id that nobody had before, with epoch 0.

    As in Kafka, an idempotent producer that asks again always gets a new id, whatever it sends along.

    @raise KafkaError: C{TRANSACTIONAL_ID_AUTHORIZATION_FAILED} for a transactional id: of the errors that name the
        transactional id it is the one that every client takes as fatal, so none of them asks for ever;
        C{INVALID_REQUEST} for an empty one.
    """
    if request.transactional_id == "":
        raise KafkaError(ErrorCode.INVALID_REQUEST, "a transactional id must not be empty")
    if request.transactional_id is not None:
        call.services.peer_log.warn(
            "{remote} (client id {client_id!r}): transactional.id {name!r} refused, transactions are not built yet;"
            " remove transactional.id from the producer's configuration (enable.idempotence works)",
            remote=call.peer.remote,
            client_id=(call.header.client_id or "")[:_SHOWN],
            name=request.transactional_id[:_SHOWN],
        )
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not built yet")
    return Response(producer_id=await call.services.producer_ids.next(), producer_epoch=0)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error, and no producer id."""
    return Response(error_code=code, producer_id=-1, producer_epoch=-1)


API = Api(
    key=22,
    name="InitProducerId",
    versions=range(0, 6),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
