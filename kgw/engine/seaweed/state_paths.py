"""Where in the filer a fact is kept: any text as a path of names that every filer takes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

#: The most bytes of one name; the engine takes 255.
_NAME_BYTES = 200

# quote() makes none of these, so they can mark what text does not say.
_VALUE = "="
_CONTINUED = "+"
_EMPTY = ","


class Place(NamedTuple):
    """One entry of the filer: the folder it is in, as an absolute path without a slash at the end, and its name."""

    directory: str
    name: str


def place_of(root: str, key: str) -> Place:
    """
    Where the value of a key is kept.

    The parts of a key between slashes are folders. The last part is an entry with an equals sign before it, so that
    C{a} and C{a/b} can both be kept; what is not an ASCII letter, digit, dot, minus or underscore is in percent
    signs; a long part is broken into several names, with a plus sign behind all but the last.
    """
    *folders, last = key.split("/")
    names = [name for folder in folders for name in _folder(folder)]
    *more, name = _pieces(quote(last, safe=""))
    return Place("/".join([root, *names, *more]), _VALUE + name)


def key_of(folders: Sequence[str], name: str) -> str | None:
    """
    The key that L{place_of} made these names of.

    @param folders: from the root down.
    @return: C{None} where nothing here made them.
    """
    escaped = "".join(map(_part, folders)) + name.removeprefix(_VALUE)
    try:
        key = unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        return None
    return key if place_of("", key) == Place("/".join(["", *folders]), name) else None


def may_hold(folders: Sequence[str], prefix: str) -> bool:
    """Whether there may be keys that start with C{prefix} below these folders."""
    whole = [_part(folder) for folder in folders]
    # The pieces of a name that goes on below say nothing for sure: they may end within a character.
    while whole and not whole[-1].endswith("/"):
        whole.pop()
    start = unquote("".join(whole), errors="replace")
    return start.startswith(prefix) or prefix.startswith(start)


def _part(folder: str) -> str:
    if folder == _EMPTY:
        return "/"
    return folder.removesuffix(_CONTINUED) if folder.endswith(_CONTINUED) else folder + "/"


def _folder(part: str) -> list[str]:
    if part in (".", ".."):
        return [part.replace(".", "%2E")]
    return _pieces(quote(part, safe="")) if part else [_EMPTY]


def _pieces(escaped: str) -> list[str]:
    pieces = [escaped[at : at + _NAME_BYTES] for at in range(0, len(escaped), _NAME_BYTES)] or [""]
    return [piece + _CONTINUED for piece in pieces[:-1]] + pieces[-1:]
