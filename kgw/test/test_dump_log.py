"""kgw dump-log on the files of a real gateway, and on damaged ones."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.cli import main
from kgw.dump.segment_file import Found, Gap, SegmentFile
from kgw.handlers import produce
from kgw.test.live.raw import RawClient, create
from kgw.testing import KafkaGateway
from kgw.wire.compression import CompressionType
from kgw.wire.records import build_batch, scan

_LINE = re.compile(r"baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* position: (\d+) .* isvalid: (\w+)")


class DumpLogTests(SynchronousTestCase):
    """The command."""

    def dump(self, *arguments: str) -> tuple[int, list[str], str]:
        """
        Run it.

        @return: exit status, lines, and stderr.
        """
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(["dump-log", *arguments]), out.getvalue().splitlines(), err.getvalue()

    def written(self) -> Path:
        """The folder of a partition, whose gateway has stopped: three batches, the second one with zstd."""
        data = Path(self.mktemp())
        with KafkaGateway({"log.index.interval.bytes": "0"}, str(data)) as gateway, RawClient(gateway.port) as client:
            create(gateway.port, "orders")
            for number, codec in enumerate((CompressionType.NONE, CompressionType.ZSTD, CompressionType.NONE)):
                records = [
                    (b"key %d" % number, b"value %d" % index, [("trace", b"x")], 1_700_000_000_000 + number)
                    for index in range(10)
                ]
                batch = build_batch(
                    records, compression=codec, producer_id=7, producer_epoch=0, base_sequence=10 * number
                )
                rows = [produce.RequestTopic("orders", partition_data=[produce.RequestPartition(0, batch)])]
                answer = client.ask(produce.API, 8, produce.Request(acks=-1, timeout_ms=5000, topic_data=rows))
                self.assertEqual(answer.responses[0].partition_responses[0].error_code, 0)
        return data / "orders-0"

    def log(self, folder: Path) -> Path:
        """Its segment."""
        (path,) = folder.glob("*.log")
        return path

    def batches(self, lines: list[str]) -> list[tuple[str, ...]]:
        """First and last offset, count, position and validity of each batch."""
        return [match.groups() for line in lines if (match := _LINE.match(line))]

    def test_batches(self) -> None:
        """A line for each batch, in the form of Kafka's tool."""
        path = self.log(self.written())
        status, lines, _ = self.dump(str(path))
        self.assertEqual((status, lines[0], lines[1]), (0, f"Dumping {path}", "Log starting offset: 0"))
        places = [at for at, _ in scan(path.read_bytes())]
        self.assertEqual(
            self.batches(lines),
            [(str(10 * n), str(10 * n + 9), "10", str(at), "true") for n, at in enumerate(places)],
        )
        self.assertIn(" baseSequence: 10 lastSequence: 19 producerId: 7 producerEpoch: 0 ", lines[3])
        self.assertIn(" isTransactional: false isControl: false ", lines[3])
        self.assertIn(" CreateTime: 1700000000001 ", lines[3])
        self.assertIn(" compresscodec: zstd ", lines[3])

    def test_records(self) -> None:
        """Keys and values when asked for; an offset to begin with, and bytes to stop after."""
        path = self.log(self.written())
        status, lines, _ = self.dump("--print-data-log", "--offset", "15", "--max-bytes", "1", str(path))
        self.assertEqual((status, [row[0] for row in self.batches(lines)]), (0, ["10"]))
        self.assertEqual(
            lines[3:],
            [
                f"| offset: {10 + n} CreateTime: 1700000000001 keySize: 5 valueSize: 7 sequence: {10 + n}"
                f" headerKeys: [trace] key: key 1 payload: value {n}"
                for n in range(10)
            ],
        )

    def test_indexes_and_snapshot(self) -> None:
        """The other files of the partition."""
        folder = self.written()
        log = self.log(folder)
        places = [at for at, _ in scan(log.read_bytes())]
        status, lines, _ = self.dump(str(log.with_suffix(".index")))
        self.assertEqual(status, 0)
        entries = {tuple(map(int, re.findall(r"\d+", line))) for line in lines[1:]}
        self.assertTrue(entries)
        self.assertLessEqual(entries, {(10 * n + 9, at) for n, at in enumerate(places)})
        status, lines, _ = self.dump(str(log.with_suffix(".timeindex")))
        self.assertEqual((status, lines[-1]), (0, "timestamp: 1700000000002 offset: 29"))
        newest = max(folder.glob("*.snapshot"))
        status, lines, _ = self.dump(str(newest))
        self.assertEqual(status, 0)
        self.assertRegex(lines[-1], r"producerId: 7 producerEpoch: 0 lastSequence: 29 lastTimestamp: \d+")
        newest.write_bytes(newest.read_bytes()[:-1] + b"\0")
        status, lines, _ = self.dump(str(newest))
        self.assertEqual((status, lines[-1]), (1, "damaged: the producer snapshot is damaged: its CRC does not match"))

    def test_damaged_record(self) -> None:
        """One wrong bit: the batch is shown as not valid, and the others as they are."""
        path = self.log(self.written())
        content = bytearray(path.read_bytes())
        (_, _), (second, header), _ = list(scan(bytes(content)))
        content[second + header.size - 1] ^= 1
        path.write_bytes(content)
        status, lines, _ = self.dump("--print-data-log", str(path))
        self.assertEqual((status, [row[4] for row in self.batches(lines)]), (1, ["true", "false", "true"]))
        self.assertTrue(any(line.startswith("| damaged: zstd records are damaged") for line in lines), lines)

    def test_damaged_header(self) -> None:
        """A header that is overwritten: so many bytes are no batch, and the walk goes on with the next."""
        path = self.log(self.written())
        content = bytearray(path.read_bytes())
        _, (second, header), (third, _) = list(scan(bytes(content)))
        content[second : second + 40] = b"\xff" * 40
        path.write_bytes(content)
        status, lines, _ = self.dump(str(path))
        self.assertEqual((status, [row[0] for row in self.batches(lines)]), (1, ["0", "20"]))
        self.assertIn(f"damaged: {header.size} bytes at position: {second} are no batch: ", lines[3])
        self.assertIn(f" position: {third} ", lines[4])

    def test_length_that_lies(self) -> None:
        """A batch that claims to be longer than it is hides no other."""
        path = self.log(self.written())
        content = bytearray(path.read_bytes())
        (first, header), *_ = list(scan(bytes(content)))
        content[first + 8 : first + 12] = (header.size - 12 + 7).to_bytes(4, "big")
        path.write_bytes(content)
        status, lines, _ = self.dump(str(path))
        rows = self.batches(lines)
        self.assertEqual(
            (status, [(row[0], row[4]) for row in rows]), (1, [("0", "false"), ("10", "true"), ("20", "true")])
        )

    def test_torn_and_allocated(self) -> None:
        """A torn batch at the end is damage, zeros are space."""
        path = self.log(self.written())
        content = path.read_bytes()
        path.write_bytes(content + bytes(100_000))
        status, lines, _ = self.dump(str(path))
        space = f"space: 100000 bytes of zeros at position: {len(content)}, allocated ahead"
        self.assertEqual((status, lines[-1]), (0, space))
        path.write_bytes(content[:-5])
        status, lines, _ = self.dump(str(path))
        self.assertEqual((status, len(self.batches(lines))), (1, 2))
        self.assertRegex(
            lines[-1], r"damaged: \d+ bytes at position: \d+ are no batch: a batch of \d+ bytes, but the file"
        )

    def test_old_batches(self) -> None:
        """What an older segment left in a recycled file is no damage."""
        path = self.log(self.written())
        content = path.read_bytes()
        spoilt = bytearray(content)
        for at, _ in scan(content):
            spoilt[at + 17] ^= 0xFF
        later = path.with_name(f"{30:020d}.log")
        later.write_bytes(spoilt)
        status, lines, _ = self.dump(str(later))
        self.assertEqual((status, lines[1]), (0, "Log starting offset: 30"))
        self.assertEqual([line.endswith(" old: true") for line in lines[2:]], [True, True, True])

    def test_no_file(self) -> None:
        """One line on stderr and exit status 2; other files are shown."""
        path = self.log(self.written())
        missing = self.mktemp()
        status, lines, err = self.dump(missing, str(path))
        self.assertEqual((status, err), (2, f"kgw dump-log: {missing} cannot be read: No such file or directory\n"))
        self.assertEqual(len(self.batches(lines)), 3)


class WalkTests(SynchronousTestCase):
    """Any bytes."""

    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_damage(self, data: st.DataObject) -> None:
        """
        Whatever is overwritten: every byte is in one of what is found, in order, and a batch with no overwritten byte
        is found as it was.
        """
        sound = b"".join(
            build_batch([(None, b"%d" % number * 20, [], 1)] * (number + 1), base_offset=10 * number)
            for number in range(6)
        )
        content = bytearray(sound)
        start = data.draw(st.integers(0, len(content) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=200))
        content[start : start + len(noise)] = noise
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            found = list(SegmentFile(file.fileno()).walk())
            self.assertEqual(os.fstat(file.fileno()).st_size, len(content))
        at = 0
        for one in found:
            self.assertLessEqual(one.position, at)
            at = max(at, one.end if isinstance(one, Gap) else one.position + one.header.size)
        self.assertEqual(at, len(content))
        valid = {one.position for one in found if isinstance(one, Found) and one.valid}
        for position, header in scan(sound):
            if position + header.size <= start or start + len(noise) <= position:
                self.assertIn(position, valid)
