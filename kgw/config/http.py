"""The properties of the HTTP site: metrics, health and what people want to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kgw.config.definition import ConfigError, ConfigType, Value
from kgw.config.listeners import ENDPOINTS, split_endpoint
from kgw.config.setting import Setting

_FORMS = "allowed: a Twisted endpoint such as tcp:8088:interface=127.0.0.1, or nothing for no HTTP at all"


class HttpSettings:
    """What the HTTP site obeys."""

    kgw_http_endpoint: Setting[str] = Setting(
        "Where metrics, health and the JSON pages are served over HTTP: a Twisted endpoint string; empty is nowhere."
        " Whoever reaches it can read them; nobody can change anything there.",
        type=ConfigType.STRING,
        default="tcp:8088:interface=127.0.0.1",
    )
    kgw_http_max_connections: Setting[int] = Setting(
        "HTTP connections at a time; more are closed at once.",
        type=ConfigType.INT,
        default="100",
        minimum=1,
    )


def check(values: Mapping[str, Value], shown: Callable[[str], str]) -> None:
    """
    See that the endpoint is one.

    @param values: by property name.
    @param shown: a property, its value and where it was set, to begin an error with.
    @raise ConfigError: it is not understood.
    """
    endpoint = str(values["kgw.http.endpoint"])
    if not endpoint:
        return
    kind, arguments, keywords = split_endpoint(endpoint)
    if kind not in ENDPOINTS or not (arguments or keywords):
        raise ConfigError(f"{shown('kgw.http.endpoint')}: is not understood; {_FORMS}")
