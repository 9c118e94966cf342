"""ApiVersions (key 18)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT64, STRING


@message
class Request:
    client_software_name: str = field(STRING, since=3)
    client_software_version: str = field(STRING, since=3)


@message
class ResponseApiKey:
    api_key: int = field(INT16)
    min_version: int = field(INT16)
    max_version: int = field(INT16)


@message
class ResponseSupportedFeature:
    name: str = field(STRING, since=3)
    min_version: int = field(INT16, since=3)
    max_version: int = field(INT16, since=3)


@message
class ResponseFinalizedFeature:
    name: str = field(STRING, since=3)
    max_version_level: int = field(INT16, since=3)
    min_version_level: int = field(INT16, since=3)


@message
class Response:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    api_keys: list[ResponseApiKey] = field(array(ResponseApiKey))
    throttle_time_ms: int = field(INT32, since=1)
    supported_features: list[ResponseSupportedFeature] = field(array(ResponseSupportedFeature), since=3, tag=0)
    finalized_features_epoch: int = field(INT64, since=3, tag=1, default=-1)
    finalized_features: list[ResponseFinalizedFeature] = field(array(ResponseFinalizedFeature), since=3, tag=2)
    zk_migration_ready: bool = field(BOOL, since=3, tag=3, default=False)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=18,
    name="ApiVersions",
    versions=range(0, 5),
    flexible=3,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
