"""What a topic may be: its name, its size and its replicas, checked in Kafka's order and with Kafka's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from kgw.errors import ErrorCode, KafkaError
from kgw.model import ConfigChange, NewTopic, Topic

if TYPE_CHECKING:
    from kgw.config import Config

#: Most characters in a topic name (Kafka: C{Topic.MAX_NAME_LENGTH}).
MAX_NAME_LENGTH = 249

#: Most partitions of one topic; every one of them costs memory and files from then on.
MAX_PARTITIONS = 100_000

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def check_name(name: str) -> None:
    """
    Check that C{name} may be the name of a topic (Kafka: C{org.apache.kafka.common.internals.Topic}).

    @raise KafkaError: C{INVALID_TOPIC_EXCEPTION}.
    """
    if not name:
        problem = "the empty string is not allowed"
    elif name in (".", ".."):
        problem = f"'{name}' is not allowed"
    elif len(name) > MAX_NAME_LENGTH:
        problem = f"the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    elif not _LEGAL_NAME.fullmatch(name):
        problem = f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    else:
        return
    raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")


class TopicRules:
    """
    Checks topics against the configuration and against the one node there is.

    A request for several replicas is taken as one for a single replica, with one line in the log, unless
    C{kgw.strict.replication} asks for Kafka's refusal.

    @ivar config: the configuration in force; whoever has another puts it here.
    """

    log = Logger()

    def __init__(self, config: Config, nodes: Callable[[], Collection[int]]) -> None:
        """
        @param nodes: the brokers there are.
        """
        self.config = config
        self._nodes = nodes
        self._clamp_told = False

    def partitions(self, new: NewTopic) -> int:
        """
        How many partitions a new topic gets.

        @raise KafkaError: C{INVALID_PARTITIONS}, C{INVALID_REPLICATION_FACTOR}, C{INVALID_REPLICA_ASSIGNMENT} or
            C{INVALID_REQUEST}.
        """
        return self._check_assignments(new) if new.assignments else self._check_counts(new)

    def configs(self, asked: Mapping[str, str | None]) -> dict[str, str]:
        """
        The configs of a new topic, all of them known and valid.

        @raise KafkaError: C{INVALID_CONFIG}.
        """
        nulls = [name for name, value in asked.items() if value is None]
        if nulls:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {','.join(sorted(nulls))}"
            )
        configs = {name: value for name, value in asked.items() if value is not None}
        self.config.validate_topic_configs(configs)
        return configs

    def altered(self, current: Mapping[str, str], changes: Iterable[ConfigChange]) -> dict[str, str]:
        """
        A topic's own configs after these changes, all of them known and valid.

        @raise KafkaError: C{INVALID_CONFIG}.
        """
        return self.config.altered_topic(current, changes)

    def _check_counts(self, new: NewTopic) -> int:
        replicas = new.replication_factor
        if replicas < -1 or replicas == 0:
            raise KafkaError(
                ErrorCode.INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            )
        count = new.partitions
        if count < -1 or count == 0:
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."
            )
        if count == -1:
            count = self.config.num_partitions
        self._check_bound(count)
        if replicas == -1:
            replicas = self.config.default_replication_factor
        if replicas > 1:
            if self.config.kgw_strict_replication:
                nodes = len(self._nodes())
                why = (
                    "a partition has one replica here"
                    if replicas <= nodes
                    else f"only {nodes} broker(s) are registered"
                )
                raise KafkaError(
                    ErrorCode.INVALID_REPLICATION_FACTOR,
                    f"Unable to replicate the partition {replicas} time(s): The target replication factor of "
                    f"{replicas} cannot be reached because {why}.",
                )
            self._tell_clamp(new.name)
        return count

    def _check_bound(self, count: int) -> None:
        if count > MAX_PARTITIONS:
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS, f"A topic can have at most {MAX_PARTITIONS} partitions, not {count}."
            )

    def _check_assignments(self, new: NewTopic) -> int:
        for given, what in ((new.replication_factor, "replication factor"), (new.partitions, "numPartitions")):
            if given != -1:
                raise KafkaError(
                    ErrorCode.INVALID_REQUEST,
                    f"A manual partition assignment was specified, but {what} was not set to -1.",
                )
        self._check_bound(len(new.assignments))
        seen: set[int] = set()
        size = None
        for partition, replicas in new.assignments:
            if partition in seen:
                raise KafkaError(
                    ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                    f"Found multiple manual partition assignments for partition {partition}",
                )
            seen.add(partition)
            size = self._check_replicas(new.name, replicas, size)
        if seen != set(range(len(seen))):
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
            )
        return len(seen)

    def check_growth(self, topic: Topic, count: int, assignments: Sequence[Sequence[int]] | None) -> None:
        """
        Check that C{topic} may be extended to C{count} partitions.

        @raise KafkaError: C{INVALID_PARTITIONS} or C{INVALID_REPLICA_ASSIGNMENT}.
        """
        if count == topic.partitions:
            raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {count} partition(s).")
        if count < topic.partitions:
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS,
                f"The topic {topic.name} currently has {topic.partitions} partition(s); {count} would not be an "
                "increase.",
            )
        self._check_bound(count)
        if assignments is None:
            return
        more = count - topic.partitions
        if len(assignments) != more:
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {more} additional partition(s), but only {len(assignments)} assignment(s) were "
                "specified.",
            )
        size = 1 if self.config.kgw_strict_replication else None
        for replicas in assignments:
            size = self._check_replicas(topic.name, replicas, size)

    def _check_replicas(self, topic: str, replicas: Sequence[int], size: int | None) -> int:
        """
        Check the replicas of one partition, which must name a broker that there is; kgw itself says which one leads it.

        @param size: how many replicas the partitions before had, or C{None}.
        @return: how many it has.
        """
        problem = None
        nodes = self._nodes()
        strangers = [node for node in sorted(replicas) if node not in nodes]
        is_clamped = len(replicas) > 1
        if not replicas:
            problem = "includes an empty replica list."
        elif len(set(replicas)) != len(replicas):
            twice = next(node for node in sorted(replicas) if replicas.count(node) > 1)
            problem = f"includes the broker {twice} more than once."
        elif strangers and (self.config.kgw_strict_replication or len(strangers) == len(replicas)):
            problem = f"includes broker {strangers[0]}, but no such broker is registered."
        elif is_clamped and self.config.kgw_strict_replication:
            problem = f"includes {len(replicas)} replicas, but a partition has one here."
        elif size is not None and len(replicas) != size:
            problem = (
                f"includes a partition with {len(replicas)} replica(s), but this is not consistent with previous "
                f"partitions, which have {size} replica(s)."
            )
        if problem is not None:
            raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"The manual partition assignment {problem}")
        if is_clamped:
            self._tell_clamp(topic)
        return len(replicas)

    def _tell_clamp(self, topic: str) -> None:
        if self._clamp_told:
            return
        self._clamp_told = True
        self.log.warn(
            "topic {topic} asks for more than one replica; topics here have one"
            " (said once; kgw.strict.replication=true refuses such requests)",
            topic=topic,
        )
