"""C{python -m bench}: C{kgw bench} on the kgw of this folder."""

from __future__ import annotations

import sys

from kgw.bench import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
