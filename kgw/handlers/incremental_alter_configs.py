"""IncrementalAlterConfigs (key 44): single configs of resources set, reset, or their lists changed (KIP-339)."""

from __future__ import annotations

from collections import Counter

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.config_resource import alter, by_turns, changes_of
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING


@message
class RequestConfig:
    """
    A config to be changed.

    @ivar config_operation: a L{ConfigOperation<kgw.model.ConfigOperation>}.
    """

    name: str = field(STRING)
    config_operation: int = field(INT8)
    value: str | None = field(STRING, nullable=0)


@message
class RequestResource:
    """
    What is to be altered.

    @ivar resource_type: a L{ResourceType<kgw.handlers.config_resource.ResourceType>}.
    """

    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configs: list[RequestConfig] = field(array(RequestConfig))


@message
class Request:
    """Kafka: IncrementalAlterConfigsRequest."""

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
    """Kafka: IncrementalAlterConfigsResponse."""

    throttle_time_ms: int = field(INT32)
    responses: list[ResponseResource] = field(array(ResponseResource))


async def handle(request: Request, call: Call) -> Response:
    """
    Change configs of the resources one after the other; each with all its changes or none.

    A resource that is there several times is refused once.
    """
    count = Counter((asked.resource_type, asked.resource_name) for asked in request.resources)
    response = Response()
    distinct = {(one.resource_type, one.resource_name): one for one in request.resources}
    async for asked in by_turns(list(distinct.values()), call):
        row = ResponseResource(ErrorCode.NONE, None, asked.resource_type, asked.resource_name)
        try:
            if count[asked.resource_type, asked.resource_name] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            changes = changes_of((one.name, one.config_operation, one.value) for one in asked.configs)
            await alter(asked.resource_type, asked.resource_name, changes, False, request.validate_only, call)
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.responses.append(row)
    return response


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every resource that was to be altered."""
    resources = dict.fromkeys((asked.resource_type, asked.resource_name) for asked in request.resources)
    return Response(responses=[ResponseResource(code, None, kind, name) for kind, name in resources])


API = Api(
    key=44,
    name="IncrementalAlterConfigs",
    versions=range(0, 2),
    flexible=1,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
