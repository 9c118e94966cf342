"""The names of all metrics once, with what they mean; docs/metrics.md is printed from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Family(NamedTuple):
    """
    A metric.

    @ivar name: as it is in the text, with C{_total} where it is a counter.
    @ivar kind: C{counter}, C{gauge} or C{histogram}.
    @ivar meaning: a sentence, with the unit where the name does not tell.
    @ivar labels: those of its rows.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


#: Kafka's C{BrokerTopicMetrics}: JMX exporter's name, Strimzi's name, our attribute, meaning.
TOPIC_COUNTERS = (
    ("messagesin", "messagesinpersec", "messages_in", "Records appended."),
    ("bytesin", "bytesinpersec", "bytes_in", "Bytes of record batches appended."),
    ("bytesout", "bytesoutpersec", "bytes_out", "Bytes of record batches sent to consumers."),
    (
        "totalproducerequests",
        "totalproducerequestspersec",
        "produce_requests",
        "Produce requests, once for each partition in them.",
    ),
    (
        "totalfetchrequests",
        "totalfetchrequestspersec",
        "fetch_requests",
        "Fetch requests, once for each partition in them.",
    ),
    (
        "failedproducerequests",
        "failedproducerequestspersec",
        "failed_produce_requests",
        "Produce requests that failed for one partition; not those for which the client alone is to blame.",
    ),
    (
        "failedfetchrequests",
        "failedfetchrequestspersec",
        "failed_fetch_requests",
        "Fetch requests that failed for one partition; not those for which the client alone is to blame.",
    ),
)
_TOPIC = "kafka_server_brokertopicmetrics_"


def topic_counter(name: str) -> str:
    """The whole name of one of L{TOPIC_COUNTERS}, in either spelling."""
    return f"{_TOPIC}{name}_total"


_PARTITION = ("topic", "partition")
_PLACE = ("consumergroup", "topic", "partition")

#: Sections of the page about metrics: what stands above each, and what is in it.
SECTIONS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    (
        "Records, as Kafka's JMX exporter names them; without a topic, of all topics",
        tuple(Family(topic_counter(jmx), "counter", meaning, ("topic",)) for jmx, _, _, meaning in TOPIC_COUNTERS),
    ),
    (
        "The same as Strimzi's metrics reporter names them (`kgw.metrics.spelling`)",
        tuple(Family(topic_counter(other), "counter", meaning, ("topic",)) for _, other, _, meaning in TOPIC_COUNTERS),
    ),
    (
        "The node, as Kafka's dashboards expect it",
        (
            Family("kafka_server_replicamanager_leadercount", "gauge", "Partitions led here."),
            Family("kafka_server_replicamanager_partitioncount", "gauge", "Partitions kept here."),
            Family("kafka_server_replicamanager_underreplicatedpartitions", "gauge", "Always 0."),
            Family("kafka_server_replicamanager_underminisrpartitioncount", "gauge", "Always 0."),
            Family("kafka_server_replicamanager_offlinereplicacount", "gauge", "Partitions that cannot be written."),
            Family("kafka_cluster_partition_underminisr", "gauge", "Always 0."),
            Family(
                "kafka_cluster_partition_replicascount", "gauge", "Replicas of the partitions led here: one for each."
            ),
            Family(
                "kafka_controller_kafkacontroller_activecontrollercount",
                "gauge",
                "1 where this node says who leads what, 0 elsewhere.",
            ),
            Family("kafka_controller_kafkacontroller_activebrokercount", "gauge", "Nodes that are alive."),
            Family(
                "kafka_controller_kafkacontroller_offlinepartitionscount",
                "gauge",
                "Partitions that nobody leads, and those led here that cannot be written.",
            ),
            Family("kafka_controller_kafkacontroller_globaltopiccount", "gauge", "Topics."),
            Family("kafka_controller_kafkacontroller_globalpartitioncount", "gauge", "Partitions."),
            Family("kafka_log_logmanager_offlinelogdirectorycount", "gauge", "Always 0."),
            Family(
                "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
                "gauge",
                "The part of the last minute in which the reactor's thread was idle, 0 to 1.",
            ),
            Family(
                "kafka_network_socketserver_networkprocessoravgidle_percent",
                "gauge",
                "The same: requests are read and handled on one thread.",
            ),
            Family("kafka_network_requestmetrics_requests_total", "counter", "Requests.", ("request", "version")),
            Family(
                "kafka_network_requestmetrics_errors_total",
                "counter",
                "Error codes in answers, several where an answer has several.",
                ("request", "error"),
            ),
            Family("kafka_server_socket_server_metrics_connection_count", "gauge", "Connections now.", ("listener",)),
            Family("kafka_server_socket_server_metrics_connection_creation_total", "counter", "Connections accepted."),
            Family("kafka_server_socket_server_metrics_connection_close_total", "counter", "Connections ended."),
            Family("kafka_server_socket_server_metrics_incoming_byte_total", "counter", "Bytes received."),
            Family("kafka_server_socket_server_metrics_outgoing_byte_total", "counter", "Bytes sent."),
            Family(
                "kafka_server_socketservermetrics_connection_count",
                "gauge",
                "Connections now, in another spelling.",
                ("listener",),
            ),
        ),
    ),
    (
        "Several gateways on one SeaweedMQ (cluster.md); with another engine there are none of these",
        (
            Family(
                "kgw_cluster_lease_seconds",
                "gauge",
                "For how long this node may go on without another heartbeat; 0 where it may not lead anything now.",
            ),
            Family("kgw_cluster_fences_total", "counter", "Times this node had to let go of all that it led."),
            Family(
                "kgw_cluster_heartbeat_age_seconds",
                "gauge",
                "Since a heartbeat of a node was seen here.",
                ("node",),
            ),
            Family("kgw_cluster_partitions", "gauge", "Partitions that a node is to lead.", ("node",)),
            Family("kgw_cluster_group_slots", "gauge", "Shares of all groups that a node coordinates.", ("node",)),
        ),
    ),
    (
        "Topics and groups, as kafka_exporter names them; of partitions led here, and groups coordinated here",
        (
            Family("kafka_brokers", "gauge", "Nodes that are alive, as this one sees it."),
            Family("kafka_broker_info", "gauge", "Always 1; a row for each of them.", ("id", "address")),
            Family("kafka_topic_partitions", "gauge", "Partitions of a topic.", ("topic",)),
            Family("kafka_topic_partition_current_offset", "gauge", "The offset of the next record.", _PARTITION),
            Family("kafka_topic_partition_oldest_offset", "gauge", "The log start offset.", _PARTITION),
            Family("kafka_topic_partition_leader", "gauge", "The node that leads.", _PARTITION),
            Family("kafka_topic_partition_leader_is_preferred", "gauge", "Always 1.", _PARTITION),
            Family("kafka_topic_partition_replicas", "gauge", "Always 1.", _PARTITION),
            Family("kafka_topic_partition_in_sync_replica", "gauge", "Always 1.", _PARTITION),
            Family("kafka_topic_partition_under_replicated_partition", "gauge", "Always 0.", _PARTITION),
            Family(
                "kafka_log_log_size",
                "gauge",
                "Bytes of a partition's log; none with SeaweedMQ, which would have to be asked.",
                _PARTITION,
            ),
            Family("kafka_consumergroup_members", "gauge", "Members of a group.", ("consumergroup",)),
            Family("kafka_consumergroup_current_offset", "gauge", "What a group has committed.", _PLACE),
            Family(
                "kafka_consumergroup_lag",
                "gauge",
                "Offsets from there to the end of the log, never below 0; none of partitions that another node leads.",
                _PLACE,
            ),
            Family(
                "kafka_consumergroup_current_offset_sum",
                "gauge",
                "Committed offsets over the partitions of a topic.",
                ("consumergroup", "topic"),
            ),
            Family(
                "kafka_consumergroup_lag_sum",
                "gauge",
                "Lag over the partitions of a topic.",
                ("consumergroup", "topic"),
            ),
        ),
    ),
    (
        "kgw's own",
        (
            Family("kgw_build_info", "gauge", "Always 1.", ("version", "python", "twisted")),
            Family("kgw_engine_info", "gauge", "Always 1.", ("engine", "cluster_id")),
            Family(
                "kgw_request_seconds",
                "histogram",
                "From a request to its answer, with what it waited for (a long poll, other members of a group).",
                ("api", "version"),
            ),
            Family(
                "kgw_request_errors_total",
                "counter",
                "Error codes in answers, several where an answer has several.",
                ("api", "error"),
            ),
            Family("kgw_reactor_lag_seconds", "histogram", "How late calls of the reactor come; measured each second."),
            Family("kgw_reactor_busy_seconds_total", "counter", "CPU of the reactor's thread."),
            Family("kgw_requests_in_flight", "gauge", "Requests that are not answered yet."),
            Family("kgw_requests_in_flight_bytes", "gauge", "Their bytes (bounded by `queued.max.request.bytes`)."),
            Family("kgw_requests_unfinished_bytes", "gauge", "Bytes of requests that have come in part."),
            Family(
                "kgw_answers_held_bytes",
                "gauge",
                "Bytes of answers that clients have not taken (bounded by `kgw.queued.max.response.bytes`).",
            ),
            Family("kgw_connections", "gauge", "Connections now.", ("listener",)),
            Family("kgw_connections_refused_total", "counter", "Connections turned away for a bound on their number."),
            Family(
                "kgw_clients",
                "gauge",
                "Connections by what their clients call themselves.",
                ("software_name", "software_version"),
            ),
            Family("kgw_fetch_sessions", "gauge", "Fetch sessions kept (KIP-227)."),
            Family("kgw_consumergroups", "gauge", "Groups by their state.", ("state",)),
        ),
    ),
    (
        "The engine",
        (
            Family("kgw_partitions_offline", "gauge", "Partitions that cannot be written now."),
            Family("kgw_tail_bytes", "gauge", "The newest records, kept in memory (bounded by `kgw.tail.bytes`)."),
            Family("kgw_local_segments", "gauge", "Segments of all partitions."),
            Family("kgw_local_bytes", "gauge", "Bytes of record batches in them."),
            Family("kgw_local_spare_bytes", "gauge", "Files of deleted segments, kept to be written again."),
            Family("kgw_local_flushes_total", "counter", "Times a partition was forced to the disk."),
            Family("kgw_local_flush_seconds_total", "counter", "Time that took."),
            Family("kgw_local_flush_failures_total", "counter", "Times the disk did not do it."),
            Family("kgw_local_checkpoints_total", "counter", "Times the recovery points were looked at."),
            Family(
                "kgw_local_checkpoint_age_seconds",
                "gauge",
                "Since that was last done; a start after a crash looks at what is younger.",
            ),
            Family(
                "kafka_log_logcleanermanager_max_dirty_percent",
                "gauge",
                "The share of the dirtiest compacted log that no compaction has looked at.",
            ),
            Family(
                "kafka_log_logcleanermanager_uncleanable_partitions_count",
                "gauge",
                "Compacted logs that are left alone until the next start, for what is in them or their disk.",
            ),
            Family("kgw_local_compactions_total", "counter", "Compactions that came to their end."),
            Family("kgw_local_compacted_bytes_total", "counter", "Bytes of the segments they looked at."),
            Family("kgw_local_compaction_kept_bytes_total", "counter", "Bytes that were left of them."),
            Family(
                "kgw_seaweedmq_unflushed_bytes",
                "gauge",
                "Sent, and in no log file yet (bounded by `kgw.seaweedmq.unflushed.max.bytes`).",
            ),
            Family("kgw_seaweedmq_waiting_bytes", "gauge", "Waiting to be sent."),
            Family("kgw_seaweedmq_interruptions_total", "counter", "Outages of publishing, over all partitions."),
            Family(
                "kgw_seaweedmq_publish_retries_total",
                "counter",
                "Times a partition's publishing broke off, or could not be taken up again.",
            ),
            Family("kgw_seaweedmq_connections_total", "counter", "gRPC connections made to brokers and filers."),
            Family(
                "kgw_seaweedmq_history_cache_bytes",
                "gauge",
                "Decoded parts of log files in memory (bounded by `kgw.seaweedmq.history.cache.bytes`).",
            ),
            Family("kgw_seaweedmq_history_loads_total", "counter", "Pieces of log files read and decoded."),
        ),
    ),
    (
        "The schema registry; only with `kgw.schema.registry.url`",
        (
            Family("kgw_schema_registry_up", "gauge", "Whether it answered when it was last asked, 1 or 0."),
            Family("kgw_schema_registry_requests_total", "counter", "Requests sent, to all its URLs."),
            Family(
                "kgw_schema_registry_errors_total",
                "counter",
                "Requests that were not answered, refused, or answered with an error of the registry's own.",
            ),
            Family("kgw_schema_registry_waiting", "gauge", "Different questions that wait for an answer."),
            Family(
                "kgw_schema_registry_cache_hits_total", "counter", "Questions answered from what is remembered here."
            ),
            Family("kgw_schema_registry_cache_schemas", "gauge", "Schemas remembered."),
            Family(
                "kgw_schema_registry_cache_bytes",
                "gauge",
                "What their text takes (bounded by `kgw.schema.registry.cache.max.bytes`).",
            ),
            Family(
                "kgw_schema_records_total",
                "counter",
                "Records looked into, by what came of it (docs/schemas.md).",
                ("result",),
            ),
            Family("kgw_schema_refused_batches_total", "counter", "Batches refused for a record in them (strict)."),
            Family(
                "kgw_schema_undeclared_total", "counter", "Batches whose columns the engine was not told of in time."
            ),
            Family("kgw_schema_codecs", "gauge", "Schemas ready to read values with."),
            Family("kgw_schema_batches_waiting", "gauge", "Batches that wait for a schema, or behind one that does."),
            Family("kgw_schema_bytes_waiting", "gauge", "What they take."),
        ),
    ),
)

#: All of them by name.
FAMILIES: dict[str, Family] = {family.name: family for _, families in SECTIONS for family in families}

_OPENING = """\
# Metrics

This page is printed by `python -m kgw.web --metrics`; a test holds it equal.

`GET /metrics` gives the numbers of a node in Prometheus' text format. Names are those that Kafka's dashboards ask for,
where Kafka has such a number, and begin with `kgw_` where it has none. Besides those below there are `process_*`, from
prometheus_client.

Rows are bounded. Topics above `kgw.metrics.max.topics` share a row, `topic="(other)"`; there are rows for
`kgw.metrics.max.partitions` partitions, and as many for the offsets of groups; groups above `kgw.metrics.max.groups`
have none, nor have those whose names are longer than 500 characters. Names of client software above 100 are
`(other)`. What is read of logs and groups is what the node has in memory: nothing is asked of an engine for it.
"""


def page() -> Iterator[str]:
    """The lines of docs/metrics.md."""
    yield from _OPENING.splitlines()
    for title, families in SECTIONS:
        yield from ("", f"## {title}", "", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |")
        for family in families:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            yield f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |"
