"""A gateway with a schema registry: what it needs, what it says, and that it does not wait for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

import kgw
from kgw.config import Config
from kgw.engine.bridge import InlineBridge
from kgw.errors import StartError
from kgw.gateway import Gateway
from kgw.manhole.names import Names
from kgw.schema.composition import registry_of
from kgw.web.metrics_page import render

_WITHOUT = """
import sys
for name in ("treq", "jsonschema", "referencing", "re2", "google", "google.protobuf", "grpc_tools"):
    sys.modules[name] = None
from twisted.internet.testing import MemoryReactorClock
from kgw.config import Config
from kgw.gateway import Gateway
import kgw.cli, kgw.tap
for more in ({}, {"kgw.schema.registry.url": "http://127.0.0.1:1"}):
    config = Config({"kgw.engine": "memory", "listeners": "PLAINTEXT://127.0.0.1:9092", **more})
    gateway = Gateway(config, MemoryReactorClock())
    gateway.startService()
    gateway.started.addCallbacks(lambda _: print("started"), lambda failure: print(failure.getErrorMessage()))
"""


class ExtraTests(SynchronousTestCase):
    """Where kgw was installed without C{[schema]}."""

    def test_without(self) -> None:
        """kgw runs without it; only a registry says that it needs it, and how to get it."""
        environ = dict(os.environ, PYTHONPATH=str(Path(kgw.__file__).parent.parent))
        told = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, env=environ)
        said = told.stdout.splitlines()
        self.assertEqual(said[:1], ["started"], told.stderr)
        needs = r"^kgw.schema.registry.url needs \w+, which is not installed: pip install 'kgw\[schema\]'$"
        self.assertRegex(said[1], needs)


class FilesTests(SynchronousTestCase):
    """What is read before the start."""

    def test_a_file_that_is_no_certificate(self) -> None:
        path = self.mktemp()
        Path(path).write_text("nothing")
        config = Config(
            {"kgw.schema.registry.url": "https://registry:8081", "kgw.schema.registry.ssl.ca.location": path}
        )
        error: StartError = self.assertRaises(StartError, registry_of, config, None)
        self.assertIn("kgw.schema.registry.ssl", str(error))


class GatewayTests(TestCase):
    """A gateway whose registry is not there."""

    def test_it_starts_and_says_which_registry_it_has(self) -> Deferred[None]:
        from twisted.internet import reactor

        anything: Any = reactor
        gateway = Gateway(
            Config(
                {
                    "kgw.engine": "memory",
                    "listeners": "PLAINTEXT://127.0.0.1:0",
                    "kgw.http.endpoint": "",
                    "kgw.schema.registry.url": "http://127.0.0.1:1",
                    "kgw.schema.validation": "strict",
                }
            ),
            anything,
        )

        async def run() -> None:
            gateway.startService()
            await gateway.started
            self.assertIn("schema registry http://127.0.0.1:1, validation strict", gateway.banner())
            names = Names(gateway, lambda line: None, lambda: True, InlineBridge())
            shown = repr(names.schemas())
            self.assertIn("schema registry http://127.0.0.1:1", shown)
            self.assertIn("kgw_schema_batches_waiting", shown)
            found = [line for line in render(gateway).decode().splitlines() if line.startswith("kgw_schema_")]
            self.assertIn('kgw_schema_records_total{result="decoded"} 0.0', found)
            self.assertIn("kgw_schema_refused_batches_total 0.0", found)
            await gateway.stopService()

        return Deferred.fromCoroutine(run())
