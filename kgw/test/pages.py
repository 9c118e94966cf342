"""The pages of docs/ that are printed from the code: beside the package in the checkout, within it once installed."""

from __future__ import annotations

from importlib.metadata import metadata
from pathlib import Path

import kgw

_PACKAGE = Path(kgw.__file__).parent


def page(name: str) -> str:
    """The text of one page, by its file's name."""
    installed = _PACKAGE / "docs" / name
    return (installed if installed.exists() else _PACKAGE.parent / "docs" / name).read_text(encoding="utf-8")


def readme() -> str:
    """README.md: beside the package in the checkout, the package's description once installed."""
    beside = _PACKAGE.parent / "README.md"
    if (_PACKAGE.parent / "setup.py").exists():
        return beside.read_text(encoding="utf-8")
    return str(metadata("kgw").json["description"])
