"""A schema registry in a process of its own, for clients that block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import kgw

#: Runs the registry; Linux kills it (PR_SET_PDEATHSIG, SIGKILL) when the tests are killed, which then cannot clean up.
_LAUNCH = """
import ctypes, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
runpy.run_module("kgw.test.registry", run_name="__main__", alter_sys=True)
"""
_PATIENCE_S = 20.0


class RegistryProcess:
    """
    L{kgw.test.registry.StubRegistry} in another process, within a C{with} or between L{start} and L{stop}.

    @ivar url: its base URL; the same when it is started again.
    """

    def __init__(self) -> None:
        self.url = ""
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> RegistryProcess:
        """
        Start it, empty, and wait until it answers.

        @raise AssertionError: it did not start.
        """
        environment = {**os.environ, "PYTHONPATH": str(Path(kgw.__file__).parent.parent)}
        command = [sys.executable, "-c", _LAUNCH, "--port", str(self._port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.stop()
            raise AssertionError("the schema registry did not start")
        self._port = int(self.url.rpartition(":")[2])
        return self

    def stop(self) -> None:
        """End it at once, and everything it holds; nothing where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(_PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> RegistryProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """
        One request, waited for.

        @return: the JSON of the answer.
        @raise urllib.error.HTTPError: it is an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            return json.loads(answer.read())

    def behave(self, **told: object) -> None:
        """Have it behave otherwise: C{behaviour}, C{lacking} and C{authorization} of L{StubRegistry}."""
        self.call("PUT", "/_stub/behaviour", told)

    def asked(self) -> list[str]:
        """What it was asked for, C{"GET /subjects"}."""
        return [f"{one['method']} {one['uri']}" for one in self.call("GET", "/_stub/requests")]
