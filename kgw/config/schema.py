"""The properties of the schema registry, and of what is done with records that name a schema."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from kgw.config.definition import ConfigError, ConfigType, Value
from kgw.config.kafka import TOPIC
from kgw.config.setting import Setting

_URL = "kgw.schema.registry.url"
_BASIC = "kgw.schema.registry.basic.auth.user.info"
_BEARER = "kgw.schema.registry.bearer.auth.token"
_SSL = tuple(f"kgw.schema.registry.ssl.{part}.location" for part in ("ca", "certificate", "key"))
#: What may stand in a header of a request.
_PRINTABLE = re.compile(r"[!-~]+\Z")
_VALIDATION = TOPIC["kgw.schema.validation"]
_STRATEGY = TOPIC["kgw.schema.subject.name.strategy"]


class SchemaSettings:
    """What schemas are checked with; without C{kgw.schema.registry.url} none of it has any effect."""

    kgw_schema_registry_url: Setting[tuple[str, ...]] = Setting(
        "Base URLs of a schema registry with Confluent's API, http://host:8081 or https://host/path, separated by"
        " commas; where one does not answer the next is asked. Without any, records are never looked into.",
        type=ConfigType.LIST,
        default="",
    )
    kgw_schema_registry_basic_auth_user_info: Setting[str] = Setting(
        "Who kgw is to the registry, USER:PASSWORD (HTTP basic authentication).", type=ConfigType.PASSWORD, default=""
    )
    kgw_schema_registry_bearer_auth_token: Setting[str] = Setting(
        "Instead of the one before: a token (HTTP bearer authentication).", type=ConfigType.PASSWORD, default=""
    )
    kgw_schema_registry_ssl_ca_location: Setting[str] = Setting(
        "The certificate authorities of the registry, a PEM file; without it, those the system trusts.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_schema_registry_ssl_certificate_location: Setting[str] = Setting(
        "The certificate kgw shows to the registry, a PEM file, with those that sign it behind it if need be.",
        type=ConfigType.STRING,
        default="",
    )
    kgw_schema_registry_ssl_key_location: Setting[str] = Setting(
        "The key of kgw.schema.registry.ssl.certificate.location, a PEM file.", type=ConfigType.STRING, default=""
    )
    kgw_schema_registry_request_timeout_ms: Setting[int] = Setting(
        "How long an answer of one registry is waited for.", unit="ms", type=ConfigType.INT, default="5000", minimum=1
    )
    kgw_schema_registry_cache_capacity: Setting[int] = Setting(
        "Schemas that are kept once they are read; the ones not used for longest go first.",
        type=ConfigType.INT,
        default="1000",
        minimum=1,
    )
    kgw_schema_registry_cache_max_bytes: Setting[int] = Setting(
        "Text of schemas that is kept, all together.",
        unit="bytes",
        type=ConfigType.LONG,
        default="67108864",
        minimum=1,
    )
    kgw_schema_registry_latest_cache_ttl_ms: Setting[int] = Setting(
        "How long it is believed what a subject has: its latest version, and whether a schema is one of its versions.",
        unit="ms",
        type=ConfigType.INT,
        default="30000",
        minimum=0,
    )
    kgw_schema_registry_missing_cache_ttl_ms: Setting[int] = Setting(
        "How long it is believed that a schema or subject is not there.",
        unit="ms",
        type=ConfigType.INT,
        default="5000",
        minimum=0,
    )
    kgw_schema_validation: Setting[str] = Setting(
        "What is done with values that name a schema: nothing (none); they become columns where they can be read, and"
        " are kept as they are where not (permissive); or what cannot be read, names no schema or one of another"
        " subject is refused (strict).",
        type=ConfigType.STRING,
        default=_VALIDATION.default,
        choices=_VALIDATION.choices,
        dynamic=True,
    )
    kgw_schema_subject_name_strategy: Setting[str] = Setting(
        "Under which subject a value's schema must be registered: that of the topic (TopicNameStrategy, orders-value),"
        " of the schema's full name (RecordNameStrategy), or of both (TopicRecordNameStrategy,"
        " orders-com.example.Order).",
        type=ConfigType.STRING,
        default=_STRATEGY.default,
        choices=_STRATEGY.choices,
        dynamic=True,
    )
    kgw_schema_topics_need_subject: Setting[bool] = Setting(
        "Whether a topic is created only where the registry has a subject for its values.",
        type=ConfigType.BOOLEAN,
        default="false",
    )


def check(values: Mapping[str, Value], shown: Callable[[str], str]) -> None:
    """
    See that the registry can be asked, and that each thing has what it needs.

    @param values: by property name.
    @param shown: a property, its value and where it was set, to begin an error with.
    @raise ConfigError: a URL is none, two properties contradict each other, or a file is not there.
    """
    urls = values[_URL]
    assert isinstance(urls, tuple)
    if not urls:
        if values["kgw.schema.topics.need.subject"]:
            raise ConfigError(f"{shown('kgw.schema.topics.need.subject')}: needs {_URL} (--schema-registry URL)")
        return
    for url in urls:
        _check_url(url, shown)
    basic, bearer = str(values[_BASIC] or ""), str(values[_BEARER] or "")
    if basic and bearer:
        raise ConfigError(f"{shown(_BASIC)} and {shown(_BEARER)}: set one, not both")
    if basic and (":" not in basic[1:] or basic.startswith(":") or not basic.isprintable()):
        raise ConfigError(f"{shown(_BASIC)}: allowed: USER:PASSWORD")
    if bearer and not _PRINTABLE.match(bearer):
        raise ConfigError(f"{shown(_BEARER)}: allowed: a token without spaces")
    _check_ssl(values, urls, shown)


def _check_url(url: str, shown: Callable[[str], str]) -> None:
    if "@" in url:
        # anybody may be shown the URL
        raise ConfigError(f"{_URL}: a user or password stands in a URL; set {_BASIC}=USER:PASSWORD instead")
    allowed = "allowed: http://host:port or https://host:port, perhaps with a path, separated by commas"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not _PRINTABLE.match(url):
        raise ConfigError(f"{shown(_URL)}: {url!r} is not understood; {allowed}")


def _check_ssl(values: Mapping[str, Value], urls: tuple[str, ...], shown: Callable[[str], str]) -> None:
    _, certificate, key = (str(values[name]) for name in _SSL)
    if bool(certificate) != bool(key):
        present, absent = (_SSL[1], _SSL[2]) if certificate else (_SSL[2], _SSL[1])
        raise ConfigError(f"{shown(present)}: needs {absent} with it")
    for name in _SSL:
        path = str(values[name])
        if not path:
            continue
        if not all(url.lower().startswith("https:") for url in urls):
            raise ConfigError(f"{shown(name)}: needs https in every URL of {shown(_URL)}")
        if not os.access(path, os.R_OK):
            raise ConfigError(f"{shown(name)}: is no file that can be read")
