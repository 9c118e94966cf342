"""Whether schemas are compatible with each other, as a registry asks before it takes a new one."""

from __future__ import annotations

from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.compatibility.levels import Incompatibility, Level, incompatibilities

__all__ = ["Incompatibility", "Level", "UnusableSchema", "incompatibilities"]
