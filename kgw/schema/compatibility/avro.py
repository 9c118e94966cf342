"""
Whether a reader's Avro schema reads what a writer's wrote, by the rules of schema resolution.

The C{avro} package has such a check (C{avro.compatibility}). It is a test's oracle and not used here: it gives kinds of
findings, texts and places as three unordered sets that cannot be joined, loses the place of what is within unions,
takes aliases without a namespace for full names, and knows no records of type C{error}.

Source: Apache Avro 1.12 specification, Schema Resolution; the names of rules are those of Avro's
C{SchemaCompatibility}, which Confluent's registry shows. Logical types do not count, as they do not there.
"""

from __future__ import annotations

from collections.abc import Iterator

from kgw.schema.compatibility.avro_types import AvroField, AvroType, avro_type
from kgw.schema.compatibility.document import shown
from kgw.schema.compatibility.findings import Findings, Pairs, found, joined, under

#: By a reader's primitive type: what else it reads.
_PROMOTED: dict[str, frozenset[str]] = {
    "long": frozenset({"int"}),
    "float": frozenset({"int", "long"}),
    "double": frozenset({"int", "long", "float"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}


#: Makes of a schema what L{unreadable} takes.
read = avro_type


def unreadable(reader: AvroType, writer: AvroType) -> Findings:
    """
    What of a writer's data a reader cannot read; nothing if all.

    @raise UnusableSchema: they are too intricate.
    """
    return _Comparison().compare(reader, writer)


class _Comparison:
    """One reader's schema against one writer's."""

    def __init__(self) -> None:
        self._pairs = Pairs()

    def compare(self, reader: AvroType, writer: AvroType) -> Findings:
        """The findings of two types."""
        return self._pairs.judge((reader, writer), lambda: self._compared(reader, writer))

    def _compared(self, reader: AvroType, writer: AvroType) -> Findings:
        if writer.kind == "union":
            if reader.kind != "union":
                return joined(self.compare(reader, branch) for branch in writer.below)
            return joined(under(str(at), self._one_of(reader, branch)) for at, branch in enumerate(writer.below))
        if reader.kind == "union":
            return self._one_of(reader, writer)
        if reader.kind != writer.kind:
            if writer.kind in _PROMOTED.get(reader.kind, ()):
                return ()
            return found("TYPE_MISMATCH", f"a reader of {reader} cannot read {writer}")
        if reader.kind == "array":
            return under("items", self.compare(reader.below[0], writer.below[0]))
        if reader.kind == "map":
            return under("values", self.compare(reader.below[0], writer.below[0]))
        if reader.kind == "record":
            return joined(self._record(reader, writer))
        if reader.kind == "enum":
            return joined((_named(reader, writer), _enum(reader, writer)))
        if reader.kind == "fixed":
            return joined((_named(reader, writer), _fixed(reader, writer)))
        return ()

    def _one_of(self, reader: AvroType, writer: AvroType) -> Findings:
        """Whether a branch of a reader's union reads a type that is no union."""
        if any(not self.compare(branch, writer) for branch in reader.below):
            return ()
        return found("MISSING_UNION_BRANCH", f"no branch of the reader's union reads {writer}")

    def _record(self, reader: AvroType, writer: AvroType) -> Iterator[Findings]:
        yield _named(reader, writer)
        written = {one.name: one for one in writer.fields}
        for at, one in enumerate(reader.fields):
            source = _source(one, written)
            if source is not None:
                yield under(f"fields/{at}/type", self.compare(one.type, source.type))
            elif not one.has_default:
                yield found(
                    "READER_FIELD_MISSING_DEFAULT_VALUE",
                    f"the reader's field {shown(one.name)} is not written and has no default",
                    f"/fields/{at}",
                )


def _source(wanted: AvroField, written: dict[str, AvroField]) -> AvroField | None:
    """The writer's field that a reader's field is read from."""
    return next((written[name] for name in (wanted.name, *wanted.aliases) if name in written), None)


def _named(reader: AvroType, writer: AvroType) -> Findings:
    if reader.simple_name == writer.simple_name or writer.name in reader.aliases:
        return ()
    return found(
        "NAME_MISMATCH", f"the reader's {reader} is not called {writer.name}, and has no alias of that", "/name"
    )


def _enum(reader: AvroType, writer: AvroType) -> Findings:
    known = frozenset(reader.symbols)
    missing = [symbol for symbol in writer.symbols if symbol not in known]
    if not missing or reader.default is not None:
        return ()
    return found(
        "MISSING_ENUM_SYMBOLS",
        f"the reader's {reader} lacks {shown(missing)}, and has no default symbol",
        "/symbols",
    )


def _fixed(reader: AvroType, writer: AvroType) -> Findings:
    if reader.size == writer.size:
        return ()
    return found(
        "FIXED_SIZE_MISMATCH", f"the reader's {reader} has {reader.size} bytes, the writer's {writer.size}", "/size"
    )
