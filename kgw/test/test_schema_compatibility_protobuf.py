"""Evolution of Protobuf schemas: tables of pairs for every rule, and bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.compatibility import Level, UnusableSchema, incompatibilities
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType


def proto(text: str, **imports: str) -> ResolvedSchema:
    """A .proto file, and those it imports by their names without the ending."""

    def registered(one: str) -> RegisteredSchema:
        return RegisteredSchema(1, SchemaType.PROTOBUF, one)

    return ResolvedSchema(registered(text), {f"{name}.proto": registered(one) for name, one in imports.items()})


def three(body: str, package: str = "p") -> str:
    return f'syntax = "proto3"; package {package}; {body}'


def fields(body: str) -> str:
    return three(f"message M {{ {body} }} enum E {{ ZERO = 0; ONE = 1; }} message N {{}}")


def two(body: str) -> str:
    return f'syntax = "proto2"; package p; message M {{ {body} }}'


Rules = list[tuple[str, str]]

KIND = [("FIELD_KIND_CHANGED", "/M/1")]
SCALAR = [("FIELD_SCALAR_KIND_CHANGED", "/M/1")]
LABEL = [("FIELD_NUMERIC_LABEL_CHANGED", "/M/1")]
TYPE = [("FIELD_NAMED_TYPE_CHANGED", "/M/1")]

#: A new file, an old one, what stands in the way BACKWARD, and FORWARD.
PAIRS: list[tuple[str, str, Rules, Rules]] = [
    (three("message M {}", "q"), three("message M {}"), [("PACKAGE_CHANGED", "/")], [("PACKAGE_CHANGED", "/")]),
    (three("message M {} message N {}"), three("message N {}"), [], [("MESSAGE_REMOVED", "/M")]),
    (three("message M { message X {} }"), three("message M {}"), [], [("MESSAGE_REMOVED", "/M/X")]),
    (three("message M {} message N {}"), three("message N {} message M {}"), [], []),
    # numbers and names
    (fields("int32 a = 1;"), fields(""), [], []),
    (fields("int32 a = 1;"), fields("int32 b = 1;"), [], []),
    (fields("int32 a = 1; reserved 2;"), fields("int32 a = 1; string b = 2;"), [], []),
    # kinds of scalars
    *(
        (fields(f"{one} a = 1;"), fields(f"{other} a = 1;"), [], [])
        for one, other in (
            ("int32", "uint64"),
            ("bool", "int64"),
            ("E", "int32"),
            ("sint32", "sint64"),
            ("string", "bytes"),
            ("fixed32", "sfixed32"),
            ("fixed64", "sfixed64"),
        )
    ),
    *(
        (fields(f"{one} a = 1;"), fields(f"{other} a = 1;"), SCALAR, SCALAR)
        for one, other in (
            ("int32", "sint32"),
            ("int32", "string"),
            ("float", "double"),
            ("fixed32", "float"),
            ("fixed32", "fixed64"),
            ("E", "string"),
        )
    ),
    # labels
    (fields("repeated int32 a = 1;"), fields("int32 a = 1;"), LABEL, LABEL),
    (fields("repeated string a = 1;"), fields("string a = 1;"), [], []),
    (fields("repeated N a = 1;"), fields("N a = 1;"), [], []),
    (fields("optional int32 a = 1;"), fields("int32 a = 1;"), [], []),
    # messages and maps
    (fields("N a = 1;"), fields("string a = 1;"), KIND, KIND),
    (fields("map<string, N> a = 1;"), fields("repeated N a = 1;"), KIND, KIND),
    (
        fields("map<string, int32> a = 1;"),
        fields("map<string, string> a = 1;"),
        [("FIELD_SCALAR_KIND_CHANGED", "/M/1/value")],
        [("FIELD_SCALAR_KIND_CHANGED", "/M/1/value")],
    ),
    (fields("map<string, int32> a = 1;"), fields(""), [], []),
    (
        three("message M { N a = 1; } message N {} message O {}"),
        three("message M { O a = 1; } message N {} message O {}"),
        TYPE,
        TYPE,
    ),
    (
        three("message M { message X { int32 a = 2; } X x = 1; }"),
        three("message M { message X { string a = 2; } X x = 1; }"),
        [("FIELD_SCALAR_KIND_CHANGED", "/M/X/2")],
        [("FIELD_SCALAR_KIND_CHANGED", "/M/X/2")],
    ),
    (three("message M { M next = 1; int32 a = 2; }"), three("message M { M next = 1; }"), [], []),
    # enums
    (three("enum E { A = 0; B = 1; }"), three("enum E { A = 0; C = 1; D = 2; }"), [], []),
    # required
    (two("required int32 a = 1;"), two(""), [("REQUIRED_FIELD_ADDED", "/M/1")], [("REQUIRED_FIELD_REMOVED", "/M/1")]),
    (two("required int32 a = 1;"), two("optional int32 a = 1;"), [("REQUIRED_FIELD_ADDED", "/M/1")], []),
    (two("optional group A = 1 {}"), two("optional bytes a = 1;"), KIND, [*KIND, ("MESSAGE_REMOVED", "/M/A")]),
    # oneofs
    (fields("oneof x { int32 a = 1; }"), fields("int32 a = 1;"), [], []),
    (
        fields("oneof x { int32 a = 1; int32 b = 2; }"),
        fields("int32 a = 1; int32 b = 2;"),
        [("MULTIPLE_FIELDS_MOVED_TO_ONEOF", "/M/x")],
        [],
    ),
    (
        fields("oneof x { int32 a = 1; int32 b = 2; }"),
        fields("int32 a = 1; oneof x { int32 b = 2; }"),
        [("FIELD_MOVED_TO_EXISTING_ONEOF", "/M/x")],
        [],
    ),
    (
        fields("oneof x { int32 a = 1; int32 b = 2; }"),
        fields("oneof x { int32 a = 1; }"),
        [],
        [("ONEOF_FIELD_REMOVED", "/M/x/2")],
    ),
    (fields("oneof y { int32 a = 1; }"), fields("oneof x { int32 a = 1; }"), [], []),
    (fields("oneof y { string a = 1; }"), fields("oneof x { int32 a = 1; }"), SCALAR, SCALAR),
    (
        fields("oneof z { int32 a = 1; int32 b = 2; }"),
        fields("oneof x { int32 a = 1; } oneof y { int32 b = 2; }"),
        [("MULTIPLE_FIELDS_MOVED_TO_ONEOF", "/M/z")],
        [],
    ),
    (fields("optional int32 a = 1;"), fields("oneof x { int32 a = 1; }"), [], []),
]


class PairTests(SynchronousTestCase):
    """What a change of a file does."""

    def test_table(self) -> None:
        """Each pair has what the table says, in one direction and in the other; each file is compatible with itself."""
        for new, old, backward, forward in PAIRS:
            with self.subTest(new=new, old=old):
                found = incompatibilities(proto(new), [proto(old)], Level.FULL)
                self.assertEqual([(one.rule, one.path) for one in found if not one.forward], backward)
                self.assertEqual([(one.rule, one.path) for one in found if one.forward], forward)
                self.assertEqual(incompatibilities(proto(new), [proto(new)], Level.FULL), [])

    def test_imports(self) -> None:
        """Messages of imported files are compared where fields use them."""
        text = 'syntax = "proto3"; package p; import "n.proto"; message M { other.N n = 1; other.N m = 2; }'
        old, new = (proto(text, n=three(f"message N {{ {kind} a = 3; }}", "other")) for kind in ("int32", "string"))
        found = [(one.rule, one.path) for one in incompatibilities(new, [old])]
        self.assertEqual(
            found,
            [
                ("FIELD_SCALAR_KIND_CHANGED", "/M/1/3"),
                ("FIELD_NAMED_TYPE_CHANGED", "/M/1"),
                ("FIELD_SCALAR_KIND_CHANGED", "/M/2/3"),
                ("FIELD_NAMED_TYPE_CHANGED", "/M/2"),
            ],
        )

    def test_message(self) -> None:
        """A message says which field, and what it was and is."""
        (one,) = incompatibilities(proto(fields("sint32 a = 1;")), [proto(fields("string a = 1;"))])
        self.assertEqual(
            one.message,
            "the new schema does not read what the earlier writes, at /M/1: a was string, is sint32"
            " (FIELD_SCALAR_KIND_CHANGED)",
        )


class BoundTests(SynchronousTestCase):
    """Files of strangers."""

    def test_unusable(self) -> None:
        """What does not compile, or imports what is not there, is said to be so."""
        for text in ("message", three('import "none.proto";'), three("message M { Nothing a = 1; }"), "c3RyYW5nZQ=="):
            with self.subTest(text=text):
                self.assertRaises(UnusableSchema, incompatibilities, proto(text), [proto(three("message M {}"))])

    def test_circles(self) -> None:
        """Messages that refer to each other in circles, over files, come to an end."""
        body = "".join(
            f"message M{at} {{ " + "".join(f"M{to} f{to} = {to + 1};" for to in range(30)) + "}" for at in range(30)
        )
        text = 'syntax = "proto3"; import "n.proto"; message R { n.M0 m = 1; }'
        one = proto(text, n=three(body, "n"))
        self.assertEqual(incompatibilities(one, [one], Level.FULL), [])
