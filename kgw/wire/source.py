"""What the generators of encoders and decoders share: the lines of a function and the objects they refer to."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any


class Source:
    """The lines of one generated function and the objects they refer to."""

    def __init__(self, version: int, flexible: bool) -> None:
        self.version = version
        self.flexible = flexible
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self._count = 0

    def new(self, prefix: str, bound: Any = None) -> str:
        self._count += 1
        name = f"{prefix}{self._count}"
        if bound is not None:
            self.names[name] = bound
        return name

    def emit(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def function(self, cls: type, name: str) -> Callable[..., Any]:
        source = "\n".join(self.lines)
        module = compile(source, f"<{cls.__module__}.{cls.__qualname__} v{self.version} {name}>", "exec")
        (code,) = (constant for constant in module.co_consts if isinstance(constant, CodeType))
        return FunctionType(code, self.names, name)
