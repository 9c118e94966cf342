"""C{python -m kgw.config --markdown}: prints docs/configuration.md."""

from __future__ import annotations

import argparse
import sys

from kgw.config.manual import page


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kgw.config", description="Print the manual of all properties.")
    parser.add_argument("--markdown", action="store_true", required=True, help="print docs/configuration.md")
    parser.parse_args()
    sys.stdout.write("\n".join(page()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
