"""Kafka's small text files: checkpoints of offsets and epochs, properties, each replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from kgw.model import TopicPartition

#: Files of the data directory, by Kafka's names.
RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_START_OFFSETS = "log-start-offset-checkpoint"
CLEANER_OFFSETS = "cleaner-offset-checkpoint"
#: Files of a partition's folder, by Kafka's names.
LEADER_EPOCHS = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"


def replace_file(path: str, content: bytes, *, durable: bool) -> None:
    """
    Put C{content} at C{path} so that a crash leaves the old file or the new one, never a mixture.

    @param durable: also survive the end of the machine (two C{fsync} calls).
    """
    temporary = path + ".tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    if durable:
        sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make what was created, renamed and removed in a folder survive the end of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: str) -> bytes | None:
    """The whole file, or C{None} where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        chunks = []
        while chunk := os.read(descriptor, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def _rows(content: bytes | None, columns: int) -> list[list[str]]:
    """The rows behind the version and count lines; nothing where the file is not in that form."""
    if content is None:
        return []
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or lines[0].strip() != "0":
        return []
    rows = [line.split() for line in lines[2:] if line.strip()]
    if str(len(rows)) != lines[1].strip() or any(len(row) != columns for row in rows):
        return []
    return rows


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def format_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    """Kafka's offset checkpoint, version 0."""
    rows = [f"{topic} {partition} {offset}\n" for (topic, partition), offset in sorted(offsets.items())]
    return f"0\n{len(rows)}\n{''.join(rows)}".encode()


def read_offsets(path: str) -> dict[TopicPartition, int]:
    """An offset checkpoint; empty where it is missing or damaged, which only costs a longer recovery."""
    offsets: dict[TopicPartition, int] = {}
    for topic, partition, offset in _rows(read_file(path), 3):
        index, value = _number(partition), _number(offset)
        if index is not None and value is not None:
            offsets[TopicPartition(topic, index)] = value
    return offsets


def format_pairs(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Pairs of numbers in the form of Kafka's leader epoch checkpoint, version 0."""
    rows = [f"{first} {second}\n" for first, second in pairs]
    return f"0\n{len(rows)}\n{''.join(rows)}".encode()


def read_pairs(path: str) -> list[tuple[int, int]]:
    """Pairs of numbers in the order of the file; empty where it is missing or damaged."""
    pairs = []
    for first, second in _rows(read_file(path), 2):
        a, b = _number(first), _number(second)
        if a is not None and b is not None:
            pairs.append((a, b))
    return pairs


def read_properties(path: str) -> dict[str, str] | None:
    """The C{name=value} lines of a Java properties file, or C{None} where there is no file."""
    content = read_file(path)
    if content is None:
        return None
    properties = {}
    for line in content.decode("utf-8", "replace").splitlines():
        if not line.startswith(("#", "!")) and "=" in line:
            name, _, value = line.partition("=")
            properties[name.strip()] = value.strip()
    return properties
