"""Compaction against a model: random keys, tombstones, batches and codecs, through trims, crashes and restarts."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.cleaner import CleanerLimits
from kgw.engine.local.key_map import ENTRY_BYTES
from kgw.test.cleaning_stage import DAY_MS, History, OneCompacted, keyed

_KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"d", b"e" * 31, b"f" * 32, b"g" * 300])
_VALUES = st.one_of(st.none(), st.binary(max_size=3), st.integers(0, 600).map(bytes))
_PAIRS = st.lists(st.tuples(_KEYS, _VALUES), min_size=1, max_size=6)


class CompactionModelTests(OneCompacted, SynchronousTestCase):
    """What is left of a log is what a model says."""

    options: ClassVar[dict[str, Any]] = {
        # Keys for two or three passes; files are read in small pieces.
        "cleaner_limits": CleanerLimits(dedupe_bytes=4 * ENTRY_BYTES, chunk_bytes=300, sleep=lambda _: None)
    }

    def test_the_last_of_each_key_stays(self) -> None:
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
                case.history = History()
                self.sequence = 0

            @rule(pairs=_PAIRS, codec=st.integers(0, 4), ms=st.integers(-50, 50))
            def append(self, pairs: list[tuple[bytes, bytes | None]], codec: int, ms: int) -> None:
                case.write(*pairs, compression=codec, timestamp=case.now_ms + ms)

            @rule(pairs=_PAIRS, codec=st.integers(0, 4), ms=st.integers(-50, 50))
            def append_more(self, pairs: list[tuple[bytes, bytes | None]], codec: int, ms: int) -> None:
                self.append(pairs, codec, ms)

            @rule(pairs=_PAIRS)
            def append_idempotently(self, pairs: list[tuple[bytes, bytes | None]]) -> None:
                options = {"producer_id": 9, "producer_epoch": 0, "base_sequence": self.sequence}
                base = case.write(*pairs, **options)
                self.sequence += len(pairs)
                again = keyed(*pairs, timestamp=case.now_ms, **options)
                (appended,) = case.append(again)
                case.assertEqual((appended.duplicate, appended.base_offset), (True, base))

            @rule()
            def clean(self) -> None:
                case.clean()

            @rule(days=st.sampled_from((0.6, 1.1)))
            def wait(self, days: float) -> None:
                case.clock.advance(days * DAY_MS / 1000)
                case.clean()

            @rule(where=st.floats(0, 1))
            def trim(self, where: float) -> None:
                start, end = case.bounds()
                case.successResultOf(case.log.trim(start + round(where * where * (end - start))))

            @rule()
            def crash(self) -> None:
                case.crash()

            @rule()
            def restart(self) -> None:
                case.restart()

            @rule(where=st.floats(0, 1), max_bytes=st.sampled_from((1, 300, 1 << 20)))
            def read(self, where: float, max_bytes: int) -> None:
                start, end = case.bounds()
                offset = start + round(where * (end - start))
                expected = [record for record in case.read_all() if record.offset >= offset]
                case.assertEqual(case.read_all(offset, max_bytes), expected)

            @rule(ms=st.integers(-100_000, 100))
            def find(self, ms: int) -> None:
                wanted, records = case.now_ms + ms, case.read_all()
                expected = next((each.offset for each in records if each.timestamp >= wanted), -1)
                case.assertEqual(case.successResultOf(case.log.offset_for_time(wanted)).offset, expected)
                newest = max(records, key=lambda each: each.timestamp, default=None)
                found = case.successResultOf(case.log.offset_of_max_timestamp())
                case.assertEqual(found.timestamp, newest.timestamp if newest else -1)

            @invariant()
            def nothing_is_lost(self) -> None:
                case.check()

        run_state_machine_as_test(Machine, settings=settings(deadline=None, max_examples=40, stateful_step_count=40))
