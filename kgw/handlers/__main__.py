"""C{python -m kgw.handlers}: what the registry holds, as JSON in the form of Kafka's definitions or as docs/apis.md."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from kgw.handlers.contract import Api
from kgw.handlers.registry import ALL
from kgw.wire.message import describe


def dump() -> dict[str, Any]:
    """The declared APIs by name, with all fields."""
    return {
        api.name: {
            "api_key": api.key,
            "valid_versions": _versions(api),
            "flexible_versions": "none" if api.flexible is None else f"{api.flexible}+",
            "request": describe(api.request),
            "response": describe(api.response),
        }
        for api in ALL
    }


def markdown() -> str:
    """The text of docs/apis.md."""
    lines = [
        "# The Kafka APIs kgw serves",
        "",
        "Printed by `python -m kgw.handlers --markdown`; a test holds this page against the registry.",
        "",
        "| key | name | versions | flexible from |",
        "| --: | --- | --- | --- |",
    ]
    for api in ALL:
        flexible = "none" if api.flexible is None else str(api.flexible)
        lines.append(f"| {api.key} | {api.name} | {_versions(api)} | {flexible} |")
    lines += ["", *(f"- {sentence}" for api in ALL for sentence in _quirks(api))]
    return "\n".join(lines) + "\n"


def _versions(api: Api) -> str:
    first, last = api.versions[0], api.versions[-1]
    return str(first) if first == last else f"{first}-{last}"


def _quirks(api: Api) -> list[str]:
    found = []
    if api.plain_response_header:
        found.append(f"{api.name}: answers have the old header (v0) in flexible versions too.")
    if api.answers_unknown_version:
        found.append(
            f"{api.name}: a request of a version outside the range gets a v0 answer with UNSUPPORTED_VERSION; "
            "for every other API such a request ends the connection."
        )
    if api.parks:
        found.append(f"{api.name}: a request may wait for something to happen; a gateway that stops ends the wait.")
    return found


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m kgw.handlers", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dump", action="store_true", help="print all schemas as JSON")
    what.add_argument("--markdown", action="store_true", help="print docs/apis.md")
    if parser.parse_args().markdown:
        sys.stdout.write(markdown())
    else:
        json.dump(dump(), sys.stdout, indent=1)
        sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
