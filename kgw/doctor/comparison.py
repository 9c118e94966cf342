"""C{kgw apis}: the APIs and versions kgw serves, and how those of another broker differ."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kgw.doctor.api_names import name_of
from kgw.doctor.command import add_tls, seconds, tls_of
from kgw.doctor.connection import Address, Connection, NoAnswer
from kgw.doctor.strangers import explain
from kgw.handlers.registry import ALL

EXIT_DIFFERENT = 1
EXIT_UNREACHED = 2
_TITLES = ("key", "name", "kgw")


class Row(NamedTuple):
    """
    One API; lowest and highest version here and there, C{None} where it is not served.

    @ivar ours: kgw's.
    @ivar theirs: the other broker's.
    """

    key: int
    ours: tuple[int, int] | None
    theirs: tuple[int, int] | None = None


def served() -> list[Row]:
    """What kgw serves, by key."""
    return [Row(api.key, (api.versions[0], api.versions[-1])) for api in ALL]


def compare(theirs: Mapping[int, tuple[int, int]]) -> list[Row]:
    """
    Both sides, by key.

    @param theirs: the other broker's versions by key.
    """
    ours = {row.key: row.ours for row in served()}
    return [Row(key, ours.get(key), theirs.get(key)) for key in sorted(ours.keys() | theirs.keys())]


def _span(versions: tuple[int, int] | None) -> str:
    if versions is None:
        return "-"
    first, last = versions
    return str(first) if first == last else f"{first}-{last}"


def _table(lines: Iterable[Sequence[str]]) -> str:
    rows = list(lines)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    printed = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(printed) + "\n"


def _value(row: Row, both: bool) -> dict[str, object]:
    value = {"key": row.key, "name": name_of(row.key), "kgw": row.ours}
    return value | {"other": row.theirs} if both else value


def run(arguments: Sequence[str]) -> int:
    """
    Print the table, or the difference.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="kgw apis",
        description="Print the Kafka APIs and versions kgw serves.",
        epilog="Exit status: 0; with --diff 1 where there is a difference, 2 where no Kafka broker answers.",
    )
    parser.add_argument("--diff", metavar="HOST:PORT", type=Address.parse, help="print how another broker's differ")
    parser.add_argument("--all", action="store_true", help="with --diff: print what is the same, too")
    parser.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="seconds for an answer (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_tls(parser)
    options = parser.parse_args(arguments)
    if options.diff is None:
        _print(served(), None, options.json)
        return 0
    try:
        with Connection(options.diff, options.timeout, tls_of(options)) as connection:
            rows = compare(connection.served)
    except NoAnswer as refusal:
        print(f"kgw apis: {explain(options.diff, refusal, options.tls)[0]}", file=sys.stderr)
        return EXIT_UNREACHED
    except OSError as error:
        parser.error(f"--ca-file {options.ca_file}: {error.strerror or error}")
    different = [row for row in rows if row.ours != row.theirs]
    _print(rows if options.all else different, str(options.diff), options.json)
    return EXIT_DIFFERENT if different else 0


def _print(rows: list[Row], other: str | None, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([_value(row, other is not None) for row in rows], indent=1) + "\n")
    elif other is None:
        sys.stdout.write(_table([_TITLES, *((str(row.key), name_of(row.key), _span(row.ours)) for row in rows)]))
    elif rows:
        lines = [(str(row.key), name_of(row.key), _span(row.ours), _span(row.theirs)) for row in rows]
        sys.stdout.write(_table([(*_TITLES, other), *lines]))
    else:
        sys.stdout.write(f"{other} serves the same APIs and versions.\n")
    sys.stdout.flush()
