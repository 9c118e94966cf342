"""The container without an engine for it: its command with its environment, its health check, and its Compose files."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.config import Config
from kgw.config.sources import from_environment
from kgw.doctor.connection import Address
from kgw.doctor.examination import examine
from kgw.handlers import metadata
from kgw.test.live.raw import RawClient

_PACKAGE = Path(kgw.__file__).parent
#: Beside the package in the checkout, within it once installed.
DOCKER = next(path for path in (_PACKAGE / "docker", _PACKAGE.parent / "docker") if (path / "Dockerfile").exists())
COMPOSE = ("compose.yaml", "compose.seaweed.yaml")
#: Seconds a start or a stop may take.
PATIENCE = 20.0
HTTP_PORT = 8088


def dockerfile() -> dict[str, list[str]]:
    """The instructions of the Dockerfile's last stage, by name, lines joined."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.clear()
        if name and not name.startswith("#"):
            found.setdefault(name, []).append(rest.strip())
    return found


def image_environment() -> dict[str, str]:
    """The properties that the image sets."""
    pairs = [pair.partition("=") for line in dockerfile()["ENV"] for pair in line.split()]
    return {name: value for name, _, value in pairs if name.startswith(("KAFKA_", "KGW_"))}


def compose(name: str) -> dict[str, Any]:
    """A Compose file."""
    value: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return value


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


class EntryPointTests(SynchronousTestCase):
    """C{kgw} as the container starts it, with the environment of compose.yaml."""

    def setUp(self) -> None:
        self.ports = {port: free_port() for port in (9092, 29092, HTTP_PORT)}
        given = image_environment() | compose("compose.yaml")["services"]["kgw"]["environment"]
        self.environment = {name: self.moved(value) for name, value in given.items()}
        self.environment["KAFKA_LOG_DIRS"] = os.path.abspath(self.mktemp())
        self.process: subprocess.Popen[str] | None = None

    def moved(self, value: str) -> str:
        """A property with ports that are free here in place of the container's."""
        return re.sub(r"(?<=:)\d+", lambda found: str(self.ports[int(found[0])]), value)

    def environ(self) -> dict[str, str]:
        """All variables of a process in the container."""
        rest = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "KGW_"))}
        return rest | self.environment | {"PYTHONPATH": str(_PACKAGE.parent)}

    def start(self) -> None:
        """Start it and wait until it accepts clients."""
        (entry,) = dockerfile()["ENTRYPOINT"]
        self.assertEqual(yaml.safe_load(entry), ["kgw"])
        process = subprocess.Popen(
            [sys.executable, "-m", "kgw.cli"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ(),
        )
        self.process = process
        self.addCleanup(self.end, process)
        alarm = threading.Timer(PATIENCE, process.kill)
        alarm.start()
        self.addCleanup(alarm.cancel)
        assert process.stdout is not None and process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1] == "kgw started":
                break
        else:
            self.fail("\n".join([*lines, process.stderr.read()]))
        alarm.cancel()

    def end(self, process: subprocess.Popen[str]) -> None:
        """Nothing is left."""
        process.kill()
        process.communicate()

    def health(self) -> tuple[int, str]:
        """Exit status and stderr of the container's health check."""
        done = subprocess.run(
            [sys.executable, str(DOCKER / "healthcheck.py")],
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stderr

    def told(self, port: int) -> tuple[str, int]:
        """The address that clients of a listener are told."""
        with RawClient(port) as client:
            (broker,) = client.ask(metadata.API, 9, metadata.Request(topics=[])).brokers
        return broker.host, broker.port

    def test_container(self) -> None:
        """
        Clients on the host and in the network are told addresses they can use, the data are where the volume is, and
        the health check says whether it runs.
        """
        status, error = self.health()
        self.assertEqual(status, 1)
        self.assertIn(f"http://127.0.0.1:{self.ports[HTTP_PORT]}/readyz", error)
        self.start()
        self.assertEqual(self.told(self.ports[9092]), ("localhost", self.ports[9092]))
        self.assertEqual(self.told(self.ports[29092]), ("kgw", self.ports[29092]))
        findings = examine(Address("localhost", self.ports[9092]), PATIENCE)
        self.assertEqual(findings.status, 0, findings.rows)
        self.assertTrue(Path(self.environment["KAFKA_LOG_DIRS"], "meta.properties").exists())
        self.assertEqual(self.health(), (0, ""))
        process = self.process
        assert process is not None
        process.terminate()
        process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.health()[0], 1)


class FileTests(SynchronousTestCase):
    """What the files say, held against kgw and one another."""

    def properties(self, environment: Mapping[str, str]) -> Config:
        """The configuration that variables make; unknown names and wrong values are errors."""
        return Config({given.name: given.value for given in from_environment(environment)})

    def test_image(self) -> None:
        """It runs as a user, ends by the signal that kgw takes; ports and volume are those of its properties."""
        found = dockerfile()
        self.assertEqual((found["USER"], found["STOPSIGNAL"]), (["1000:1000"], ["SIGTERM"]))
        config = self.properties(image_environment())
        self.assertEqual(config.kgw_http_endpoint, f"tcp:{HTTP_PORT}")
        self.assertEqual(found["VOLUME"], [image_environment()["KAFKA_LOG_DIRS"]])
        self.assertEqual(found["EXPOSE"], [f"9092 {HTTP_PORT}"])
        (check,) = found["HEALTHCHECK"]
        self.assertTrue(check.endswith('CMD ["python", "/opt/kgw/healthcheck.py"]'), check)
        self.assertTrue(any(line == "docker/healthcheck.py /opt/kgw/healthcheck.py" for line in found["COPY"]))

    def test_compose_properties(self) -> None:
        """Only properties that kgw knows; a port that is published is one that kgw listens on."""
        for name in COMPOSE:
            service = compose(name)["services"]["kgw"]
            config = self.properties(image_environment() | service["environment"])
            ports = re.findall(r":(\d+)(?:,|$)", service["environment"]["KAFKA_LISTENERS"])
            self.assertEqual(set(config.advertised_listeners), {one.name for one in config.listeners}, name)
            published = {text.rpartition(":")[2] for text in service["ports"]}
            self.assertLessEqual(published, {*ports, str(HTTP_PORT)}, name)
            self.assertTrue(all(text.startswith("127.0.0.1:") for text in service["ports"]), name)

    def test_compose_names(self) -> None:
        """Services wait for services that there are, volumes are declared, and kgw is told of others by their names."""
        for name in COMPOSE:
            whole = compose(name)
            services = whole["services"]
            for service in services.values():
                self.assertLessEqual(set(service.get("depends_on", ())), set(services), name)
                named = {text.partition(":")[0] for text in service.get("volumes", ())}
                self.assertLessEqual(named, set(whole["volumes"]), name)
            environment = services["kgw"]["environment"]
            for master in filter(None, environment.get("KGW_SEAWEEDMQ_MASTERS", "").split(",")):
                self.assertIn(master.partition(":")[0], services, name)
            self.assertIn(f"//{services['kgw']['hostname']}:", environment["KAFKA_ADVERTISED_LISTENERS"])
            context = services["kgw"]["build"]
            self.assertEqual((context["context"], context["dockerfile"]), ("..", "docker/Dockerfile"))
