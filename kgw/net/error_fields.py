"""Finds the error codes in an answer, wherever its message has them, so that they can be counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgw.wire.message import Array, fields_of

#: Adds the error codes in a message that are not 0 to a list.
Reader = Callable[[Any, list[int]], None]

_NAME = "error_code"


def reader_of(cls: type) -> Reader | None:
    """
    What finds the codes in messages of a class.

    @return: C{None} where such messages have none.
    """
    own = False
    inner: list[tuple[str, bool, Reader]] = []
    for field in fields_of(cls):
        kind = field.type
        many = isinstance(kind, Array)
        element = kind.element if isinstance(kind, Array) else kind
        if field.name == _NAME:
            own = True
        elif isinstance(element, type):
            reader = reader_of(element)
            if reader is not None:
                inner.append((field.name, many, reader))
    if not own and not inner:
        return None

    def read(message: Any, codes: list[int]) -> None:
        if own and message.error_code:
            codes.append(int(message.error_code))
        for name, many, reader in inner:
            held = getattr(message, name)
            if many:
                for each in held or ():
                    reader(each, codes)
            elif held is not None:
                reader(held, codes)

    return read
