"""DescribeClientQuotas (key 48): the quotas that are set, of the entities that a filter takes (KIP-546)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, FLOAT64, INT8, INT16, INT32, STRING


@message
class RequestComponent:
    """
    What an entity must have to be described.

    @ivar entity_type: C{user}, C{client-id} or C{ip}.
    @ivar match_type: a L{MatchType<kgw.quotas.entities.MatchType>}.
    @ivar match: the name, for an exact match.
    """

    entity_type: str = field(STRING)
    match_type: int = field(INT8)
    match: str | None = field(STRING, nullable=0)


@message
class Request:
    """
    Kafka: DescribeClientQuotasRequest.

    @ivar strict: whether entities with further types are left out.
    """

    components: list[RequestComponent] = field(array(RequestComponent))
    strict: bool = field(BOOL)


@message
class ResponseEntity:
    """
    One name of an entity.

    @ivar entity_name: C{None} for the default of all that have no quota of their own.
    """

    entity_type: str = field(STRING)
    entity_name: str | None = field(STRING, nullable=0)


@message
class ResponseValue:
    """A limit."""

    key: str = field(STRING)
    value: float = field(FLOAT64)


@message
class ResponseEntry:
    """An entity and its limits."""

    entity: list[ResponseEntity] = field(array(ResponseEntity))
    values: list[ResponseValue] = field(array(ResponseValue))


@message
class Response:
    """Kafka: DescribeClientQuotasResponse."""

    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    entries: list[ResponseEntry] | None = field(array(ResponseEntry), nullable=0)


async def handle(request: Request, call: Call) -> Response:
    """Answer with what is set; what Kafka knows and kgw does not enforce cannot be."""
    components = [(one.entity_type, one.match_type, one.match) for one in request.components]
    try:
        found = call.services.quotas.describe(components, request.strict)
    except KafkaError as error:
        return Response(error_code=error.code, error_message=error.message or None, entries=None)
    return Response(
        error_message=None,
        entries=[
            ResponseEntry(
                [ResponseEntity(kind, name) for kind, name in entity],
                [ResponseValue(key, value) for key, value in limits.items()],
            )
            for entity, limits in found
        ],
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code, error_message=None, entries=None)


API = Api(
    key=48,
    name="DescribeClientQuotas",
    versions=range(0, 2),
    flexible=1,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
