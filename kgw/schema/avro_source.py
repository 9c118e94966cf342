"""Python that is made of an Avro schema: its source as it grows, and the lines that readers of Avro are full of.

C{p} is the payload, C{a} the place in it, C{n} the last number read.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from kgw.schema import avro_reading as reading
from kgw.schema.avro_json import json_text
from kgw.schema.model import Undecodable
from kgw.schema.record_value import entry


class Source:
    """
    The source so far.

    @ivar constants: what it uses, by the names it has for it.
    """

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {
            "number": reading.number,
            "long": reading.long,
            "integer": reading.integer,
            "ended": reading.ended,
            "bad_length": reading.bad_length,
            "bad_branch": reading.bad_branch,
            "bad_symbol": reading.bad_symbol,
            "too_large": reading.too_large,
            "too_deep": reading.too_deep,
            "entry": entry,
            "json_text": json_text,
            "booleans": {0: None, 1: None},
        }
        self._parts: list[str] = []
        self._numbers = count()

    def name(self, prefix: str) -> str:
        """A name that nothing has yet."""
        return f"{prefix}{next(self._numbers)}"

    def constant(self, what: object) -> str:
        """The name under which functions have an object."""
        name = self.name("C")
        self.constants[name] = what
        return name

    def function(self, name: str, arguments: str, lines: list[str], *first: str) -> None:
        """
        Add a function.

        @param first: lines that stand before the others.
        """
        self._parts.append("\n".join((f"def {name}({arguments}):", *indented([*first, *lines]), "")))

    def run(self) -> dict[str, Any]:
        """
        Make the functions; they are in what is returned, by their names.

        @raise Undecodable: the source is more than Python's compiler takes.
        """
        try:
            code = compile("\n".join(self._parts), "<an Avro schema>", "exec")
        except (SyntaxError, RecursionError, MemoryError) as error:
            # what Python says of sources that stand too deep in each other, by where it notices
            raise Undecodable("the Avro schema has too many types in each other") from error
        exec(code, self.constants)
        return self.constants


def indented(lines: list[str]) -> list[str]:
    """Lines as they stand within a block."""
    return [f" {line}" for line in lines]


#: A zig-zag number to n.
NUMBER = ["n = p[a]", "if n < 128: a += 1", "else: n, a = number(p, a)"]
#: A length to n.
LENGTH = [*NUMBER, "if n & 1: bad_length()", "n >>= 1"]
#: The number of items in the next block to n; ends the loop where there is none.
BLOCK = [
    *NUMBER,
    "if not n: break",
    "if n & 1:",
    " n = (n >> 1) + 1",
    " b, a = number(p, a)",
    " if b & 1: bad_length()",
    "else: n >>= 1",
]


def chosen(branches: list[list[str]]) -> list[str]:
    """Lines that do what stands for the branch that the payload has."""
    return [*NUMBER, *_among(branches, 0)]


def _among(branches: list[list[str]], first: int) -> list[str]:
    # Python's own compiler goes down a chain of elif by recursion
    if len(branches) > 16:
        half = len(branches) // 2
        return [
            f"if n < {first + half << 1}:",
            *indented(_among(branches[:half], first)),
            "else:",
            *indented(_among(branches[half:], first + half)),
        ]
    lines = []
    for index, inner in enumerate(branches):
        lines += [f"{'elif' if index else 'if'} n == {first + index << 1}:", *indented(inner or ["pass"])]
    return [*lines, "else: bad_branch()"] if branches else ["bad_branch()"]
