"""The embedded engine against a list of batches, through crashes, power cuts, restarts, rolls, trims and retention."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.model import LogConfig
from kgw.test.builders import EPOCH_MS, batch, batches_in
from kgw.test.disk import OnePartition

_OFFSETS = st.floats(0, 1)
_SIZES = st.sampled_from((0, 1, 100, 500, 5000, 1 << 20))


class ModelTests(OnePartition, SynchronousTestCase):
    """A log does what a list does."""

    config = LogConfig(segment_bytes=1500, index_interval_bytes=150, retention_ms=-1)
    tail_bytes = 4000
    # Enough for space to be allocated ahead, and for old files to be written again.
    options: ClassVar[dict[str, int]] = {"small_bytes": 600}

    def test_the_log_is_a_list(self) -> None:
        case = self
        number = 0

        class Machine(RuleBasedStateMachine):
            """One topic's life; each begins with an empty one."""

            def __init__(self) -> None:
                super().__init__()
                nonlocal number
                number += 1
                case.successResultOf(case.engine.delete(case.topic))
                case.topic = type(case.topic)("orders", number.to_bytes(16, "big"), 1)
                case.successResultOf(case.engine.create(case.topic, case.config))
                #: Base offset, offset behind, bytes behind the leader epoch.
                self.batches: list[tuple[int, int, int, bytes]] = []
                self.start = self.end = 0
                #: By inode, what was in a file when it was last flushed.
                self.flushed: dict[int, bytes] = {}

            @rule(count=st.integers(1, 5), size=st.integers(0, 700), ms=st.integers(0, 50))
            def append(self, count: int, size: int, ms: int) -> None:
                one = batch(*[EPOCH_MS + ms] * count, value=bytes(size))
                (appended,) = case.append(one)
                case.assertEqual(appended.base_offset, self.end)
                self.batches.append((self.end, self.end + count, EPOCH_MS + ms, one.tail))
                self.end += count

            @precondition(lambda self: self.end > self.start)
            @rule(where=_OFFSETS, max_bytes=_SIZES, at_least_one=st.booleans())
            def read(self, where: float, max_bytes: int, at_least_one: bool) -> None:
                offset = self.start + int(where * (self.end - self.start - 1))
                expected: list[bytes] = []
                size = 0
                for _, behind, _, tail in self.batches:
                    if behind > offset:
                        size += len(tail) + 21
                        if size > max_bytes and (expected or not at_least_one):
                            break
                        expected.append(tail)
                found = batches_in(case.successResultOf(case.log.read(offset, max_bytes, at_least_one)))
                # A read may end early, but not before it began.
                case.assertEqual([data[21:] for data in found], expected[: len(found)])
                case.assertEqual(bool(found), bool(expected))

            @rule(where=_OFFSETS)
            def trim(self, where: float) -> None:
                offset = self.start + round(where * (self.end - self.start))
                self.start = max(self.start, offset)
                case.assertEqual(case.successResultOf(case.log.trim(offset)), self.start)

            @rule(ms=st.integers(0, 60))
            def find(self, ms: int) -> None:
                expected = -1
                for base, behind, timestamp, _ in self.batches:
                    if timestamp >= EPOCH_MS + ms and behind > self.start:
                        expected = max(base, self.start)
                        break
                case.assertEqual(case.successResultOf(case.log.offset_for_time(EPOCH_MS + ms)).offset, expected)

            @rule(size=st.integers(0, 4000))
            def retain(self, size: int) -> None:
                case.engine.configure(case.topic, replace(case.config, retention_bytes=size, file_delete_delay_ms=0))
                case.clock.advance(300)
                case.engine.configure(case.topic, case.config)
                start = case.bounds()[0]
                case.assertGreaterEqual(start, self.start)
                if start > self.start:
                    kept = sum(len(tail) + 21 for base, _, _, tail in self.batches if base >= start)
                    case.assertGreaterEqual(kept, size)
                self.start = start

            @rule()
            def crash(self) -> None:
                case.crash()
                self.flushed.clear()

            @rule(where=_OFFSETS, zeros=st.booleans())
            def power_cut(self, where: float, zeros: bool) -> None:
                """What was not flushed is lost from some sector of the last file on."""
                durable = getattr(case.log, "recovery_point", 0)
                path = case.files()[-1]
                first = int(os.path.basename(path)[:20])
                sizes = [(behind, len(tail) + 21) for base, behind, _, tail in self.batches if base >= first]
                least = sum(size for behind, size in sizes if behind <= durable)
                written = sum(size for _, size in sizes)
                cut = least + int(where * (written - least)) // 16 * 16
                before = b"" if zeros else self.flushed.get(os.stat(path).st_ino, b"")
                # Whatever is done to the files must not reach those of the engine that goes on for a moment.
                image = case.image()
                content = Path(path).read_bytes()
                lost = before[cut : len(content)].ljust(len(content) - cut, b"\0")
                Path(image, os.path.relpath(path, case.path)).write_bytes(content[:cut] + lost)
                case.crash(image=image)
                self.flushed.clear()
                start, self.end = case.bounds()
                case.assertGreaterEqual(self.end, durable)
                self.batches = [one for one in self.batches if one[1] <= self.end]
                case.assertEqual(self.end, max([first, start, *(one[1] for one in self.batches)]))

            @rule()
            def restart(self) -> None:
                case.restart()

            @rule(seconds=st.sampled_from((1, 61, 301)))
            def wait(self, seconds: int) -> None:
                case.clock.advance(seconds)
                if seconds > 60:
                    paths = [*case.files(), *case.files(".log.deleted")]
                    self.flushed = {os.stat(path).st_ino: Path(path).read_bytes() for path in paths}

            @rule()
            def recycle(self) -> None:
                """Let an old file be kept, and a segment begin in it."""
                self.wait(61)
                self.trim(1.0)
                self.wait(61)
                for n in range(12):
                    self.append(1, 600 + n, 0)

            @invariant()
            def bounds(self) -> None:
                case.assertEqual(case.bounds(), (self.start, self.end))
                if self.start:
                    refused = case.refusal(lambda: case.log.read(self.start - 1, 1))
                    case.assertEqual(refused, ErrorCode.OFFSET_OUT_OF_RANGE)

        run_state_machine_as_test(Machine, settings=settings(deadline=None, max_examples=40, stateful_step_count=40))
