"""The C{kgw dump-log} command: which file it is by its name, and what of it is shown."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from struct import Struct

from kgw.dump.lines import batch_line, gap_line, record_lines
from kgw.dump.segment_file import Found, SegmentFile
from kgw.errors import WireError
from kgw.log.producer_state import ProducerStates

EXIT_DAMAGED = 1
EXIT_UNREADABLE = 2

_OFFSET_ENTRY = Struct(">ii")
_TIME_ENTRY = Struct(">qi")
#: Entries of an index that are read at a time.
_ENTRIES = 4096
#: Nothing is too old to be shown.
_NEVER = 1
#: A producer snapshot beyond that is none.
_MOST_SNAPSHOT = 256 << 20

_EPILOG = """
Segments (.log), their indexes (.index, .timeindex) and producer snapshots (.snapshot) are told apart by their names; a
file of another ending is taken for a segment. Files may be those of a kgw that runs, or of Kafka. Exit status: 0, 1 if
something is damaged, 2 if a file cannot be read.
"""


class Dump:
    """
    Prints files.

    @ivar status: the exit status.
    """

    def __init__(self, with_records: bool, offset: int, max_bytes: int | None) -> None:
        """
        @param with_records: print the records of each batch, too.
        @param offset: of what is below it nothing is shown.
        @param max_bytes: stop where so many bytes of batches were shown.
        """
        self.status = 0
        self._with_records = with_records
        self._offset = offset
        self._left = max_bytes

    def show(self, path: Path) -> None:
        """Print one file."""
        print(f"Dumping {path}")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._unreadable(path, error)
            return
        try:
            if path.suffix == ".index":
                self._offset_index(descriptor, _base(path))
            elif path.suffix == ".timeindex":
                self._time_index(descriptor, _base(path))
            elif path.suffix == ".snapshot":
                self._snapshot(descriptor)
            else:
                print(f"Log starting offset: {_base(path)}")
                self._segment(descriptor, _base(path))
        except OSError as error:
            self._unreadable(path, error)
        finally:
            os.close(descriptor)

    def _unreadable(self, path: Path, error: OSError) -> None:
        print(f"kgw dump-log: {path} cannot be read: {error.strerror}", file=sys.stderr)
        self.status = EXIT_UNREADABLE

    def _damaged(self, line: str) -> None:
        print(line)
        self.status = max(self.status, EXIT_DAMAGED)

    def _segment(self, descriptor: int, base: int) -> None:
        left = self._left
        shows = self._offset <= 0
        for found in SegmentFile(descriptor, base).walk():
            if isinstance(found, Found):
                shows = shows or found.header.last_offset >= self._offset
                size = found.header.size
            else:
                size = found.end - found.position
            if not shows:
                continue
            if left is not None and left <= 0:
                return
            if left is not None:
                left -= size
            if isinstance(found, Found):
                self._batch(found)
            elif found.zeros:
                print(gap_line(found))
            else:
                self._damaged(gap_line(found))

    def _batch(self, found: Found) -> None:
        line = batch_line(found)
        if found.valid is False and not found.old:
            self._damaged(line)
        else:
            print(line)
        if not self._with_records or found.old:
            return
        try:
            for record in record_lines(found):
                print(record)
        except WireError as error:
            self._damaged(f"| damaged: {error}")

    def _offset_index(self, descriptor: int, base: int) -> None:
        entries = ((base + relative, position) for relative, position in self._entries(descriptor, _OFFSET_ENTRY))
        self._rising("offset: {} position: {}", entries)

    def _time_index(self, descriptor: int, base: int) -> None:
        entries = ((time_ms, base + relative) for time_ms, relative in self._entries(descriptor, _TIME_ENTRY))
        self._rising("timestamp: {} offset: {}", entries)

    def _rising(self, form: str, entries: Iterator[tuple[int, int]]) -> None:
        """Print the entries of an index, in which both numbers only grow."""
        for before, entry in pairwise(chain([(-1, -1)], entries)):
            line = form.format(*entry)
            if entry[0] < before[0] or entry[1] < before[1]:
                self._damaged(f"{line} damaged: less than in the entry before")
            else:
                print(line)

    def _entries(self, descriptor: int, form: Struct) -> Iterator[tuple[int, int]]:
        at = 0
        while chunk := os.pread(descriptor, _ENTRIES * form.size, at):
            whole = len(chunk) // form.size * form.size
            yield from form.iter_unpack(chunk[:whole])
            if whole < len(chunk) and len(chunk) < _ENTRIES * form.size:
                self._damaged(f"damaged: {len(chunk) - whole} bytes behind the last entry")
                return
            at += whole

    def _snapshot(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size > _MOST_SNAPSHOT:
            self._damaged(f"damaged: {size} bytes are no producer snapshot")
            return
        states = ProducerStates(_NEVER)
        try:
            states.restore(os.pread(descriptor, size, 0))
        except ValueError as error:
            self._damaged(f"damaged: {error}")
            return
        for one in states.active(0):
            print(
                f"producerId: {one.producer_id} producerEpoch: {one.epoch} lastSequence: {one.last_sequence}"
                f" lastTimestamp: {one.last_ms}"
            )


def _base(path: Path) -> int:
    """The offset that a file's name begins with; 0 where it does not."""
    digits = re.match(r"\d+", path.name)
    return int(digits[0]) if digits else 0


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def run(arguments: Sequence[str]) -> int:
    """
    Print files.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="kgw dump-log", description="Print what is in the files of a partition's log.", epilog=_EPILOG
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--print-data-log", action="store_true", help="print the records, too, with keys and values")
    parser.add_argument("--offset", metavar="N", type=_count, default=0, help="begin with the batch that holds it")
    parser.add_argument("--max-bytes", metavar="N", type=_count, help="stop after so many bytes of batches")
    options = parser.parse_args(arguments)
    dump = Dump(options.print_data_log, options.offset, options.max_bytes)
    try:
        for path in options.files:
            dump.show(path)
        sys.stdout.flush()
    except BrokenPipeError:
        # "| head" has seen enough; the interpreter would complain when it flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return dump.status
