"""The manhole over real SSH, on a real gateway with real clients; the session of docs/debugging.md is replayed."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from twisted.conch.ssh.keys import Key
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import kgw
from kgw.manhole.door import HOST_KEY
from kgw.test.live.clients import librdkafka
from kgw.test.live.server import GatewayProcess
from kgw.test.live.ssh import PROMPT, Visit, new_key

ROOT = Path(kgw.__file__).parent
PAGE = next(page for page in (ROOT / "docs" / "debugging.md", ROOT.parent / "docs" / "debugging.md") if page.exists())

#: What differs from one session to the next: ids, times, addresses, then all numbers; columns are as wide as they are.
_SHAPES = (
    (r"-[0-9a-f]{8}-[0-9a-f-]{27}", "-ID"),
    (r"\S+rdkafka-[\d.]+", "SOFTWARE"),
    (r"confluent-kafka-python(?= SOFTWARE)", ""),
    (r"local, \S+", "local, DIRECTORY"),
    (r"\d+(?:[.:-]\d+)*", "0"),
    (r" +", " "),
)


def shape(text: str) -> list[str]:
    """The lines of an answer without what differs each time."""
    for pattern, stands_for in _SHAPES:
        text = re.sub(pattern, stands_for, text)
    return [line.strip() for line in text.splitlines()]


def sessions(kind: str) -> list[tuple[str, str]]:
    """The commands of the page and their answers, of the blocks of one kind."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    parts = re.split(rf"^{PROMPT}", "".join(blocks), flags=re.MULTILINE)[1:]
    return [(command, answer.rstrip("\n")) for command, _, answer in (part.partition("\n") for part in parts)]


class ManholeTests(TestCase):
    """One gateway, and somebody who comes in."""

    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="kgw-live-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.key = new_key()
        self.keys = self.folder / "authorized_keys"
        self.authorize(self.key)

    def authorize(self, *keys: Key) -> None:
        self.keys.write_bytes(
            b"# who may come in\n" + b"".join(key.public().toString("OPENSSH") + b"\n" for key in keys)
        )
        self.keys.chmod(0o600)

    def serve(self, endpoint: str = "tcp:0:interface=127.0.0.1") -> GatewayProcess:
        server = GatewayProcess(
            self.folder,
            *("--set", f"kgw.manhole.endpoint={endpoint}"),
            *("--set", f"kgw.manhole.authorized.keys.file={self.keys}"),
            *("--set", "group.initial.rebalance.delay.ms=0"),
        )
        self.addCleanup(server.kill)
        server.start()
        return server

    def visit(self, server: GatewayProcess, key: Key | None = None) -> Visit:
        (port,) = (match[1] for line in server.banner if (match := re.match(r"manhole 127\.0\.0\.1:(\d+)", line)))
        return self.ended_at_last(Visit(reactor, key or self.key, int(port)))

    def ended_at_last(self, visit: Visit) -> Visit:
        visit.prompt.opened.addErrback(lambda failure: failure.trap(ConnectionDone) and failure)
        self.addCleanup(visit.leave)
        return visit

    def produce(self, bootstrap: str) -> confluent_kafka.Producer:
        admin = AdminClient(librdkafka(bootstrap, client_id="admin"))
        admin.create_topics([NewTopic("orders", 3, config={"retention.ms": "86400000"})])["orders"].result(10)
        producer = confluent_kafka.Producer(librdkafka(bootstrap, client_id="shop"))
        for number in range(10):
            producer.produce(
                "orders", b"a secret", key=b"a hidden key", partition=(0, 0, 1, 1, 1, 1, 1, 2, 2, 2)[number]
            )
        producer.flush(10)
        return producer

    def consume(self, bootstrap: str) -> confluent_kafka.Consumer:
        configs: dict[str, Any] = {"client_id": "billing-1", "group_id": "billing", "auto_offset_reset": "earliest"}
        consumer = confluent_kafka.Consumer(
            librdkafka(bootstrap, **configs, partition_assignment_strategy="range,roundrobin", enable_auto_commit=False)
        )
        consumer.subscribe(["orders"])
        read = 0
        while read < 10:
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            read += 1
        consumer.commit(asynchronous=False)
        return consumer

    async def test_the_page(self) -> None:
        """Each command of docs/debugging.md prints what the page says, but for ids, times and numbers."""
        server = self.serve()
        prompt = self.visit(server).prompt
        await prompt.opened
        (trace, traced), (untrace, untraced) = sessions("pycon trace")
        self.assertEqual(await prompt.ask(trace), traced.splitlines()[0])
        producer = await deferToThread(self.produce, server.bootstrap)
        consumer = await deferToThread(self.consume, server.bootstrap)
        # what was said before that is printed before that
        self.assertEqual(shape(await prompt.ask(untrace)), shape(untraced))
        self.check_trace(prompt.text, traced.splitlines()[1:])
        for command, answer in sessions("pycon"):
            # some answers come a little later: the last line begins with this
            word = re.escape(answer.splitlines()[-1].split()[0])
            said = await prompt.ask(command, re.sub(r"\d+", r"\\d+", word))
            want = shape(answer)
            got = shape(said)
            if command == "conns()":
                # the admin's connection may be there still, and clients have more of them or fewer
                self.assertEqual(got[0], want[0])
                self.assertLessEqual(set(want[1:]), set(got), said)
            else:
                self.assertEqual(got, want, said)
        await deferToThread(consumer.close)
        del producer

    def check_trace(self, printed: str, page: list[str]) -> None:
        """Requests and answers of the same APIs in the same form, and nothing that is not to be seen."""
        form = re.compile(r"\d\d:\d\d:\d\d\.\d{3} 127\.0\.0\.1:\d+ billing-1 ([<>] \w+) v\d+ #\d+( \d+\.\d ms)?(?: |$)")
        lines = [match for line in printed.splitlines() if (match := form.match(line))]
        for line in page:
            match = form.match(line)
            assert match is not None, line
            self.assertIn((match[1], bool(match[2])), [(one[1], bool(one[2])) for one in lines])
        for field in ("metadata=<0 bytes>", "records=<0 records in 0 batches from offset 0, 0 bytes>"):
            for text in ("\n".join(page), printed):
                self.assertIn(field, "\n".join(shape(text)))
        self.assertNotIn("secret", printed)
        self.assertNotIn("hidden key", printed)

    async def test_whatever_is_typed(self) -> None:
        """Errors and endless input are shown or passed over, the gateway serves on; leaving ends what was begun."""
        server = self.serve()
        visit = self.visit(server)
        prompt = visit.prompt
        await prompt.opened
        for command, answer in (
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("nonsense nonsense", "SyntaxError: invalid syntax"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("trace(None)", 'TypeError: name a group, a client id or an address: trace("billing")'),
            ("(" * 300 + ")" * 300, "too many nested parentheses"),
            ('"\\x1b[2J" + "x" * 5', "'\\x1b[2Jxxxxx'"),
            ("'x' * 10**6", "(1000002 characters)"),
            ("print('hello')", "hello"),
            ("groups('a*'), _", "Deferred"),
        ):
            self.assertIn(answer, await prompt.ask(command), command)
        prompt.type(b"\xff\xfe\x03")
        self.assertIn("tracing 'a'", await prompt.ask("trace('a')"))
        other = self.visit(server)
        await other.prompt.opened
        self.assertEqual(await other.prompt.ask("len(gateway.traces)"), "1")
        prompt.type(b"exit()\n")
        await prompt.ended
        self.assertEqual(await other.prompt.ask("len(gateway.traces)"), "0")
        self.assertTrue(server.alive)
        self.assertEqual(server.terminate(), 0)
        await other.prompt.ended
        self.assertNotIn("Traceback", server.stderr())

    async def test_who_comes_in(self) -> None:
        """Only the keys in the file, as it stands now; and none at all where others can write it."""
        server = self.serve()
        stranger = new_key()
        await self.assertFailure(self.visit(server, stranger).prompt.opened, ConnectionDone)
        self.authorize(self.key, stranger)
        await self.visit(server, stranger).prompt.opened
        self.keys.chmod(0o666)
        await self.assertFailure(self.visit(server).prompt.opened, ConnectionDone)
        self.assertIn("others can write it", server.stderr())

    async def test_host_key(self) -> None:
        """It is made once, for the owner's eyes only, and is the same after a restart."""
        server = self.serve()
        seen = []
        for _ in range(2):
            visit = self.visit(server)
            await visit.prompt.opened
            seen.append(visit.host_key)
            await visit.leave()
            server.terminate()
            server.start()
        path = server.data / HOST_KEY
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        server.terminate()
        path.chmod(0o644)
        self.assertIn("others can read it; chmod 600", str(self.assertRaises(AssertionError, server.start)))

    async def test_unix_socket(self) -> None:
        """A socket that is its owner's alone."""
        path = str(self.folder / "manhole.sock")
        self.serve(f"unix:{path}")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        prompt = self.ended_at_last(Visit(reactor, self.key, path=path)).prompt
        await prompt.opened
        self.assertEqual(await prompt.ask("conns()"), "no client is connected")

    async def test_slow_answer_at_the_prompt(self) -> None:
        """What has to wait is printed when it is there, and what was typed meanwhile is not lost."""
        server = self.serve()
        prompt = self.visit(server).prompt
        await prompt.opened
        await prompt.ask("from twisted.internet.task import deferLater; from twisted.internet import reactor")
        await prompt.ask("deferLater(reactor, 0.05, lambda: 'late')")
        prompt.type(b"1 +")
        await prompt.until("'late'")
        prompt.type(b" 1\n")
        await prompt.until(r"\n2\n")

    def test_conch_is_missing(self) -> None:
        """Without Twisted's SSH there is one line that says what to install."""
        hidden = "import sys; sys.modules['bcrypt'] = None; from kgw.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [
            sys.executable,
            "-c",
            hidden,
            "--data",
            str(self.folder / "data"),
            "--listen",
            "tcp:0:interface=127.0.0.1",
        ]
        command += ["--set", "kgw.manhole.endpoint=unix:x", "--set", f"kgw.manhole.authorized.keys.file={self.keys}"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environ, check=False)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)
        self.assertIn("bcrypt is not installed: pip install 'kgw[manhole]'", done.stderr)
