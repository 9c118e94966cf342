"""ApiVersions (key 18): which APIs and versions this broker serves (KIP-35, KIP-511, KIP-584)."""

from __future__ import annotations

import re

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT64, STRING

#: What a client may call itself (KIP-511).
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


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
    """
    Answer with the registry, and remember what the client calls itself.

    @raise KafkaError: C{INVALID_REQUEST} where the client's software name or version is malformed.
    """
    call.peer.client_id = call.header.client_id or ""
    if call.version >= 3:
        name, version = request.client_software_name, request.client_software_version
        if not (_SOFTWARE.fullmatch(name) and _SOFTWARE.fullmatch(version)):
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"client software {name!r} {version!r} is malformed")
        call.peer.software_name, call.peer.software_version = name, version
    served = [ResponseApiKey(api.key, api.versions[0], api.versions[-1]) for api in call.services.apis]
    response = Response(api_keys=served)
    features = call.services.cluster.features
    if features:
        response.supported_features = [
            ResponseSupportedFeature(name, one.minimum, one.maximum) for name, one in features.items()
        ]
        response.finalized_features = [
            ResponseFinalizedFeature(name, one.level, one.level) for name, one in features.items() if one.level
        ]
        # levels never change while the program runs
        response.finalized_features_epoch = 0
    return response


def refuse(request: Request | None, code: ErrorCode) -> Response:
    """
    An error; with C{UNSUPPORTED_VERSION} it names our range, so that the client can ask again (KIP-511).

    @param request: C{None} where its version is not known.
    """
    served = API.versions
    rows = [ResponseApiKey(API.key, served[0], served[-1])] if code is ErrorCode.UNSUPPORTED_VERSION else []
    return Response(error_code=code, api_keys=rows)


API = Api(
    key=18,
    name="ApiVersions",
    versions=range(0, 5),
    flexible=3,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
    plain_response_header=True,
    answers_unknown_version=True,
)
