"""TLS to a schema registry: whose certificates are believed, and which one kgw shows."""

from __future__ import annotations

from OpenSSL.crypto import FILETYPE_PEM
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_END = b"-----END CERTIFICATE-----"


@implementer(IPolicyForHTTPS)
class RegistryPolicy:
    """Makes the options of each connection: the certificate must have the name or address of the URL."""

    def __init__(self, ca_pem: bytes | None = None, certificate_pem: bytes | None = None, key_pem: bytes = b"") -> None:
        """
        @param ca_pem: the authorities, or C{None} for those the system trusts.
        @param certificate_pem: kgw's own, with those that sign it behind it, or C{None}.
        @raise OpenSSL.SSL.Error: one that does not parse.
        @raise ValueError: there is none in what should have some.
        """
        self._trust = platformTrust() if ca_pem is None else trustRootFromCertificates(_certificates(ca_pem))
        self._own: dict[str, object] = {}
        if certificate_pem is not None:
            certificate, *chain = (one.original for one in _certificates(certificate_pem))
            key = KeyPair.load(key_pem, FILETYPE_PEM).original
            self._own = {"certificate": certificate, "privateKey": key, "extraCertChain": chain}
            # a key that is another certificate's would show at the first connection only
            CertificateOptions(privateKey=key, certificate=certificate, extraCertChain=chain).getContext()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """The options of a connection to C{hostname}."""
        return optionsForClientTLS(hostname.decode("ascii"), self._trust, extraCertificateOptions=self._own)


def _certificates(pem: bytes) -> list[Certificate]:
    found = [Certificate.loadPEM(block + _END + b"\n") for block in pem.split(_END)[:-1]]
    if not found:
        raise ValueError("no certificate is in it")
    return found
