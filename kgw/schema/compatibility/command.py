"""The C{kgw compatible} command: files of schemas, what stands between them in plain words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.compatibility.levels import Level, incompatibilities
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType

EXIT_INCOMPATIBLE = 1
EXIT_UNUSABLE = 2

#: Bytes of a file.
_MOST_BYTES = 8 << 20

_TYPES = {"avro": SchemaType.AVRO, "json": SchemaType.JSON, "protobuf": SchemaType.PROTOBUF}
_ENDINGS = {".avsc": SchemaType.AVRO, ".json": SchemaType.JSON, ".proto": SchemaType.PROTOBUF}

_EPILOG = """
BACKWARD: who has the new schema reads what was written with the old one, so that consumers are updated first. FORWARD:
who has the old one reads what is written with the new one, so that producers are. FULL: both. With _TRANSITIVE behind
it all OLDER ones count too. The verdicts are those of Confluent's registry, as far as docs/schemas.md says. Exit
status: 0 if the schemas are compatible, 1 if not, 2 if that cannot be told.
"""


def run(arguments: Sequence[str]) -> int:
    """
    Compare schemas.

    @return: the exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        kind = _TYPES[options.type] if options.type else _by_ending(options.new)
        imports = {name: _schema(kind, path) for name, path in options.reference}
        new, *earlier = (ResolvedSchema(_schema(kind, path), imports) for path in (options.new, *options.old))
        found = incompatibilities(new, earlier, Level(options.level))
    except UnusableSchema as error:
        return _unusable(str(error))
    except ImportError as error:
        return _unusable(f"{error.name} is not installed: pip install 'kgw[schema]'")
    for one in found:
        print(f"{options.old[one.earlier]}: {one.message}")
    compared = options.old if Level(options.level).transitive else options.old[:1]
    print(_verdict(options.new, compared, options.level, len(found)))
    return EXIT_INCOMPATIBLE if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kgw compatible",
        description="Is a new schema compatible with earlier ones, as a schema registry asks?",
        epilog=_EPILOG,
    )
    parser.add_argument("new", metavar="NEW", type=Path)
    parser.add_argument("old", metavar="OLD", nargs="+", type=Path, help="earlier ones, the latest first")
    parser.add_argument("--type", choices=_TYPES, help="what they are; else by the ending: .avsc, .json or .proto")
    parser.add_argument(
        "--level", choices=[one.value for one in Level], default=Level.BACKWARD.value, type=str.upper, metavar="LEVEL"
    )
    parser.add_argument(
        "--reference",
        metavar="NAME=FILE",
        action="append",
        default=[],
        type=_reference,
        help="what the schemas refer to by that name; what a reference refers to itself comes before it",
    )
    return parser


def _reference(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=FILE")
    return name, Path(path)


def _by_ending(path: Path) -> SchemaType:
    if path.suffix not in _ENDINGS:
        raise UnusableSchema(f"what {path} is does not show; say --type avro, json or protobuf")
    return _ENDINGS[path.suffix]


def _schema(kind: SchemaType, path: Path) -> RegisteredSchema:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnusableSchema(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise UnusableSchema(f"{path} has more than {_MOST_BYTES} bytes")
    try:
        return RegisteredSchema(0, kind, data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnusableSchema(f"{path} is not UTF-8") from None


def _verdict(new: Path, compared: Sequence[Path], level: str, count: int) -> str:
    others = str(compared[0]) if len(compared) == 1 else f"{len(compared)} earlier schemas"
    if not count:
        return f"{new} is compatible with {others} ({level})"
    things = "one thing stands" if count == 1 else f"{count} things stand"
    return f"{new} is not compatible with {others} ({level}): {things} in the way"


def _unusable(message: str) -> int:
    print(f"kgw compatible: {message}", file=sys.stderr)
    return EXIT_UNUSABLE
