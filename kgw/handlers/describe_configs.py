"""DescribeConfigs (key 32): the configs of topics, of groups and of this broker (KIP-133, KIP-226, KIP-569)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING

if TYPE_CHECKING:
    from kgw.config import ConfigEntry


@message
class RequestResource:
    """
    What is to be described.

    @ivar resource_type: a L{ResourceType}.
    @ivar configuration_keys: the names to answer with; null or empty for all.
    """

    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configuration_keys: list[str] | None = field(array(STRING), nullable=0)


@message
class Request:
    """Kafka: DescribeConfigsRequest."""

    resources: list[RequestResource] = field(array(RequestResource))
    include_synonyms: bool = field(BOOL, since=1, default=False)
    include_documentation: bool = field(BOOL, since=3, default=False)


@message
class ResponseSynonym:
    """A name under which the config could get a value, the one in force first (KIP-226)."""

    name: str = field(STRING, since=1)
    value: str | None = field(STRING, since=1, nullable=0)
    source: int = field(INT8, since=1)


@message
class ResponseConfig:
    """One config in force."""

    name: str = field(STRING)
    value: str | None = field(STRING, nullable=0)
    read_only: bool = field(BOOL)
    config_source: int = field(INT8, since=1, default=-1)
    is_sensitive: bool = field(BOOL)
    synonyms: list[ResponseSynonym] = field(array(ResponseSynonym), since=1)
    config_type: int = field(INT8, since=3, default=0)
    documentation: str | None = field(STRING, since=3, nullable=0)


@message
class ResponseResult:
    """The configs of one resource, or why there are none."""

    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configs: list[ResponseConfig] = field(array(ResponseConfig))


@message
class Response:
    """Kafka: DescribeConfigsResponse."""

    throttle_time_ms: int = field(INT32)
    results: list[ResponseResult] = field(array(ResponseResult))


class ResourceType(IntEnum):
    """What has configs (Kafka: C{ConfigResource.Type})."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with the configs in force of every resource that was asked for, and where each comes from.

    A resource that is named again is told once, or a small request could ask for an answer of any size.
    """
    response = Response()
    seen: set[tuple[int, str]] = set()
    for asked in request.resources:
        resource = (asked.resource_type, asked.resource_name)
        if resource in seen:
            continue
        seen.add(resource)
        row = ResponseResult(error_message=None, resource_type=asked.resource_type, resource_name=asked.resource_name)
        try:
            entries = _entries(asked, call)
            # an empty list of names asks for all, as none does
            wanted = set(asked.configuration_keys) if asked.configuration_keys else None
            row.configs = [_row(entry, request) for entry in entries if wanted is None or entry.name in wanted]
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.results.append(row)
    return response


def _entries(asked: RequestResource, call: Call) -> list[ConfigEntry]:
    services = call.services
    name = asked.resource_name
    if asked.resource_type == ResourceType.TOPIC:
        services.topics.check_name(name)
        topic = services.topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return services.config.describe_topic(topic.configs)
    if asked.resource_type == ResourceType.BROKER:
        if not name:
            # the defaults set for the whole cluster while it runs: there are none
            return []
        _check_broker(name, services.cluster.node_id)
        return services.config.describe_broker()
    if asked.resource_type == ResourceType.GROUP:
        if not name:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
        # a group has configs whether it is there or not
        return services.config.describe_group()
    known = {kind.value: kind.name for kind in ResourceType}
    kind = known.get(asked.resource_type, str(asked.resource_type))
    raise KafkaError(
        ErrorCode.INVALID_REQUEST,
        f"Unsupported resource type: {kind}; this server has configs of TOPIC, BROKER and GROUP",
    )


def _check_broker(name: str, node_id: int) -> None:
    try:
        asked = int(name)
    except ValueError:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}") from None
    if asked != node_id:
        raise KafkaError(
            ErrorCode.INVALID_REQUEST,
            f"Unexpected broker id, expected {node_id} or empty string, but received {name}",
        )


def _row(entry: ConfigEntry, request: Request) -> ResponseConfig:
    synonyms = entry.synonyms if request.include_synonyms else ()
    return ResponseConfig(
        name=entry.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        is_sensitive=entry.sensitive,
        synonyms=[ResponseSynonym(one.name, one.value, one.source) for one in synonyms],
        config_type=entry.type,
        documentation=entry.documentation if request.include_documentation else None,
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every resource that was asked for."""
    return Response(
        results=[ResponseResult(code, None, asked.resource_type, asked.resource_name) for asked in request.resources]
    )


API = Api(
    key=32,
    name="DescribeConfigs",
    versions=range(1, 5),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
