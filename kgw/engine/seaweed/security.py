"""TLS to the engine for grpcio: the same L{Security} that Twisted's connections are made with."""

from __future__ import annotations

import socket
from contextlib import suppress

import grpc
from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from kgw.engine.seaweed.h2.security import AnyName, Security


def channel(
    address: str, security: Security | None, options: tuple[tuple[str, int], ...], timeout_s: float
) -> grpc.Channel:
    """
    A channel to C{address}, in the clear where C{security} is C{None}.

    SeaweedFS's own programs look at the chain of a certificate and not at its names; gRPC's library always looks at
    both. Where L{Security.check_name} is not set it is told to expect the name that the server has just shown, which
    blocks.

    @param address: host:port.
    @param options: gRPC's channel arguments.
    @param timeout_s: how long the server may take to show its certificate.
    @raise OSError: it cannot be reached, or shows none that is trusted.
    """
    if security is None:
        return grpc.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(security.ca_pem, security.key_pem, security.certificate_pem)
    name = security.server_name if security.check_name else shown_name(address, security, timeout_s)
    if name is None:
        return grpc.secure_channel(address, credentials, options=options)
    return grpc.secure_channel(address, credentials, options=(*options, ("grpc.ssl_target_name_override", name)))


def shown_name(address: str, security: Security, timeout_s: float) -> str:
    """
    A name that the certificate of a server is good for, having seen that one of our authorities stands behind it.

    Blocks for as long as the server is silent, at most C{timeout_s} each time.

    @raise OSError: it cannot be reached, or shows no certificate that is trusted and has a name.
    """
    host, _, port = address.rpartition(":")
    try:
        connection = AnyName(security).clientConnectionForTLS(None)
        connection.set_connect_state()
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as transport:
            _shake_hands(connection, transport)
        peer = connection.get_peer_certificate()
    except SSL.Error as error:
        raise ConnectionError(f"the certificate of {address} cannot be trusted, or ours is refused: {error}") from error
    found = None if peer is None else peer.to_cryptography()
    if found is not None:
        try:
            names = found.extensions.get_extension_for_class(SubjectAlternativeName).value
        except ExtensionNotFound:
            for one in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
                return str(one.value)
        else:
            for name in names.get_values_for_type(DNSName):
                return name.replace("*", "any", 1)
            for literal in names.get_values_for_type(IPAddress):
                return str(literal)
    raise ConnectionError(f"the certificate of {address} has no name")


def _shake_hands(connection: SSL.Connection, transport: socket.socket) -> None:
    while True:
        try:
            connection.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        with suppress(SSL.WantReadError):  # there is nothing to send
            transport.sendall(connection.bio_read(1 << 16))
        if done:
            return
        data = transport.recv(1 << 16)
        if not data:
            raise ConnectionError("the server has ended the connection while TLS began")
        connection.bio_write(data)
