"""The properties of the debugging door and of the log, and what they must be to each other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from kgw.config.definition import ConfigError, ConfigType, Value
from kgw.config.listeners import split_endpoint
from kgw.config.setting import Setting

_CLUSTER_ID = re.compile(r"[A-Za-z0-9_+/=-]{1,64}\Z")

_FORMS = "allowed: tcp:2222:interface=127.0.0.1 or unix:/run/kgw/manhole.sock"


class OperationSettings:
    """What serves people who run kgw, and no client."""

    kgw_log_format: Setting[str] = Setting(
        "How log lines are written: as Kafka writes them (text), or one JSON object a line (json).",
        type=ConfigType.STRING,
        default="text",
        choices=("text", "json"),
    )
    kgw_manhole_endpoint: Setting[str] = Setting(
        "Where the debugging door listens, a Python prompt inside the service over SSH: a Twisted endpoint string,"
        " tcp:2222:interface=127.0.0.1 or unix:/run/kgw/manhole.sock; empty is none.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_manhole_allow_remote: Setting[bool] = Setting(
        "Whether kgw.manhole.endpoint may be reached from other machines. Who comes in can do whatever kgw can.",
        type=ConfigType.BOOLEAN,
        default="false",
    )
    kgw_manhole_authorized_keys_file: Setting[str] = Setting(
        "The public keys that open the door, a line each, as in ~/.ssh/authorized_keys; read at every login.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_manhole_host_key_file: Setting[str] = Setting(
        "The door's own private key, made where it is missing; empty is manhole_host_key in the data directory.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_metrics_max_topics: Setting[int] = Setting(
        "Topics with rows of their own in the metrics; all others share one.",
        type=ConfigType.INT,
        default="1000",
        minimum=0,
    )
    kgw_metrics_max_partitions: Setting[int] = Setting(
        "Partitions with rows of their own in the metrics, whole topics at a time; and so many offsets of groups.",
        type=ConfigType.INT,
        default="10000",
        minimum=0,
    )
    kgw_metrics_max_groups: Setting[int] = Setting(
        "Groups with rows of their own in the metrics.", type=ConfigType.INT, default="1000", minimum=0
    )
    kgw_metrics_spelling: Setting[str] = Setting(
        "Whose names the metrics of records have: the JMX exporter's (jmx), those of Strimzi's metrics reporter, or"
        " both.",
        type=ConfigType.STRING,
        default="jmx",
        choices=("jmx", "strimzi", "both"),
    )


def check(values: Mapping[str, Value], shown: Callable[[str], str]) -> None:
    """
    See that the door is where nobody else finds it, that somebody may open it, and what the cluster is called.

    @param values: by property name.
    @param shown: a property, its value and where it was set, to begin an error with.
    @raise ConfigError: they contradict each other.
    """
    if values["kgw.cluster.id"] and not _CLUSTER_ID.match(str(values["kgw.cluster.id"])):
        raise ConfigError(
            f"{shown('kgw.cluster.id')}: allowed: 22 characters of base64url, as kafka-storage random-uuid makes"
        )
    endpoint = str(values["kgw.manhole.endpoint"])
    if not endpoint:
        return
    name = shown("kgw.manhole.endpoint")
    kind, arguments, keywords = split_endpoint(endpoint)
    if kind not in ("tcp", "tcp6", "unix", "systemd") or not (arguments or keywords):
        raise ConfigError(f"{name}: is not understood; {_FORMS}")
    local = kind == "unix" or (kind != "systemd" and _is_loopback(keywords.get("interface", "")))
    if not local and not values["kgw.manhole.allow.remote"]:
        raise ConfigError(
            f"{name}: other machines could reach it; {_FORMS}, or set kgw.manhole.allow.remote=true if they are to"
        )
    if not values["kgw.manhole.authorized.keys.file"]:
        raise ConfigError(f"{name}: needs kgw.manhole.authorized.keys.file, the public keys of those who may come in")
    if values["kgw.engine"] != "local" and not values["kgw.manhole.host.key.file"]:
        raise ConfigError(f"{name}: needs kgw.manhole.host.key.file, for this engine has no data directory")


def private_endpoint(endpoint: str) -> str:
    """C{endpoint}, where it is a UNIX socket, for its owner alone unless it says otherwise."""
    kind, _, keywords = split_endpoint(endpoint)
    return f"{endpoint}:mode=600" if kind == "unix" and "mode" not in keywords else endpoint


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
