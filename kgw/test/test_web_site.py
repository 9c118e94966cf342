"""The HTTP site: what stands where, what it refuses, and what its clients may not do to it."""

from __future__ import annotations

import errno
import http.client
import json
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError
from kgw.errors import StartError
from kgw.gateway import Gateway
from kgw.test.web_stage import WebStage
from kgw.testing import KafkaGateway
from kgw.web.server import IDLE_SECONDS, MOST_BODY_BYTES, REQUEST_SECONDS
from kgw.web.site import WebSite

LOCAL = "tcp:0:interface=127.0.0.1"


class RouteTests(SynchronousTestCase):
    """What stands where."""

    def setUp(self) -> None:
        self.stage = WebStage(self)

    def test_pages(self) -> None:
        """The first page names the others, and each of them is there."""
        for page in self.stage.get("/")["pages"]:
            self.assertEqual(self.stage.request(page).status, 200, page)
        for page in self.stage.get("/api/")["pages"]:
            if "{" not in page:
                self.assertEqual(self.stage.request(page).status, 200, page)

    def test_ready_by_other_names(self) -> None:
        """Probes written for other brokers and registries find theirs."""
        for path in ("/readyz", "/status/ready", "/v1/status/ready", "/_health", "/readyz/", "/readyz?verbose"):
            self.assertEqual(self.stage.get(path)["status"], "ready", path)

    def test_metrics(self) -> None:
        """What Prometheus reads is text."""
        got = self.stage.request("/metrics")
        self.assertEqual(got.status, 200)
        self.assertTrue(got.headers["content-type"].startswith("text/plain"))
        self.assertIn(b"\nkgw_build_info{", got.body)

    def test_head(self) -> None:
        """HEAD has the headers of GET, and no body."""
        got = self.stage.request("/livez", "HEAD")
        self.assertEqual((got.status, got.body), (200, b""))
        self.assertEqual(got.headers["content-length"], str(len(self.stage.request("/livez").body)))

    def test_headers(self) -> None:
        """Answers are not kept by anybody, not guessed at, and shown to no page of another origin."""
        headers = self.stage.request("/api/topics", headers="Origin: https://example.com\r\n").headers
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual([name for name in headers if name.startswith("access-control")], [])

    def test_nothing_there(self) -> None:
        """What is not there is said in JSON; dots lead nowhere."""
        for path in (
            "/nothing",
            "/api/nothing",
            "/api/topics/a/b",
            "/api/topics/nothing",
            "/api/groups/nothing",
            "//livez",
            "/../livez",
            "/api/../livez",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/api/topics/..%2f..%2fetc%2fpasswd",
            "/livez%00",
        ):
            got = self.stage.request(path)
            self.assertEqual((got.status, got.headers["content-type"]), (404, "application/json"), path)
            self.assertEqual(got.json["status"], 404, path)

    def test_other_methods(self) -> None:
        """Nothing is changed here, and it is said what is understood."""
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
            got = self.stage.request("/api/topics", method)
            self.assertEqual((got.status, got.headers["allow"]), (405, "GET, HEAD"), method)
            self.assertIn(method, got.json["error"])

    def test_bad_requests(self) -> None:
        """What is no path, no text or no page is refused."""
        for target in ("livez", "*", "/%ff", "/api/topics?limit=0", "/api/topics?offset=-1", "/api/topics?limit=1001"):
            self.assertEqual(self.stage.request(target).status, 400, target)
        self.assertEqual(self.stage.request("/api/topics?" + "a=1&" * 30).status, 400)

    def test_body_is_ignored(self) -> None:
        """A body is read and thrown away, and the connection goes on."""
        client = self.stage.connect()
        client.send(b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /livez HTTP/1.1\r\n\r\n")
        self.assertEqual([got.status for got in client.answers()], [200, 200])

    def test_before_the_start(self) -> None:
        """A gateway that waits for its engine is alive, and not ready."""
        stage = WebStage(self, start=False)
        self.assertEqual(stage.get("/livez"), {"status": "alive"})
        got = stage.request("/readyz")
        self.assertEqual((got.status, got.json["reasons"]), (503, ["kgw is starting"]))
        for path in ("/api/topics", "/metrics"):
            self.assertEqual(stage.request(path).status, 503, path)


class BoundTests(SynchronousTestCase):
    """What clients may not do."""

    def test_endless_body(self) -> None:
        """A body that does not end is cut, of whatever length it says it is."""
        for head in (b"Content-Length: 10000000000", b"Transfer-Encoding: chunked"):
            client = WebStage(self).connect()
            client.send(b"POST /livez HTTP/1.1\r\n" + head + b"\r\n\r\n")
            for _ in range(MOST_BODY_BYTES // 1024 + 1):
                self.assertFalse(client.transport.aborted)
                client.send(b"400\r\n" + b"a" * 1024 + b"\r\n" if b"chunked" in head else b"a" * 1024)
            self.assertTrue(client.transport.aborted)

    def test_endless_head(self) -> None:
        """So is a head that does not end."""
        client = WebStage(self).connect()
        client.send(b"GET /livez HTTP/1.1\r\n")
        for number in range(40):
            client.send(b"X-%d: %s\r\n" % (number, b"a" * 1000))
            if client.transport.disconnecting:
                break
        self.assertLess(number, 20)

    def test_slow_request(self) -> None:
        """A request that comes a byte at a time is cut, though its sender is never silent."""
        stage = WebStage(self)
        client = stage.connect()
        for byte in b"GET /livez HTTP/1.1":
            client.send(bytes([byte]))
            stage.reactor.advance(REQUEST_SECONDS / 10)
        self.assertTrue(client.transport.aborted)
        self.assertEqual(client.transport.value(), b"")

    def test_silence(self) -> None:
        """A connection that was answered may ask again, until it is silent for too long."""
        stage = WebStage(self)
        client = stage.connect()
        for _ in range(3):
            client.send(b"GET /livez HTTP/1.1\r\n\r\n")
            self.assertEqual([got.status for got in client.answers()], [200])
            stage.reactor.advance(IDLE_SECONDS - 1)
            self.assertFalse(client.transport.aborted)
        stage.reactor.advance(1)
        self.assertTrue(client.transport.aborted)

    def test_too_many(self) -> None:
        """One connection too many is closed; there is room again when another has gone."""
        stage = WebStage(self, kgw_http_max_connections="2")
        first, _, third = stage.connect(), stage.connect(), stage.connect()
        self.assertEqual([first.transport.aborted, third.transport.aborted], [False, True])
        for gone in (first, third):
            gone.leave()
        self.assertEqual(stage.connect().transport.aborted, False)

    def test_stop(self) -> None:
        """A stop of the gateway leaves no connection."""
        stage = WebStage(self)
        client = stage.connect()
        self.successResultOf(stage.gateway.stopService())
        self.assertTrue(client.transport.aborted)


class EndpointTests(SynchronousTestCase):
    """Where it listens; on real sockets."""

    def request(self, port: int, target: str, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def test_hosts(self) -> None:
        """On a local endpoint only names that cannot lead here from elsewhere are answered."""
        with KafkaGateway({"kgw.http.endpoint": LOCAL}) as gateway:
            port = gateway.http_port
            for host in (
                "localhost",
                f"localhost:{port}",
                f"127.0.0.1:{port}",
                "[::1]:8088",
                "kgw.localhost",
                "10.0.0.7",
            ):
                self.assertEqual(self.request(port, "/livez", Host=host)[0], 200, host)
            for host in ("example.com", f"example.com:{port}", "localhost.example.com", "127.0.0.1.nip.io:80", ""):
                status, answer = self.request(port, "/livez", Host=host)
                self.assertEqual((status, answer["status"]), (421, 421), host)

    def test_all_hosts(self) -> None:
        """An endpoint that others may reach has whatever name they give it."""
        with KafkaGateway({"kgw.http.endpoint": "tcp:0:interface=0.0.0.0"}) as gateway:
            self.assertEqual(self.request(gateway.http_port, "/livez", Host="kgw.example.com")[0], 200)

    def test_taken(self) -> None:
        """An endpoint that somebody asked for and another has is an error; it says what to do."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            refusal = self.assertRaises(StartError, KafkaGateway({"kgw.http.endpoint": endpoint}).start)
        self.assertEqual(
            str(refusal),
            f"kgw.http.endpoint cannot listen on {endpoint}: Address already in use; stop what uses that port or choose"
            " another with kgw.http.endpoint",
        )

    def test_default_taken(self) -> None:
        """Where nobody asked for the default endpoint and another kgw has it, this one starts without, and says so."""

        class Taken(MemoryReactorClock):
            def listenTCP(self, port: int, *args: Any, **kwargs: Any) -> Any:
                """Another process has one."""
                if port == 8088:
                    raise CannotListenError("127.0.0.1", port, OSError(errno.EADDRINUSE, "Address already in use"))
                return super().listenTCP(port, *args, **kwargs)

        reactor: Any = Taken()
        gateway = Gateway(Config({"kgw.engine": "memory", "listeners": "PLAINTEXT://127.0.0.1:9092"}), reactor)
        gateway.accompany(WebSite(gateway, reactor), early=True)
        gateway.startService()
        self.successResultOf(gateway.started)
        self.assertEqual(
            gateway.banner()[-1],
            "http none, tcp:8088:interface=127.0.0.1 is in use; choose another with kgw.http.endpoint",
        )
        self.successResultOf(gateway.stopService())

    def test_not_understood(self) -> None:
        """What is no endpoint is refused before anything starts."""
        for endpoint in ("8088", "tcp", "http:8088", "127.0.0.1:8088"):
            error = self.assertRaises(ConfigError, Config, {"kgw.http.endpoint": endpoint})
            self.assertIn(f"kgw.http.endpoint={endpoint}", str(error))
        self.assertEqual(Config({"kgw.http.endpoint": ""}).kgw_http_endpoint, "")

    def test_none_in_tests(self) -> None:
        """A gateway inside a test has no HTTP unless the test wants it."""
        with KafkaGateway() as gateway:
            self.assertRaises(KeyError, lambda: gateway.http_port)
