"""C{python -m kgw.handlers --dump}: all declared schemas and served versions, as Kafka's messages.json has them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from kgw.handlers.registry import ALL
from kgw.wire.message import describe


def dump() -> dict[str, Any]:
    """The declared APIs by name."""
    return {
        api.name: {
            "api_key": api.key,
            "valid_versions": f"{api.versions[0]}-{api.versions[-1]}",
            "flexible_versions": "none" if api.flexible is None else f"{api.flexible}+",
            "request": describe(api.request),
            "response": describe(api.response),
        }
        for api in ALL
    }


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kgw.handlers", description=__doc__)
    parser.add_argument("--dump", action="store_true", required=True, help="print all schemas as JSON")
    parser.parse_args()
    json.dump(dump(), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
