"""What is in log files is read as it was published, from anywhere, by time too, with bounded memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.log_file import LogEntry
from kgw.errors import ErrorCode, KafkaError
from kgw.test.seaweed_log_stage import (
    BEGIN_NS,
    Directory,
    LogFiler,
    file_name,
    history_of,
    log_entries,
    log_entry,
    records_in,
    ts_ns_of,
    value_of,
)

_MS = BEGIN_NS // 1_000_000


class HistoryCase(SynchronousTestCase):
    """A filer with log files."""

    def setUp(self) -> None:
        self.filer = LogFiler()

    def history(self, piece_bytes: int = 4 << 20, limit: int = 1 << 30) -> History:
        """A history that knows the files."""
        history = history_of(self.filer, piece_bytes, limit)
        self.successResultOf(history.refresh())
        return history

    def read(self, history: History, offset: int, max_bytes: int = 1 << 20) -> list[int] | None:
        """The offsets of the records one read gives, which hold what they must."""
        batches = self.successResultOf(history.read(offset, max_bytes, 3))
        if batches is None:
            return None
        records = records_in(batches)
        for record in records:
            self.assertEqual(record.value, value_of(record.offset))
            self.assertEqual((record.key, record.timestamp), (b"k", ts_ns_of(record.offset) // 1_000_000))
        return [record.offset for record in records]

    def read_on(self, history: History, offset: int, max_bytes: int = 1 << 20) -> list[int]:
        """All offsets from one on, read after another as a consumer does."""
        found: list[int] = []
        while (offsets := self.read(history, offset, max_bytes)) is not None:
            found += [one for one in offsets if one >= offset]
            offset = found[-1] + 1
        return found


class ReadTests(HistoryCase):
    """L{History.read}."""

    def test_no_directory(self) -> None:
        """A partition that nothing was written to has no history."""
        history = self.history()
        self.assertEqual(history.end, 0)
        self.assertIsNone(self.read(history, 0))

    def test_from_every_offset(self) -> None:
        """Each offset of each file can be read from, whatever the attributes say."""
        self.filer.records(1, range(0, 300))
        self.filer.records(2, range(300, 800), slip=1)
        self.filer.append(file_name(3), log_entries(range(800, 810)), (801, 809))
        self.filer.append(file_name(4), log_entries(range(810, 820)))
        self.filer.records(5, range(820, 1200))
        for piece_bytes in (1 << 20, 2000):
            for offset in range(0, 1200, 31):
                history = self.history(piece_bytes)
                self.assertEqual(history.end, 1200)
                found = self.read(history, offset)
                self.assertIn(offset, found or [])
            self.assertEqual(self.read_on(self.history(piece_bytes), 0, 3000), list(range(1200)))
            self.assertIsNone(self.read(self.history(piece_bytes), 1200))

    def test_first_file_written_to_twice(self) -> None:
        """The engine's attributes of such a file begin with its second flush."""
        self.filer.append(file_name(1), log_entries(range(0, 4)))
        self.filer.append(file_name(1), log_entries(range(4, 8)), (4, 7))
        self.assertEqual(self.read(self.history(), 0), list(range(8)))

    def test_leader_epoch(self) -> None:
        """It stands in the batches as it was asked for, also where they come from the cache."""
        self.filer.records(1, range(0, 10))
        history = self.history()
        for epoch in (3, 9, 3):
            batches = self.successResultOf(history.read(0, 1 << 20, epoch))
            self.assertEqual([int.from_bytes(batch[12:16], "big") for batch in batches or []], [epoch])
            self.assertEqual(len(records_in(batches or [])), 10)

    def test_one_batch_at_least(self) -> None:
        """A batch that is larger than asked for is given nevertheless, and only that."""
        self.filer.append(file_name(1), b"".join(log_entry(n, b"y" * 100_000) for n in range(10)))
        history = self.history()
        batches = self.successResultOf(history.read(0, 10, 0))
        self.assertEqual(len(batches or []), 1)

    def test_record_larger_than_a_piece(self) -> None:
        """It is read whole."""
        self.filer.append(file_name(1), log_entries(range(3)) + log_entry(3, b"y" * 5000) + log_entry(4))
        history = self.history(piece_bytes=1000)
        offset = 0
        values = []
        while (batches := self.successResultOf(history.read(offset, 1, 0))) is not None:
            values += [record.value for record in records_in(batches)]
            offset = len(values)
        self.assertEqual(values, [*map(value_of, range(3)), b"y" * 5000, value_of(4)])

    def test_end_is_torn(self) -> None:
        """Half a record at the end does not count, and is read when the rest of it is there."""
        whole = log_entry(2)
        self.filer.append(file_name(1), log_entries(range(2)) + whole[:9])
        history = self.history()
        self.assertEqual(history.end, 2)
        self.assertEqual(self.read_on(history, 0), [0, 1])
        self.filer.append(file_name(1), whole[9:] + log_entry(3))
        self.successResultOf(history.refresh())
        self.assertEqual(history.end, 4)
        self.assertEqual(self.read_on(history, 0), [0, 1, 2, 3])

    def test_torn_in_the_middle(self) -> None:
        """What follows half a record in another file is read."""
        self.filer.append(file_name(1), log_entries(range(2)) + log_entry(2)[:9])
        self.filer.append(file_name(2), log_entry(2)[:7])
        self.filer.records(3, range(2, 5))
        self.assertEqual(self.read_on(self.history(), 0), [0, 1, 2, 3, 4])
        self.assertEqual(self.read(self.history(), 3), [2, 3, 4])

    def test_file_grows(self) -> None:
        """What is appended to the last file is read after a refresh, without reading the file again."""
        self.filer.records(1, range(0, 400))
        history = self.history()
        self.assertEqual(self.read_on(history, 0), list(range(400)))
        size = len(self.filer.contents[file_name(1)])
        self.filer.append(file_name(1), log_entries(range(400, 500)), (1, 500))
        self.filer.records(2, range(500, 510))
        self.filer.reads.clear()
        self.successResultOf(history.refresh())
        self.assertEqual(history.end, 510)
        self.assertEqual(self.read_on(history, 0), list(range(510)))
        again = [offset for name, offset, _ in self.filer.reads if name == file_name(1) and offset < size]
        self.assertEqual(again, [])

    def test_gap(self) -> None:
        """Where offsets are missing, reading goes on behind them, and no batch spans them."""
        self.filer.records(1, range(0, 10))
        self.filer.append(file_name(2), log_entries([*range(20, 25), *range(40, 45)]), (20, 44))
        history = self.history()
        self.assertEqual(self.read_on(history, 0), [*range(10), *range(20, 25), *range(40, 45)])
        for offset in (10, 15, 19, 30):
            found = self.read(self.history(), offset) or []
            self.assertIn(20 if offset < 20 else 40, found)
        for batch in self.successResultOf(history.read(20, 1 << 20, 0)) or []:
            offsets = [record.offset for record in records_in([batch])]
            self.assertEqual(offsets, list(range(offsets[0], offsets[0] + len(offsets))))

    def test_offsets_given_twice(self) -> None:
        """After a crash without repair: every offset is read once."""
        self.filer.records(1, range(0, 100))
        self.filer.records(2, range(80, 120))
        for piece_bytes in (1 << 20, 500):
            history = self.history(piece_bytes)
            self.assertEqual(history.end, 120)
            self.assertEqual(self.read_on(history, 0), list(range(120)))

    def test_siblings(self) -> None:
        """The checkpoint, other people's files and directories are no history."""
        self.filer.inline("checkpoint.offset", (999).to_bytes(8, "big"))
        self.filer.inline("2026-11-21-00-00-00.parquet", b"PAR1")
        self.filer.inline("0000.parquet", b"PAR1")
        self.filer.records(1, range(0, 10))
        history = self.history()
        self.assertEqual([file.name for file in history.files], [file_name(1)])
        self.assertEqual((history.end, self.read_on(history, 0)), (10, list(range(10))))

    def test_many_small_files(self) -> None:
        """A trickle leaves a file a second; they are read many at a time."""
        for number in range(200):
            self.filer.records(number, range(number * 5, number * 5 + 5))
        history = self.history()
        self.filer.reads.clear()
        reads = 0
        offset = 0
        while (found := self.read(history, offset)) is not None:
            reads, offset = reads + 1, found[-1] + 1
        self.assertEqual(offset, 1000)
        self.assertLess(reads, 10)
        self.assertLessEqual(len(self.filer.reads), 210)

    def test_damaged(self) -> None:
        """What is before the damage is read, and the rest says what is wrong."""
        data = bytearray(log_entries(range(10)))
        at = data.index(value_of(5))
        data[at - 8 : at] = b"\xff" * 8
        self.filer.append(file_name(1), bytes(data), (0, 9))
        history = self.history()
        self.assertEqual(self.read(history, 0), [0, 1, 2, 3, 4])
        failure = self.failureResultOf(history.read(5, 1 << 20, 0), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.CORRUPT_MESSAGE)

    def test_filer_away(self) -> None:
        """The error is one that clients ask again after, and they are served when the filer is back."""
        self.filer.records(1, range(0, 10))
        history = self.history()
        self.filer.failing = True
        failure = self.failureResultOf(history.read(0, 1 << 20, 0), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.filer.failing = False
        self.assertEqual(self.read(history, 0), list(range(10)))

    def test_file_is_removed(self) -> None:
        """By somebody else: what is left is read."""
        self.filer.records(1, range(0, 10))
        self.filer.records(2, range(10, 20))
        history = self.history()
        self.filer.delete("", file_name(1))
        self.assertEqual(self.read(history, 3), list(range(10, 20)))


class AnyLogTests(SynchronousTestCase):
    """Whatever the files are like."""

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(st.integers(1, 60), st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=9
        ),
        st.integers(60, 4000),
        st.integers(200, 20_000),
        st.lists(st.tuples(st.integers(0, 400), st.integers(1, 3000)), min_size=1, max_size=12),
    )
    def test_reads_what_is_there(
        self,
        flushes: list[tuple[int, int, bool, bool]],
        piece_bytes: int,
        limit: int,
        reads: list[tuple[int, int]],
    ) -> None:
        """Flushes with gaps, to the same file or new ones, attributed or not: each read goes on where it should."""
        filer, offsets, following, number = LogFiler(), list[int](), 0, 1
        for count, gap, same_file, attributed in flushes:
            number += not same_file
            here = range(following + gap, following + gap + count)
            filer.append(file_name(number), log_entries(here), (here[0], here[-1] + gap % 2) if attributed else None)
            offsets += here
            following = here[-1] + 1
        cache = HistoryCache(InlineBridge(), limit)
        history = History(filer, Directory(), cache, "orders-0", piece_bytes)
        self.successResultOf(history.refresh())
        self.assertEqual(history.end, following)
        for offset, max_bytes in reads:
            batches = self.successResultOf(history.read(offset, max_bytes, 0))
            rest = [one for one in offsets if one >= offset]
            if not rest:
                self.assertIsNone(batches)
                continue
            records = [record for record in records_in(batches or []) if record.offset >= offset]
            self.assertEqual([record.offset for record in records], rest[: len(records)])
            self.assertTrue(records)
            self.assertLessEqual(cache.size, limit)


class CacheTests(HistoryCase):
    """What is kept."""

    def test_bounded(self) -> None:
        """Over all partitions, in bytes, and whoever is read from goes last."""
        self.filer.records(1, range(0, 5000))
        cache = HistoryCache(InlineBridge(), 100_000)
        histories = [History(self.filer, Directory(), cache, f"orders-{n}", 20_000) for n in range(3)]
        for history in histories:
            self.successResultOf(history.refresh())
            self.assertEqual(self.read_on(history, 0, 5000), list(range(5000)))
            self.assertLessEqual(cache.size, 100_000)
        self.assertGreater(cache.size, 50_000)
        self.filer.reads.clear()
        self.read(histories[2], 4999)
        self.assertEqual(self.filer.reads, [])
        for history in histories:
            history.close()
        self.assertEqual(cache.size, 0)

    def test_too_small_for_anything(self) -> None:
        """Reading works, though nothing can be kept."""
        self.filer.records(1, range(0, 1000))
        self.assertEqual(self.read_on(self.history(5000, limit=10), 0), list(range(1000)))

    def test_read_ahead(self) -> None:
        """Who reads on finds the next piece there; who reads once causes nothing."""
        self.filer.records(1, range(0, 5000))
        history = self.history(piece_bytes=50_000)
        end = (self.read(history, 0) or [])[-1] + 1
        self.filer.reads.clear()
        self.read(history, 0)
        self.assertEqual(self.filer.reads, [])
        end = (self.read(history, end) or [])[-1] + 1
        self.assertEqual(len(self.filer.reads), 2)
        self.filer.held = True
        self.assertIn(end, self.read(history, end) or [])

    def test_one_load_for_many(self) -> None:
        """Who wants the same piece at the same time waits for the same read."""
        self.filer.records(1, range(0, 100))
        history = self.history()
        self.filer.reads.clear()
        self.filer.held = True
        waiting = [history.read(offset, 1 << 20, 0) for offset in (0, 5, 99)]
        for one in waiting:
            self.assertNoResult(one)
        self.filer.release()
        for one in waiting:
            batches = self.successResultOf(one)
            self.assertEqual(len(records_in(batches or [])), 100)
        self.assertEqual(len(self.filer.reads), 1)


class LookTests(HistoryCase):
    """Times, and entries."""

    def test_offset_for_time(self) -> None:
        """The first record at or behind a time."""
        self.filer.records(1, range(0, 500))
        self.filer.records(2, range(500, 1000))
        for piece_bytes in (1 << 20, 3000):
            history = self.history(piece_bytes)
            for offset in (0, 1, 499, 500, 777, 999):
                found = self.successResultOf(history.offset_for_time(_MS + offset))
                self.assertEqual(found, (_MS + offset, offset))
            self.assertEqual(self.successResultOf(history.offset_for_time(0)), (_MS, 0))
            self.assertEqual(self.successResultOf(history.offset_for_time(0, 600)), (_MS + 600, 600))
            self.assertIsNone(self.successResultOf(history.offset_for_time(_MS + 1000)))

    def test_files_that_are_too_early(self) -> None:
        """Are not read again once their times are known."""
        self.filer.records(1, range(0, 500))
        self.filer.records(2, range(500, 1000))
        history = self.history()
        self.successResultOf(history.offset_for_time(_MS + 900))
        self.assertEqual(history.files[0].max_timestamp, _MS + 499)
        self.filer.reads.clear()
        self.assertEqual(self.successResultOf(history.offset_for_time(_MS + 800)), (_MS + 800, 800))
        self.assertEqual({name for name, _, _ in self.filer.reads}, {file_name(2)})

    def test_newest_in_a_file(self) -> None:
        """Looks into that file only, once."""
        self.filer.records(1, range(0, 500))
        self.filer.records(2, range(500, 1000))
        history = self.history(piece_bytes=3000)
        self.filer.reads.clear()
        for _ in range(2):
            self.assertEqual(self.successResultOf(history.newest_in(history.files[0])), _MS + 499)
        self.assertEqual({name for name, _, _ in self.filer.reads}, {file_name(1)})
        self.assertEqual(history.files[0].max_timestamp, _MS + 499)

    def test_max_timestamp(self) -> None:
        """The first of the records with the largest one, wherever it is."""
        late = BEGIN_NS + 60_000_000_000
        self.filer.records(1, range(0, 100))
        self.filer.append(file_name(2), log_entry(100, ts_ns=late) + log_entry(101, ts_ns=late + 1), (100, 101))
        self.filer.append(file_name(3), log_entry(102, ts_ns=late + 5) + log_entries([103]), (102, 103))
        history = self.history()
        expected = (late // 1_000_000, 100)
        self.assertEqual(self.successResultOf(history.max_timestamp()), expected)
        self.assertEqual(self.successResultOf(history.max_timestamp()), expected)
        self.assertEqual(self.successResultOf(history.max_timestamp(101)), (expected[0], 101))
        self.assertEqual(self.successResultOf(history.max_timestamp(103)), (_MS + 103, 103))

    def test_no_record(self) -> None:
        """There is no time then."""
        history = self.history()
        self.assertIsNone(self.successResultOf(history.max_timestamp()))
        self.assertIsNone(self.successResultOf(history.offset_for_time(0)))

    def test_entries(self) -> None:
        """All of them from an offset on, in pieces."""
        self.filer.records(1, range(0, 500))
        self.filer.records(2, range(500, 600))
        history = self.history(piece_bytes=2000)
        pieces: list[list[LogEntry]] = []
        self.assertEqual(self.successResultOf(history.entries(123, pieces.append)), 600)
        found = [entry for piece in pieces for entry in piece]
        self.assertEqual([entry.offset for entry in found], list(range(123, 600)))
        self.assertEqual([entry.value for entry in found], list(map(value_of, range(123, 600))))
        self.assertLess(max(map(len, pieces)), 60)
        self.assertEqual(self.successResultOf(history.entries(600, pieces.append)), 600)


class DeleteTests(HistoryCase):
    """L{History.delete_before}."""

    def setUp(self) -> None:
        super().setUp()
        self.filer.records(1, range(0, 10))
        self.filer.records(2, range(10, 20), slip=1)
        self.filer.records(3, range(20, 30))
        self.filer.append(file_name(4), log_entries(range(30, 35)))

    def left(self) -> list[str]:
        """The files that are there."""
        return sorted(self.filer.entries)

    def test_whole_files_only(self) -> None:
        """A file with a record at or above the offset stays."""
        for offset, kept in ((0, 1), (9, 1), (10, 2), (19, 2), (20, 3)):
            history = self.history()
            self.successResultOf(history.delete_before(offset))
            self.assertEqual(self.left(), [file_name(number) for number in range(kept, 5)])
        self.assertEqual(self.read_on(history, 0), list(range(20, 35)))

    def test_last_attributed_file_stays(self) -> None:
        """From it the engine knows where its log ends."""
        history = self.history()
        self.assertEqual(self.successResultOf(history.delete_before(1000)), 2)
        self.assertEqual(self.left(), [file_name(3), file_name(4)])
        self.assertEqual(self.successResultOf(history.delete_before(1000)), 0)

    def test_no_attributes_at_all(self) -> None:
        """All files stay."""
        self.filer = LogFiler()
        for number in range(3):
            self.filer.append(file_name(number), log_entries(range(number * 5, number * 5 + 5)))
        self.assertEqual(self.successResultOf(self.history().delete_before(100)), 0)
        self.assertEqual(len(self.left()), 3)

    def test_cache_forgets(self) -> None:
        """What was deleted is not read any more."""
        history = self.history(piece_bytes=500)
        self.assertEqual(self.read_on(history, 0, 200), list(range(35)))
        self.successResultOf(history.delete_before(20))
        self.assertEqual((self.read(history, 0) or [])[0], 20)
