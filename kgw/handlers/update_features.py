"""UpdateFeatures (key 57): other levels for cluster features; only those in force can be had (KIP-584, KIP-778)."""

from __future__ import annotations

from enum import IntEnum

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import Feature
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING


class UpgradeType(IntEnum):
    """Which way a level may go."""

    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


@message
class RequestUpdate:
    """
    One feature.

    @ivar max_version_level: the level it is to have, 0 for not at all.
    """

    feature: str = field(STRING)
    max_version_level: int = field(INT16)
    allow_downgrade: bool = field(BOOL, until=0)
    upgrade_type: int = field(INT8, since=1, default=1)


@message
class Request:
    """Kafka: UpdateFeaturesRequest."""

    timeout_ms: int = field(INT32, default=60_000)
    feature_updates: list[RequestUpdate] = field(array(RequestUpdate))
    validate_only: bool = field(BOOL, since=1, default=False)


@message
class ResponseResult:
    """What became of one feature."""

    feature: str = field(STRING, until=1)
    error_code: int = field(INT16, until=1, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, until=1, nullable=0)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    results: list[ResponseResult] = field(array(ResponseResult), until=1)


async def handle(request: Request, call: Call) -> Response:
    """
    Check each level as Kafka's controller does; what passes is in force already, so C{validate_only} is no matter.

    From version 2 on the first error is that of all.
    """
    response = Response(error_message=None)
    for update in request.feature_updates:
        try:
            _check(update, call)
        except KafkaError as error:
            if call.version >= 2:
                response.error_code = error.code
                response.error_message = (
                    f"The update failed for all features since the following feature had an error: {error.message}"
                )
                return response
            response.results.append(ResponseResult(update.feature, error.code, error.message))
        else:
            response.results.append(ResponseResult(update.feature, error_message=None))
    return response


def _check(update: RequestUpdate, call: Call) -> None:
    """In the order and the words of Kafka's C{FeatureControlManager.updateFeature}."""
    cluster = call.services.cluster
    name, level = update.feature, update.max_version_level
    feature = cluster.features.get(name) or Feature(0, 0, 0)
    if call.version >= 1:
        upgrade = update.upgrade_type
    else:
        upgrade = UpgradeType.SAFE_DOWNGRADE if update.allow_downgrade else UpgradeType.UPGRADE
    reason = _refusal(feature, level, upgrade, f"Local controller {cluster.node_id}")
    if reason is not None:
        raise KafkaError(
            ErrorCode.INVALID_UPDATE_VERSION, f"Invalid update version {level} for feature {name}. {reason}"
        )
    if level != feature.level:
        raise KafkaError(
            ErrorCode.FEATURE_UPDATE_FAILED,
            f"Feature {name} stays at level {feature.level}: it is that of this program, which cannot be told another.",
        )


def _refusal(feature: Feature, level: int, upgrade: int, who: str) -> str | None:
    """Why a feature cannot have a level, C{None} where it could."""
    if upgrade not in tuple(UpgradeType):
        return "The controller does not support the given upgrade type."
    if level < 0:
        return "A feature version cannot be less than 0."
    if level and not feature.maximum:
        return f"{who} does not support this feature."
    # 0 is to do without
    if level and not feature.minimum <= level <= feature.maximum:
        return f"{who} only supports versions {feature.minimum}-{feature.maximum}"
    if level < feature.level and upgrade == UpgradeType.UPGRADE:
        return (
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe "
            "downgrade."
        )
    if level > feature.level and upgrade != UpgradeType.UPGRADE:
        return "Can't downgrade to a newer version."
    return None


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for all, and for every feature that was named."""
    rows = [ResponseResult(update.feature, code, None) for update in request.feature_updates]
    return Response(error_code=code, error_message=None, results=rows)


API = Api(
    key=57,
    name="UpdateFeatures",
    versions=range(0, 3),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
