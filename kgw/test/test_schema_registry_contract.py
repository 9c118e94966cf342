"""The schema registry over HTTP and its twin in memory, by one contract."""

from __future__ import annotations

from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.registry import SchemaRegistryClient
from kgw.schema.registry_book import SchemaBook
from kgw.schema.registry_http import RegistryHttp
from kgw.schema.registry_memory import MemorySchemaRegistry
from kgw.test.contracts.schema_registry import SchemaRegistryContract
from kgw.test.registry import StubRegistry


class MemoryTests(SchemaRegistryContract, SynchronousTestCase):
    """The twin."""

    def make_registry(self, book: SchemaBook) -> ISchemaRegistry:
        return MemorySchemaRegistry(book)


class ClientTests(SchemaRegistryContract, SynchronousTestCase):
    """The client of a registry that has all calls."""

    lacking: tuple[str, ...] = ()
    base = "http://registry.example:8081"

    def make_registry(self, book: SchemaBook) -> ISchemaRegistry:
        stub = StubRegistry()
        stub.book, stub.lacking = book, self.lacking
        clock = Clock()
        return SchemaRegistryClient(RegistryHttp([self.base], RequestTraversalAgent(stub), clock), clock)


class FewerCallsTests(ClientTests):
    """The client of one that cannot tell the versions of a schema: it has the registry look the schema up."""

    lacking = tuple(f"GET /schemas/ids/{number}/versions" for number in range(100))
