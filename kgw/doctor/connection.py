"""A small blocking client of the Kafka protocol: one connection, one request at a time, versions as both know them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Self

from kgw import __version__
from kgw.errors import ErrorCode, WireError
from kgw.handlers import api_versions
from kgw.handlers.contract import Api

CLIENT_ID = "kgw-doctor"
#: The least port that Kafka's own documentation uses; taken where an address names none.
DEFAULT_PORT = 9092
#: No answer that is asked for here is larger; a size beyond that is no size.
_MOST_BYTES = 64 << 20
_EXCERPT = 60
#: Correlation ids that grow from here: what is sent to a server of another protocol is no text in any.
_FIRST_ID = 0x6B677701


class Trouble(Enum):
    """Why there is no answer."""

    #: The host's name is unknown.
    NAME = "name"
    #: Nobody listens.
    REFUSED = "refused"
    #: Nothing comes back, not even a refusal; or there is no way there.
    UNREACHABLE = "unreachable"
    #: The other end closed the connection.
    CLOSED = "closed"
    #: The connection stands, but no answer came in time.
    SILENT = "silent"
    #: What came is not Kafka's protocol.
    FOREIGN = "foreign"
    #: The broker's certificate is not one to be trusted.
    CERTIFICATE = "certificate"
    #: A version that both know is missing, or the broker refused the request as a whole.
    UNSERVED = "unserved"


class NoAnswer(Exception):
    """
    A question got no answer; the message is for people.

    @ivar excerpt: what came instead, if anything did.
    """

    def __init__(self, trouble: Trouble, message: str, excerpt: bytes = b"") -> None:
        super().__init__(message)
        self.trouble = trouble
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        Read C{HOST:PORT}, C{[IPV6]:PORT}, or a host alone, which is taken with port 9092.

        @raise ValueError: it is none of these.
        """
        host, colon, port = text.rpartition(":")
        if not colon or (text.startswith("[") and text.endswith("]")):
            host, port = text, str(DEFAULT_PORT)
        host = host.removeprefix("[").removesuffix("]")
        if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is no HOST:PORT")
        return cls(host, int(port))

    def connect(self, patience: float) -> socket.socket:
        """
        A connection.

        @param patience: seconds for each of the host's addresses, and afterwards for each call on the socket.
        @raise NoAnswer: there is none.
        """
        try:
            connection = socket.create_connection((self.host, self.port), patience)
        except socket.gaierror as error:
            raise NoAnswer(Trouble.NAME, f"the name {self.host} cannot be resolved: {error.strerror}") from None
        except UnicodeError:
            raise NoAnswer(Trouble.NAME, f"{self.host!r} is no name of a host") from None
        except ConnectionRefusedError:
            raise NoAnswer(Trouble.REFUSED, f"{self} refuses the connection: nobody listens there") from None
        except TimeoutError:
            raise NoAnswer(Trouble.UNREACHABLE, f"no connection to {self} within {patience:g} s") from None
        except OSError as error:
            raise NoAnswer(Trouble.UNREACHABLE, f"{self} cannot be reached: {error.strerror or error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class Connection:
    """
    A connection to something that should be a Kafka broker; closed at the end of its C{with} block.

    @ivar address: what it is connected to.
    @ivar served: the broker's lowest and highest version by API key.
    @ivar connect_seconds: how long the connection took.
    @ivar seconds: how long the last answer took.
    """

    def __init__(self, address: Address, patience: float, tls: ssl.SSLContext | None = None) -> None:
        """
        Connect, and ask for the broker's versions.

        @param patience: seconds, for the connection and for each answer.
        @param tls: what TLS is spoken with; C{None} for none.
        @raise NoAnswer: there is no connection, or no Kafka broker at its end.
        """
        self.address = address
        self.served: dict[int, tuple[int, int]] = {}
        self.seconds = 0.0
        self._patience = patience
        self._correlation = _FIRST_ID
        start = time.monotonic()
        self._socket = address.connect(patience) if tls is None else _secured(address, patience, tls)
        self.connect_seconds = time.monotonic() - start
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def version(self, api: Api, newest: int | None = None) -> int | None:
        """
        The version in which an API is spoken here; C{None} where there is none that both know.

        @param newest: the last version that the caller can use.
        """
        theirs = self.served.get(api.key)
        if theirs is None:
            return None
        best = min(api.versions[-1], theirs[1], api.versions[-1] if newest is None else newest)
        return best if best >= max(api.versions[0], theirs[0]) else None

    def ask(self, api: Api, request: Any, newest: int | None = None, patience: float | None = None) -> Any:
        """
        Send a request and read its answer.

        @param newest: the last version that the caller can use.
        @param patience: seconds for the answer, if it may take longer than usual.
        @raise NoAnswer: there is no common version, or no answer.
        """
        version = self.version(api, newest)
        if version is None:
            theirs = self.served.get(api.key)
            known = f"serves versions {theirs[0]} to {theirs[1]} only" if theirs else "does not serve it"
            raise NoAnswer(Trouble.UNSERVED, f"{api.name} cannot be asked: the broker {known}")
        body = self._exchange(api, version, request, patience or self._patience)
        return _decode(api, version, body)

    def _greet(self) -> None:
        """As all clients begin: the newest version, and where that is refused, the oldest (KIP-511)."""
        api = api_versions.API
        hello = api_versions.Request(client_software_name=CLIENT_ID, client_software_version=__version__)
        version = 3
        body = self._exchange(api, version, hello, self._patience)
        if body[4:6] == ErrorCode.UNSUPPORTED_VERSION.to_bytes(2, "big"):
            version = 0
            body = self._exchange(api, version, hello, self._patience)
        answer = _decode(api, version, body)
        if answer.error_code:
            name = ErrorCode(answer.error_code).name
            raise NoAnswer(Trouble.UNSERVED, f"ApiVersions is answered with {name}")
        self.served = {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}

    def _exchange(self, api: Api, version: int, request: Any, patience: float) -> bytes:
        """Send, and receive a frame without its size; its correlation id is checked."""
        self._correlation += 1
        frame = _framed(api, version, self._correlation, request)
        start = time.monotonic()
        deadline = start + patience
        with self._told(api.name, patience):
            self._socket.settimeout(patience)
            self._socket.sendall(frame)
            head = self._exactly(8, deadline)
        size, correlation = struct.unpack(">iI", head)
        if not 4 <= size <= _MOST_BYTES or correlation != self._correlation:
            with contextlib.suppress(OSError):
                self._socket.settimeout(0.2)
                head += self._socket.recv(_EXCERPT)
            raise NoAnswer(Trouble.FOREIGN, f"what {self.address} answers is not Kafka's protocol", head)
        with self._told(api.name, patience):
            body = self._exactly(size - 4, deadline)
        self.seconds = time.monotonic() - start
        return head[4:] + body

    @contextlib.contextmanager
    def _told(self, name: str, patience: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise NoAnswer(Trouble.SILENT, f"{self.address} did not answer {name} within {patience:g} s") from None
        except OSError as error:
            told = f"{self.address} ended the connection upon {name}: {error.strerror or error}"
            raise NoAnswer(Trouble.CLOSED, told) from None

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            more = self._socket.recv(min(size - len(data), 1 << 20))
            if not more:
                if data:
                    # greetings and error messages of other protocols are short
                    told = f"what {self.address} answers is not Kafka's protocol"
                    raise NoAnswer(Trouble.FOREIGN, told, bytes(data))
                raise ConnectionError("closed")
            data += more
        return bytes(data)


def _secured(address: Address, patience: float, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """
    A connection that speaks TLS.

    @raise NoAnswer: there is none, or the other end cannot prove who it is.
    """
    plain = address.connect(patience)
    try:
        return tls.wrap_socket(plain, server_hostname=address.host)
    except ssl.SSLCertVerificationError as error:
        told = f"the certificate of {address} is not accepted: {error.verify_message}"
        trouble = Trouble.CERTIFICATE
    except TimeoutError:
        told, trouble = f"{address} did not answer the TLS handshake within {patience:g} s", Trouble.SILENT
    except OSError as error:
        told, trouble = f"{address} does not speak TLS: {error.strerror or error}", Trouble.FOREIGN
    plain.close()
    raise NoAnswer(trouble, told)


def _framed(api: Api, version: int, correlation: int, request: Any) -> bytes:
    client = CLIENT_ID.encode()
    header = struct.pack(">hhIh", api.key, version, correlation, len(client)) + client
    if api.is_flexible(version):
        header += b"\0"
    body = b"".join(api.request_codec(version).encode(request))
    return struct.pack(">i", len(header) + len(body)) + header + body


def _decode(api: Api, version: int, body: bytes) -> Any:
    start = 5 if api.is_flexible(version) and not api.plain_response_header else 4
    try:
        return api.response_codec(version).decode(body, start)[0]
    except WireError as error:
        raise NoAnswer(Trouble.FOREIGN, f"the answer to {api.name} cannot be read: {error}", body[:_EXCERPT]) from None
