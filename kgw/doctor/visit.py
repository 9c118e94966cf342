"""One visit to a cluster: its brokers, how each is reached from here, and the connections in use."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from kgw.doctor.connection import Address, Connection, NoAnswer, Trouble
from kgw.doctor.findings import Findings
from kgw.errors import ErrorCode
from kgw.handlers import describe_configs, metadata
from kgw.handlers.config_resource import ResourceType
from kgw.handlers.contract import Api

#: Properties that say why something is as it is.
ASKED = (
    "advertised.listeners",
    "auto.create.topics.enable",
    "delete.topic.enable",
    "group.initial.rebalance.delay.ms",
    "listeners",
)
#: Which broker answers is not known; only itself describes its configs.
_MOST_BROKERS = 20


class Visit:
    """
    What is known of the cluster, and the way to ask it; its connections are closed at the end of its C{with} block.

    @ivar address: the one the user gave.
    @ivar patience: seconds for an answer.
    @ivar findings: what was found so far.
    @ivar now: this machine's clock, in seconds since the epoch.
    @ivar tls: what TLS is spoken with, everywhere; C{None} for none.
    @ivar brokers: what Metadata says, by node id.
    @ivar routes: where each broker is reached from here, if not at the address the user gave.
    @ivar configs: those of L{ASKED} that the broker tells, of itself.
    """

    def __init__(
        self,
        address: Address,
        patience: float,
        findings: Findings,
        now: Callable[[], float],
        first: Connection,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        @param first: the connection to C{address}, which is the visit's from now on.
        """
        self.address = address
        self.patience = patience
        self.findings = findings
        self.now = now
        self.tls = tls
        self.brokers: dict[int, Address] = {}
        self.routes: dict[int, Address] = {}
        self.configs: Mapping[str, str] = {}
        self.cluster_id: str | None = None
        self.controller = -1
        #: How long the last answer took.
        self.seconds = 0.0
        self._connections = {address: first}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def ask(
        self, api: Api, request: Any, node: int = -1, newest: int | None = None, patience: float | None = None
    ) -> Any:
        """
        Ask a broker.

        @param node: its id; -1 for the address the user gave.
        @param newest: the last version that the caller can use.
        @param patience: seconds for the answer, if it may take longer than usual.
        @raise NoAnswer: there is none; the next question goes through a new connection.
        """
        address = self.routes.get(node, self.address)
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = Connection(address, self.patience, self.tls)
        try:
            answer = connection.ask(api, request, newest, patience)
        except NoAnswer as refusal:
            if refusal.trouble is not Trouble.UNSERVED:
                # its answer may come later, and must not be taken for that to another question
                del self._connections[address]
                connection.close()
            raise
        self.seconds = connection.seconds
        return answer

    def look_around(self) -> None:
        """
        Learn of the brokers.

        @raise NoAnswer: Metadata is not answered.
        """
        answer = self.ask(metadata.API, metadata.Request(topics=[]))
        self.brokers = {row.node_id: Address(row.host, row.port) for row in answer.brokers}
        self.cluster_id, self.controller = answer.cluster_id, answer.controller_id

    def read_configs(self) -> None:
        """Learn what the broker says of its own configuration; it need not say anything."""
        for node in list(self.brokers)[:_MOST_BROKERS]:
            row = describe_configs.RequestResource(ResourceType.BROKER, str(node), list(ASKED))
            with contextlib.suppress(NoAnswer):
                (result,) = self.ask(describe_configs.API, describe_configs.Request(resources=[row])).results
                if not result.error_code:
                    self.configs = {one.name: one.value for one in result.configs if one.value is not None}
                    return

    def advertise(self, wrong: Address, right: Address) -> str:
        """The line of the configuration that has clients told another address."""
        now = self.configs.get("advertised.listeners", "")
        corrected = re.sub(rf"(?<=//){re.escape(str(wrong))}(?!\d)", str(right), now)
        if corrected == now:
            first = re.match(r"\s*([A-Za-z0-9_]+)(?:://|=)", self.configs.get("listeners", ""))
            corrected = f"{first[1] if first else 'PLAINTEXT'}://{right}"
        return f"advertised.listeners={corrected}"


def code_name(code: int) -> str:
    """A name for an error code, known or not."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"
