"""AlterConfigs (key 33): all configs of resources, those that are not named are reset (KIP-133)."""

from __future__ import annotations

from collections import Counter

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.config_resource import alter, by_turns, changes_of
from kgw.handlers.contract import Api, Call
from kgw.model import ConfigOperation
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING


@message
class RequestConfig:
    """A config to be set."""

    name: str = field(STRING)
    value: str | None = field(STRING, nullable=0)


@message
class RequestResource:
    """
    What is to be altered.

    @ivar resource_type: a L{ResourceType<kgw.handlers.config_resource.ResourceType>}.
    @ivar configs: all that it has set from then on.
    """

    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configs: list[RequestConfig] = field(array(RequestConfig))


@message
class Request:
    """Kafka: AlterConfigsRequest."""

    resources: list[RequestResource] = field(array(RequestResource))
    validate_only: bool = field(BOOL)


@message
class ResponseResource:
    """What became of one resource."""

    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    resource_type: int = field(INT8)
    resource_name: str = field(STRING)


@message
class Response:
    """Kafka: AlterConfigsResponse."""

    throttle_time_ms: int = field(INT32)
    responses: list[ResponseResource] = field(array(ResponseResource))


async def handle(request: Request, call: Call) -> Response:
    """
    Set the configs of the resources one after the other; what is not in the request is reset.

    A resource that is there several times is refused once. See IncrementalAlterConfigs, which resets nothing.
    """
    count = Counter((asked.resource_type, asked.resource_name) for asked in request.resources)
    response = Response()
    distinct = {(one.resource_type, one.resource_name): one for one in request.resources}
    async for asked in by_turns(list(distinct.values()), call):
        row = ResponseResource(ErrorCode.NONE, None, asked.resource_type, asked.resource_name)
        try:
            if count[asked.resource_type, asked.resource_name] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            changes = changes_of((one.name, ConfigOperation.SET, one.value) for one in asked.configs)
            await alter(asked.resource_type, asked.resource_name, changes, True, request.validate_only, call)
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.responses.append(row)
    return response


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every resource that was to be altered."""
    resources = dict.fromkeys((asked.resource_type, asked.resource_name) for asked in request.resources)
    return Response(responses=[ResponseResource(code, None, kind, name) for kind, name in resources])


API = Api(
    key=33,
    name="AlterConfigs",
    versions=range(0, 3),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
