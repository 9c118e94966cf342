"""The page that Prometheus reads: all numbers of a gateway as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import generate_latest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from kgw.web.collector import GatewayCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric
    from twisted.internet.interfaces import IReactorTime

    from kgw.gateway import Gateway

#: What the page is, for the C{Content-Type} of an answer.
CONTENT_TYPE: str = CONTENT_TYPE_LATEST

#: So many samples are written before others get their turn.
_SLICE = 500


class _One:
    """A registry of one metric, as much of it as is written at a time."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def render(gateway: Gateway) -> bytes:
    """
    The page, made at once; with thousands of partitions that takes a while.

    @param gateway: has started.
    """
    return b"".join(_pieces(gateway))


def render_in_turns(gateway: Gateway, clock: IReactorTime) -> Deferred[bytes]:
    """
    The page, made in pieces, between which the reactor does other things; may be cancelled.

    @param gateway: has started.
    @return: fires with what L{render} returns; numbers at its end may be younger than those at its beginning.
    """
    return Deferred.fromCoroutine(_in_turns(gateway, clock))


async def _in_turns(gateway: Gateway, clock: IReactorTime) -> bytes:
    written = []
    for piece in _pieces(gateway):
        written.append(piece)
        if piece:
            await deferLater(clock, 0)
    return b"".join(written)


def _pieces(gateway: Gateway) -> Iterator[bytes]:
    """The page bit by bit, the longest of which takes a few milliseconds."""
    last = ""
    size = 0
    written: list[bytes] = []
    for metric in GatewayCollector(gateway).collect_in_slices(_SLICE):
        text = generate_latest(_One(metric))
        if metric.name == last:
            # a further slice of what has its heading already
            text = text.split(b"\n", 2)[2]
        last = metric.name
        written.append(text)
        size += len(metric.samples)
        if size >= _SLICE:
            yield b"".join(written)
            written.clear()
            size = 0
    yield b"".join(written)
