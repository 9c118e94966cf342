"""DescribeCluster (key 60): the brokers, for admin clients (KIP-700, KIP-919)."""

from __future__ import annotations

from enum import IntEnum

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import CLUSTER_OPERATIONS
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING


@message
class Request:
    include_cluster_authorized_operations: bool = field(BOOL)
    endpoint_type: int = field(INT8, since=1, default=1)
    include_fenced_brokers: bool = field(BOOL, since=2)


@message
class ResponseBroker:
    broker_id: int = field(INT32)
    host: str = field(STRING)
    port: int = field(INT32)
    rack: str | None = field(STRING, nullable=0, default=None)
    is_fenced: bool = field(BOOL, since=2)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0, default=None)
    endpoint_type: int = field(INT8, since=1, default=1)
    cluster_id: str = field(STRING)
    controller_id: int = field(INT32, default=-1)
    brokers: list[ResponseBroker] = field(array(ResponseBroker))
    cluster_authorized_operations: int = field(INT32, default=-(1 << 31))


class EndpointType(IntEnum):
    """Whose addresses the client asks for."""

    BROKERS = 1
    CONTROLLERS = 2


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with the brokers, each at the address that this client can reach it at.

    @raise KafkaError: C{MISMATCHED_ENDPOINT_TYPE} where controllers are asked for, C{UNSUPPORTED_ENDPOINT_TYPE}.
    """
    if request.endpoint_type == EndpointType.CONTROLLERS:
        raise KafkaError(ErrorCode.MISMATCHED_ENDPOINT_TYPE, "this is a broker listener, not a controller's")
    if request.endpoint_type != EndpointType.BROKERS:
        raise KafkaError(ErrorCode.UNSUPPORTED_ENDPOINT_TYPE, f"no endpoint type {request.endpoint_type}")
    cluster = call.services.cluster
    response = Response(
        endpoint_type=EndpointType.BROKERS,
        cluster_id=cluster.cluster_id,
        controller_id=cluster.controller_id,
        brokers=[
            ResponseBroker(broker_id=broker.node_id, host=broker.host, port=broker.port, rack=broker.rack)
            for broker in cluster.brokers(call.peer)
        ],
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    return response


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code, endpoint_type=request.endpoint_type)


API = Api(
    key=60,
    name="DescribeCluster",
    versions=range(0, 3),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
