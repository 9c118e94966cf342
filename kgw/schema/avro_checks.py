"""The half of a compiled Avro schema that only walks over values, to see whether they are what the schema says."""

from __future__ import annotations

from kgw.schema import avro_reading as reading
from kgw.schema.avro_schema import Array, Enumeration, Fixed, Map, Primitive, Record, Type, Union, least
from kgw.schema.avro_source import BLOCK, LENGTH, NUMBER, Source, chosen, indented


class Checks:
    """Lines that walk over values: C{p} is the payload, C{a} the place in it, C{d} the depth."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._functions: dict[int, str] = {}
        self._pending: list[tuple[str, Type]] = []

    def finish(self) -> None:
        """Make the functions that others call."""
        while self._pending:
            name, kind = self._pending.pop()
            lines = self._record(kind) if isinstance(kind, Record) else self._loop(kind)
            self._source.function(
                name, "p, a, d", [*lines, "return a"], f"if d > {reading.MOST_DEPTH}: too_deep()", "d += 1"
            )

    def walk(self, kind: Type) -> list[str]:
        """Lines that walk over one value."""
        if not least(kind):
            return []
        if isinstance(kind, Fixed):
            return [f"a += {kind.size}"]
        if isinstance(kind, Enumeration):
            return [*NUMBER, f"if n > {2 * len(kind.symbols) - 2} or n & 1: bad_symbol()"]
        if isinstance(kind, Union):
            return chosen([self.walk(branch) for branch in kind.branches])
        if not isinstance(kind, Primitive):
            return [f"a = {self.function(kind)}(p, a, d)"]
        if kind.name == "boolean":
            return ["booleans[p[a]]", "a += 1"]
        if kind.name in ("int", "long"):
            how = "integer" if kind.name == "int" else "number"
            return ["if p[a] < 128: a += 1", f"else: a = {how}(p, a)[1]"]
        if kind.name == "bytes":
            return [*LENGTH, "a += n"]
        if kind.name == "string":
            return [*LENGTH, "s = p[a:a + n]", "a += n", "s.isascii() or s.decode()"]
        return [f"a += {least(kind)}"]

    def function(self, kind: Type) -> str:
        """The name of a function that walks over a value, which begins at C{a}, and returns the place behind it."""
        # the tree of types is alive as long as this is
        name = self._functions.get(id(kind))
        if name is None:
            name = self._functions[id(kind)] = self._source.name("check_")
            self._pending.append((name, kind))
        return name

    def _record(self, kind: Record) -> list[str]:
        # a value of floats could be walked over for ever, far behind the end
        lines = [f"if a + {kind.least} > len(p): raise IndexError"]
        for _name, one in kind.fields:
            lines += self.walk(one)
        return lines

    def _loop(self, kind: Type) -> list[str]:
        if isinstance(kind, Array):
            item, size = self.walk(kind.items), least(kind.items)
        else:
            assert isinstance(kind, Map)
            item = [*self.walk(Primitive("string")), *self.walk(kind.values)]
            size = 1 + least(kind.values)
        lines = [*BLOCK]
        if item:
            lines += [f"if n * {size} > len(p) - a: raise IndexError", "for i in range(n):", *indented(item)]
        return ["while True:", *indented(lines)]
