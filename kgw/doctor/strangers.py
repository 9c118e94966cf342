"""What it is that listens on a port and does not answer as a Kafka broker: TLS, HTTP, something else, or nothing."""

from __future__ import annotations

import contextlib
import ssl

from kgw.doctor.connection import Address, NoAnswer, Trouble

#: Seconds for a probe: whoever speaks these protocols answers at once.
_PATIENCE = 3.0
_HTTP = b"GET / HTTP/1.0\r\n\r\n"


def speaks_tls(address: Address) -> bool:
    """Whether a TLS handshake gets an answer of TLS, be it an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with address.connect(_PATIENCE) as plain, context.wrap_socket(plain, server_hostname=address.host):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (NoAnswer, OSError):
        return False


def speaks_http(address: Address) -> bool:
    """Whether a request of HTTP gets an answer of HTTP."""
    with contextlib.suppress(NoAnswer, OSError), address.connect(_PATIENCE) as connection:
        connection.sendall(_HTTP)
        return connection.recv(5) == b"HTTP/"
    return False


def explain(address: Address, refusal: NoAnswer, tls: bool = False) -> tuple[str, str | None]:
    """
    What is at an address that gave no Kafka answer, in plain words.

    @param tls: it was spoken to with TLS.
    @return: a sentence, and what to change, if that can be said.
    """
    port = address.port
    if refusal.trouble is Trouble.NAME:
        return str(refusal), "the address you gave, or the name in DNS or /etc/hosts"
    if refusal.trouble is Trouble.REFUSED:
        return (
            f"{refusal}. kgw is not running, it listens on another port, or only on another address of its machine",
            f"listeners=PLAINTEXT://0.0.0.0:{port}",
        )
    if refusal.trouble is Trouble.UNREACHABLE:
        return f"{refusal}. A firewall drops the connection, or there is no route to the machine", None
    if refusal.trouble is Trouble.CERTIFICATE:
        return (
            f"{refusal}. Clients that check it will not connect",
            "the clients' ssl.ca.location, or the certificate: it has to name the host that clients connect to",
        )
    if tls and refusal.trouble is not Trouble.CLOSED:
        return f"{refusal}. Is it a plain listener?", "the address you gave, or leave out --tls"
    if refusal.excerpt.startswith(b"HTTP/") or (not refusal.excerpt and speaks_http(address)):
        return (
            f"{address} is an HTTP server, not Kafka: is it the port of kgw's metrics and health (kgw.http.endpoint)?",
            "the port you gave: Kafka's is the one in listeners",
        )
    if refusal.excerpt[:1] == b"\x15" or speaks_tls(address):
        return (
            f"{address} is a TLS port, and was spoken to in plain. Clients need security.protocol=SSL there",
            f"listeners=PLAINTEXT://:{port}, or the clients' security.protocol=SSL",
        )
    if refusal.trouble is Trouble.CLOSED:
        return (
            f"{refusal}. It is not Kafka, or it wants authentication first, or it is a port that Docker or a proxy"
            " forwards to where nobody listens",
            f"listeners=PLAINTEXT://0.0.0.0:{port}, if the broker is in a container",
        )
    if refusal.trouble is Trouble.SILENT:
        return (
            f"{refusal}. It takes connections but says nothing: it hangs, is overloaded, or is not Kafka at all",
            None,
        )
    if refusal.excerpt:
        return f"{refusal}, but {_printable(refusal.excerpt)}", "the port you gave"
    return str(refusal), None


def _printable(excerpt: bytes) -> str:
    return repr(excerpt.decode("ascii", "backslashreplace"))
