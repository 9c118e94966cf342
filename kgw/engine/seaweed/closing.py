"""Leaving a partition in order: what was published to it is in log files, as far as the engine lets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from kgw.errors import KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.opening import Preparation
    from kgw.engine.seaweed.publisher import Publisher
    from kgw.engine.seaweed.surroundings import Surroundings

_log = Logger("kgw.engine.seaweed")


async def drained(name: str, publisher: Publisher, preparation: Preparation, around: Surroundings) -> bool:
    """
    End publishing to a partition, and have the engine write everything to files, if it is there to do so.

    @param name: topic and partition, for messages.
    @return: whether it has; otherwise those who wait for it were refused.
    """
    timer = around.timer
    deadline = timer.seconds() + around.drain_s
    drained = publisher.drain()
    alarm = timer.callLater(around.drain_s, publisher.close)
    done = await drained
    if alarm.active():
        alarm.cancel()
    end = publisher.end_offset
    if done and publisher.outbox.durable_end < end:
        # not yet where somebody else has a stream, too
        try:
            done = await preparation.written(end, deadline - timer.seconds())
        except KafkaError as error:
            _log.warn("{name}: {reason}", name=name, reason=error)
            done = False
    if done:
        # those who wait for it are answered before the gateway ends
        publisher.flushed(end)
    else:
        publisher.close()
        _log.error(
            "{name}: the engine did not write everything to files within {seconds:g} s while it was closed; what it"
            " has acknowledged and not written is safe only as long as it runs",
            name=name,
            seconds=around.drain_s,
        )
    return done
