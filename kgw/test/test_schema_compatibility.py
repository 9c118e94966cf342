"""Levels of compatibility, the command, and the bookkeeping of pairs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.cli import main
from kgw.schema.compatibility import Level, UnusableSchema, incompatibilities
from kgw.schema.compatibility.findings import Findings, Pairs, found
from kgw.schema.compatibility.matching import most_matched
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType

ROOT = Path(kgw.__file__).parent
PAGE = next(page for page in (ROOT / "docs" / "schemas.md", ROOT.parent / "docs" / "schemas.md") if page.exists())


def avro(schema: Any) -> ResolvedSchema:
    return ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, json.dumps(schema)))


class LevelTests(SynchronousTestCase):
    """Which schemas count, and in which direction."""

    def test_directions(self) -> None:
        """A wider type is read by the new schema only."""
        want = {"NONE": [], "BACKWARD": [], "FORWARD": [True], "FULL": [True]}
        for level, forward in want.items():
            found = incompatibilities(avro("long"), [avro("int")], Level(level))
            self.assertEqual([one.forward for one in found], forward, level)
            found = incompatibilities(avro("int"), [avro("long")], Level(level))
            backward = [False] * (level in ("BACKWARD", "FULL"))
            self.assertEqual([one.forward for one in found], backward, level)

    def test_transitive(self) -> None:
        """Only the latest of the earlier schemas counts, or all do."""
        earlier = [avro("long"), avro("string"), avro("int"), avro("null")]
        for level, want in (
            ("BACKWARD", []),
            ("BACKWARD_TRANSITIVE", [(1, False), (3, False)]),
            ("FORWARD", []),
            ("FORWARD_TRANSITIVE", [(1, True), (2, True), (3, True)]),
            ("FULL", []),
            ("FULL_TRANSITIVE", [(1, False), (1, True), (2, True), (3, False), (3, True)]),
        ):
            found = incompatibilities(avro("long"), earlier, Level(level))
            self.assertEqual([(one.earlier, one.forward) for one in found], want, level)

    def test_first(self) -> None:
        """A schema with none before it is compatible."""
        self.assertEqual(incompatibilities(avro("long"), [], Level.FULL_TRANSITIVE), [])

    def test_other_type(self) -> None:
        """Avro never becomes JSON Schema."""
        (one,) = incompatibilities(
            ResolvedSchema(RegisteredSchema(1, SchemaType.JSON, "{}")), [avro("int")], Level.BACKWARD
        )
        self.assertEqual(one.rule, "SCHEMA_TYPE_CHANGED")

    def test_too_many(self) -> None:
        """A subject has no more versions than can be compared."""
        self.assertRaises(UnusableSchema, incompatibilities, avro("int"), [avro("int")] * 1001)


class PairsTests(SynchronousTestCase):
    """Circles, repetition and what was concluded from an assumption."""

    def test_assumption(self) -> None:
        """What was found while a circle was assumed compatible is found anew once that turns out wrong."""
        graph: dict[str, Sequence[str]] = {"a": ["b", "bad"], "b": ["a"], "bad": []}
        pairs = Pairs()

        def judge(name: str) -> Findings:
            def compare() -> Findings:
                if name == "bad":
                    return found("BAD", "")
                return next((below for below in map(judge, graph[name]) if below), ())

            return pairs.judge(name, compare)

        self.assertTrue(judge("a"))
        self.assertTrue(judge("b"), "b holds a, which is bad")

    @settings(deadline=None, max_examples=200)
    @given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4)), st.sets(st.integers(0, 9)))
    def test_graphs(self, graph: dict[int, list[int]], bad: set[int]) -> None:
        """In any graph, a pair is incompatible if one that is bad can be reached from it; asked in any order."""
        pairs = Pairs()

        def judge(at: int) -> Findings:
            def compare() -> Findings:
                below = [judge(to) for to in graph.get(at, [])]
                return found("BAD", "") if at in bad or any(below) else ()

            return pairs.judge(at, compare)

        for start in range(10):
            reached, stack = {start}, [start]
            while stack:
                for to in graph.get(stack.pop(), []):
                    if to not in reached:
                        reached.add(to)
                        stack.append(to)
            self.assertEqual(bool(judge(start)), bool(reached & bad), start)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.lists(st.integers(0, 4), unique=True), max_size=5))
    def test_matching(self, fitting: list[list[int]]) -> None:
        """As many as can have a partner of their own."""

        def most(at: int, free: frozenset[int]) -> int:
            if at == len(fitting):
                return 0
            mine = [1 + most(at + 1, free - {one}) for one in fitting[at] if one in free]
            return max([most(at + 1, free), *mine])

        self.assertEqual(most_matched(fitting, 5), most(0, frozenset(range(5))))


class PageTests(SynchronousTestCase):
    """docs/schemas.md."""

    def test_session(self) -> None:
        """The command of the page prints what the page says."""
        (session,) = re.findall(
            r"^```console\n\$ (kgw compatible.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        command, _, want = session.partition("\n")
        before = os.getcwd()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, before)
        os.chdir(folder)
        fields = [{"name": name, "type": "int"} for name in ("id", "amount", "currency")]
        for name, some in (("order-v1.avsc", fields[:2]), ("order-v2.avsc", fields)):
            Path(name).write_text(json.dumps({"type": "record", "name": "Order", "fields": some}), "utf-8")
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        self.assertEqual(main(command.split()[1:]), 1)
        self.assertEqual(stdout.getvalue(), want)

    def test_program(self) -> None:
        """The program of the page runs."""
        (program,) = re.findall(r"^```python\n(from kgw\.schema\.compat.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        exec(compile(program, str(PAGE), "exec"), {})
        self.assertTrue(stdout.getvalue().startswith("TYPE_MISMATCH / the new schema"))


class CommandTests(SynchronousTestCase):
    """C{kgw compatible}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def ran(self, *arguments: str) -> tuple[int, str, str]:
        stdout, stderr = StringIO(), StringIO()
        self.patch(sys, "stdout", stdout)
        self.patch(sys, "stderr", stderr)
        try:
            status = main(["compatible", *arguments])
        except SystemExit as stop:
            status = int(str(stop.code))
        return status, stdout.getvalue(), stderr.getvalue()

    def test_compatible(self) -> None:
        """Exit status 0, and a line that says so."""
        new, old = self.file("new.avsc", '"long"'), self.file("old.avsc", '"int"')
        self.assertEqual(self.ran(new, old), (0, f"{new} is compatible with {old} (BACKWARD)\n", ""))

    def test_incompatible(self) -> None:
        """Exit status 1, and what stands in the way of which file."""
        new, old, older = (self.file(f"{at}.avsc", f'"{kind}"') for at, kind in enumerate(("long", "int", "null")))
        status, text, errors = self.ran("--level", "full_transitive", new, old, older)
        self.assertEqual((status, errors), (1, ""))
        *lines, last = text.splitlines()
        self.assertEqual(
            lines[0],
            f"{old}: the earlier schema does not read what the new writes, at /: a reader of int cannot read long"
            " (TYPE_MISMATCH)",
        )
        self.assertEqual([line.partition(":")[0] for line in lines], [old, older, older])
        self.assertEqual(
            last, f"{new} is not compatible with 2 earlier schemas (FULL_TRANSITIVE): 3 things stand in the way"
        )

    def test_references(self) -> None:
        """What schemas refer to is given by name."""
        new = self.file("new.json", '{"$ref": "a.json"}')
        old = self.file("old.json", '{"type": "integer"}')
        number = self.file("number", '{"type": "number"}')
        self.assertEqual(self.ran("--reference", f"a.json={number}", new, old)[0], 0)
        self.assertEqual(self.ran("--reference", f"a.json={number}", "--level", "FORWARD", new, old)[0], 1)
        self.assertEqual(self.ran(new, old)[0], 2)

    def test_protobuf(self) -> None:
        """Its files are told by their ending, or by what is said they are."""
        new = self.file("new.proto", 'syntax = "proto3"; message M { int32 a = 1; }')
        old = self.file("old", 'syntax = "proto3"; message M { string a = 1; }')
        status, text, _ = self.ran(new, old)
        self.assertEqual(status, 1)
        self.assertIn("/M/1: a was string, is int32 (FIELD_SCALAR_KIND_CHANGED)", text)
        self.assertEqual(self.ran("--type", "protobuf", old, new)[0], 1)

    def test_unusable(self) -> None:
        """Exit status 2, and one line that says why."""
        good = self.file("good.avsc", '"int"')
        binary = self.folder / "binary.avsc"
        binary.write_bytes(b"\xff\xfe")
        for arguments, why in (
            ((self.file("what", "1"), good), "does not show; say --type"),
            ((good, str(self.folder / "none")), "cannot be read: No such file"),
            ((good, str(self.folder)), "cannot be read: Is a directory"),
            ((good, self.file("bad.avsc", "{")), "not JSON"),
            ((good, str(binary)), "is not UTF-8"),
        ):
            status, text, errors = self.ran(*arguments)
            self.assertEqual((status, text), (2, ""), why)
            self.assertRegex(errors, rf"\Akgw compatible: .*{why}.*\n\Z")

    def test_usage(self) -> None:
        """Wrong options end with 2 as well."""
        good = self.file("good.avsc", '"int"')
        for arguments in ((good,), ("--level", "MORE", good, good), ("--reference", "x", good, good)):
            status, _, errors = self.ran(*arguments)
            self.assertEqual(status, 2)
            self.assertIn("usage: kgw compatible", errors)
