"""The data directory: made, locked against other processes, and its identity kept in Kafka's meta.properties."""

from __future__ import annotations

import base64
import fcntl
import os
import uuid
from dataclasses import dataclass

from kgw.engine.local.checkpoint import PARTITION_METADATA, read_properties, replace_file
from kgw.errors import ErrorCode, KafkaError
from kgw.model import TopicPartition

_CLEAN_MARK = ".kafka_cleanshutdown"


def encode_id(value: bytes) -> str:
    """The 22 characters in which Kafka writes a 16-byte id."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode_id(text: str) -> bytes | None:
    """The 16 bytes behind 22 characters, or C{None} where the text is no id."""
    try:
        value = base64.urlsafe_b64decode(text + "==")
    except ValueError:
        return None
    return value if len(value) == 16 else None


def parse_folder(name: str) -> TopicPartition | None:
    """The partition that a folder's name stands for, or C{None}."""
    topic, _, partition = name.rpartition("-")
    return TopicPartition(topic, int(partition)) if topic and partition.isdecimal() else None


@dataclass(slots=True)
class DataDirectory:
    """
    One process's hold on a data directory.

    @ivar path: absolute.
    @ivar cluster_id: 22 characters, made when the directory was, and kept.
    @ivar node_id: the node this directory belongs to.
    """

    path: str
    cluster_id: str
    node_id: int
    _lock: int

    @classmethod
    def open(
        cls, path: str, node_id: int, cluster_id: str | None = None, facts_file: str | None = None
    ) -> DataDirectory:
        """
        Make the directory where it is missing, and lock it.

        @param cluster_id: the one to give a directory that has none yet; a new one where this is C{None}.
        @param facts_file: the file in it that names the topics; one without it must not hold partitions either.
        @raise KafkaError: C{KAFKA_STORAGE_ERROR} where it cannot be written, another process holds it (whose
            pid the message names), it belongs to another node or cluster, or C{facts_file} is missing.
        """
        path = os.path.abspath(path)
        try:
            os.makedirs(path, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR, f"the data directory {path} cannot be used: {error.strerror}"
            ) from None
        try:
            if facts_file is not None:
                _check_facts(path, facts_file)
            cluster_id = _identify(path, node_id, cluster_id)
        except OSError as error:
            os.close(lock)
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR, f"the data directory {path} cannot be written: {error.strerror}"
            ) from None
        except KafkaError:
            os.close(lock)
            raise
        return cls(path, cluster_id, node_id, lock)

    @property
    def was_clean(self) -> bool:
        """Whether the mark of a clean stop is there."""
        return os.path.exists(os.path.join(self.path, _CLEAN_MARK))

    def mark_clean(self) -> None:
        """Say that all logs are complete, durable and closed; the last thing a stop does."""
        replace_file(os.path.join(self.path, _CLEAN_MARK), b'{"version":0}', durable=True)

    def unmark_clean(self) -> None:
        """Take the mark away, before anything is written."""
        try:
            os.unlink(os.path.join(self.path, _CLEAN_MARK))
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Let other processes have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock(path: str) -> int:
    """The descriptor that holds the lock; its file names us to whoever comes next."""
    descriptor = os.open(os.path.join(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder else "another process"
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the data directory {path} is in use by {who}") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_facts(path: str, name: str) -> None:
    """Refuse partitions of which nothing says whose they are: Kafka's, or those of a file that was lost."""
    if os.path.exists(os.path.join(path, name)):
        return
    with os.scandir(path) as entries:
        count = sum(entry.is_dir() and parse_folder(entry.name) is not None and _is_log(entry) for entry in entries)
    if count:
        raise KafkaError(
            ErrorCode.KAFKA_STORAGE_ERROR,
            f"the data directory {path} holds {count} partition folder{'s' * (count > 1)} but no {name}, which names "
            f"the topics and keeps committed offsets: restore {name}, or name another directory with --data",
        )


def _is_log(folder: os.DirEntry[str]) -> bool:
    return any(name == PARTITION_METADATA or name.endswith(".log") for name in os.listdir(folder.path))


def _identify(path: str, node_id: int, wanted: str | None) -> str:
    """The directory's cluster id; written down with the node's where there is none yet."""
    name = os.path.join(path, "meta.properties")
    found = read_properties(name) or {}
    owner = found.get("node.id", found.get("broker.id"))
    if owner is not None and owner != str(node_id):
        raise KafkaError(
            ErrorCode.KAFKA_STORAGE_ERROR,
            f"the data directory {path} belongs to node {owner}, and this is node {node_id}: set node.id={owner}",
        )
    cluster_id = found.get("cluster.id") or wanted or encode_id(uuid.uuid4().bytes)
    if wanted is not None and wanted != cluster_id:
        raise KafkaError(
            ErrorCode.KAFKA_STORAGE_ERROR, f"the data directory {path} belongs to cluster {cluster_id}, not to {wanted}"
        )
    if owner is None or "cluster.id" not in found:
        replace_file(name, f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\n".encode(), durable=True)
    else:
        # Only a file that can be written tells that the directory can.
        descriptor = os.open(os.path.join(path, "meta.properties.tmp"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.close(descriptor)
        os.unlink(os.path.join(path, "meta.properties.tmp"))
    return cluster_id
