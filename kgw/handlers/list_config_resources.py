"""ListConfigResources (key 74): what has configs, by name (KIP-1142; version 0 is KIP-714's list of client metrics)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.config_resource import ResourceType
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT8, INT16, INT32, STRING


@message
class Request:
    """
    Kafka: ListConfigResourcesRequest.

    @ivar resource_types: those asked for, empty for all.
    """

    resource_types: list[int] = field(array(INT8), since=1)


@message
class ResponseResource:
    """Something that has configs."""

    resource_name: str = field(STRING)
    resource_type: int = field(INT8, since=1, default=ResourceType.CLIENT_METRICS)


@message
class Response:
    """Kafka: ListConfigResourcesResponse."""

    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    config_resources: list[ResponseResource] = field(array(ResponseResource))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with all topics, this broker, and the groups that have configs of their own.

    Client metrics, which is all that version 0 asks for, are not collected here, and loggers have no configs, so there
    are none of these.
    """
    if call.version == 0:
        return Response()
    known = {kind.value for kind in ResourceType if kind is not ResourceType.UNKNOWN}
    if not known.issuperset(request.resource_types):
        return Response(error_code=ErrorCode.UNSUPPORTED_VERSION)
    wanted = set(request.resource_types) or known
    services = call.services
    named = {
        ResourceType.TOPIC: [topic.name for topic in services.topics.all()],
        ResourceType.BROKER: [str(services.cluster.node_id)],
        ResourceType.GROUP: services.dynamic_configs.groups(),
    }
    return Response(
        config_resources=[
            ResponseResource(name, kind) for kind, names in named.items() if kind in wanted for name in names
        ]
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code)


API = Api(
    key=74,
    name="ListConfigResources",
    versions=range(0, 2),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
