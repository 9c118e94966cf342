"""Regular expressions of JSON schemas, which come from strangers: matched by RE2, whose time is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Callable

import re2

#: Matches somewhere in a text, or not.
Search = Callable[[str], object]

#: Longer ones are none that RE2 takes.
MOST_CHARACTERS = 4096
#: Bytes that RE2 may use for one.
_MOST_MEMORY = 1 << 20

_OPTIONS = re2.Options()
_OPTIONS.max_mem = _MOST_MEMORY
_OPTIONS.log_errors = False

#: What ECMA-262 writes in another way: four digits of a character. Other escapes are stepped over in pairs.
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _translate(escape: re.Match[str]) -> str:
    return f"\\x{{{escape[1]}}}" if escape[1] else escape[0]


def searcher(pattern: str) -> Search | None:
    """
    What looks for a pattern of ECMA-262 in a text.

    @return: C{None} where RE2 has no means for it: looking ahead or behind, references back, more than 1000
        repetitions, or more than a megabyte of memory.
    """
    if len(pattern) > MOST_CHARACTERS:
        return None
    try:
        search: Search = re2.compile(_ESCAPE.sub(_translate, pattern), _OPTIONS).search
    except (re2.error, ValueError):
        return None
    return search
