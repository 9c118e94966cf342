"""The properties of the engine that keeps its logs in SeaweedMQ, and what they must be to each other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from kgw.config.definition import ConfigError, ConfigType, Value
from kgw.config.setting import Setting

#: A master as SeaweedFS writes it: host and HTTP port, behind a dot its gRPC port where that is not 10000 above.
_MASTER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):\d{1,5}(\.\d{1,5})?\Z")


class SeaweedMqSettings:
    """What C{kgw.engine=seaweedmq} obeys, and no other engine."""

    kgw_seaweedmq_masters: Setting[tuple[str, ...]] = Setting(
        "The masters of a SeaweedFS cluster that runs brokers, host:port of each, separated by commas.",
        type=ConfigType.LIST,
        default="",
    )
    broker_session_timeout_ms: Setting[int] = Setting(
        "How long another gateway on the same SeaweedMQ says nothing before it is taken for dead and what it led is"
        " given to others; the same for all of them. Only with kgw.engine=seaweedmq.",
        unit="ms",
        minimum=1000,
    )
    broker_heartbeat_interval_ms: Setting[int] = Setting(
        "How often this gateway says that it is alive; at most a third of broker.session.timeout.ms. Only with"
        " kgw.engine=seaweedmq.",
        unit="ms",
        minimum=100,
    )
    offsets_topic_num_partitions: Setting[int] = Setting(
        "In how many shares the consumer groups are spread over the gateways of a cluster; the same for all of them,"
        " and never changed later. Only with kgw.engine=seaweedmq.",
        minimum=1,
        maximum=10_000,
    )
    kgw_seaweedmq_embedded_dir: Setting[str] = Setting(
        "Instead of kgw.seaweedmq.masters: kgw starts a SeaweedFS of its own, which keeps everything in this directory,"
        " and stops it when it stops itself.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_seaweedmq_embedded_memory_bytes: Setting[int] = Setting(
        "Memory above which each process of the embedded SeaweedFS collects garbage ever harder; 0 is no such bound.",
        unit="bytes",
        type=ConfigType.LONG,
        default="2147483648",
        minimum=0,
    )
    kgw_seaweedmq_acks_all: Setting[str] = Setting(
        "When acks=all is answered: when the broker has written the records to a file (flushed), or as acks=1 when it"
        " has them in memory (acknowledged).",
        type=ConfigType.STRING,
        default="flushed",
        choices=("flushed", "acknowledged"),
    )
    kgw_seaweedmq_unflushed_max_bytes: Setting[int] = Setting(
        "Records kept in memory until SeaweedMQ has written them to a file, over all partitions; producers wait above"
        " it.",
        unit="bytes",
        type=ConfigType.LONG,
        default="268435456",
        minimum=1,
    )
    kgw_seaweedmq_history_cache_bytes: Setting[int] = Setting(
        "Decoded parts of log files kept in memory for readers behind the newest records, over all partitions.",
        unit="bytes",
        type=ConfigType.LONG,
        default="67108864",
        minimum=0,
    )
    kgw_seaweedmq_threads: Setting[int] = Setting(
        "Threads that wait for answers of SeaweedFS.", type=ConfigType.INT, default="8", minimum=1, maximum=256
    )
    kgw_seaweedmq_timeout_ms: Setting[int] = Setting(
        "How long an answer of SeaweedFS is waited for.", unit="ms", type=ConfigType.INT, default="10000", minimum=1
    )
    kgw_seaweedmq_tls_ca_file: Setting[str] = Setting(
        "The certificate authority of SeaweedFS' servers, a PEM file; with it, kgw speaks TLS with them.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_seaweedmq_tls_cert_file: Setting[str] = Setting(
        "The certificate kgw shows to SeaweedFS, a PEM file.", type=ConfigType.STRING, default=""
    )
    kgw_seaweedmq_tls_key_file: Setting[str] = Setting(
        "The key of kgw.seaweedmq.tls.cert.file, a PEM file.", type=ConfigType.STRING, default=""
    )
    kgw_seaweedmq_tls_check_names: Setting[bool] = Setting(
        "Whether the certificate of each server must have the name or address it is reached at; false accepts any of"
        " the authority's, as SeaweedFS' own programs do.",
        type=ConfigType.BOOLEAN,
        default="true",
    )


def check(values: Mapping[str, Value], shown: Callable[[str], str]) -> None:
    """
    See that the engine is told where its SeaweedFS is, and each thing it needs.

    Without C{kgw.engine=seaweedmq} nothing is checked: the properties have no effect.

    @param values: by property name.
    @param shown: a property, its value and where it was set, to begin an error with.
    @raise ConfigError: they contradict each other, or a file is not there.
    """
    if values["kgw.engine"] != "seaweedmq":
        return
    masters, directory = values["kgw.seaweedmq.masters"], values["kgw.seaweedmq.embedded.dir"]
    assert isinstance(masters, tuple)
    if masters and directory:
        raise ConfigError(
            f"{shown('kgw.seaweedmq.masters')} and {shown('kgw.seaweedmq.embedded.dir')}: set one, not both"
        )
    if not masters and not directory:
        raise ConfigError(
            f"{shown('kgw.engine')}: needs kgw.seaweedmq.masters (--masters HOST:9333) of a SeaweedFS that runs, or"
            " kgw.seaweedmq.embedded.dir (--embedded DIR) for one of its own"
        )
    for master in masters:
        if not _MASTER.match(str(master)):
            raise ConfigError(f"{shown('kgw.seaweedmq.masters')}: allowed: host:port, separated by commas")
    _check_tls(values, shown)


def _check_tls(values: Mapping[str, Value], shown: Callable[[str], str]) -> None:
    names = [f"kgw.seaweedmq.tls.{part}.file" for part in ("ca", "cert", "key")]
    authority, certificate, key = (str(values[name]) for name in names)
    if bool(certificate) != bool(key):
        present, absent = (names[1], names[2]) if certificate else (names[2], names[1])
        raise ConfigError(f"{shown(present)}: needs {absent} with it")
    if certificate and not authority:
        raise ConfigError(f"{shown(names[1])}: needs {names[0]} with it")
    if authority and values["kgw.seaweedmq.embedded.dir"]:
        raise ConfigError(f"{shown(names[0])}: an embedded SeaweedFS is spoken to without TLS")
    for name in names:
        path = str(values[name])
        if path and not os.access(path, os.R_OK):
            raise ConfigError(f"{shown(name)}: is no file that can be read")
