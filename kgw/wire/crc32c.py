"""CRC-32C, the checksum of record batches, from the fastest library that is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import cast

Checksum = Callable[[bytes], int]


def fast() -> Checksum | None:
    """
    The C function of google-crc32c, or C{None} where only its pure Python form can be imported.

    That form is several hundred times slower than crcmod's extension, which L{portable} finds instead. The C
    function takes C{bytes} only, no views.
    """
    with warnings.catch_warnings():
        # google_crc32c warns when it is imported without its extension; we have something better then
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            module = import_module("google_crc32c")
        except ImportError:
            return None
    return cast(Checksum, module.value) if module.implementation == "c" else None


def portable() -> Checksum:
    """The function of crcmod, which is there on every platform."""
    predefined = import_module("crcmod.predefined")
    return cast(Checksum, predefined.mkPredefinedCrcFun("crc-32c"))


_fast = fast()

#: The library in use, for people: C{"google-crc32c"} or C{"crcmod"}.
IMPLEMENTATION = "crcmod" if _fast is None else "google-crc32c"

#: The unsigned 32-bit CRC-32C (Castagnoli) of some C{bytes}.
crc32c: Checksum = _fast or portable()
