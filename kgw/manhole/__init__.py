"""The debugging door: a Python prompt inside the running service, over SSH, for those who look after it."""

from __future__ import annotations

from kgw.manhole.door import Manhole

__all__ = ["Manhole"]
