"""Config: every limit and timeout of kgw once, by Kafka's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType

from kgw.config import alteration, description, http, log_settings, operation, schema, seaweedmq, topic_config
from kgw.config.definition import ConfigError, ConfigType, Definition, InvalidValue, Value
from kgw.config.description import ConfigEntry, ConfigSource, Layers
from kgw.config.kafka import BROKER, GROUP, TOPIC, is_kafkas
from kgw.config.listeners import Listener, parse_advertised, parse_listeners, parse_protocols
from kgw.config.setting import Setting
from kgw.errors import ErrorCode, KafkaError
from kgw.model import ConfigChange, LogConfig


class Config(
    log_settings.LogSettings,
    seaweedmq.SeaweedMqSettings,
    schema.SchemaSettings,
    operation.OperationSettings,
    http.HttpSettings,
):
    """
    A configuration: what was read at the start, or that and what brokers were told since (L{with_dynamic}).

    It cannot be changed; where a property is altered while kgw runs, another one takes its place.

    Each L{Setting} is an attribute named as its property with underscores for dots, typed and within its bounds.

    @ivar properties: the texts that were set, by property name; the others have their defaults.
    @ivar unused: names among them that are Kafka's and have no meaning here.
    """

    node_id: Setting[int] = Setting(
        "This node's number, as clients see it. With kgw.engine=seaweedmq and without this, the one that it had before,"
        " else the smallest that no other gateway has.",
        default="1",
        minimum=0,
    )
    broker_id: Setting[int] = Setting("Older name of node.id.", default="1", minimum=0)
    broker_rack: Setting[str | None] = Setting("The rack clients are told this node stands in.")

    listeners: Setting[tuple[Listener, ...]] = Setting(
        "Where clients connect: NAME://host:port or Twisted endpoint strings, separated by commas; an empty host is"
        " every address, port 0 one that the system chooses."
    )
    advertised_listeners: Setting[Mapping[str, tuple[str, int]]] = Setting(
        "The address clients of each listener are told, NAME://host:port; without an entry, the address they came to."
    )
    listener_security_protocol_map: Setting[Mapping[str, str]] = Setting(
        "The security protocol of each listener name; only PLAINTEXT can be served in Kafka's form yet."
    )
    controller_listener_names: Setting[str | None] = Setting(
        "Listeners of Kafka's controllers; kgw has none and leaves them out of listeners."
    )
    # Kafka's 50 is full in 50 ms when clients come back together; each one too many tries again only after a second
    socket_listen_backlog_size: Setting[int] = Setting(
        "Connections that wait to be accepted, per listener.", default="1024"
    )

    auto_create_topics_enable: Setting[bool] = Setting("Whether a client may create a topic by asking for it.")
    delete_topic_enable: Setting[bool] = Setting("Whether topics may be deleted.")
    num_partitions: Setting[int] = Setting("Partitions of a topic that is created without a number.")
    default_replication_factor: Setting[int] = Setting("Replicas asked for where a topic is created without a number.")
    max_request_partition_size_limit: Setting[int] = Setting("Partitions in one answer to DescribeTopicPartitions.")

    socket_request_max_bytes: Setting[int] = Setting(
        "The largest request; a larger one ends its connection.", unit="bytes"
    )
    queued_max_request_bytes: Setting[int] = Setting(
        "Requests held in memory over all connections; reading pauses above it; -1 is no bound.",
        unit="bytes",
        default="268435456",
        minimum=-1,
    )
    fetch_max_bytes: Setting[int] = Setting(
        "The most one Fetch returns, but for a first batch that is larger.", unit="bytes"
    )
    connections_max_idle_ms: Setting[int] = Setting(
        "A connection without a request for so long is closed; a negative number is never.", unit="ms"
    )
    max_connections: Setting[int] = Setting("Connections at a time; more are closed at once.")
    max_connections_per_ip: Setting[int] = Setting("Connections at a time from one address.")
    max_incremental_fetch_session_cache_slots: Setting[int] = Setting("Fetch sessions that are kept (KIP-227).")
    quota_window_num: Setting[int] = Setting("Windows over which it is measured how fast clients are (KIP-13).")
    quota_window_size_seconds: Setting[int] = Setting("How long one of these windows is.", unit="seconds")
    producer_id_expiration_ms: Setting[int] = Setting(
        "An idempotent producer that is silent for so long is forgotten.", unit="ms"
    )

    group_min_session_timeout_ms: Setting[int] = Setting(
        "The shortest session timeout a member of a group may ask for.", unit="ms"
    )
    group_max_session_timeout_ms: Setting[int] = Setting(
        "The longest session timeout a member of a group may ask for.", unit="ms"
    )
    group_initial_rebalance_delay_ms: Setting[int] = Setting(
        "How long an empty group waits for more members after its first.", unit="ms"
    )
    group_max_size: Setting[int] = Setting("Members a group may have; more are turned away.")
    offset_metadata_max_bytes: Setting[int] = Setting(
        "The longest metadata a client may keep with a committed offset; counted in UTF-16 units, as Kafka does.",
        unit="bytes",
        maximum=262_144,
    )
    offsets_retention_minutes: Setting[int] = Setting(
        "How long committed offsets are kept after their group became empty, or after the commit where nobody"
        " subscribes.",
        unit="minutes",
    )
    offsets_retention_check_interval_ms: Setting[int] = Setting(
        "How often offsets past their retention are looked for.", unit="ms"
    )

    kgw_engine: Setting[str] = Setting(
        "What keeps the logs: files in the data directory, SeaweedMQ, or memory alone.",
        type=ConfigType.STRING,
        default="local",
        choices=("local", "memory", "seaweedmq"),
    )
    kgw_cluster_id: Setting[str] = Setting(
        "The cluster id of a fresh data directory; empty makes one. A directory keeps the id it has.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_strict_replication: Setting[bool] = Setting(
        "Whether more replicas than there are nodes is Kafka's error; else it is clamped.",
        type=ConfigType.BOOLEAN,
        default="false",
    )
    kgw_max_in_flight_requests_per_connection: Setting[int] = Setting(
        "Requests of one connection that may be on their way before reading pauses.",
        type=ConfigType.INT,
        default="64",
        minimum=1,
    )
    kgw_connection_max_in_flight_bytes: Setting[int] = Setting(
        "Bytes of one connection's requests held before reading pauses; at least socket.request.max.bytes.",
        unit="bytes",
        type=ConfigType.LONG,
        default="134217728",
        minimum=1,
    )
    kgw_control_request_max_bytes: Setting[int] = Setting(
        "The largest request of an API that carries no records (anything but Produce); it becomes many times its size"
        " in memory. A larger one ends its connection.",
        unit="bytes",
        type=ConfigType.INT,
        default="4194304",
        minimum=1,
    )
    kgw_queued_max_response_bytes: Setting[int] = Setting(
        "Answers held in memory over all connections until their clients take them; above it a Fetch returns little.",
        unit="bytes",
        type=ConfigType.LONG,
        default="268435456",
        minimum=1,
    )
    kgw_group_max_bytes: Setting[int] = Setting(
        "What all members of a group may say when they join, and be assigned, together (Kafka: what its offsets topic"
        " takes as one record, about a million bytes). One that does not fit in is refused.",
        unit="bytes",
        type=ConfigType.INT,
        default="16777216",
        minimum=1,
    )
    kgw_tail_bytes: Setting[int] = Setting(
        "Recent records kept in memory for readers, over all partitions.",
        unit="bytes",
        type=ConfigType.LONG,
        default="67108864",
        minimum=0,
    )
    kgw_state_sync: Setting[bool] = Setting(
        "Whether committed offsets, groups and topics are synced to the disk before they are acknowledged; else what"
        " the system has not written yet is lost with the machine, though never with the process.",
        type=ConfigType.BOOLEAN,
        default="false",
    )
    kgw_recycle_max_bytes: Setting[int] = Setting(
        "Files of deleted segments kept to be written again, over all partitions, which is cheaper than new ones; 0 is"
        " none.",
        unit="bytes",
        type=ConfigType.LONG,
        default="1073741824",
        minimum=0,
    )
    kgw_shutdown_timeout_ms: Setting[int] = Setting(
        "How long requests on their way are waited for at a stop.",
        unit="ms",
        type=ConfigType.INT,
        default="4000",
        minimum=0,
    )

    properties: Mapping[str, str]
    unused: tuple[str, ...]

    def __init__(self, properties: Mapping[str, str] | None = None, origins: Mapping[str, str] | None = None) -> None:
        """
        @param properties: texts by property name.
        @param origins: where each was set, in words for an error: C{"server.properties:3"}.
        @raise ConfigError: a name is unknown, a value is not allowed, or two contradict each other.
        """
        self.__dict__["properties"] = given = MappingProxyType(dict(properties or {}))
        self._remember("_origins", dict(origins or {}))
        known = definitions()
        values = {
            name: definition.parse(definition.default)
            for name, definition in known.items()
            if definition.default is not None
        }
        for name, text in given.items():
            definition = known.get(name)
            if definition is not None:
                values[name] = self._parse(definition, text)
            elif not is_kafkas(name):
                raise ConfigError(self._unknown(name))
        self._reconcile(values)
        for attribute, setting in settings().items():
            self._remember(attribute, values.get(setting.definition.name))
        used = {setting.definition.name for setting in settings().values()}
        self._remember("unused", tuple(sorted(name for name in given if name not in used)))
        self._remember("_values", values)
        self._remember("_static_values", values)
        self._remember("_layers", ((ConfigSource.STATIC_BROKER_CONFIG, given),))
        self._resolve_listeners()
        self._inherit(self._shown)

    def with_dynamic(self, node: Mapping[str, str], cluster: Mapping[str, str]) -> Config:
        """
        This configuration as it is once these properties were altered, whatever was altered before.

        @param node: texts set for this broker, by property name; over C{cluster}, which are set for all brokers.
        @raise KafkaError: C{INVALID_REQUEST}: one cannot be altered without a restart, or its value is not allowed.
        """
        for each in (cluster, node):
            alteration.check_broker(each, definitions(), alterable())
        texts = {**cluster, **node}
        dynamic = {name: definitions()[name].parse(text) for name, text in texts.items()}
        made = object.__new__(Config)
        made.__dict__.update(self.__dict__)
        made._remember("_values", {**self._static_values, **dynamic})
        made._remember(
            "_layers",
            (
                (ConfigSource.DYNAMIC_BROKER_CONFIG, MappingProxyType(dict(node))),
                (ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, MappingProxyType(dict(cluster))),
                (ConfigSource.STATIC_BROKER_CONFIG, self.properties),
            ),
        )
        for attribute, setting in settings().items():
            if setting.definition.name in alterable():
                made._remember(attribute, made._values.get(setting.definition.name))
        try:
            made._inherit(lambda name: f"Invalid value {texts.get(name)} for configuration {name}")
        except ConfigError as error:
            raise KafkaError(ErrorCode.INVALID_REQUEST, str(error)) from error
        return made

    def _inherit(self, shown: Callable[[str], str]) -> None:
        """Work out what topics inherit; C{shown} is a property and its value, to begin an error with."""
        self._remember("_topic_defaults", topic_config.defaults(self._values, shown))
        self._remember("_log_config", topic_config.resolve({}, self._topic_defaults))

    def altered_topic(self, current: Mapping[str, str], changes: Iterable[ConfigChange]) -> dict[str, str]:
        """
        A topic's own configs after these changes, checked as L{validate_topic_configs} does.

        @raise KafkaError: C{INVALID_CONFIG}, with Kafka's own sentence.
        """
        configs = alteration.altered(current, changes, TOPIC)
        self.validate_topic_configs(configs)
        return configs

    def altered_group(self, current: Mapping[str, str], changes: Iterable[ConfigChange]) -> dict[str, str]:
        """
        A group's own configs after these changes, checked.

        @raise KafkaError: C{INVALID_CONFIG}, with Kafka's own sentence.
        """
        configs = alteration.altered(current, changes, GROUP)
        alteration.check_group(configs, self._values)
        return configs

    def altered_broker(self, current: Mapping[str, str], changes: Iterable[ConfigChange]) -> dict[str, str]:
        """
        A broker's own properties after these changes; L{with_dynamic} checks them.

        @raise KafkaError: C{INVALID_CONFIG}: items are to be added to what is no list, or taken from it.
        """
        return alteration.altered(current, changes, definitions())

    @property
    def data_directory(self) -> str:
        """Where the local engine keeps everything."""
        return self.log_dirs or self.log_dir

    def log_config(self, topic_configs: Mapping[str, str]) -> LogConfig:
        """
        What the logs of a topic with these configs obey: topic over broker over default.

        @raise KafkaError: C{INVALID_CONFIG}, as L{validate_topic_configs}.
        """
        if not topic_configs:
            return self._log_config
        return topic_config.resolve(topic_config.parse(topic_configs), self._topic_defaults)

    def validate_topic_configs(self, configs: Mapping[str, str | None]) -> None:
        """
        Check configs that a client wants to set on a topic.

        @raise KafkaError: C{INVALID_CONFIG}, with Kafka's own sentence.
        """
        topic_config.validate(configs, self._topic_defaults)

    def describe_topic(self, topic_configs: Mapping[str, str]) -> list[ConfigEntry]:
        """All topic configs of a topic that has these set on it, as DescribeConfigs answers."""
        return description.topic_entries(topic_configs, self._topic_defaults, self._layers, definitions())

    def describe_group(self, own: Mapping[str, str]) -> list[ConfigEntry]:
        """All group configs of a group that has these set on it, as DescribeConfigs answers."""
        return description.group_entries(own, self._values, self._layers, definitions())

    def describe_broker(self) -> list[ConfigEntry]:
        """All properties of this node, as DescribeConfigs answers."""
        return description.broker_entries(self._values, self._layers, definitions(), alterable())

    def describe_cluster(self) -> list[ConfigEntry]:
        """The properties that were set for all brokers while they ran, as DescribeConfigs answers."""
        return description.default_entries(
            dict(self._layers).get(ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, {}), definitions()
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"the configuration cannot be changed ({name})")

    def __repr__(self) -> str:
        return f"<Config setting {', '.join(sorted(self.properties)) or 'nothing'}>"

    _origins: Mapping[str, str]
    _values: Mapping[str, Value]
    _static_values: Mapping[str, Value]
    _layers: Layers
    _topic_defaults: Mapping[str, Value]
    _log_config: LogConfig

    def _remember(self, attribute: str, value: object) -> None:
        self.__dict__[attribute] = value

    def _shown(self, name: str) -> str:
        """A property, its value and where it was set, to begin an error with."""
        definition = definitions().get(name)
        if name not in self.properties:
            return f"{name} (its default)"
        text = "(hidden)" if definition is not None and definition.sensitive else self.properties[name]
        origin = self._origins.get(name)
        return f"{name}={text}" + (f" ({origin})" if origin else "")

    def _parse(self, definition: Definition, text: str) -> Value:
        try:
            return definition.parse(text)
        except InvalidValue as reason:
            raise ConfigError(f"{self._shown(definition.name)}: {reason}; allowed: {definition.allowed()}") from None

    def _unknown(self, name: str) -> str:
        names = sorted(definitions())
        near = get_close_matches(name, names, 1, 0.6) or get_close_matches(f"kgw.{name}", names, 1, 0.6)
        origin = self._origins.get(name)
        return (
            f"{name}"
            + (f" ({origin})" if origin else "")
            + " is no property of kgw or Kafka"
            + (f"; did you mean {near[0]}?" if near else "")
        )

    def _reconcile(self, values: dict[str, Value]) -> None:
        """Settle the properties that depend on each other."""
        both = [name for name in ("node.id", "broker.id") if name in self.properties]
        if len(both) == 2 and values["node.id"] != values["broker.id"]:
            raise ConfigError(f"{self._shown('node.id')} and {self._shown('broker.id')} differ; set one of them")
        if both:
            values["node.id"] = values["broker.id"] = values[both[0]]
        for name in ("log.dir", "log.dirs"):
            directory = values.get(name)
            if isinstance(directory, str) and "," in directory:
                raise ConfigError(f"{self._shown(name)}: kgw keeps one data directory")
        largest = values["socket.request.max.bytes"]
        assert isinstance(largest, int)
        for name in ("queued.max.request.bytes", "kgw.connection.max.in.flight.bytes"):
            bound = values[name]
            assert isinstance(bound, int)
            if name == "queued.max.request.bytes" and bound <= 0:
                values[name] = -1  # Kafka: not positive is unbounded
            elif bound < largest:
                if name in self.properties:
                    raise ConfigError(
                        f"{self._shown(name)}: is less than socket.request.max.bytes, {largest}, so that the largest"
                        " request could never be read"
                    )
                values[name] = largest
        for room in (seaweedmq, schema, operation, http):
            room.check(values, self._shown)

    def _resolve_listeners(self) -> None:
        values = self._values
        controllers = {name.strip().upper() for name in str(values.get("controller.listener.names") or "").split(",")}
        protocols = parse_protocols(
            str(values["listener.security.protocol.map"]), self._shown("listener.security.protocol.map")
        )
        listeners = parse_listeners(
            str(values["listeners"]), protocols, controllers, self.socket_listen_backlog_size, self._shown("listeners")
        )
        advertised = parse_advertised(
            str(values.get("advertised.listeners") or ""),
            [listener.name for listener in listeners],
            controllers,
            self._shown("advertised.listeners"),
        )
        self._remember("listeners", listeners)
        self._remember("advertised_listeners", MappingProxyType(advertised))
        self._remember("listener_security_protocol_map", MappingProxyType(protocols))


@cache
def settings() -> Mapping[str, Setting[object]]:
    """The properties kgw obeys by attribute name, in the order of their declaration."""
    declared = [(name, member) for owner in Config.__mro__ for name, member in vars(owner).items()]
    return MappingProxyType({name: member for name, member in declared if isinstance(member, Setting)})


@cache
def definitions() -> Mapping[str, Definition]:
    """All of Kafka's broker properties, with kgw's defaults where it has others, and kgw's own behind them."""
    own = {setting.definition.name: setting.definition for setting in settings().values()}
    return MappingProxyType({**BROKER, **own})


@cache
def alterable() -> frozenset[str]:
    """The broker properties that can be altered without a restart."""
    return alteration.alterable(definitions().values(), topic_config.FIELDS)
