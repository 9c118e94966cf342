"""What every schema registry must answer."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from kgw.errors import ErrorCode
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import Reference, RegistryUnavailable, SchemaNotFound, SchemaType
from kgw.schema.registry_book import SchemaBook
from kgw.test.contracts.cases import WaitingCase

STRING, INT, LONG = '"string"', '"int"', '"long"'


class SchemaRegistryContract(WaitingCase):
    """
    What L{ISchemaRegistry} promises.

    @ivar book: what the registry holds.
    """

    book: SchemaBook
    registry: ISchemaRegistry

    def make_registry(self, book: SchemaBook) -> ISchemaRegistry:
        """A registry that holds what is in the book, not started."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a registry."""
        super().setUp()
        self.book = SchemaBook()
        self.registry = self.make_registry(self.book)
        self.wait(self.registry.start())
        self.addCleanup(lambda: self.wait(self.registry.stop()))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ISchemaRegistry, self.registry))

    def test_by_id(self) -> None:
        """A schema is found by its number, of the kind and text that were registered, each time the same object."""
        text = 'syntax = "proto3"; message M { string naïve = 1; }'
        made = self.book.register("a-value", text, SchemaType.PROTOBUF)
        found = self.wait(self.registry.by_id(made.id))
        self.assertEqual((found.schema.id, found.schema.type, found.schema.text), (made.id, SchemaType.PROTOBUF, text))
        self.assertEqual(dict(found.imports), {})
        self.assertIs(self.wait(self.registry.by_id(made.id)), found)

    def test_by_guid(self) -> None:
        made = self.book.register("a-value", STRING)
        assert made.guid is not None
        found = self.wait(self.registry.by_guid(made.guid))
        self.assertEqual(
            (found.schema.guid, found.schema.text, found.schema.type), (made.guid, STRING, SchemaType.AVRO)
        )

    def test_no_such_schema(self) -> None:
        """Records that name it are refused, and clients do not try again."""
        for wrong in (1, 0, -1, 1 << 31, (1 << 32) - 1):
            self.assertIsInstance(self.error(self.registry.by_id, wrong), SchemaNotFound)
        self.assertIsInstance(self.error(self.registry.by_guid, b"\xff" * 16), SchemaNotFound)
        self.assertIsInstance(self.error(self.registry.by_guid, b"short"), SchemaNotFound)
        self.assertIsInstance(self.error(self.registry.latest, "a-value"), SchemaNotFound)
        self.assertEqual(self.refusal(self.registry.by_id, 1), ErrorCode.INVALID_RECORD)

    def test_deleted_schemas_are_read(self) -> None:
        """What records were written with can be read as long as they are there."""
        made = self.book.register("a-value", STRING)
        self.book.delete("a-value")
        self.assertEqual(self.wait(self.registry.by_id(made.id)).schema.text, STRING)

    def test_latest(self) -> None:
        """The newest version of a subject that is not deleted."""
        for text in (STRING, INT, LONG):
            self.book.register("a-value", text)
        self.book.delete("a-value", 3)
        found = self.wait(self.registry.latest("a-value"))
        self.assertEqual((found.id, found.version, found.text), (2, 2, INT))

    def test_is_under(self) -> None:
        """A schema belongs to the subjects it is registered in, and to those no more where it is deleted."""
        made = self.book.register("a-value", STRING)
        self.book.register("b-value", STRING)
        other = self.book.register("c-value", INT)
        assert made.guid is not None
        self.book.delete("b-value")
        for schema in (made.id, made.guid):
            answers = [self.wait(self.registry.is_under(schema, f"{name}-value")) for name in "abcd"]
            self.assertEqual(answers, [True, False, False, False])
        self.assertTrue(self.wait(self.registry.is_under(other.id, "c-value")))
        for unknown in (99, 0, b"\xff" * 16):
            self.assertFalse(self.wait(self.registry.is_under(unknown, "a-value")))

    def test_exists(self) -> None:
        self.book.register("a-value", STRING)
        self.book.register("gone-value", STRING)
        self.book.delete("gone-value")
        answers = [self.wait(self.registry.exists(name)) for name in ("a-value", "gone-value", "never-value")]
        self.assertEqual(answers, [True, False, False])

    def test_any_name(self) -> None:
        """A subject may have any name, such as the path of an import or a class."""
        for name in ("google/type/money.proto", "a b%2Fc?d#e", ":.ctx:a-value", "ünï\U0001f600", "..", "a+b&c=d", "%"):
            made = self.book.register(name, STRING)
            found = self.wait(self.registry.latest(name))
            self.assertEqual((found.id, found.version), (made.id, 1), name)
            self.assertTrue(self.wait(self.registry.is_under(made.id, name)), name)
            self.assertTrue(self.wait(self.registry.exists(name)), name)

    def test_references(self) -> None:
        """Everything a schema refers to comes with it, once and in an order in which it can be used; deleted too."""
        self.book.register("base", '{"type":"record","name":"Base","fields":[]}')
        base = Reference("Base", "base", 1)
        self.book.register("left", '{"type":"record","name":"Left","fields":[]}', references=[base])
        self.book.register("right/side", '{"type":"record","name":"Right","fields":[]}', references=[base])
        top = self.book.register(
            "top-value",
            '{"type":"record","name":"Top","fields":[]}',
            references=[Reference("Left", "left", 1), Reference("Right", "right/side", -1)],
        )
        for subject in ("base", "right/side"):
            self.book.delete(subject)
        found = self.wait(self.registry.by_id(top.id))
        self.assertEqual(list(found.imports), ["Base", "Left", "Right"])
        self.assertEqual([one.id for one in found.imports.values()], [1, 2, 3])
        self.assertEqual([one.version for one in found.imports.values()], [1, 1, 1])
        self.assertEqual(found.schema.references[1].subject, "right/side")

    def test_references_that_lead_nowhere(self) -> None:
        """It is said which one is missing."""
        made = self.book.register("top-value", STRING, references=[Reference("Base", "base", 7)])
        error = self.error(self.registry.by_id, made.id)
        self.assertIsInstance(error, SchemaNotFound)
        self.assertIn(f"schema {made.id} refers to Base", str(error))

    def test_circles(self) -> None:
        """A schema that comes back to itself is of no use, and ends."""
        self.book.register("a", STRING, references=[Reference("B", "b", 1)])
        self.book.register("b", INT, references=[Reference("A", "a", 1)])
        top = self.book.register("top-value", LONG, references=[Reference("A", "a", 1)])
        error = self.error(self.registry.by_id, top.id)
        self.assertIsInstance(error, SchemaNotFound)
        self.assertIn("refers to itself", str(error))

    def test_numbers(self) -> None:
        """Operators see how often it is asked and that it is there."""
        before = self.registry.measure()["kgw_schema_registry_requests_total"]
        self.book.register("a-value", STRING)
        self.wait(self.registry.by_id(1))
        measured = self.registry.measure()
        self.assertEqual(measured["kgw_schema_registry_requests_total"], before + 1)
        self.assertEqual((measured["kgw_schema_registry_up"], measured["kgw_schema_registry_errors_total"]), (1, 0))
        self.assertEqual(self.registry.state, (True, ""))
        self.assertTrue(self.registry.describe())

    def test_stopped(self) -> None:
        """Behind the stop nothing is asked any more; clients try again elsewhere."""
        self.book.register("a-value", STRING)
        self.wait(self.registry.stop())
        self.assertIsInstance(self.error(self.registry.by_id, 1), RegistryUnavailable)
        self.assertEqual(self.refusal(self.registry.exists, "a-value"), ErrorCode.REQUEST_TIMED_OUT)
