"""Where kgw listens and what clients are told: Kafka's C{NAME://host:port} and Twisted's endpoint strings."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from socket import has_dualstack_ipv6

from kgw.config.definition import ConfigError

#: Kafka's security protocols; each is also a listener name that needs no entry in listener.security.protocol.map.
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

#: Twisted's server endpoint types, and the security protocol each means.
ENDPOINTS = {
    "tcp": "PLAINTEXT",
    "tcp6": "PLAINTEXT",
    "unix": "PLAINTEXT",
    "systemd": "PLAINTEXT",
    "ssl": "SSL",
    "tls": "SSL",
}

_KAFKA = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)://(?P<host>\[[^\]]*\]|[^\[\]:/]*)(?P<port>:-?[0-9]+)?\Z")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<endpoint>[a-z0-9]+:.*)\Z", re.DOTALL)
_FORMS = "NAME://host:port as Kafka has it, or a Twisted endpoint such as tcp:9092:interface=127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listener:
    """
    One place where clients come in.

    @ivar name: by which advertised.listeners means it; unique, upper case.
    @ivar security_protocol: Kafka's word for how it is secured: C{"PLAINTEXT"} or C{"SSL"}.
    @ivar endpoint: Twisted's server endpoint string for it.
    @ivar host: the host it was written with; empty for all addresses, or where it is no TCP port.
    @ivar port: its TCP port, 0 for one that the system chooses; C{None} where it is none.
    """

    name: str
    security_protocol: str
    endpoint: str
    host: str
    port: int | None


def parse_listeners(
    text: str, protocols: Mapping[str, str], controllers: Collection[str], backlog: int, shown: str
) -> tuple[Listener, ...]:
    """
    The listeners of a C{listeners} property: items of either form, separated by commas.

    An endpoint may be given a name: C{INTERNAL=tcp:19092}; without one it is called by its security protocol, and
    C{PLAINTEXT2}, C{PLAINTEXT3} where that is taken.

    @param protocols: listener.security.protocol.map.
    @param controllers: listeners of Kafka's controllers, which kgw has not got; they are left out.
    @param backlog: connections that wait to be accepted, where an endpoint does not say it itself.
    @param shown: property, value and place, to begin an error with.
    @raise ConfigError: one is not understood or not served.
    """
    listeners: list[Listener] = []
    for item in _items(text):
        taken = {listener.name for listener in listeners}
        kafka = _KAFKA.match(item)
        if kafka is not None:
            if kafka["name"].upper() in controllers:
                continue
            listener = _from_kafka(kafka, protocols, backlog, shown)
        else:
            listener = _from_endpoint(item, taken, backlog, shown)
        if listener.name in taken:
            raise ConfigError(f"{shown}: two listeners are called {listener.name}; each needs its own name")
        listeners.append(listener)
    if not listeners:
        raise ConfigError(f"{shown}: there is no listener for clients; allowed: {_FORMS}")
    return tuple(listeners)


def parse_advertised(
    text: str, names: Collection[str], controllers: Collection[str], shown: str
) -> dict[str, tuple[str, int]]:
    """
    What advertised.listeners tells clients, host and port by listener name.

    @param names: the listeners there are.
    @raise ConfigError: an address nobody can connect to, or a name that no listener has.
    """
    advertised: dict[str, tuple[str, int]] = {}
    for item in _items(text):
        match = _KAFKA.match(item)
        if match is None:
            raise ConfigError(f"{shown}: {item!r} is not understood; allowed: NAME://host:port")
        name, host = match["name"].upper(), match["host"].strip("[]")
        if name in controllers:
            continue
        if name not in names:
            raise ConfigError(f"{shown}: there is no listener {name}; listeners has {', '.join(sorted(names))}")
        if name in advertised:
            raise ConfigError(f"{shown}: {name} is there twice")
        if not host or _is_wildcard(host):
            raise ConfigError(
                f"{shown}: {host or 'an empty host'} is no address that clients can connect to; name the host they"
                " use, or leave the entry out and each client is told the address it came to"
            )
        if match["port"] is None or not 0 < _port(match["port"]) < 65536:
            raise ConfigError(f"{shown}: {item!r} needs the port that clients connect to, from 1 to 65535")
        advertised[name] = (host, _port(match["port"]))
    return advertised


def parse_protocols(text: str, shown: str) -> dict[str, str]:
    """Security protocol by listener name, from listener.security.protocol.map."""
    protocols: dict[str, str] = {}
    for item in _items(text):
        name, separator, protocol = (part.strip().upper() for part in item.partition(":"))
        if not (name and separator) or protocol not in PROTOCOLS:
            raise ConfigError(
                f"{shown}: {item!r} is not understood; allowed: NAME:PROTOCOL with {', '.join(PROTOCOLS)}"
            )
        protocols[name] = protocol
    return protocols


def _from_kafka(match: re.Match[str], protocols: Mapping[str, str], backlog: int, shown: str) -> Listener:
    name, host = match["name"].upper(), match["host"].strip("[]")
    protocol = protocols.get(name) or (name if name in PROTOCOLS else None)
    if protocol is None:
        raise ConfigError(
            f"{shown}: listener {name} has no security protocol; add {name}:PLAINTEXT to listener.security.protocol.map"
        )
    if protocol.startswith("SASL_"):
        raise ConfigError(f"{shown}: listener {name} is {protocol}, and kgw has no SASL yet; use PLAINTEXT")
    if protocol == "SSL":
        raise ConfigError(
            f"{shown}: listener {name} is SSL, which kgw serves from Twisted endpoints only yet:"
            f" {name}=ssl:9093:privateKey=key.pem:certKey=cert.pem"
        )
    if match["port"] is None or not 0 <= _port(match["port"]) < 65536:
        raise ConfigError(f"{shown}: listener {name} needs a port, from 0 to 65535; 0 lets the system choose one")
    port = _port(match["port"])
    everywhere = not host and has_dualstack_ipv6()
    endpoint = f"tcp6:{port}" if ":" in host or everywhere else f"tcp:{port}"
    if host and host not in ("0.0.0.0", "::"):
        endpoint += f":interface={_quoted(host)}"
    if backlog != 50:  # which is Twisted's own, as it is Kafka's
        endpoint += f":backlog={backlog}"
    return Listener(name, protocol, endpoint, host, port)


def _from_endpoint(item: str, taken: Collection[str], backlog: int, shown: str) -> Listener:
    named = _NAMED.match(item)
    endpoint = named["endpoint"] if named is not None else item
    # haproxy: goes before another endpoint, whose clients' addresses a proxy announces.
    kind, arguments, keywords = split_endpoint(endpoint.removeprefix("haproxy:"))
    if kind not in ENDPOINTS or not (arguments or keywords):
        hint = f"; for a port alone write tcp:{item}" if item.isdecimal() else ""
        raise ConfigError(f"{shown}: {item!r} is not understood; allowed: {_FORMS}{hint}")
    protocol = ENDPOINTS[kind]
    if named is not None:
        name = named["name"].upper()
    else:
        name = next(n for n in (protocol, *(f"{protocol}{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    port: int | None = None
    host = ""
    if kind not in ("unix", "systemd"):
        positional = arguments[:1] if kind != "tls" else arguments[1:2]
        text = keywords.get("port") or (positional[0] if positional else "443" if kind == "tls" else "")
        if not text.isdecimal() or int(text) > 65535:
            raise ConfigError(f"{shown}: {item!r} needs a port from 0 to 65535 behind {kind}:")
        port, host = int(text), keywords.get("interface", "")
    if kind in ("tcp", "tcp6", "ssl") and len(arguments) < 2 and "backlog" not in keywords:
        endpoint += f":backlog={backlog}"
    return Listener(name, protocol, endpoint, host, port)


def split_endpoint(endpoint: str) -> tuple[str, list[str], dict[str, str]]:
    """An endpoint string's type, its arguments and its named arguments; C{\\:} and C{\\=} are plain characters."""
    arguments: list[str] = []
    keywords: dict[str, str] = {}
    for part in re.findall(r"(?:[^\\:]|\\.)+", endpoint):
        key, separator, value = part.partition("=")
        if separator and not key.endswith("\\"):
            keywords[key] = re.sub(r"\\(.)", r"\1", value)
        else:
            arguments.append(re.sub(r"\\(.)", r"\1", part))
    return (arguments[0] if arguments else ""), arguments[1:], keywords


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _port(text: str) -> int:
    digits = text.removeprefix(":")
    return int(digits) if len(digits) < 10 else -1


def _quoted(argument: str) -> str:
    """C{argument} inside an endpoint string."""
    return argument.replace("\\", "\\\\").replace(":", "\\:")


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
