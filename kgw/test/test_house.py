"""The house laws of docs/plan.md: who may import whom, one registry, one table of errors, Kafka's own schemas."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.errors import ErrorCode
from kgw.handlers.__main__ import dump, markdown
from kgw.handlers.registry import ALL, BY_KEY
from kgw.test import golden

ROOT = Path(kgw.__file__).parent
#: The page stands beside kgw in the source tree, within it where kgw is installed.
APIS_PAGE = next(page for page in (ROOT / "docs" / "apis.md", ROOT.parent / "docs" / "apis.md") if page.exists())
MOST_LINES = 450

#: Rooms, and what of ours each may import besides itself. The longest name that fits a module counts.
LAW: dict[str, tuple[str, ...]] = {
    "kgw": (),
    "kgw.errors": (),
    "kgw.model": (),
    "kgw.metrics": (),
    "kgw.peer_log": (),
    "kgw.turns": (),
    "kgw.observers": (),
    "kgw.systemd": (),
    "kgw.group_model": ("kgw.errors",),
    "kgw.config": ("kgw.errors", "kgw.model"),
    "kgw.interfaces": ("kgw.errors", "kgw.model"),
    "kgw.cluster": ("kgw.config", "kgw.errors", "kgw.interfaces", "kgw.model"),
    "kgw.wire": ("kgw.errors",),
    "kgw.log": ("kgw.config", "kgw.errors", "kgw.interfaces", "kgw.model", "kgw.turns", "kgw.wire.records"),
    "kgw.groups": ("kgw.errors", "kgw.group_model", "kgw.interfaces", "kgw.model"),
    "kgw.quotas": ("kgw.errors", "kgw.interfaces", "kgw.turns"),
    "kgw.brokers": ("kgw.errors",),
    "kgw.engine": (
        # where gateways meet may be the engine's own filer
        "kgw.brokers.interfaces",
        "kgw.brokers.model",
        "kgw.errors",
        "kgw.interfaces",
        "kgw.log",
        "kgw.model",
        # the types of SeaweedMQ's columns, values that both rooms speak of
        "kgw.schema.columns",
        "kgw.schema.record_type",
        "kgw.wire.compression",
        "kgw.wire.crc32c",
        # a cleaned batch is written anew
        "kgw.wire.primitives",
        "kgw.wire.records",
    ),
    "kgw.schema": ("kgw.errors", "kgw.interfaces", "kgw.log", "kgw.model", "kgw.wire.records"),
    "kgw.handlers": ("kgw.errors", "kgw.group_model", "kgw.interfaces", "kgw.metrics", "kgw.model", "kgw.wire"),
    "kgw.net": ("kgw.config", "kgw.errors", "kgw.handlers.contract", "kgw.metrics", "kgw.peer_log", "kgw.wire"),
    # it speaks the protocol as a client does, and starts servers as processes
    "kgw.bench": ("kgw.errors", "kgw.handlers", "kgw.wire"),
    # a client as well; what it looks at may be any broker
    "kgw.doctor": ("kgw.errors", "kgw.handlers", "kgw.wire"),
    # it reads files, of a kgw that runs or not
    "kgw.dump": ("kgw.errors", "kgw.log.producer_state", "kgw.wire"),
}
#: These join the rooms: they may import everything but one another, save as said here.
JOINERS: dict[str, tuple[str, ...]] = {
    "kgw.shared": (),
    "kgw.storage": ("kgw.shared",),
    "kgw.schema.composition": (),
    "kgw.gateway": ("kgw.schema.composition", "kgw.shared", "kgw.storage"),
    "kgw.web": ("kgw.gateway",),
    "kgw.manhole": ("kgw.gateway",),
    "kgw.tap": ("kgw.gateway", "kgw.manhole", "kgw.web"),
    "kgw.cli": ("kgw.gateway", "kgw.manhole", "kgw.tap", "kgw.web"),
    "kgw.testing": ("kgw.gateway", "kgw.tap", "kgw.web"),
}
#: Libraries that belong to one room.
FOREIGN = {
    "google": "kgw.engine.seaweed",
    "grpc": "kgw.engine.seaweed",
    "grpc_tools": "kgw.engine.seaweed",
    "h2": "kgw.engine.seaweed",
    "hpack": "kgw.engine.seaweed",
    "hyperframe": "kgw.engine.seaweed",
    "jsonschema": "kgw.schema",
    "prometheus_client": "kgw.web",
    "re2": "kgw.schema",
    "referencing": "kgw.schema",
    "treq": "kgw.schema",
}
#: Those of them that a second room has: schemas and values may be Protobuf's.
FOREIGN_TOO = {"google": "kgw.schema", "grpc_tools": "kgw.schema"}
#: Modules of kgw.handlers that are no Kafka API.
NO_API = {
    "__init__",
    "__main__",
    "admission",
    "leadership",
    "config_resource",
    "contract",
    "fetch_waiting",
    "produce_shortcut",
    "registry",
}


def within(module: str, room: str) -> bool:
    """Whether a module is a room, or in it."""
    return module == room or module.startswith(f"{room}.")


def sources() -> list[tuple[str, Path]]:
    """Every module of kgw but the tests."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("kgw", *path.relative_to(ROOT).with_suffix("").parts)
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        # docker/ stands here once installed: its programs are none of kgw's modules
        if not within(module, "kgw.test") and not within(module, "kgw.docker"):
            found.append((module, path))
    return found


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is an C{if TYPE_CHECKING} block, which nobody runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST) -> Iterator[str]:
    """The full names a syntax tree imports: modules, and names taken from modules."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif is_type_checking(child) and isinstance(child, ast.If):
            for other in child.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(child)


def room_of(module: str) -> str:
    """The room a module belongs to, by the longest name."""
    fitting = [room for room in (*LAW, *JOINERS) if within(module, room)]
    return max(fitting, key=len)


class ImportTests(SynchronousTestCase):
    """Imports go downhill only."""

    def test_rooms(self) -> None:
        """Every module imports only what its room may."""
        broken = []
        for module, path in sources():
            room = room_of(module)
            for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
                if within(name, "kgw") and not self.lawful(room, name):
                    broken.append(f"{module} imports {name}")
        self.assertEqual(broken, [])

    def lawful(self, room: str, name: str) -> bool:
        # "from kgw import __version__" takes nothing from any room
        if name == "kgw.__version__" or (room != "kgw" and within(name, room)):
            return True
        if room in JOINERS:
            above = [other for other in JOINERS if other not in (room, *JOINERS[room])]
            return not any(within(name, other) for other in [*above, "kgw.test"])
        return any(within(name, other) for other in LAW[room])

    def test_every_module_has_a_room(self) -> None:
        """No module stands outside the floor plan."""
        self.assertEqual([module for module, _ in sources() if room_of(module) == "kgw" and module != "kgw"], [])

    def test_reactor(self) -> None:
        """The reactor is imported in tap.py only (rule R5)."""
        guilty = [
            module
            for module, path in sources()
            if "twisted.internet.reactor" in set(imports(ast.parse(path.read_text(encoding="utf-8"))))
        ]
        self.assertEqual([module for module in guilty if module != "kgw.tap"], [])

    def test_foreign_libraries(self) -> None:
        """gRPC, HTTP/2 and HTTP clients stay behind their adapters."""
        for module, path in sources():
            for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
                library = name.partition(".")[0]
                homes = [room[library] for room in (FOREIGN, FOREIGN_TOO) if library in room]
                self.assertTrue(not homes or any(within(module, home) for home in homes), f"{module} imports {name}")

    def test_wire_knows_no_twisted(self) -> None:
        """The wire is bytes and values."""
        for module, path in sources():
            if within(module, "kgw.wire"):
                names = list(imports(ast.parse(path.read_text(encoding="utf-8"))))
                self.assertEqual([name for name in names if within(name, "twisted")], [], module)


class ModuleTests(SynchronousTestCase):
    """What every module looks like."""

    def test_size(self) -> None:
        """A module that grows past this hides another noun."""
        sizes = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in sources()}
        self.assertEqual({module: lines for module, lines in sizes.items() if lines > MOST_LINES}, {})

    def test_opening(self) -> None:
        """A module opens with a sentence."""
        for module, path in sources():
            opening = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            self.assertTrue(opening.strip(), f"{module} has no docstring")


class RegistryTests(SynchronousTestCase):
    """C{ALL} is the one list of APIs."""

    def test_every_handler_module(self) -> None:
        """Each module of kgw.handlers is an API, named as Kafka names it, and in C{ALL}."""
        modules = {path.stem for path in (ROOT / "handlers").glob("*.py")} - NO_API
        named = {"".join(f"_{c.lower()}" if c.isupper() else c for c in api.name).lstrip("_") for api in ALL}
        self.assertEqual(modules, named)
        for api in ALL:
            name = "".join(f"_{c.lower()}" if c.isupper() else c for c in api.name).lstrip("_")
            self.assertIs(sys.modules[f"kgw.handlers.{name}"].API, api)

    def test_sorted_by_key(self) -> None:
        """Keys rise, so none is there twice."""
        keys = [api.key for api in ALL]
        self.assertEqual(keys, sorted(set(keys)))
        self.assertEqual(list(BY_KEY), keys)

    def test_markdown(self) -> None:
        """The printed page has a row for every API."""
        page = markdown()
        for api in ALL:
            self.assertIn(f"| {api.key} | {api.name} | ", page)

    def test_page(self) -> None:
        """docs/apis.md is what the registry prints: C{python -m kgw.handlers --markdown > docs/apis.md}."""
        self.assertEqual(APIS_PAGE.read_text(encoding="utf-8"), markdown())


class ErrorTests(SynchronousTestCase):
    """Kafka's error codes."""

    def test_each_once(self) -> None:
        """Every code is there once, by Kafka's name, and clients retry what Kafka's clients retry."""
        want = [tuple(row) for row in golden.load("errors")]
        self.assertEqual([(int(code), name, code.retriable) for name, code in ErrorCode.__members__.items()], want)


def span(text: str | None) -> range:
    """The versions that a range of Kafka's definitions names: C{3+}, C{0-2}, C{4}, C{none}."""
    if text is None or text == "none":
        return range(0)
    first, dash, last = text.partition("-")
    if text.endswith("+"):
        return range(int(text[:-1]), 1 << 15)
    return range(int(first), int(last if dash else first) + 1)


def shape(fields: list[dict[str, Any]], version: int) -> list[Any]:
    """What one version has on the wire: regular fields in their order, then tagged ones by tag."""
    regular, tagged = [], []
    for row in fields:
        if version not in span(row["versions"]):
            continue
        # ours start as null, Kafka's as empty; they are always on the wire
        default = None if row["type"] == "records" else row.get("default")
        one = {
            "name": row["name"],
            "type": row["type"],
            "nullable": version in span(row.get("nullable")),
            "compact": row.get("flexible") != "none",
            "default": None if default in ("", "0", "0.0", "false") else default,
            "fields": shape(row["fields"], version) if "fields" in row else None,
        }
        if version in span(row.get("tagged")):
            tagged.append((row["tag"], one))
        else:
            regular.append(one)
    return [*regular, *sorted(tagged, key=lambda pair: int(pair[0]))]


class SchemaTests(SynchronousTestCase):
    """Declared messages against Kafka's definitions."""

    def test_every_served_version(self) -> None:
        """Same key, same flexible versions, same fields in the same order with the same defaults."""
        kafka = golden.load("messages")
        for name, ours in dump().items():
            theirs = kafka[name]
            self.assertEqual(ours["api_key"], theirs["api_key"], name)
            for version in span(ours["valid_versions"]):
                self.assertIn(version, span(theirs["valid_versions"]), name)
                self.assertEqual(
                    version in span(ours["flexible_versions"]), version in span(theirs["flexible_versions"]), name
                )
                for kind in ("request", "response"):
                    self.assertEqual(
                        shape(ours[kind], version), shape(theirs[kind], version), f"{name} {kind} v{version}"
                    )
