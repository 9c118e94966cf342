"""The two ends of a connection, as limits and the log know them."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress


def plain(host: str) -> str:
    """An IPv4 address that came in on an IPv6 socket as what it is."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def ip_of(address: IAddress | None) -> str:
    """The IP address of an end; C{""} where it has none (a UNIX socket)."""
    return plain(address.host) if isinstance(address, IPv4Address | IPv6Address) else ""


def name_of(address: IAddress | None) -> str:
    """An address in the words of the log."""
    if isinstance(address, IPv4Address | IPv6Address):
        host = plain(address.host)
        return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    if isinstance(address, UNIXAddress) and address.name:
        return f"unix:{address.name.decode(errors='replace')}"
    return "unix"
