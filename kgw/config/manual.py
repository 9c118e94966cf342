"""Prints docs/configuration.md from the declared properties, so that the page cannot disagree with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

from kgw.config.config import alterable, settings
from kgw.config.definition import ConfigType, Definition
from kgw.config.kafka import BROKER, TOPIC
from kgw.model import LogConfig

_OPENING = """\
# Configuration

This page is printed by `python -m kgw.config --markdown`; a test holds it equal.

## Where properties are set

kgw takes Kafka's property names, and its own, which begin with `kgw.`. Sources, later ones over earlier ones, property
by property:

1. the defaults below,
2. a Java properties file: `--config server.properties`,
3. the environment: `KAFKA_NUM_PARTITIONS=3` (as the apache/kafka image: `_` is a dot, `__` an underscore, `___` a
   hyphen), `KAFKA_CFG_NUM_PARTITIONS=3`, `KGW_NUM_PARTITIONS=3`, each over the one before; `KGW_ENGINE` is
   `kgw.engine`; `CLUSTER_ID` is the cluster id of a fresh data directory,
4. `--set num.partitions=3`, as often as needed,
5. `--data DIR` (`log.dirs`), `--listen ENDPOINT` (`listeners`, as often as needed), `--engine local|memory|seaweedmq`
   (`kgw.engine`), `--log-format text|json` (`kgw.log.format`), `--masters HOST:PORT,...` (`kgw.seaweedmq.masters`) and
   `--embedded DIR` (`kgw.seaweedmq.embedded.dir`), which both choose `--engine seaweedmq`; `--schema-registry URL,...`
   (`kgw.schema.registry.url`).

A name that is neither Kafka's nor kgw's is an error that names the nearest one; so is a value that its property does not
allow. Properties of Kafka's that mean nothing here are accepted, and one line in the log names them all. Variables of
Kafka's images, scripts and clients that are no properties, such as `KAFKA_HEAP_OPTS` or `KAFKA_BOOTSTRAP_SERVERS`, and
those that Kubernetes makes for a service, are passed over.

## Listeners

`listeners` and `--listen` take Kafka's form and Twisted's endpoint strings, together if need be:

| written | listens |
| --- | --- |
| `PLAINTEXT://:9092` | on every IPv4 address |
| `PLAINTEXT://127.0.0.1:9092,INTERNAL://0.0.0.0:19092` | twice; `INTERNAL` needs an entry in `listener.security.protocol.map` |
| `PLAINTEXT://[::]:9092`, `tcp6:9092` | on every IPv6 address, and on IPv4 where the system maps it |
| `tcp:9092:interface=127.0.0.1` | on one address |
| `tcp:0` | on a port that the system chooses; it is printed and told to clients |
| `unix:/run/kgw.sock:mode=660` | on a Unix socket |
| `ssl:9093:privateKey=key.pem:certKey=cert.pem`, `tls:/etc/kgw/certs:port=9093` | with TLS |
| `systemd:domain=INET:name=kafka` | on a socket that systemd opened |
| `haproxy:tcp:9092` | behind a proxy that tells the client's address (PROXY protocol) |
| `INTERNAL=tcp:19092` | an endpoint with a name of its own |

Each client is told to come back to the address and port it came to, so most set-ups need no `advertised.listeners`.
Where clients reach kgw through a forwarded port or another name, `advertised.listeners` says so per listener:
`PLAINTEXT://broker.example:9092,INTERNAL://kgw:19092`. The wildcard addresses are refused there.

SASL and SSL in Kafka's form are not served yet.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    obeyed = [setting.definition for setting in settings().values()]
    yield from _OPENING.splitlines()
    yield from ("", "## Kafka's properties that kgw obeys", "")
    yield from _table(definition for definition in obeyed if definition.name in BROKER)
    yield from ("", "## kgw's own properties", "")
    yield from _table(definition for definition in obeyed if definition.name not in BROKER)
    yield from (
        "",
        "## Altered without a restart",
        "",
        "These properties can be altered while kgw runs, for one broker or for all (`kafka-configs --alter",
        "--entity-type brokers --entity-name 1`, or `--entity-default`), are obeyed at once and kept over restarts. What is",
        "set for this broker goes before what is set for all, and that before the sources above. All others are read-only.",
        "",
        ", ".join(f"`{name}`" for name in sorted(alterable())),
        "",
        "Of a group, `consumer.heartbeat.interval.ms` and `consumer.session.timeout.ms` can be set, kept and described; they",
        "belong to Kafka's newer protocol of consumer groups (KIP-848), whose members alone are told them. Members of classic",
        "groups choose their own.",
        "",
        "## Topic configs",
        "",
        "Every topic config of Kafka 4.3, and those of kgw's own, can be set and altered, is checked, kept and described.",
        "Those without a tick have no effect yet. A topic that does not set one has that of the broker property, and without one the default. With",
        "`kgw.engine=seaweedmq`, `compact` in `cleanup.policy` is refused with `INVALID_CONFIG`.",
        "",
        "| topic config | obeyed | default | allowed | broker properties |",
        "| --- | --- | --- | --- | --- |",
    )
    logs = {field.name.replace("_", ".") for field in fields(LogConfig) if field.init}
    for definition in TOPIC.values():
        tick = "✓" if definition.name in logs else ""
        synonyms = ", ".join(f"`{name}`" for name in definition.synonyms)
        yield (f"| `{definition.name}` | {tick} | {_default(definition)} | {_allowed(definition)} | {synonyms} |")
    names = {definition.name for definition in obeyed}
    unused = [f"`{name}`" for name in BROKER if name not in names]
    yield from (
        "",
        "## Kafka's properties without effect here",
        "",
        "Accepted, described to clients with their values, and named in one line of the log when set. So are families",
        "such as `zookeeper.*`, `controller.*`, `listener.name.*` and `confluent.*`.",
        "",
        ", ".join(unused),
    )


def _table(definitions: Iterable[Definition]) -> Iterator[str]:
    yield "| property | default | unit | allowed | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for definition in definitions:
        yield (
            f"| `{definition.name}` | {_default(definition)} | {definition.unit} | {_allowed(definition)}"
            f" | {definition.doc} |"
        )


def _default(definition: Definition) -> str:
    return f"`{definition.default}`" if definition.default else ""


def _allowed(definition: Definition) -> str:
    """What is allowed, without the bounds that a type has anyway."""
    if definition.type is ConfigType.STRING and not definition.choices:
        return ""
    return definition.allowed()
