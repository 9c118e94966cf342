"""C{python -m kgw.web --metrics}: prints docs/metrics.md."""

from __future__ import annotations

import argparse
import sys

from kgw.web.families import page


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kgw.web", description="Print the page about all metrics.")
    parser.add_argument("--metrics", action="store_true", required=True, help="print docs/metrics.md")
    parser.parse_args()
    sys.stdout.write("\n".join(page()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
