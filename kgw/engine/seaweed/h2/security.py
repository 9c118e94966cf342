"""Who is trusted and who we are on TLS connections, for Twisted and for gRPC's own library alike."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from OpenSSL.crypto import FILETYPE_PEM, X509
from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

_END = b"-----END CERTIFICATE-----"


class Security(NamedTuple):
    """
    What a TLS connection needs, in PEM.

    @ivar ca_pem: certificates of the authorities to trust; C{None}: those the system trusts.
    @ivar certificate_pem: our certificate, and those between it and the authority behind it; C{None}: none is shown.
    @ivar key_pem: the key of our certificate, not encrypted.
    @ivar server_name: the name the server's certificate must have; C{None}: the host it is reached at.
    @ivar check_name: C{False}: any certificate of these authorities will do, whatever its names.
    """

    ca_pem: bytes | None = None
    certificate_pem: bytes | None = None
    key_pem: bytes | None = None
    server_name: str | None = None
    check_name: bool = True


def read_security(
    ca_file: str | None,
    certificate_file: str | None,
    key_file: str | None,
    server_name: str | None = None,
    check_name: bool = True,
) -> Security:
    """
    Read the files.

    @raise OSError: one cannot be read.
    @raise ValueError: a certificate without a key or the other way round.
    """
    if (certificate_file is None) != (key_file is None):
        raise ValueError("a certificate and its key are given together or not at all")

    def content(name: str | None) -> bytes | None:
        return None if name is None else Path(name).read_bytes()

    return Security(content(ca_file), content(certificate_file), content(key_file), server_name, check_name)


def certificates(pem: bytes) -> list[Certificate]:
    """
    All certificates in C{pem}, in order.

    @raise OpenSSL.SSL.Error: one that does not parse.
    """
    return [Certificate.loadPEM(block + _END + b"\n") for block in pem.split(_END)[:-1]]


def client_options(host: str, security: Security) -> IOpenSSLClientConnectionCreator:
    """
    Twisted's options for a connection to C{host} that offers HTTP/2 and nothing else.

    @raise OpenSSL.SSL.Error: a certificate or key that does not parse.
    """
    if not security.check_name:
        return AnyName(security)
    own, chain = _own(security)
    extra: dict[str, object] = {"extraCertChain": chain} if chain else {}
    return optionsForClientTLS(
        security.server_name or host,
        trustRoot=None if security.ca_pem is None else trustRootFromCertificates(certificates(security.ca_pem)),
        clientCertificate=own,
        acceptableProtocols=[b"h2"],
        extraCertificateOptions=extra,
    )


@implementer(IOpenSSLClientConnectionCreator)
class AnyName:
    """
    Makes connections as L{client_options} does, which look at the chain of the server's certificate up to an authority
    and not at its names.
    """

    def __init__(self, security: Security) -> None:
        """
        @raise OpenSSL.SSL.Error: a certificate or key that does not parse.
        """
        own, chain = _own(security)
        options = CertificateOptions(
            privateKey=None if own is None else own.privateKey.original,
            certificate=None if own is None else own.original,
            extraCertChain=chain or None,
            # without any nothing would be looked at
            trustRoot=platformTrust()
            if security.ca_pem is None
            else trustRootFromCertificates(certificates(security.ca_pem)),
        )
        self._context = options.getContext()

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol | None) -> Connection:
        """A connection of OpenSSL's, without a socket."""
        connection = Connection(self._context, None)
        connection.set_alpn_protos([b"h2"])
        return connection


def _own(security: Security) -> tuple[PrivateCertificate | None, list[X509]]:
    """Our certificate with its key, and those between it and the authority."""
    if security.certificate_pem is None or security.key_pem is None:
        return None, []
    first, *rest = certificates(security.certificate_pem)
    own = PrivateCertificate.fromCertificateAndKeyPair(first, KeyPair.load(security.key_pem, FILETYPE_PEM))
    return own, [one.original for one in rest]
