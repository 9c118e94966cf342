"""The outbox against a model engine that acknowledges from memory, flushes, crashes and breaks off at random."""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.held import Acknowledged, Broken, Durable, Effect, Held, Moved, Visible
from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.outbox import Outbox
from kgw.engine.seaweed.unflushed import Unflushed
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import Columns
from kgw.wire.compression import CompressionType
from kgw.wire.records import NewRecord, RecordBatch, build_batch

RUNS, STEPS = 200, 60
#: Room for a handful of small batches.
LIMIT = 600
_FOREIGN = b"someone else's"


def batch_of(*values: bytes) -> RecordBatch:
    """A batch with one record for each value."""
    return RecordBatch.parse(build_batch([NewRecord(None, value, (), 1) for value in values]))


def values_of(batch: RecordBatch) -> list[bytes]:
    """What the records of a batch hold."""
    return [record.value or b"" for record in batch.records(1 << 20)]


class PlainCodec:
    """
    Messages are values with a line break behind each.

    @ivar compared: what was compared since it was last told to forget.
    """

    def __init__(self) -> None:
        self.compared: RecordBatch | None = None

    def encode(
        self, batch: RecordBatch, expected_offset: int, now_ns: int, skip: int, columns: Columns | None
    ) -> bytes:
        """The values from C{skip} on."""
        return b"".join(value + b"\n" for value in values_of(batch)[skip:])

    def check(self, batch: RecordBatch, now_ns: int) -> None:
        """Refuse a batch that holds the word C{damaged}."""
        if b"damaged" in values_of(batch):
            raise KafkaError(ErrorCode.INVALID_RECORD, "damaged")

    def same(self, batch: RecordBatch, index: int, entry: LogEntry) -> bool:
        """Whether the values are equal."""
        self.compared = batch
        return values_of(batch)[index] == entry.value

    def learnt(self, last_ts_ns: int) -> None:
        """There are no times."""

    def forget(self) -> None:
        """Nothing is compared any more."""
        self.compared = None


def entry(offset: int, value: bytes) -> LogEntry:
    """An entry of a log file."""
    return LogEntry(offset, offset + 1, b"", value)


def opened(outbox: Outbox, end_offset: int = 0) -> list[Effect]:
    """Recover an outbox that needs no entries, and open its stream."""
    outbox.recover()
    effects = outbox.resumed(end_offset)
    outbox.opened()
    return effects


def sent(outbox: Outbox) -> list[bytes]:
    """All that it gives out now, value by value."""
    values: list[bytes] = []
    while (data := outbox.send(0)) is not None:
        values += data.split(b"\n")[:-1]
    return values


class Engine:
    """
    One partition of the model engine.

    @ivar log: in memory, by offset.
    @ivar flushed: how much of it is in files.
    @ivar wire: sent to it and not received.
    @ivar acks: offsets it assigned and has not been heard of.
    """

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.flushed = 0
        self.wire: deque[bytes] = deque()
        self.acks: deque[int] = deque()

    def receive(self, most: int) -> None:
        """Take so many records off the wire."""
        for _ in range(min(most, len(self.wire))):
            self.acks.append(len(self.log))
            self.log.append(self.wire.popleft())


class Life(RuleBasedStateMachine):
    """A partition's life; at its end everything published is in the log once, and in order."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.unflushed = Unflushed(LIMIT, 1 << 30)
        self.outbox = Outbox(PlainCodec(), self.unflushed)
        self.published: list[bytes] = []
        self.held: list[Held] = []
        self.expected: dict[Held, int] = {}
        self.told: dict[Held, int] = {}
        self.durable: list[Held] = []
        self.notices: deque[int] = deque()
        self.visible = 0
        self.moved = False
        self.foreign = False
        self.connected = False
        self.largest = 0
        self.recover(0, False)

    # What happens.

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        """Somebody publishes a batch."""
        values = [b"%d" % (len(self.published) + number) for number in range(count)]
        held = self.outbox.add(batch_of(*values), None, 0)
        self.published += values
        self.held.append(held)
        self.expected[held] = held.base_offset
        self.largest = max(self.largest, held.batch.size)

    @precondition(lambda self: self.connected)
    @rule(most=st.integers(1, 4))
    def send(self, most: int) -> None:
        """The shell writes."""
        for _ in range(most):
            data = self.outbox.send(0)
            if data is None:
                break
            self.engine.wire.extend(data.split(b"\n")[:-1])

    @rule(most=st.integers(1, 12))
    def receive(self, most: int) -> None:
        """The engine reads."""
        self.engine.receive(most)

    @precondition(lambda self: self.connected)
    @rule(most=st.integers(1, 12))
    def hear(self, most: int) -> None:
        """Acknowledgements arrive."""
        runs: list[tuple[int, int]] = []
        for _ in range(min(most, len(self.engine.acks))):
            offset = self.engine.acks.popleft()
            if runs and runs[-1][1] == offset:
                runs[-1] = (runs[-1][0], offset + 1)
            else:
                runs.append((offset, offset + 1))
        self.perform(self.outbox.acknowledged(runs))

    @rule()
    def flush(self) -> None:
        """The engine writes its memory to a file."""
        self.engine.flushed = len(self.engine.log)
        self.notices.append(self.engine.flushed)

    @rule()
    def notice(self) -> None:
        """A flush is told, maybe long after it."""
        if self.notices:
            self.perform(self.outbox.flushed(self.notices.popleft()))

    @rule(count=st.integers(1, 3), dice=st.integers(0, 5))
    def interfere(self, count: int, dice: int) -> None:
        """Somebody else publishes."""
        if not dice:
            self.foreign = True
            self.engine.log += [_FOREIGN] * count

    @precondition(lambda self: self.connected)
    @rule(received=st.integers(0, 12), dice=st.integers(0, 3))
    def drop(self, received: int, dice: int) -> None:
        """The connection breaks; the engine has some beginning of what was sent, and flushes as nobody is left."""
        if not dice:
            self.engine.receive(received)
            self.breaks()
            self.engine.flushed = len(self.engine.log)

    @rule(received=st.integers(0, 12), dice=st.integers(0, 3))
    def crash(self, received: int, dice: int) -> None:
        """The engine dies, with all that is in no file."""
        if not dice:
            self.engine.receive(received)
            del self.engine.log[self.engine.flushed :]
            self.breaks()

    def breaks(self) -> None:
        """The stream is gone."""
        self.engine.wire.clear()
        self.engine.acks.clear()
        self.connected = False
        self.outbox.lost()

    @precondition(lambda self: not self.connected)
    @rule(piece=st.integers(0, 5), twice=st.booleans())
    def recover(self, piece: int, twice: bool) -> None:
        """The shell compares what it holds with the log files, and opens a stream."""
        self.engine.flushed = len(self.engine.log)  # somebody else's, maybe
        if twice:
            first = self.outbox.recover()
            self.outbox.compare(self.entries(first)[:piece])
        first = self.outbox.recover()
        entries = self.entries(first)
        for at in range(0, len(entries), piece + 1):
            self.outbox.compare(entries[at : at + piece + 1])
        self.perform(self.outbox.resumed(len(self.engine.log)))
        self.outbox.opened()
        self.connected = True

    def entries(self, first: int) -> list[LogEntry]:
        """The log files from an offset on."""
        if first < 0:
            return []
        return [entry(offset, value) for offset, value in enumerate(self.engine.log)][first:]

    # What must be so.

    def perform(self, effects: list[Effect]) -> None:
        """Believe what the shell would tell."""
        log = self.engine.log
        for effect in effects:
            match effect:
                case Visible(end, batches):
                    assert self.visible < end <= len(log) or batches
                    self.visible = end
                    for held in batches:
                        assert held.next_offset <= end
                case Acknowledged(held):
                    assert held not in self.told
                    self.told[held] = held.base_offset
                    self.stored(held)
                case Durable(held):
                    assert held in self.told
                    self.durable.append(held)
                    assert held.next_offset <= self.engine.flushed
                    self.stored(held)
                case Moved(offset):
                    assert self.foreign, "offsets change where somebody else writes, too"
                    assert offset <= self.visible
                    self.moved = True
                    self.visible = 0
                case Broken(reason):
                    raise AssertionError(reason)

    def stored(self, held: Held) -> None:
        """The engine has all records of it where it says."""
        offsets = [held.offset_of(index) for index in range(held.count)]
        assert [self.engine.log[offset] for offset in offsets] == values_of(held.batch)
        assert offsets == sorted(offsets)
        if not self.foreign:
            assert held.base_offset == self.expected[held], "the offset foretold"

    @invariant()
    def order(self) -> None:
        """Batches become durable in the order they were published."""
        assert self.durable == self.held[: len(self.durable)]

    @invariant()
    def bounded(self) -> None:
        """What was sent and is in no file is counted, and passes the bound by one batch at most."""
        assert self.unflushed.used == sum(held.batch.size for held in self.held if held.counted) - sum(
            held.batch.size for held in self.durable if held.counted
        )
        assert self.unflushed.used < LIMIT + max(1, self.largest)

    @precondition(lambda self: self.connected)
    @invariant()
    def tail(self) -> None:
        """What is read from here is what the log has at these offsets."""
        offset = 0
        while offset < self.outbox.end_offset:
            buffers = self.outbox.tail(offset, 1, 7)
            if buffers is None:
                offset += 1
                continue
            batch = RecordBatch.parse(b"".join(buffers))
            assert batch.base_offset <= offset < batch.next_offset
            assert batch.leader_epoch == 7
            assert self.engine.log[batch.base_offset : batch.next_offset] == values_of(batch)
            offset = batch.next_offset

    def teardown(self) -> None:
        """In the end all is in the log, once and in order."""
        if not self.connected:
            self.recover(3, False)
        for _ in range(len(self.published) + 2):
            self.send(1000)
            self.receive(1000)
            self.hear(1000)
            self.flush()
            self.perform(self.outbox.flushed(self.notices[-1]))
        assert self.outbox.is_empty
        assert self.unflushed.used == self.unflushed.encoded == 0
        assert [value for value in self.engine.log if value != _FOREIGN] == self.published
        assert self.durable == self.held
        assert self.outbox.waiting_bytes == 0
        assert self.outbox.next_offset == self.outbox.end_offset
        if not self.foreign:
            assert self.outbox.end_offset == self.outbox.durable_end
            assert self.told == self.expected
            assert self.outbox.visible_end == len(self.engine.log)


class LifeTests(SynchronousTestCase):
    """No record is lost, none is doubled, the order is kept."""

    def test_life(self) -> None:
        """Whatever happens to the engine and to the connection."""
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=RUNS, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )


class OutboxTests(SynchronousTestCase):
    """Single steps that the random life does not reach, or not surely."""

    def setUp(self) -> None:
        self.unflushed = Unflushed(LIMIT)
        self.outbox = Outbox(PlainCodec(), self.unflushed)

    def test_refused(self) -> None:
        """What cannot be encoded is refused at once, connected or not, and takes no offset."""
        error = self.assertRaises(KafkaError, self.outbox.add, batch_of(b"damaged"), None, 0)
        self.assertEqual(error.code, ErrorCode.INVALID_RECORD)
        self.assertEqual((self.outbox.next_offset, self.outbox.is_empty), (0, True))

    def test_too_much_waits(self) -> None:
        """While the engine is away so many bytes wait, over all partitions, and no more; what is sent makes room."""
        unflushed = Unflushed(1 << 20, most_waiting=LIMIT)
        first, second = Outbox(PlainCodec(), unflushed), Outbox(PlainCodec(), unflushed)
        large = batch_of(bytes(LIMIT))
        first.add(large, None, 0)
        for outbox in (first, second):
            refusal = self.assertRaises(KafkaError, outbox.add, batch_of(b"a"), None, 0)
            self.assertEqual(refusal.code, ErrorCode.KAFKA_STORAGE_ERROR)
        opened(first)
        sent(first)
        second.add(large, None, 0)
        second.close()
        first.add(batch_of(b"a"), None, 0)
        self.assertEqual(sent(first), [b"a"])

    def test_messages_of_what_waits(self) -> None:
        """
        What compresses well makes large messages: those of few batches at a time are in memory while nothing is sent,
        over all partitions, and all is sent in order afterwards.
        """
        unflushed = Unflushed(4000)
        outboxes = [Outbox(PlainCodec(), unflushed) for _ in range(2)]
        values = [bytes((65 + number,)) * 400 for number in range(10)]
        for outbox in outboxes:
            opened(outbox)
            for value in values:
                records = [NewRecord(None, value, (), 1)]
                outbox.add(RecordBatch.parse(build_batch(records, compression=CompressionType.GZIP)), None, 0)
        made = [held.data for outbox in outboxes for held in outbox.held if held.data is not None]
        self.assertTrue(401 <= sum(map(len, made)) <= 1000 + 401)
        self.assertEqual(sent(outboxes[1]), values)
        outboxes[0].lost()
        outboxes[0].recover()
        outboxes[0].resumed(0)
        outboxes[0].opened()
        self.assertEqual(sent(outboxes[0]), values)
        self.assertEqual((outboxes[0].next_offset, unflushed.encoded), (10, 0))
        for outbox in outboxes:
            outbox.add(batch_of(b"z"), None, 0)
            self.assertEqual(unflushed.encoded, 2)
            outbox.close()
            self.assertEqual(unflushed.encoded, 0)

    def test_compared_is_forgotten(self) -> None:
        """A batch that was taken apart to be compared is not kept so, however it ends."""
        for end in (lambda outbox: outbox.resumed(1), Outbox.close):
            codec = PlainCodec()
            outbox = Outbox(codec, self.unflushed)
            opened(outbox)
            outbox.add(batch_of(b"0"), None, 0)
            sent(outbox)
            outbox.lost()
            outbox.recover()
            outbox.compare([entry(0, b"0")])
            self.assertIsNotNone(codec.compared)
            end(outbox)
            self.assertIsNone(codec.compared)

    def test_rest_of_a_half_stored_batch(self) -> None:
        """A batch whose beginning is in the files from another time is completed, and keeps its base offset."""
        opened(self.outbox, 12)
        held = self.outbox.add(batch_of(b"0", b"1", b"2", b"3", b"4"), None, 0, stored=(10, 2))
        self.assertEqual(self.outbox.next_offset, 15)
        data = self.outbox.send(0)
        assert data is not None
        self.assertEqual(self.outbox.acknowledged([(12, 15)]), [Visible(15, [held]), Acknowledged(held)])
        self.assertEqual((held.base_offset, held.contiguous), (10, True))

    def test_rest_of_a_half_stored_batch_after_others(self) -> None:
        """Others may have written behind its beginning; a break does not confuse the two parts."""
        opened(self.outbox, 12)
        first = self.outbox.add(batch_of(b"a", b"b"), None, 0)
        half = self.outbox.add(batch_of(b"0", b"1", b"2"), None, 0, stored=(10, 2))
        self.assertEqual(sent(self.outbox)[:2], [b"a", b"b"])
        self.outbox.lost()
        self.assertEqual(self.outbox.recover(), 12)
        self.outbox.compare([entry(12, b"a"), entry(13, b"b"), entry(14, b"2")])
        effects = self.outbox.resumed(15)
        self.assertEqual([effect.held for effect in effects if isinstance(effect, Durable)], [first, half])
        self.assertFalse(half.contiguous)

    def test_log_still_growing(self) -> None:
        """Where a flush beyond the end is told while the log is compared, the comparison is not used."""
        opened(self.outbox)
        self.outbox.add(batch_of(b"0"), None, 0)
        sent(self.outbox)
        self.outbox.lost()
        self.outbox.recover()
        self.assertEqual(self.outbox.flushed(1), [])
        (effect,) = self.outbox.resumed(0)
        self.assertIsInstance(effect, Broken)
        self.outbox.recover()
        self.outbox.compare([entry(0, b"0")])
        self.assertIn(Durable, [type(effect) for effect in self.outbox.resumed(1)])

    def test_impossible_acknowledgements(self) -> None:
        """Offsets that go back, and acknowledgements of what was not sent, break the stream."""
        opened(self.outbox, 5)
        self.outbox.add(batch_of(b"0"), None, 0)
        sent(self.outbox)
        self.assertIsInstance(self.outbox.acknowledged([(4, 5)])[-1], Broken)
        self.assertIsInstance(self.outbox.acknowledged([(5, 7)])[-1], Broken)

    def test_flush_before_acknowledgement(self) -> None:
        """A flush that is told first counts when the acknowledgement arrives."""
        opened(self.outbox)
        held = self.outbox.add(batch_of(b"0"), None, 0)
        sent(self.outbox)
        self.assertTrue(self.outbox.ends_at(1))
        self.assertEqual(self.outbox.flushed(1), [])
        effects = self.outbox.acknowledged([(0, 1)])
        self.assertEqual(effects, [Visible(1, [held]), Acknowledged(held), Durable(held)])
        self.assertFalse(self.outbox.ends_at(1))

    def test_close_gives_back(self) -> None:
        """What is given up takes no room from others."""
        opened(self.outbox)
        self.outbox.add(batch_of(b"0"), None, 0)
        sent(self.outbox)
        self.assertGreater(self.unflushed.used, 0)
        self.assertEqual(len(self.outbox.close()), 1)
        self.assertEqual((self.unflushed.used, self.outbox.is_empty), (0, True))

    def test_others(self) -> None:
        """Records of others are seen where nothing of ours is on its way."""
        opened(self.outbox)
        self.assertEqual(self.outbox.others_wrote(3), [Visible(3, [])])
        held = self.outbox.add(batch_of(b"0"), None, 0)
        self.assertEqual((held.base_offset, self.outbox.others_wrote(4)), (3, []))
