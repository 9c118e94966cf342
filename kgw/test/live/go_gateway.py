"""SeaweedFS' own Kafka gateway, the one in Go; it wants a schema registry to be there, if only one without schemas."""

from __future__ import annotations

import atexit
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kgw.engine.seaweed.weed import environment, find_weed

#: Seconds that a start may take; on an idle machine it is about two.
_START_TIMEOUT_S = 60.0
_HOST = "127.0.0.1"
#: The one port it tells clients, whichever it listens on; so each has an address of its own.
_PORT = 9093
#: It writes this when it has become the one that names the coordinators of groups.
_LEADS = "became the coordinator registry leader"
#: The system ends it with the thread that started it, as PR_SET_PDEATHSIG does.
_LAUNCH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class _Empty(BaseHTTPRequestHandler):
    """A registry with nothing in it."""

    def do_GET(self) -> None:
        """No subjects, and no schema by any number."""
        found = self.path.partition("?")[0] in ("/", "/subjects")
        content = b"[]" if found else json.dumps({"error_code": 40403, "message": "Schema not found"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


class GoGateway:
    """
    C{weed mq.kafka.gateway} beside an engine that runs; all methods block. Start it from the main thread.

    @ivar bootstrap: what clients are told.
    """

    def __init__(self, masters: list[str], registry_url: str = "") -> None:
        """
        @param masters: host and HTTP port of the engine's.
        @param registry_url: of a schema registry; none: one that has no schemas.
        """
        self._masters = masters
        self._folder = tempfile.TemporaryDirectory(prefix="kgw-go-")
        self._out = os.path.join(self._folder.name, "gateway.out")
        self._process: subprocess.Popen[bytes] | None = None
        self._registry = ThreadingHTTPServer((_HOST, 0), _Empty)
        threading.Thread(target=self._registry.serve_forever, args=(0.05,), daemon=True).start()
        self._registry_url = registry_url or f"http://{_HOST}:{self._registry.server_port}"
        self._address = f"127.{random.randrange(2, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
        self.bootstrap = f"{self._address}:{_PORT}"
        atexit.register(self.discard)

    @property
    def pid(self) -> int:
        """Of the process; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> GoGateway:
        """
        Start it, where it was before.

        @raise AssertionError: it ended, or took too long; says what it wrote.
        """
        command = [
            sys.executable,
            "-c",
            _LAUNCH,
            find_weed(),
            "-logtostderr=true",
            "mq.kafka.gateway",
            f"-ip={self._address}",
            f"-ip.bind={self._address}",
            f"-port={_PORT}",
            f"-master={','.join(self._masters)}",
            "-default-partitions=1",
            f"-schema-registry-url={self._registry_url}",
        ]
        with open(self._out, "ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._folder.name,
                env=dict(environment(self._folder.name)),
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = self.output()
                self.stop()
                raise AssertionError(f"the Go gateway did not start:\n{output}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Kill it; it keeps nothing that the engine has not."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def discard(self) -> None:
        """End all of it; what has not been discarded is at exit."""
        atexit.unregister(self.discard)
        self.stop()
        self._registry.shutdown()
        self._registry.server_close()
        self._folder.cleanup()

    def output(self, lines: int = 30) -> str:
        """The last lines it wrote."""
        if not os.path.exists(self._out):
            return ""
        with open(self._out, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self._address, _PORT), 1.0).close()
        except OSError:
            return False
        # who asks for a coordinator before is kept waiting for 10 s
        return _LEADS in self.output()
