"""Gathers properties from a server.properties file, the environment and the command line, later ones first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kgw.config.config import Config, definitions
from kgw.config.definition import ConfigError
from kgw.config.kafka import is_kafkas
from kgw.config.properties import PropertiesError, parse


class Given(NamedTuple):
    """A property that somebody set, and where, in words for an error."""

    name: str
    value: str
    origin: str


#: Variables that are in the way of property names, though no property is meant: of Kafka's images and scripts, of its
#: clients, and those that Kubernetes makes for a service called kafka or kgw.
_NO_PROPERTY = re.compile(
    r"KAFKA_(HEAP_OPTS|OPTS|JVM_PERFORMANCE_OPTS|(TOOLS_)?LOG4J2?_\w+|JMX_\w+|GC_LOG_\w+|DEBUG|DEBUG_\w+|DEBUG_FLAG"
    r"|VERSION|SCALA_VERSION|HOME|DIR|USER|GROUP|DAEMON_\w+|BASE_DIR|BIN_DIR|CONF_DIR|CONF_FILE|CONFIG_DIR|DATA_DIR|LOGS?_PATH"
    r"|VOLUME_DIR|MOUNTED_CONF_DIR|INITSCRIPTS_DIR|INIT_SCRIPTS|CLASSPATH|ENABLE_KRAFT|KRAFT_\w+|CLUSTER_ID|NODE_NAME"
    r"|CLIENT_\w+|INTER_BROKER_(USER|PASSWORD)|CONTROLLER_(USER|PASSWORD)|CERTIFICATE_PASSWORD|TLS_\w+|SKIP_\w+"
    r"|BOOTSTRAP_SERVERS?|BROKERS?|BROKER_URLS?|URLS?|HOSTS?|TOPICS?|TOPIC_\w+|GROUP_ID|CONSUMER_\w+|PRODUCER_GROUP\w*"
    r"|REST_\w+|CONNECT_\w+|SCHEMA_REGISTRY_\w+|CREATE_TOPICS)\Z"
    r"|KGW_(VERSION|HOME)\Z"
    r"|(KAFKA|KGW)(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z"
)
_UNDERSCORES = re.compile("_{1,3}")
#: What one, two and three underscores of a variable's name stand for (the apache/kafka image's rule).
_MEANS = {"_": ".", "__": "_", "___": "-"}


def load(
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    shortcuts: Sequence[Given] = (),
) -> Config:
    """
    The configuration of these sources; a later one goes over an earlier one, property by property.

    @param file: path of a Java properties file.
    @param environ: the environment's variables.
    @param assignments: C{name=value}, from C{--set}.
    @param shortcuts: what options of their own stand for.
    @raise ConfigError: something cannot be read, or L{Config} does not allow it.
    """
    gathered: dict[str, Given] = {}
    for source in (
        from_file(file) if file is not None else (),
        from_environment(environ or {}),
        from_assignments(assignments),
        shortcuts,
    ):
        for given in source:
            gathered[given.name] = given
    return Config(
        {given.name: given.value for given in gathered.values()},
        {given.name: given.origin for given in gathered.values()},
    )


def from_file(path: str) -> Iterator[Given]:
    """
    The properties of a file.

    @raise ConfigError: it cannot be read, or is no properties file.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration file {path} is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        for name, value, line in parse(text):
            yield Given(name, value, f"{path}:{line}")
    except PropertiesError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from None


def from_environment(environ: Mapping[str, str]) -> list[Given]:
    """
    The properties that variables set, KGW_* after KAFKA_CFG_* after KAFKA_*, so that it goes over them.

    KAFKA_NUM_PARTITIONS and KGW_NUM_PARTITIONS are num.partitions, KGW_ENGINE is kgw.engine; CLUSTER_ID (and bitnami's
    KAFKA_KRAFT_CLUSTER_ID) is the cluster id of a fresh data directory.
    """
    found: dict[str, list[Given]] = {"": [], "KAFKA_": [], "KAFKA_CFG_": [], "KGW_": []}
    for variable, value in sorted(environ.items()):
        origin = f"environment variable {variable}"
        if variable in ("CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID", "KAFKA_CLUSTER_ID"):
            if value:
                found[""].append(Given("kgw.cluster.id", value, origin))
            continue
        prefix = next((p for p in ("KGW_", "KAFKA_CFG_", "KAFKA_") if variable.startswith(p) and variable != p), None)
        if prefix is None or _NO_PROPERTY.match(variable):
            continue
        name = _UNDERSCORES.sub(lambda run: _MEANS[run.group()], variable.removeprefix(prefix).lower())
        if prefix == "KGW_" and (f"kgw.{name}" in definitions() or not is_kafkas(name)):
            name = f"kgw.{name}"
        found[prefix].append(Given(name, value, origin))
    return [given for part in found.values() for given in part]


def from_assignments(assignments: Sequence[str]) -> Iterator[Given]:
    """
    The properties of C{--set}.

    @raise ConfigError: one has no equals sign.
    """
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name.strip():
            raise ConfigError(f"--set {assignment}: allowed: name=value")
        yield Given(name.strip(), value, "--set")
