"""kgw doctor and kgw apis against gateways that are well, that are configured badly, and against what is no gateway."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.cli import main
from kgw.doctor.connection import Address
from kgw.doctor.examination import examine
from kgw.doctor.findings import Findings, as_text
from kgw.handlers import api_versions, list_groups, metadata
from kgw.handlers.registry import ALL
from kgw.test.certificates import self_signed
from kgw.test.live.raw import RawClient
from kgw.testing import KafkaGateway

#: Seconds for an answer: short where none will come.
PATIENCE = 5.0
SHORT = 0.5


class Server:
    """
    A server on a thread of its own, for one connection after the other.

    @ivar address: where it listens.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        """
        @param serve: gets each connection, which is closed when it returns.
        """
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        # a thread that waits in accept() does not notice close()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    self._serve(connection)
                except OSError:
                    continue


class DoctorTestCase(SynchronousTestCase):
    """Things that several tests need."""

    def gateway(self, properties: Mapping[str, str] | None = None) -> KafkaGateway:
        """One that runs until the test's end."""
        gateway = KafkaGateway(properties).start()
        self.addCleanup(gateway.stop)
        return gateway

    def server(self, serve: Callable[[socket.socket], None]) -> Server:
        """One that listens until the test's end."""
        server = Server(serve)
        self.addCleanup(server.stop)
        return server

    def unused(self) -> int:
        """A port on which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port: int = listening.getsockname()[1]
        return port

    def run_kgw(self, *arguments: str) -> tuple[int, str, str]:
        """
        Run a command of kgw.

        @return: exit status, stdout and stderr.
        """
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def by_check(self, findings: Findings) -> dict[str, tuple[str, str, str | None]]:
        """Level, text and change by what was looked at."""
        return {row.check: (row.level.value, row.text, row.change) for row in findings.rows}

    def examine(self, gateway: KafkaGateway, **options: Any) -> dict[str, tuple[str, str, str | None]]:
        """What the doctor finds."""
        return self.by_check(examine(Address("127.0.0.1", gateway.port), PATIENCE, **options))

    def ask(self, gateway: KafkaGateway, api: Any, version: int, request: Any) -> Any:
        """Ask the gateway something."""
        with RawClient(gateway.port) as client:
            return client.ask(api, version, request)


class GoodTests(DoctorTestCase):
    """A gateway that is well."""

    def test_all_is_well(self) -> None:
        """Every line is good, the exit status is 0, and nothing is left behind."""
        gateway = self.gateway()
        status, out, err = self.run_kgw("doctor", gateway.bootstrap)
        self.assertEqual((status, err), (0, ""), out)
        lines = out.splitlines()
        self.assertEqual((lines[0], lines[-1]), (f"kgw doctor {gateway.bootstrap}", "No problems."))
        checks = [line.split()[:2] for line in lines[2:-2]]
        first = ["connection", "versions", "metadata", "address"]
        names = [*first, "create", "produce", "clock", "fetch", "group", "offsets"]
        self.assertEqual(checks, [["ok", name] for name in names])
        self.assertEqual(self.ask(gateway, metadata.API, 4, metadata.Request(topics=None)).topics, [])
        self.assertEqual(self.ask(gateway, list_groups.API, 4, list_groups.Request()).groups, [])

    def test_json(self) -> None:
        """The same for scripts."""
        gateway = self.gateway()
        status, out, _ = self.run_kgw("doctor", "--json", gateway.bootstrap)
        told = json.loads(out)
        self.assertEqual((status, told["status"], told["problems"]), (0, 0, 0))
        self.assertEqual(told["address"], gateway.bootstrap)
        self.assertEqual({row["level"] for row in told["findings"]}, {"ok"})
        self.assertIn("produce", {row["check"] for row in told["findings"]})

    def test_topic(self) -> None:
        """A topic that is there."""
        gateway = self.gateway({"num.partitions": "3"})
        self.ask(gateway, metadata.API, 4, metadata.Request(topics=[metadata.RequestTopic(name="orders")]))
        self.assertEqual(
            self.examine(gateway, topic="orders")["topic"], ("ok", "topic orders is there, with 3 partitions", None)
        )

    def test_topic_to_be_made(self) -> None:
        """A topic that the first client makes is no problem."""
        level, text, _ = self.examine(self.gateway(), topic="orders")["topic"]
        self.assertEqual(level, "note")
        self.assertIn("the first client that asks for it makes it", text)


class BadConfigurationTests(DoctorTestCase):
    """Gateways that clients have trouble with: what is wrong, and the line to change."""

    def problem(self, gateway: KafkaGateway, check: str, **options: Any) -> tuple[str, str | None]:
        findings = examine(Address("127.0.0.1", gateway.port), PATIENCE, **options)
        self.assertEqual(findings.status, 1)
        level, text, change = self.by_check(findings)[check]
        self.assertEqual(level, "problem", text)
        # what else there is was examined all the same
        self.assertEqual(self.by_check(findings)["offsets"][0], "ok")
        return text, change

    def test_advertised_name(self) -> None:
        """A name that nobody knows here."""
        gateway = self.gateway({"advertised.listeners": "PLAINTEXT://kgw-in-a-container:9092"})
        text, change = self.problem(gateway, "address")
        self.assertIn(
            "tells clients to come to kgw-in-a-container:9092, but the name kgw-in-a-container cannot be", text
        )
        self.assertIn("Is it the name of a container?", text)
        self.assertEqual(change, f"advertised.listeners=PLAINTEXT://127.0.0.1:{gateway.port}")

    def test_advertised_port(self) -> None:
        """A port on which nobody listens; the other listeners' addresses stay in the line."""
        port = self.unused()
        gateway = self.gateway(
            {
                "listeners": "PLAINTEXT://127.0.0.1:0,OUT://127.0.0.1:0",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUT:PLAINTEXT",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},OUT://elsewhere:29092",
            }
        )
        text, change = self.problem(gateway, "address")
        self.assertIn(f"127.0.0.1:{port} refuses the connection: nobody listens there", text)
        self.assertEqual(change, f"advertised.listeners=PLAINTEXT://127.0.0.1:{gateway.port},OUT://elsewhere:29092")

    def test_another_cluster(self) -> None:
        """The advertised address is that of another gateway."""
        other = self.gateway()
        gateway = self.gateway({"advertised.listeners": f"PLAINTEXT://{other.bootstrap}"})
        self.assertIn("but there is another cluster", self.problem(gateway, "address")[0])

    def test_no_such_topic(self) -> None:
        """Topics are not made by asking, and the one that clients need is misspelt."""
        gateway = self.gateway({"auto.create.topics.enable": "false"})
        self.examine(gateway)
        text, change = self.problem(gateway, "topic", topic="orders")
        self.assertIn("topic orders does not exist, and is not made by being asked for", text)
        self.assertIn("auto.create.topics.enable=true", change or "")

    def test_topics_are_not_made(self) -> None:
        """Without a topic that clients need, it is worth a note only."""
        level, text, change = self.examine(self.gateway({"auto.create.topics.enable": "false"}))["topics"]
        self.assertEqual(level, "note")
        self.assertIn("UNKNOWN_TOPIC_OR_PARTITION", text)
        self.assertIn("auto.create.topics.enable=true", change or "")

    def test_deletion_disabled(self) -> None:
        """What cannot be removed is named."""
        gateway = self.gateway({"delete.topic.enable": "false"})
        level, text, change = self.examine(gateway)["cleanup"]
        (left,) = self.ask(gateway, metadata.API, 4, metadata.Request(topics=None)).topics
        self.assertIn(f"topic {left.name} is left behind", text)
        self.assertEqual((level, change), ("note", "delete.topic.enable=true"))

    def test_clock(self) -> None:
        """Clocks that differ."""
        gateway = self.gateway()
        text, _ = self.problem(gateway, "clock", now=lambda: time.time() - 3600)
        self.assertIn("the broker's clock is 3600 s ahead of this machine's", text)
        level, text, _ = self.examine(gateway, now=lambda: time.time() + 10)["clock"]
        self.assertEqual((level, text.partition(":")[0]), ("note", "the broker's clock is 10 s behind this machine's"))


class SlowTests(SynchronousTestCase):
    """Answers that take long."""

    def test_note(self) -> None:
        """They are worth a note, and no problem."""
        findings = Findings()
        findings.reached = True
        findings.ok("produce", "a record was written", 0.999)
        findings.ok("fetch", "the record was read", 2.5)
        self.assertEqual([row.level.value for row in findings.rows], ["ok", "note"])
        text = as_text("h:1", findings)
        self.assertIn("note     fetch       the record was read. That is slow: 2.5 s\n", text)
        self.assertTrue(text.endswith("\nNo problems, 1 note.\n"), text)
        self.assertEqual(findings.status, 0)


class StrangerTests(DoctorTestCase):
    """Addresses at which no Kafka broker answers: exit status 2, and in plain words what is there instead."""

    def stranger(self, address: Address, patience: float = PATIENCE) -> tuple[str, str | None]:
        findings = examine(address, patience)
        self.assertEqual(findings.status, 2)
        (row,) = findings.rows
        self.assertEqual((row.check, row.level.value), ("connection", "problem"))
        self.assertIn("No Kafka broker answers there.", as_text(str(address), findings))
        return row.text, row.change

    def test_stopped(self) -> None:
        """A port on which nobody listens."""
        port = self.unused()
        status, out, _ = self.run_kgw("doctor", f"127.0.0.1:{port}")
        self.assertEqual(status, 2)
        self.assertIn(f"127.0.0.1:{port} refuses the connection: nobody listens there. kgw is not running", out)
        self.assertIn(f"change: listeners=PLAINTEXT://0.0.0.0:{port}", out)

    def test_unknown_name(self) -> None:
        """A host that does not exist."""
        self.assertIn("the name nowhere.invalid cannot be resolved", self.stranger(Address("nowhere.invalid", 9092))[0])

    def test_http(self) -> None:
        """kgw's own HTTP port."""
        gateway = self.gateway({"kgw.http.endpoint": "tcp:0:interface=127.0.0.1"})
        text, change = self.stranger(Address("127.0.0.1", gateway.http_port), SHORT)
        self.assertIn("is an HTTP server, not Kafka", text)
        self.assertIn("kgw.http.endpoint", text)
        self.assertIsNotNone(change)

    def test_tls_to_plain(self) -> None:
        """A plain listener that is spoken to with TLS."""
        status, out, _ = self.run_kgw("doctor", "--tls", "--timeout", "0.5", self.gateway().bootstrap)
        self.assertEqual(status, 2)
        self.assertIn("leave out --tls", out)

    def test_tls(self) -> None:
        """A TLS listener that is spoken to in plain."""
        pem = Path(self.mktemp())
        pem.write_bytes(self_signed())
        gateway = self.gateway({"listeners": f"PLAINTEXT=ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"})
        text, change = self.stranger(Address("127.0.0.1", gateway.port), SHORT)
        self.assertIn("is a TLS port, and was spoken to in plain", text)
        self.assertIn("security.protocol=SSL", change or "")

    def test_greeting(self) -> None:
        """A server that says who it is."""
        server = self.server(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
        self.assertIn("is not Kafka's protocol, but 'SSH-2.0", self.stranger(server.address)[0])

    def test_silence(self) -> None:
        """A server that takes connections and does nothing."""

        def wait(connection: socket.socket) -> None:
            while connection.recv(1000):
                pass

        self.assertIn("It takes connections but says nothing", self.stranger(self.server(wait).address, SHORT)[0])

    def test_hangs_up(self) -> None:
        """A server that closes each connection."""
        text, _ = self.stranger(self.server(lambda connection: connection.close()).address)
        self.assertIn("forwards to where nobody listens", text)

    def test_usage(self) -> None:
        """What is no address is refused as other commands do."""
        for wrong in ("localhost:port", ":9092", "http://localhost:9092", "h:0", "h:65536"):
            error = self.assertRaises(SystemExit, self.run_kgw, "doctor", wrong)
            self.assertEqual(error.code, 2, wrong)
        error = self.assertRaises(SystemExit, self.run_kgw, "doctor", "--tls", "--ca-file", "nowhere.pem", "h:1")
        self.assertEqual(error.code, 2)
        self.assertEqual(str(Address.parse("[::1]:9093")), "[::1]:9093")
        self.assertEqual(Address.parse("kafka"), Address("kafka", 9092))


def answer_versions(*served: tuple[int, int, int]) -> Callable[[socket.socket], None]:
    """A broker that answers ApiVersions v0 only, whatever it is asked: these keys, lowest and highest versions."""

    def serve(connection: socket.socket) -> None:
        while head := connection.recv(4, socket.MSG_WAITALL):
            frame = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            old = frame[2:4] == b"\0\0"
            rows = [api_versions.ResponseApiKey(*row) for row in served]
            answer = api_versions.Response(error_code=0 if old else 35, api_keys=rows)
            body = frame[4:8] + b"".join(api_versions.API.response_codec(0).encode(answer))
            connection.sendall(len(body).to_bytes(4, "big") + body)

    return serve


class ApisTests(DoctorTestCase):
    """kgw apis."""

    def test_table(self) -> None:
        """A line for each API that is served."""
        status, out, _ = self.run_kgw("apis")
        lines = [line.split() for line in out.splitlines()]
        self.assertEqual((status, lines[0], len(lines)), (0, ["key", "name", "kgw"], len(ALL) + 1))
        self.assertIn(["18", "ApiVersions", "0-4"], lines)

    def test_json(self) -> None:
        """The same for scripts."""
        _, out, _ = self.run_kgw("apis", "--json")
        self.assertEqual(
            [(row["key"], row["name"], row["kgw"]) for row in json.loads(out)],
            [(api.key, api.name, [api.versions[0], api.versions[-1]]) for api in ALL],
        )

    def test_no_difference(self) -> None:
        """A gateway of the same program."""
        gateway = self.gateway()
        status, out, _ = self.run_kgw("apis", "--diff", gateway.bootstrap)
        self.assertEqual((status, out), (0, f"{gateway.bootstrap} serves the same APIs and versions.\n"))

    def test_fewer(self) -> None:
        """An old broker with few APIs, of which one has the same versions, one fewer, and one is not kgw's."""
        server = self.server(answer_versions((0, 0, 13), (18, 0, 2), (25, 0, 3), (999, 0, 0)))
        status, out, _ = self.run_kgw("apis", "--diff", str(server.address))
        lines = [line.split() for line in out.splitlines()]
        self.assertEqual((status, lines[0]), (1, ["key", "name", "kgw", str(server.address)]))
        by_key = {line[0]: line[1:] for line in lines[1:]}
        self.assertNotIn("0", by_key)
        self.assertEqual(by_key["18"], ["ApiVersions", "0-4", "0-2"])
        self.assertEqual(by_key["1"], ["Fetch", "4-18", "-"])
        self.assertEqual(by_key["25"][0], "AddOffsetsToTxn")
        self.assertEqual(by_key["999"], ["api", "999", "-", "0"])
        _, out, _ = self.run_kgw("apis", "--json", "--all", "--diff", str(server.address))
        same = [row for row in json.loads(out) if row["kgw"] == row["other"]]
        self.assertEqual(same, [{"key": 0, "name": "Produce", "kgw": [0, 13], "other": [0, 13]}])

    def test_unreached(self) -> None:
        """One line on stderr and exit status 2."""
        status, out, err = self.run_kgw("apis", "--diff", f"127.0.0.1:{self.unused()}")
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, r"\Akgw apis: .* refuses the connection.*\n\Z")

    def test_doctor_of_an_old_broker(self) -> None:
        """What it does not serve is said."""
        server = self.server(answer_versions((18, 0, 2), (3, 0, 0)))
        rows = self.by_check(examine(server.address, SHORT))
        self.assertIn("Produce, Fetch, ListOffsets", rows["versions"][1])
        self.assertEqual(rows["versions"][0], "problem")
