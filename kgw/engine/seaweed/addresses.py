"""Addresses as SeaweedFS writes them: C{host:port}, or C{host:port.grpcport}."""

from __future__ import annotations

from typing import NamedTuple

#: What SeaweedFS adds to a server's HTTP port for its gRPC port, where nothing else is said.
_GRPC_ABOVE_HTTP = 10000


class Server(NamedTuple):
    """
    A master or filer.

    @ivar http: host:port of its HTTP.
    @ivar grpc: host:port of its gRPC.
    """

    http: str
    grpc: str


def parse_server(text: str) -> Server:
    """
    A master's or filer's address. A broker's is the plain host:port of its gRPC and needs no parsing.

    @raise ValueError: not an address.
    """
    host, colon, ports = text.strip().rpartition(":")
    http, dot, grpc = ports.partition(".")
    if not colon or not host or not _is_port(http) or (dot and not _is_port(grpc)):
        raise ValueError(f"not host:port or host:port.grpcport: {text!r}")
    number = int(grpc) if dot else int(http) + _GRPC_ABOVE_HTTP
    if number > 65535:
        raise ValueError(f"the gRPC port of {text!r} would be {number}; name it as host:port.grpcport")
    return Server(f"{host}:{int(http)}", f"{host}:{number}")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= 65535
