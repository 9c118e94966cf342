"""A new user's first five minutes: the commands of README and docs/first-steps.md, and what they print."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import kgw
from kgw.test.live.server import LiveTestCase
from kgw.test.pages import page, readme

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 30.0


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page that are in a language."""
    return [body for name, body in _BLOCK.findall(text) if name == language]


def plain(text: str) -> str:
    """What must be the same whenever a page's commands are run: no ids, and no numbers but their places."""
    text = re.sub(r"cluster [\w-]{22}", "cluster ID", text.replace("localhost:", "127.0.0.1:"))
    return re.sub(r"\d+(\.\d+)?( m?s\b)?", "0", text)


class FirstStepsTests(LiveTestCase):
    """One kgw, as the pages start it."""

    def begin(self, *options: str) -> None:
        """Start it."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.http = listening.getsockname()[1]
        self.server = self.serve("--set", f"kgw.http.endpoint=tcp:{self.http}:interface=127.0.0.1", *options)

    def here(self, text: str) -> str:
        """A command with the addresses and the folder of this test."""
        text = re.sub(r"(localhost|127\.0\.0\.1):9092", self.server.bootstrap, text)
        return text.replace(":8088/", f":{self.http}/").replace("/tmp/kgw-data", str(self.server.data))

    def python(self, *arguments: str) -> str:
        """What a program prints that must end well."""
        environment = dict(os.environ) | {"PYTHONPATH": str(Path(kgw.__file__).parent.parent)}
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def printed(self, command: str) -> str:
        """What a command of the page prints."""
        program, *arguments = shlex.split(self.here(command))
        if program == "curl":
            with urllib.request.urlopen(arguments[-1], timeout=PATIENCE) as answer:
                text: str = answer.read().decode()
            return text
        self.assertEqual(program, "kgw")
        return self.python("-m", "kgw.cli", *arguments)

    def test_page(self) -> None:
        """The commands of docs/first-steps.md, one after the other."""
        self.begin()
        text = page("first-steps.md")
        (program,) = blocks(text, "python")
        (output,) = blocks(text, "text")
        self.assertEqual(self.python("-c", self.here(program)), output)
        commands = blocks(text, "console")
        self.assertEqual(len(commands), 3)
        for block in commands:
            command, _, expected = block.removeprefix("$ ").partition("\n")
            found = self.printed(command).replace(str(self.server.data), "/tmp/kgw-data")
            self.assertEqual(plain(found).strip(), plain(expected).strip(), command)

    def test_readme(self) -> None:
        """README's program, twice: the second run goes on where the first one ended."""
        self.begin("--set", "group.initial.rebalance.delay.ms=0")
        (program,) = blocks(readme(), "python")
        self.assertEqual(program, blocks(page("first-steps.md"), "python")[0])
        for first in (0, 10):
            expected = "".join(f"{first + n} b'{n}' b'hello {n}'\n" for n in range(10))
            self.assertEqual(self.python("-c", self.here(program)), expected)
