"""Reads what a gateway has counted, and what it has in memory, as metrics of prometheus_client."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

import twisted
from kgw import __version__
from kgw.errors import ErrorCode, KafkaError
from kgw.model import Extent
from kgw.web.families import FAMILIES, TOPIC_COUNTERS, topic_counter

if TYPE_CHECKING:
    from kgw.gateway import Gateway
    from kgw.group_model import CommittedOffset, GroupCensus
    from kgw.groups.offsets import Place
    from kgw.metrics import Times

#: Stands for all topics, or clients, that get no row of their own; no topic can have this name.
OTHER = "(other)"
#: Kinds of client software that get a row, and the most characters of a name.
_MOST_SOFTWARE = 100
_MOST_CHARACTERS = 60
#: Groups with longer names have no rows: a name may have 32 KiB, and is in the rows of all places the group reads.
_MOST_GROUP_CHARACTERS = 500

_T = TypeVar("_T")
_Labels = dict[str, str]
_Row = tuple[_Labels, float]


class GatewayCollector(Collector):
    """
    The metrics of one gateway; may be registered in any C{CollectorRegistry}.

    What is read of partitions and groups is in memory, so nothing waits here.
    """

    def __init__(self, gateway: Gateway) -> None:
        """
        @param gateway: has started.
        """
        self._gateway = gateway
        self._process = ProcessCollector(registry=CollectorRegistry())

    def collect(self) -> Iterator[Metric]:
        """All metrics, each once."""
        return self.collect_in_slices(1 << 62)

    def collect_in_slices(self, size: int) -> Iterator[Metric]:
        """All metrics; one with more than C{size} rows comes several times in a row, with some of them each."""
        for name, rows in self._all():
            yield from _sliced(name, rows, size)
        yield from self._process.collect()

    def _all(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        yield from self._about()
        yield from self._records()
        yield from self._connections()
        topics = _Topics(self._gateway)
        yield from topics.rows()
        yield from self._node(topics)
        yield from _Groups(self._gateway, topics).rows()
        for name, value in self._gateway.services.logs.measure().items():
            yield name, [({}, value)]
        schemas = self._gateway.services.schemas
        if schemas is not None:
            for name, value in schemas.measure().items():
                yield name, [({}, value)]
            yield "kgw_schema_records_total", [({"result": one}, n) for one, n in schemas.counts.records.items()]

    def _about(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        services = self._gateway.services
        told = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        yield "kgw_build_info", [(told, 1)]
        engine = services.config.kgw_engine
        yield "kgw_engine_info", [({"engine": engine, "cluster_id": services.cluster.cluster_id}, 1)]
        nodes = services.cluster.standings()
        yield "kafka_brokers", [({}, len(nodes))]
        yield "kafka_controller_kafkacontroller_activebrokercount", [({}, len(nodes))]
        advertised = services.config.advertised_listeners
        infos: list[_Row] = []
        for node in nodes:
            addresses = (node.listeners or advertised).values()
            address = next((f"{host}:{port}" for host, port in addresses), "")
            infos.append(({"id": str(node.node_id), "address": address}, 1))
        yield "kafka_broker_info", infos
        lease_s = services.cluster.lease_s()
        if lease_s is None:
            return
        yield "kgw_cluster_lease_seconds", [({}, lease_s)]
        yield "kgw_cluster_fences_total", [({}, services.cluster.fences())]
        for name, values in (
            ("kgw_cluster_heartbeat_age_seconds", [(node.node_id, node.silence_s) for node in nodes]),
            ("kgw_cluster_partitions", [(node.node_id, node.partitions) for node in nodes]),
            ("kgw_cluster_group_slots", [(node.node_id, node.slots) for node in nodes]),
        ):
            yield name, [({"node": str(node_id)}, value) for node_id, value in values if value is not None]

    def _records(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        meters = self._gateway.services.metrics.topics
        total = meters.total()
        by_topic = [({"topic": name}, meter) for name, meter in meters.items()]
        if meters.shared or len(by_topic) >= meters.most:
            by_topic.append(({"topic": OTHER}, meters.other))
        spelling = self._gateway.services.config.kgw_metrics_spelling
        for jmx, strimzi, attribute, _ in TOPIC_COUNTERS:
            rows: list[_Row] = [({}, getattr(total, attribute))]
            rows += [(labels, getattr(meter, attribute)) for labels, meter in by_topic]
            if spelling != "strimzi":
                yield topic_counter(jmx), rows
            if spelling != "jmx":
                yield topic_counter(strimzi), rows

    def _connections(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        connections = self._gateway.connections
        listeners = Counter({listener.name: 0 for listener in self._gateway.config.listeners})
        software: Counter[tuple[str, str]] = Counter()
        in_flight = 0
        for connection in connections:
            listeners[connection.listener] += 1
            software[connection.software_name, connection.software_version] += 1
            in_flight += connection.in_flight
        by_listener: list[_Row] = [({"listener": name}, count) for name, count in sorted(listeners.items())]
        yield "kgw_connections", by_listener
        yield "kafka_server_socket_server_metrics_connection_count", by_listener
        yield "kafka_server_socketservermetrics_connection_count", by_listener
        accepted = connections.accepted
        received, sent = connections.traffic()
        yield "kafka_server_socket_server_metrics_connection_creation_total", [({}, accepted)]
        yield "kafka_server_socket_server_metrics_connection_close_total", [({}, accepted - len(connections))]
        yield "kafka_server_socket_server_metrics_incoming_byte_total", [({}, received)]
        yield "kafka_server_socket_server_metrics_outgoing_byte_total", [({}, sent)]
        yield "kgw_connections_refused_total", [({}, connections.refused)]
        yield "kgw_clients", _software(software)
        yield "kgw_requests_in_flight", [({}, in_flight)]
        yield "kgw_requests_in_flight_bytes", [({}, connections.budget.used)]
        yield "kgw_requests_unfinished_bytes", [({}, connections.unfinished.held)]
        yield "kgw_answers_held_bytes", [({}, connections.answers.held)]
        yield "kgw_fetch_sessions", [({}, len(self._gateway.services.fetch_sessions))]

    def _node(self, topics: _Topics) -> Iterator[tuple[str, Iterable[_Row]]]:
        services = self._gateway.services
        offline = services.logs.measure().get("kgw_partitions_offline", 0)
        cluster = services.cluster
        own = next((node for node in cluster.standings() if node.node_id == cluster.node_id), None)
        led = 0 if own is None else topics.partitions if own.partitions is None else own.partitions
        manager, controller = "kafka_server_replicamanager_", "kafka_controller_kafkacontroller_"
        metrics = services.metrics
        for name, value in (
            (f"{manager}leadercount", led),
            (f"{manager}partitioncount", led),
            (f"{manager}underreplicatedpartitions", 0),
            (f"{manager}underminisrpartitioncount", 0),
            (f"{manager}offlinereplicacount", offline),
            ("kafka_cluster_partition_underminisr", 0),
            ("kafka_cluster_partition_replicascount", led),
            (f"{controller}activecontrollercount", int(cluster.controller_id == cluster.node_id)),
            (f"{controller}offlinepartitionscount", offline + cluster.unled()),
            (f"{controller}globaltopiccount", topics.count),
            (f"{controller}globalpartitioncount", topics.partitions),
            ("kafka_log_logmanager_offlinelogdirectorycount", 0),
            ("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", metrics.lag.idle_ratio),
            ("kafka_network_socketserver_networkprocessoravgidle_percent", metrics.lag.idle_ratio),
            ("kgw_reactor_busy_seconds_total", metrics.lag.busy_seconds),
        ):
            yield name, [({}, value)]
        times = sorted(metrics.all_times)
        yield (
            "kafka_network_requestmetrics_requests_total",
            [({"request": api, "version": str(version)}, held.count) for (api, version), held in times],
        )
        errors = [(api, ErrorCode(code).name, count) for (api, code), count in sorted(metrics.errors)]
        yield (
            "kafka_network_requestmetrics_errors_total",
            [({"request": api, "error": error}, count) for api, error, count in errors],
        )
        yield "kgw_request_errors_total", [({"api": api, "error": error}, count) for api, error, count in errors]
        histograms = [({"api": api, "version": str(version)}, held) for (api, version), held in times]
        yield "kgw_request_seconds", (row for labels, held in histograms for row in _histogram(labels, held))
        yield "kgw_reactor_lag_seconds", _histogram({}, metrics.lag.times)


class _Topics:
    """
    What there is of topics and their logs.

    @ivar count: of topics, C{partitions} of partitions.
    @ivar extents: of the logs that are open, by topic and partition.
    """

    def __init__(self, gateway: Gateway) -> None:
        services, config = gateway.services, gateway.services.config
        topics = services.topics.all()
        # of the partitions that are open here, which are those that this node leads
        self._node_id = services.cluster.node_id
        self.count = len(topics)
        self.partitions = sum(topic.partitions for topic in topics)
        self._topics = topics[: config.kgw_metrics_max_topics]
        self._other = sum(topic.partitions for topic in topics[config.kgw_metrics_max_topics :])
        self._most = config.kgw_metrics_max_partitions
        self._partition = services.logs.partition

    def rows(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        """Of each topic, and of each partition."""
        by_topic: list[_Row] = [({"topic": topic.name}, topic.partitions) for topic in self._topics]
        if self._other:
            by_topic.append(({"topic": OTHER}, self._other))
        yield "kafka_topic_partitions", by_topic
        found: list[tuple[_Labels, Extent]] = []
        name = "kafka_topic_partition_"
        # looked at as the first rows are taken, a slice at a time
        yield f"{name}current_offset", _noted(self._open(), found, lambda extent: extent.end)
        values: tuple[tuple[str, Callable[[Extent], float]], ...] = (
            (f"{name}oldest_offset", lambda extent: extent.start),
            (f"{name}leader", lambda _: self._node_id),
            (f"{name}leader_is_preferred", lambda _: 1),
            (f"{name}replicas", lambda _: 1),
            (f"{name}in_sync_replica", lambda _: 1),
            (f"{name}under_replicated_partition", lambda _: 0),
        )
        for metric, value in values:
            yield metric, ((labels, value(extent)) for labels, extent in found)
        yield "kafka_log_log_size", ((labels, extent.size) for labels, extent in found if extent.size >= 0)

    def _open(self) -> Iterator[tuple[_Labels, Extent]]:
        left = self._most
        for topic in self._topics:
            if topic.partitions > left:
                # all of a topic or nothing: half of it would be a wrong sum
                continue
            left -= topic.partitions
            for index in range(topic.partitions):
                extent = self.extent(topic.name, index)
                if extent is not None:
                    yield {"topic": topic.name, "partition": str(index)}, extent

    def extent(self, topic: str, partition: int) -> Extent | None:
        """Of one log; C{None} where it is not there."""
        try:
            extent: Extent = self._partition(topic, partition).extent
        except KafkaError:
            return None
        return extent


class _Groups:
    """What there is of groups and what they have committed."""

    def __init__(self, gateway: Gateway, topics: _Topics) -> None:
        config = gateway.services.config
        self._coordinator = gateway.services.groups
        self._groups = self._coordinator.census()
        self._topics = topics
        self._most = config.kgw_metrics_max_groups
        self._left = config.kgw_metrics_max_partitions

    def rows(self) -> Iterator[tuple[str, Iterable[_Row]]]:
        """Of all groups together, of each, and of each place where one has committed."""
        states = Counter(group.state for group in self._groups)
        yield "kgw_consumergroups", [({"state": state}, count) for state, count in sorted(states.items())]
        groups = [one for one in self._groups if len(one.group_id) <= _MOST_GROUP_CHARACTERS][: self._most]
        yield "kafka_consumergroup_members", [({"consumergroup": one.group_id}, one.members) for one in groups]
        name = "kafka_consumergroup_"
        found: list[tuple[_Labels, tuple[int, int | None]]] = []
        places = (place for group in groups for place in self._places(group))
        yield f"{name}current_offset", _noted(places, found, lambda place: place[0])
        offsets = [(labels, offset) for labels, (offset, _) in found]
        # of a topic that is gone nobody can say how far behind its readers are
        lags = [(labels, lag) for labels, (_, lag) in found if lag is not None]
        yield f"{name}lag", lags
        yield f"{name}current_offset_sum", _sums(offsets)
        yield f"{name}lag_sum", _sums(lags)

    def _places(self, group: GroupCensus) -> Iterator[tuple[_Labels, tuple[int, int | None]]]:
        if group.offsets > self._left:
            return
        self._left -= group.offsets
        committed: dict[Place, CommittedOffset] = {}
        # it fires at once, with nothing where the coordinator is stopping
        self._coordinator.committed(group.group_id).addCallbacks(committed.update, lambda _: None)
        for (topic, partition), (offset, _, _) in sorted(committed.items()):
            extent = self._topics.extent(topic, partition)
            lag = None if extent is None else max(extent.end - offset, 0)
            yield {"consumergroup": group.group_id, "topic": topic, "partition": str(partition)}, (offset, lag)


def _noted(
    items: Iterable[tuple[_Labels, _T]], notes: list[tuple[_Labels, _T]], value: Callable[[_T], float]
) -> Iterator[_Row]:
    """Rows of what is found, which is noted for further ones."""
    for labels, found in items:
        notes.append((labels, found))
        yield labels, value(found)


def _sums(rows: Iterable[tuple[_Labels, int]]) -> list[_Row]:
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for labels, value in rows:
        sums[labels["consumergroup"], labels["topic"]] += value
    return [({"consumergroup": group, "topic": topic}, value) for (group, topic), value in sums.items()]


def _software(found: Mapping[tuple[str, str], int]) -> list[_Row]:
    """The commonest, those with equal beginnings together, and one row for all others."""
    cut: Counter[tuple[str, str]] = Counter()
    for (name, version), count in found.items():
        cut[name[:_MOST_CHARACTERS] or "unknown", version[:_MOST_CHARACTERS]] += count
    rows: list[_Row] = [
        ({"software_name": name, "software_version": version}, count)
        for (name, version), count in cut.most_common(_MOST_SOFTWARE)
    ]
    rest = sum(cut.values()) - sum(count for _, count in rows)
    if rest:
        rows.append(({"software_name": OTHER, "software_version": OTHER}, rest))
    return rows


#: Carries the ending of a sample's name through the rows of a histogram; no real label has this name.
_ENDING = "__ending__"


def _histogram(labels: _Labels, times: Times) -> Iterator[_Row]:
    count = 0
    for bound, count in times.cumulative():
        yield {**labels, "le": floatToGoString(bound), _ENDING: "_bucket"}, count
    yield {**labels, _ENDING: "_count"}, count
    yield {**labels, _ENDING: "_sum"}, times.seconds


def _sliced(name: str, rows: Iterable[_Row], size: int) -> Iterator[Metric]:
    family = FAMILIES[name]

    def begun() -> Metric:
        return Metric(name.removesuffix("_total"), family.meaning, family.kind)

    metric = begun()
    for labels, value in rows:
        ending = labels.pop(_ENDING, "")
        metric.add_sample(name + ending, labels, value)
        if len(metric.samples) >= size:
            yield metric
            metric = begun()
    if metric.samples:
        yield metric
