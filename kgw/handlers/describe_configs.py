"""DescribeConfigs (key 32): the configs of topics, of groups and of this broker (KIP-133, KIP-226, KIP-569)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.config_resource import ResourceType, by_turns, check_broker, unsupported
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING

if TYPE_CHECKING:
    from kgw.config import ConfigEntry

#: Groups without configs of their own that one request is told: any name is that of such a group, so a small request
#: could ask for an answer of any size.
MAX_GROUPS_WITHOUT_CONFIGS = 1000


@message
class RequestResource:
    """
    What is to be described.

    @ivar resource_type: a L{ResourceType<kgw.handlers.config_resource.ResourceType>}.
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


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with the configs in force of every resource that was asked for, and where each comes from.

    A resource that is named again is told once, or a small request could ask for an answer of any size.
    """
    response = Response()
    plain_groups = 0
    async for asked in by_turns(_once(request.resources), call):
        row = ResponseResult(error_message=None, resource_type=asked.resource_type, resource_name=asked.resource_name)
        try:
            if asked.resource_type == ResourceType.GROUP and not call.services.dynamic_configs.group(row.resource_name):
                plain_groups += 1
                if plain_groups > MAX_GROUPS_WITHOUT_CONFIGS:
                    raise KafkaError(
                        ErrorCode.INVALID_REQUEST,
                        f"At most {MAX_GROUPS_WITHOUT_CONFIGS} groups without configs are described at a time.",
                    )
            entries = _entries(asked, call)
            # an empty list of names asks for all, as none does
            wanted = set(asked.configuration_keys) if asked.configuration_keys else None
            row.configs = [_row(entry, request) for entry in entries if wanted is None or entry.name in wanted]
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.results.append(row)
    return response


def _once(resources: Sequence[RequestResource]) -> list[RequestResource]:
    """The resources, each where it is named first; a broker may be spelled in many ways."""
    found: dict[tuple[int, str | int], RequestResource] = {}
    for asked in resources:
        name: str | int = asked.resource_name
        if asked.resource_type == ResourceType.BROKER:
            with suppress(ValueError):
                name = int(name)
        found.setdefault((asked.resource_type, name), asked)
    return list(found.values())


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
            return services.config.describe_cluster()
        check_broker(name, services.cluster.node_id, or_empty=True)
        return services.config.describe_broker()
    if asked.resource_type == ResourceType.GROUP:
        if not name:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
        # a group has configs whether it is there or not
        return services.config.describe_group(services.dynamic_configs.group(name))
    raise unsupported(asked.resource_type)


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
