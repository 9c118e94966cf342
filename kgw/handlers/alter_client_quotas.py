"""AlterClientQuotas (key 49): limits of clients set and removed, enforced from the next request on (KIP-546)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, FLOAT64, INT16, INT32, STRING


@message
class RequestEntity:
    """
    One name of an entity.

    @ivar entity_type: C{user}, C{client-id} or C{ip}.
    @ivar entity_name: C{None} for the default of all that have no quota of their own.
    """

    entity_type: str = field(STRING)
    entity_name: str | None = field(STRING, nullable=0)


@message
class RequestOp:
    """
    A limit to be set.

    @ivar remove: whether there is to be none instead.
    """

    key: str = field(STRING)
    value: float = field(FLOAT64)
    remove: bool = field(BOOL)


@message
class RequestEntry:
    """An entity and what is to be altered of its limits."""

    entity: list[RequestEntity] = field(array(RequestEntity))
    ops: list[RequestOp] = field(array(RequestOp))


@message
class Request:
    """Kafka: AlterClientQuotasRequest."""

    entries: list[RequestEntry] = field(array(RequestEntry))
    validate_only: bool = field(BOOL)


@message
class ResponseEntity:
    """See L{RequestEntity}."""

    entity_type: str = field(STRING)
    entity_name: str | None = field(STRING, nullable=0)


@message
class ResponseEntry:
    """What became of one entity."""

    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    entity: list[ResponseEntity] = field(array(ResponseEntity))


@message
class Response:
    """Kafka: AlterClientQuotasResponse."""

    throttle_time_ms: int = field(INT32)
    entries: list[ResponseEntry] = field(array(ResponseEntry))


async def handle(request: Request, call: Call) -> Response:
    """
    Alter each entity, with all its changes or none; an answer without errors is durable and in force.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}.
    """
    results = await call.services.quotas.alter(
        [
            (
                {one.entity_type: one.entity_name for one in entry.entity},
                [(op.key, None if op.remove else op.value) for op in entry.ops],
            )
            for entry in request.entries
        ],
        request.validate_only,
    )
    return Response(
        entries=[
            ResponseEntry(
                ErrorCode.NONE if error is None else error.code,
                None if error is None else error.message or None,
                [ResponseEntity(kind, name) for kind, name in entity],
            )
            for entity, error in results.items()
        ]
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every entity."""
    return Response(
        entries=[
            ResponseEntry(code, None, [ResponseEntity(one.entity_type, one.entity_name) for one in entry.entity])
            for entry in request.entries
        ]
    )


API = Api(
    key=49,
    name="AlterClientQuotas",
    versions=range(0, 2),
    flexible=1,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
