"""C{python -m kgw.bench}, which is C{kgw bench}."""

from __future__ import annotations

import sys

from kgw.bench import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
