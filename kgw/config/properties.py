"""Reads the syntax of Java properties files, which server.properties is written in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLANK = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u]|u|\Z)", re.DOTALL)
_KEY = re.compile(r"(?:[^\\=: \t\f]|\\.)*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")


class Property(NamedTuple):
    """One property and the number of the line it begins on, counted from 1."""

    name: str
    value: str
    line: int


class PropertiesError(ValueError):
    """The text is no properties file; C{line} says where."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> Iterator[Property]:
    """
    The properties of a file in their order, as C{java.util.Properties.load} reads them.

    @raise PropertiesError: a C{\\u} without four hexadecimal digits.
    """
    for logical, line in _logical_lines(text):
        key = _KEY.match(logical)
        assert key is not None  # the pattern matches the empty text
        separator = _SEPARATOR.match(logical, key.end())
        assert separator is not None
        yield Property(_unescape(key.group(), line), _unescape(logical[separator.end() :], line), line)


def _logical_lines(text: str) -> Iterator[tuple[str, int]]:
    """Lines joined where a backslash ends one, without blank ones and comments."""
    joined, start = "", 0
    for number, natural in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = natural.lstrip(_BLANK)
        if not start:
            if not line or line[0] in "#!":
                continue
            start = number
        if (len(line) - len(line.rstrip("\\"))) % 2:
            joined += line[:-1]
        else:
            yield joined + line, start
            joined, start = "", 0
    if start:
        yield joined, start


def _unescape(text: str, line: int) -> str:
    def replace(match: re.Match[str]) -> str:
        escaped = match.group(1)
        if escaped == "u":
            raise PropertiesError("\\u needs four hexadecimal digits", line)
        if escaped.startswith("u"):
            return chr(int(escaped[1:], 16))
        return _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(replace, text) if "\\" in text else text
