"""A schema registry for tests, on Twisted: answers as Confluent's does, notes what it is asked, and fails when told to.

C{python -m kgw.test.registry --port 0} runs one and prints its URL; C{kgw.test.live.registry} does so for a test. What
one in another process is to do is told over HTTP: C{PUT /_stub/behaviour} and C{GET /_stub/requests}.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kgw.schema.model import Reference, RegisteredSchema, SchemaType
from kgw.schema.registry_book import SchemaBook

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
#: What a registry asked for too much would send.
HUGE = 64 << 20


class Behaviour(StrEnum):
    """What becomes of a request."""

    #: It is answered.
    WELL = "well"
    #: HTTP 500 and Confluent's error of a store.
    FAILING = "failing"
    #: No answer ever.
    HANGING = "hanging"
    #: HTTP 401, as a proxy in front of a registry says it.
    UNAUTHORISED = "unauthorised"
    #: HTTP 404 with the bare JSON string that Karapace sends where it has no such call.
    MISSING = "missing"
    #: HTTP 404 and a page for people, from a server that is no registry.
    NO_PAGE = "no page"
    #: HTTP 200 and such a page.
    A_PAGE = "a page"
    #: HTTP 200 and more than anybody wants to read.
    HUGE = "huge"
    #: The connection ends in the middle of the answer.
    CUT = "cut"
    #: HTTP 302 to another place.
    ELSEWHERE = "elsewhere"


class Asked(NamedTuple):
    """
    One request.

    @ivar uri: path and query as they were sent.
    @ivar body: the JSON that was sent, C{None} for none.
    """

    method: str
    uri: str
    body: Any
    headers: Mapping[str, str]


class Problem(Exception):
    """An error as the registry answers it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = code if code < 1000 else code // 100


class StubRegistry(Resource):
    """
    The registry.

    @ivar book: what it holds; a test may write in it.
    @ivar behaviour: what becomes of requests from now on.
    @ivar lacking: beginnings of calls that it has not got, as C{"GET /schemas/guids"}: answered as Karapace does.
    @ivar authorization: the header that requests must carry, if not C{None}.
    @ivar asked: all requests so far.
    @ivar address: where it was reached; there once it listens.
    """

    isLeaf = True
    address = ""

    def __init__(self) -> None:
        super().__init__()
        self.book = SchemaBook()
        self.behaviour = Behaviour.WELL
        self.lacking: tuple[str, ...] = ()
        self.authorization: str | None = None
        self.asked: list[Asked] = []
        self._levels: dict[str, str] = {}
        self._modes: dict[str, str] = {}
        self._factory: WrappingFactory | None = None
        self._port: IListeningPort | None = None

    def listen(self, reactor: Any, port: int = 0, context: Any = None) -> str:
        """
        Begin to answer on 127.0.0.1.

        @param context: speak TLS with these options.
        @return: the base URL.
        """
        factory = self._factory = WrappingFactory(Site(self, timeout=None, reactor=reactor))
        factory.noisy = False
        if context is None:
            listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
        else:
            listening = reactor.listenSSL(port, factory, context, interface="127.0.0.1")
        self._port = listening
        self.address = f"{'http' if context is None else 'https'}://127.0.0.1:{listening.getHost().port}"
        return self.address

    def stop(self, reactor: Any) -> Deferred[None]:
        """Stop answering; fires when all connections are closed."""
        return Deferred.fromCoroutine(self._stop(reactor))

    async def _stop(self, reactor: Any) -> None:
        port, self._port = self._port, None
        if port is None or self._factory is None:
            return
        await maybeDeferred(port.stopListening)
        for connection in list(self._factory.protocols):
            connection.abortConnection()
        while self._factory.protocols:
            await deferLater(reactor, 0)

    def uris(self) -> list[str]:
        """What was asked for, C{"GET /subjects"}."""
        return [f"{one.method} {one.uri}" for one in self.asked]

    def render(self, request: Request) -> Any:
        """Answer one request."""
        method, uri = request.method.decode(), request.uri.decode("latin-1")
        sent = request.content.read() if request.content is not None else b""
        segments = [segment.decode("utf-8") for segment in cast("list[bytes]", request.postpath) if segment]
        if segments[:1] == ["_stub"]:
            return self._told(request, method, segments[1:], sent)
        headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        try:
            body = json.loads(sent) if sent else None
        except ValueError:
            return _answer(request, 400, {"error_code": 400, "message": "Unable to process JSON"})
        self.asked.append(Asked(method, uri, body, headers))
        if self.authorization is not None and headers.get("authorization") != self.authorization:
            return _answer(request, 401, {"error_code": 40101, "message": "Unauthorized"})
        if self.behaviour is not Behaviour.WELL:
            return self._misbehave(request)
        if any(f"{method} {uri}".startswith(one) for one in self.lacking):
            return _answer(request, 404, "Not Found")
        query = {name.decode(): values[-1].decode() for name, values in (request.args or {}).items()}
        try:
            said = self._dispatch(method, tuple(segments), query, body)
        except Problem as problem:
            return _answer(request, problem.status, {"error_code": problem.code, "message": str(problem)})
        return _answer(request, 200, said)

    def _told(self, request: Request, method: str, segments: list[str], sent: bytes) -> Any:
        if segments == ["requests"]:
            return _answer(request, 200, [one._asdict() for one in self.asked])
        if segments == ["behaviour"] and method == "PUT":
            told = json.loads(sent)
            self.behaviour = Behaviour(told.get("behaviour", self.behaviour))
            self.lacking = tuple(told.get("lacking", self.lacking))
            self.authorization = told.get("authorization", self.authorization)
            return _answer(request, 200, {})
        return _answer(request, 404, {})

    def _misbehave(self, request: Request) -> Any:
        match self.behaviour:
            case Behaviour.FAILING:
                return _answer(request, 500, {"error_code": 50001, "message": "Error in the backend data store"})
            case Behaviour.UNAUTHORISED:
                return _answer(request, 401, "<html>Unauthorized</html>", as_json=False)
            case Behaviour.MISSING:
                return _answer(request, 404, "Not Found")
            case Behaviour.NO_PAGE:
                return _answer(request, 404, "<html>no such page</html>", as_json=False)
            case Behaviour.A_PAGE:
                return _answer(request, 200, "<html>Welcome to nginx</html>", as_json=False)
            case Behaviour.HUGE:
                return _answer(request, 200, {"schema": " " * HUGE})
            case Behaviour.ELSEWHERE:
                request.setHeader("Location", "http://127.0.0.1:1/")
                return _answer(request, 302, {})
            case Behaviour.CUT:
                request.setHeader("Content-Length", "1000")
                request.write(b'{"schema": ')
                cast("Any", request.transport).loseConnection()
        return NOT_DONE_YET

    def _dispatch(self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: Any) -> Any:
        deleted = query.get("deleted", "").lower() == "true"
        match method, *path:
            case ("GET",):
                return {}
            case "GET", "contexts":
                return ["."]
            case "GET", "subjects":
                prefix = query.get("subjectPrefix", "")
                return [name for name in self.book.subjects(deleted) if name.startswith(prefix)]
            case "POST", "subjects", subject:
                return self._look_up(subject, body, deleted)
            case "DELETE", "subjects", subject:
                return self.book.delete(subject) or self._no_subject(subject)
            case "GET", "subjects", subject, "versions":
                return self.book.versions(subject, deleted) or self._no_subject(subject)
            case "POST", "subjects", subject, "versions":
                return self._register(subject, body)
            case "GET", "subjects", subject, "versions", version:
                found = self._version(subject, version, deleted)
                return {"subject": subject, **self._told_of(found, query), "version": found.version}
            case "DELETE", "subjects", subject, "versions", version:
                return self.book.delete(subject, self._version(subject, version, False).version)[0]
            case "GET", "subjects", subject, "versions", version, "schema":
                return _Text(self._version(subject, version, deleted).text)
            case "GET", "schemas", "types":
                return ["JSON", "PROTOBUF", "AVRO"]
            case "GET", "schemas", "ids", number, *rest:
                return self._of_number(number, rest, query, deleted)
            case "GET", "schemas", "guids", guid:
                return self._told_of(self._by_guid(guid), query)
            case "GET", "schemas", "guids", guid, "ids":
                return [{"context": ".", "id": self._by_guid(guid).id}]
            case _, "config" | "mode", *_:
                return self._setting(method, path, query, body)
            case "POST", "compatibility", "subjects", subject, "versions", *_:
                return {"is_compatible": True} if self.book.versions(subject) else self._no_subject(subject)
        raise Problem(404, "HTTP 404 Not Found")

    def _setting(self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: Any) -> Any:
        level = path[0] == "config"
        settings = self._levels if level else self._modes
        asked, told = ("compatibilityLevel", "compatibility") if level else ("mode", "mode")
        subject = "/".join(path[1:])
        if method == "PUT":
            settings[subject] = str(body[told])
            return {told: settings[subject]}
        own = settings.pop(subject, None) if method == "DELETE" else settings.get(subject)
        if own is None and subject and query.get("defaultToGlobal") != "true":
            raise Problem(40408 if level else 40409, f"Subject '{subject}' has none of its own")
        return {asked: own or settings.get("", "BACKWARD" if level else "READWRITE")}

    def _of_number(self, number: str, rest: list[str], query: Mapping[str, str], deleted: bool) -> Any:
        found = self.book.by_id(int(number)) if number.isdecimal() else None
        if found is None:
            raise Problem(40403, f"Schema {number} not found")
        match rest:
            case []:
                said = self._told_of(found, query)
                del said["id"]
                return said
            case ["schema"]:
                return _Text(found.text)
            case ["subjects"]:
                return sorted({subject for subject, _ in self.book.places(found.id, deleted)})
            case ["versions"]:
                return [
                    {"subject": subject, "version": version} for subject, version in self.book.places(found.id, deleted)
                ]
        raise Problem(404, "HTTP 404 Not Found")

    def _by_guid(self, text: str) -> RegisteredSchema:
        try:
            found = self.book.by_guid(uuid.UUID(text).bytes)
        except ValueError:
            found = None
        if found is None:
            raise Problem(40403, f"Schema {text} not found")
        return found

    def _no_subject(self, subject: str) -> Any:
        raise Problem(40401, f"Subject '{subject}' not found.")

    def _version(self, subject: str, text: str, deleted: bool) -> RegisteredSchema:
        if text not in ("latest", "-1") and not (text.isdecimal() and int(text)):
            raise Problem(42202, f"The specified version '{text}' is not a valid version id.")
        found = self.book.version(subject, -1 if text == "latest" else int(text), deleted)
        if found is not None:
            return found
        if not self.book.versions(subject, deleted):
            self._no_subject(subject)
        raise Problem(40402, f"Version {text} not found.")

    def _content(self, body: Any) -> tuple[str, SchemaType, list[Reference]]:
        if not isinstance(body, dict) or not isinstance(body.get("schema"), str):
            raise Problem(42201, "Empty schema")
        kind = body.get("schemaType") or "AVRO"
        if kind not in SchemaType.__members__:
            raise Problem(42201, f"Invalid schema type {kind}")
        references = []
        for one in body.get("references") or []:
            there = self.book.version(one["subject"], one["version"], deleted=True)
            if there is None:
                raise Problem(42201, f"Invalid schema: no reference found for {one['subject']}")
            references.append(Reference(one["name"], one["subject"], there.version))
        text = body["schema"]
        if kind != SchemaType.PROTOBUF:
            try:
                json.loads(text)
            except ValueError:
                raise Problem(42201, "Invalid schema: no JSON") from None
        return text, SchemaType(kind), references

    def _register(self, subject: str, body: Any) -> dict[str, Any]:
        return self._told_of(self.book.register(subject, *self._content(body)), {})

    def _look_up(self, subject: str, body: Any, deleted: bool) -> dict[str, Any]:
        if not self.book.versions(subject, deleted):
            self._no_subject(subject)
        found = self.book.find(subject, *self._content(body), deleted)
        if found is None:
            raise Problem(40403, "Schema not found")
        return {"subject": subject, **self._told_of(found, {})}

    def _told_of(self, schema: RegisteredSchema, query: Mapping[str, str]) -> dict[str, Any]:
        said: dict[str, Any] = {"id": schema.id}
        if schema.version:
            said["version"] = schema.version
        if schema.guid is not None:
            said["guid"] = str(uuid.UUID(bytes=schema.guid))
        if schema.type is not SchemaType.AVRO:
            said["schemaType"] = schema.type.value
        said["schema"] = schema.text
        if schema.type is SchemaType.PROTOBUF and query.get("format") == "serialized":
            said["schema"] = serialized(schema, self._text_of)
        if schema.references:
            said["references"] = [one._asdict() for one in schema.references]
        return said

    def _text_of(self, reference: Reference) -> RegisteredSchema:
        found = self.book.version(reference.subject, reference.version, deleted=True)
        if found is None:
            raise Problem(50001, f"no {reference.subject}")
        return found


class _Text(str):
    """An answer that is the text itself and not its JSON."""


def _answer(request: Request, status: int, said: Any, as_json: bool = True) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", CONTENT_TYPE if as_json else "text/html")
    raw = not as_json or isinstance(said, _Text)
    return said.encode() if raw else json.dumps(said).encode()


def serialized(schema: RegisteredSchema, text_of: Callable[[Reference], RegisteredSchema]) -> str:
    """
    The base64 of a Protobuf schema's C{FileDescriptorProto}, without those it imports.

    @param text_of: finds a schema that another one refers to.
    @raise Problem: it does not compile.
    """
    if "message" not in schema.text and "syntax" not in schema.text:
        return schema.text  # it was registered so
    import grpc_tools
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        waiting = [("default.proto", schema)]
        descriptors = []
        while waiting:
            name, one = waiting.pop()
            if name.startswith("/") or ".." in name.split("/"):
                raise Problem(42201, f"Invalid name {name}")
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if "syntax" in one.text or "message" in one.text:
                path.write_text(one.text, encoding="utf-8")
            else:
                file = FileDescriptorProto.FromString(base64.b64decode(one.text))
                file.name = name
                descriptors.append(file)
            waiting += [(reference.name, text_of(reference)) for reference in one.references]
        made = place / "made"
        command = ["protoc", f"-I{place}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
        if descriptors:
            given = place / "given"
            given.write_bytes(FileDescriptorSet(file=descriptors).SerializeToString())
            command.append(f"--descriptor_set_in={given}")
        if protoc.main([*command, f"--descriptor_set_out={made}", "default.proto"]):
            raise Problem(42201, "Invalid schema")
        (file,) = FileDescriptorSet.FromString(made.read_bytes()).file
        return base64.b64encode(file.SerializeToString()).decode()


def main() -> int:
    """Run a registry until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m kgw.test.registry", description="Run a schema registry for tests.")
    parser.add_argument(
        "--port", type=int, default=8081, help="the port on 127.0.0.1; 0 is one that the system chooses"
    )
    arguments = parser.parse_args()
    from twisted.internet import reactor

    print(StubRegistry().listen(reactor, arguments.port), flush=True)
    cast("Any", reactor).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
