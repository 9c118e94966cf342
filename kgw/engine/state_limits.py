"""What any state store takes, whichever way it keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: The largest value of one key, in bytes.
MAX_VALUE_BYTES = 1 << 20


def check_keys(keys: Iterable[str]) -> None:
    """
    Hold keys to what every store can spell.

    @raise ValueError: one contains a surrogate, which UTF-8 has no bytes for.
    """
    for key in keys:
        key.encode()


def check_puts(puts: Mapping[str, bytes]) -> None:
    """
    Hold the puts of a commit to the limits of L{kgw.interfaces.IStateStore}.

    Keeping them is the caller's duty; what clients send is limited before.

    @raise ValueError: a value is larger than 1 MiB, or a key contains a surrogate.
    """
    check_keys(puts)
    for key, value in puts.items():
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"the value of {key!r} has {len(value)} bytes, at most {MAX_VALUE_BYTES} are kept")
