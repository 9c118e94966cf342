"""The partitions' folders in a data directory: found, made, set aside and removed, off the reactor's thread."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from kgw.engine.local.checkpoint import (
    CLEANER_OFFSETS,
    LEADER_EPOCHS,
    LOG_START_OFFSETS,
    PARTITION_METADATA,
    RECOVERY_POINTS,
    format_offsets,
    format_pairs,
    read_file,
    read_offsets,
    replace_file,
)
from kgw.engine.local.directory import DataDirectory, decode_id, encode_id, parse_folder
from kgw.engine.local.recovery import Recovered, Recovery
from kgw.engine.local.segment import LOG, Handles, Segment, file_name
from kgw.errors import ErrorCode, KafkaError
from kgw.log.producer_state import ProducerStates
from kgw.model import LogConfig, Topic, TopicPartition

#: How folders are named that the next start removes, and such as nobody but people removes.
DELETED, STRAY = "-delete", "-stray"


@dataclass(slots=True)
class Opened:
    """What is in one partition's folder."""

    name: TopicPartition
    topic_id: bytes
    config: LogConfig
    found: Recovered
    start_offset: int
    recovery_point: int
    cleaned_to: int = 0


class Folders:
    """
    The folders of all partitions of one data directory.

    Methods block and may raise C{OSError}, but for L{path}, L{check} and L{empty}, which ask nothing of the disk.
    """

    def __init__(self, directory: DataDirectory, handles: Handles, producer_expiration_ms: int) -> None:
        self._directory = directory
        self._path = directory.path
        self._handles = handles
        self._producer_expiration_ms = producer_expiration_ms

    def path(self, name: TopicPartition) -> str:
        """Where a partition's folder is."""
        return os.path.join(self._path, f"{name.topic}-{name.partition}")

    def check(self, topic: str) -> None:
        """
        Check that the folders of a topic would be in the data directory.

        @raise KafkaError: C{INVALID_TOPIC_EXCEPTION}.
        """
        if os.path.dirname(self.path(TopicPartition(topic, 0))) != self._path:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic!r} cannot be the name of a folder")

    def empty(self, name: TopicPartition, topic_id: bytes, config: LogConfig) -> Opened:
        """What is in a folder that was just made; its file is opened when it is needed."""
        segment = Segment(self.path(name), 0, self._handles)
        segment.start_indexes()
        found = Recovered([segment], 0, [(0, 0)], ProducerStates(self._producer_expiration_ms), [])
        return Opened(name, topic_id, config, found, 0, 0)

    def make(self, names: Iterable[TopicPartition], topic_id: bytes) -> list[str]:
        """
        Make folders with empty logs, all or none.

        @return: the folders that were in the way, by their names until now; they are strays.
        """
        made: list[str] = []
        strays: list[str] = []
        try:
            for name in names:
                folder = self.path(name)
                if os.path.lexists(folder):
                    # Nothing says that whoever put it there can do without it.
                    _rename(folder, STRAY)
                    strays.append(os.path.basename(folder))
                os.mkdir(folder)
                made.append(folder)
                _write_metadata(folder, topic_id)
                replace_file(os.path.join(folder, LEADER_EPOCHS), format_pairs([(0, 0)]), durable=False)
                path = os.path.join(folder, file_name(0) + LOG)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError:
            remove(made)
            raise
        return strays

    def discard(self, names: Iterable[TopicPartition]) -> None:
        """Remove folders that were made and are not wanted after all; what cannot be removed stays."""
        remove([self.path(name) for name in names])

    def set_aside(self, names: Iterable[TopicPartition]) -> tuple[list[str], list[str]]:
        """
        Rename folders so that the next start removes them, whatever happens now.

        @return: where they are now, and for people why others could not be renamed.
        """
        aside: list[str] = []
        failures: list[str] = []
        for name in names:
            try:
                aside.append(_rename(self.path(name), DELETED))
            except OSError as error:
                failures.append(f"{name}: {error.strerror}")
        return aside, failures

    def open(self, topics: Iterable[tuple[Topic, LogConfig]]) -> tuple[list[Opened], list[str]]:
        """
        Open what is wanted, make what is missing, set aside what belongs to no topic.

        @return: the partitions, and the folders that are strays now, by their names until now.
        """
        topics = list(topics)
        clean = self._directory.was_clean
        points = read_offsets(os.path.join(self._path, RECOVERY_POINTS))
        starts = read_offsets(os.path.join(self._path, LOG_START_OFFSETS))
        cleaned = read_offsets(os.path.join(self._path, CLEANER_OFFSETS))
        there, strays = self._look(topics)
        self._directory.unmark_clean()
        recovery = Recovery(clean, self._handles, self._producer_expiration_ms)
        opened = []
        for topic, config in topics:
            self.check(topic.name)
            for index in range(topic.partitions):
                name = TopicPartition(topic.name, index)
                if name not in there:
                    strays += self.make([name], topic.id)
                    opened.append(self.empty(name, topic.id, config))
                    continue
                folder, start = self.path(name), starts.get(name, 0)
                _write_metadata(folder, topic.id)
                found = recovery.open(folder, start, points.get(name, 0), config.index_interval_bytes)
                point = found.end_offset if clean else min(points.get(name, 0), found.end_offset)
                opened.append(Opened(name, topic.id, config, found, start, point, cleaned.get(name, 0)))
        # Rows of partitions that are gone must not speak for later ones of the same name.
        content = format_offsets({each.name: each.recovery_point for each in opened})
        replace_file(os.path.join(self._path, RECOVERY_POINTS), content, durable=True)
        content = format_offsets({each.name: each.start_offset for each in opened if each.start_offset})
        replace_file(os.path.join(self._path, LOG_START_OFFSETS), content, durable=True)
        if cleaned:
            content = format_offsets({each.name: each.cleaned_to for each in opened if each.cleaned_to})
            replace_file(os.path.join(self._path, CLEANER_OFFSETS), content, durable=True)
        return opened, strays

    def _look(self, topics: list[tuple[Topic, LogConfig]]) -> tuple[set[TopicPartition], list[str]]:
        """Which partitions are there; and what is not one of these topics', which is a stray from now on."""
        wanted = {TopicPartition(topic.name, index): topic for topic, _ in topics for index in range(topic.partitions)}
        there: set[TopicPartition] = set()
        strays: list[str] = []
        for entry in list(os.scandir(self._path)):
            if not entry.is_dir():
                continue
            if entry.name.endswith(DELETED):
                remove([entry.path])
                continue
            name = parse_folder(entry.name)
            if name is None or entry.name != os.path.basename(self.path(name)):
                continue
            content = read_file(os.path.join(entry.path, PARTITION_METADATA))
            # Where it does not say whose it is, its name does.
            if name in wanted and _topic_id(content) in (wanted[name].id, None):
                there.add(name)
            elif content is not None:
                _rename(entry.path, STRAY)
                strays.append(entry.name)
        return there, strays


def remove(folders: Iterable[str]) -> None:
    """Remove folders with what is in them, as far as possible; blocks."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _rename(folder: str, ending: str) -> str:
    """Rename a folder to NAME.UNIQUE-ENDING, as Kafka does; returns where it is then."""
    ending = f".{uuid.uuid4().hex}{ending}"
    parent, name = os.path.split(folder)
    aside = os.path.join(parent, name[: 255 - len(ending)] + ending)
    os.rename(folder, aside)
    return aside


def _topic_id(metadata: bytes | None) -> bytes | None:
    """The id in partition.metadata; C{None} where it has none, or is damaged."""
    for line in (metadata or b"").decode("ascii", "replace").splitlines():
        if line.startswith("topic_id:"):
            return decode_id(line.partition(":")[2].strip())
    return None


def _write_metadata(folder: str, topic_id: bytes) -> None:
    path = os.path.join(folder, PARTITION_METADATA)
    if _topic_id(read_file(path)) != topic_id:
        replace_file(path, f"version: 0\ntopic_id: {encode_id(topic_id)}\n".encode(), durable=False)
