"""Compiles Avro schemas to Python: functions that check payloads, and such that make rows of them.

Nothing is built in between: the one only walks over a payload, the other copies its parts with what belongs before
them. All that comes from a schema (names, symbols, sizes) is in the functions' globals under names made here, and
never in their source. They raise C{Undecodable}, C{IndexError} where a payload ends too early, C{KeyError} for a
boolean that is none, and C{UnicodeDecodeError}.

Slices beyond the end of a payload are short and raise nothing. That shows at the end, where the place is behind the
payload's end; and before anything is done over and over, it is seen whether the payload has enough bytes for it.
"""

from __future__ import annotations

from collections.abc import Callable

from kgw.schema import avro_reading as reading
from kgw.schema.avro_checks import Checks
from kgw.schema.avro_schema import (
    Array,
    Enumeration,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    Union,
    branch_name,
    least,
)
from kgw.schema.avro_source import BLOCK, LENGTH, NUMBER, Source, chosen, indented
from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.model import Undecodable
from kgw.schema.record_value import TAG_OF, Heads, Tag, ValueHeads

#: Columns, also those within others, behind which only scalars are columns: what has others in it becomes JSON.
MOST_COLUMNS = 2_000
#: How deep columns stand in one another; what is deeper becomes JSON. The engine's types may be deeper.
MOST_NESTED = 24
#: Beyond so many fields a schema is not used.
_MOST_FIELDS = 5_000

_SCALARS = {
    "boolean": Scalar.BOOL,
    "int": Scalar.INT32,
    "long": Scalar.INT64,
    "float": Scalar.FLOAT,
    "double": Scalar.DOUBLE,
    "bytes": Scalar.BYTES,
    "string": Scalar.STRING,
}

#: What makes the heads of values of a tag: of an entry with a name, of a list's value, or of a value only.
_Heads = Callable[[Tag], dict[int, bytes]]


def compile_check(schema: Type) -> Callable[[bytes], None]:
    """
    Compile what takes a payload, and raises where it is none.

    @raise Undecodable: Python does not take it.
    """
    source = Source()
    checks = Checks(source)
    source.function("check", "p", ["a = d = 0", *checks.walk(schema), "if a != len(p): ended(p, a)"])
    checks.finish()
    check: Callable[[bytes], None] = source.run()["check"]
    return check


def compile_row(schema: Type) -> tuple[RecordOf, Callable[[bytes], bytes]]:
    """
    Compile what takes a payload, and gives the fields of its C{RecordValue}; with the columns of all its values.

    @raise Undecodable: it has more fields than are compiled.
    """
    source = Source()
    checks = Checks(source)
    columns, lines = _Rows(source, checks).root(schema)
    source.function("row", "p", lines)
    checks.finish()
    row: Callable[[bytes], bytes] = source.run()["row"]
    return columns, row


class _Rows:
    """
    Lines that make entries of values, or values in lists and maps, with the columns that they fill.

    @ivar _open: the records that what is made now stands in.
    """

    def __init__(self, source: Source, checks: Checks) -> None:
        self._source = source
        self._checks = checks
        self._open: set[int] = set()
        self._columns = 0

    def root(self, kind: Type) -> tuple[RecordOf, list[str]]:
        """The columns of a whole value, and the lines of the function that makes a row of it."""
        fields = kind.fields if isinstance(kind, Record) else (("value", kind),)
        if isinstance(kind, Record):
            self._open.add(id(kind))
        columns, lines, made = self._fields(fields, 1)
        return columns, ["a = t = 0", *lines, "if a != len(p): ended(p, a)", f"return {_joined(made)}"]

    def _fields(self, fields: tuple[tuple[str, Type], ...], depth: int) -> tuple[RecordOf, list[str], list[str]]:
        """The columns of some fields, lines that make their entries, and the variables that have them then."""
        columns, lines, made = [], [], []
        for name, kind in fields:
            self._columns += 1
            if self._columns > _MOST_FIELDS:
                raise Undecodable(f"the Avro schema has more than {_MOST_FIELDS} fields")
            variable = self._source.name("e")
            column, inner = self._value(kind, variable, _entries(name), depth)
            lines += inner
            if column is not None:
                columns.append(Column(name, column, required=not _nullable(kind)))
                made.append(variable)
        return RecordOf(tuple(columns)), lines, made

    def _value(self, kind: Type, to: str, heads: _Heads, depth: int) -> tuple[ColumnType | None, list[str]]:
        """
        The type of the column that values of a type fill, and lines that make what they are there.

        @param to: the variable it is to be in; C{b""} for null.
        @return: no column and lines that only walk on for a type that has nothing to tell.
        """
        if is_silent(kind):
            return None, self._walk(kind)
        if isinstance(kind, Primitive):
            return _SCALARS[kind.name], self._primitive(kind.name, to, heads)
        if isinstance(kind, Fixed):
            head = self._source.constant(heads(Tag.BYTES)[kind.size])
            return Scalar.BYTES, [f"{to} = {head} + p[a:a + {kind.size}]", f"a += {kind.size}"]
        if isinstance(kind, Enumeration):
            return Scalar.STRING, self._enumeration(kind, to, heads(Tag.STRING))
        if isinstance(kind, Union) and sum(not is_silent(branch) for branch in kind.branches) < 2:
            return self._choice(kind, to, heads, depth)
        if id(kind) in self._open or depth >= MOST_NESTED or self._columns >= MOST_COLUMNS:
            return Scalar.STRING, self._json(kind, to, heads(Tag.STRING))
        if isinstance(kind, Union):
            return self._branches(kind, to, heads(Tag.RECORD), depth + 1)
        if isinstance(kind, Record):
            self._open.add(id(kind))
            columns, lines, made = self._fields(kind.fields, depth + 1)
            self._open.discard(id(kind))
            head = self._source.constant(heads(Tag.RECORD))
            return columns, [*lines, f"s = {_joined(made)}", f"{to} = {head}[len(s)] + s"]
        return self._many(kind, to, heads, depth + 1)

    def _primitive(self, name: str, to: str, heads: _Heads) -> list[str]:
        found = heads(TAG_OF[_SCALARS[name]])
        constant = self._source.constant
        if name == "boolean":
            table = constant({byte: found[1] + bytes((byte,)) for byte in (0, 1)})
            return [f"{to} = {table}[p[a]]", "a += 1"]
        if name in ("int", "long"):
            how = "integer" if name == "int" else "long"
            return [
                "n = p[a]",
                "if n < 128:",
                " a += 1",
                f" {to} = {constant(reading.Small(found))}[n]",
                "else:",
                f" s, a = {how}(p, a)",
                f" {to} = {constant(found)}[len(s)] + s",
            ]
        if name in ("float", "double"):
            size = least(Primitive(name))
            return [f"{to} = {constant(found[size])} + p[a:a + {size}]", f"a += {size}"]
        lines = [*LENGTH, "s = p[a:a + n]", "a += n"]
        if name == "string":
            lines.append("s.isascii() or s.decode()")
        return [*lines, f"{to} = {constant(found)}[n] + s"]

    def _enumeration(self, kind: Enumeration, to: str, heads: dict[int, bytes]) -> list[str]:
        symbols = [symbol.encode() for symbol in kind.symbols]
        table = {index << 1: heads[len(symbol)] + symbol for index, symbol in enumerate(symbols)}
        return [*NUMBER, f"{to} = {self._source.constant(table)}.get(n)", f"if {to} is None: bad_symbol()"]

    def _choice(self, kind: Union, to: str, heads: _Heads, depth: int) -> tuple[ColumnType | None, list[str]]:
        """A union of one type, and of null or not."""
        column: ColumnType | None = None
        lines = []
        for branch in kind.branches:
            found, inner = self._value(branch, to, heads, depth)
            column = column if found is None else found
            lines.append(inner if found is not None else [*inner, f'{to} = b""'])
        return column, chosen(lines)

    def _branches(self, kind: Union, to: str, heads: dict[int, bytes], depth: int) -> tuple[ColumnType, list[str]]:
        """A union of two types or more: a record that has the one that is there."""
        columns, lines = [], []
        head = self._source.constant(heads)
        for branch in kind.branches:
            name = branch_name(branch)
            self._columns += 1
            column, inner = self._value(branch, to, _entries(name), depth)
            if column is None:
                lines.append([*inner, f'{to} = b""'])
            else:
                columns.append(Column(name, column))
                lines.append([*inner, f"{to} = {head}[len({to})] + {to}"])
        return RecordOf(tuple(columns)), chosen(lines)

    def _many(self, kind: Type, to: str, heads: _Heads, depth: int) -> tuple[ColumnType, list[str]]:
        """
        An array or a map: in a function of its own, as Python does not let loops stand in loops for ever.

        It takes and gives how many bytes loops have made so far.
        """
        column: ColumnType
        if isinstance(kind, Array):
            found, item = self._value(kind.items, "e", Heads, depth)
            size, head = least(kind.items), heads(Tag.LIST)
            # an array of what has no column has none itself
            assert found is not None
            column = ListOf(found)
        else:
            assert isinstance(kind, Map)
            found, item = self._value(kind.values, "e", ValueHeads, depth)
            key = [*LENGTH, "k = p[a:a + n]", "a += n", "k.isascii() or k.decode()"]
            item = [*key, *item]
            if found is not None:
                item.append("if e: e = entry(k, e)")
            size, head, column = 1 + least(kind.values), heads(Tag.RECORD), RecordOf()
        lines = [*BLOCK]
        if item:
            lines += [f"if n * {size} > len(p) - a: raise IndexError", "for i in range(n):", " u = t", *indented(item)]
        if found is not None:
            lines += [" out.append(e)", " t = u + len(e)", f" if t > {reading.MOST_ROW}: too_large()"]
        name = self._source.name("many_")
        end = ["s = b''.join(out)", f"return {self._source.constant(head)}[len(s)] + s, a, t"]
        self._source.function(name, "p, a, t", ["while True:", *indented(lines), *end], "out = []")
        return column, [f"{to}, a, t = {name}(p, a, t)"]

    def _json(self, kind: Type, to: str, heads: dict[int, bytes]) -> list[str]:
        """What stands in itself, or too deep, as text."""
        constant = self._source.constant
        made = f"{constant(heads)}[len(s)] + s"
        return ["b = a", *self._walk(kind), f"s = json_text({constant(kind)}, p[b:a])", f"{to} = {made}"]

    def _walk(self, kind: Type) -> list[str]:
        """Lines that pass a value over."""
        lines = self._checks.walk(kind)
        return ["d = 0", *lines] if lines else []


def _entries(name: str) -> _Heads:
    return lambda tag: Heads(tag, name)


def _joined(variables: list[str]) -> str:
    if len(variables) < 3:
        return " + ".join(variables) or 'b""'
    return f'b"".join(({", ".join(variables)}))'


def _nullable(kind: Type) -> bool:
    return isinstance(kind, Union) and any(map(is_silent, kind.branches))


def is_silent(kind: Type) -> bool:
    """Whether there is nothing to tell of a type's values, so that it has no column."""
    if isinstance(kind, Array):
        return is_silent(kind.items)
    if isinstance(kind, Union):
        return all(map(is_silent, kind.branches))
    return not least(kind)
