"""What a member has others do for it, and how patient it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from kgw.brokers.model import Slot


class Duties(Protocol):
    """
    The work of leading, which a member asks for in the right order.

    A slot is a partition by its topic's id, or a share of the groups (L{kgw.brokers.model.COORDINATORS}).
    """

    def topics(self) -> Deferred[Mapping[bytes, int]]:
        """
        How many partitions each topic has by its id, and how many slots there are for L{COORDINATORS}; read anew.

        Asked for before an assignment is published. A topic that is missing is led by nobody from then on.
        """

    def take(self, gained: Mapping[Slot, int]) -> Deferred[None]:
        """
        Lead these, with these leader epochs; nobody else does.

        Nothing waits for this: it may still be under way when some of them are released. What can be had only later
        is tried again by whoever does this; where it fails, all of it is asked for once more at the next heartbeat.
        """

    def release(self, lost: frozenset[Slot]) -> Deferred[None]:
        """
        Let go of these: answer nothing more for them, finish what is under way, write what is still to be written.

        @return: fires when another gateway may lead them, this one's journal holding nothing of them; where it fails,
            or takes longer than the session timeout, the gateway fences itself.
        """

    def replay(self, incarnation: str) -> Deferred[None]:
        """
        Do what the journal of an incarnation that is no more says, so that others find all it had promised.

        Asked for before anything of its is given to others; may be asked for several times, by several gateways, and
        of incarnations that left no journal.
        """

    def fenced(self) -> Deferred[None]:
        """
        Abandon everything: this gateway may lead nothing any more, others may do already.

        When this returns nothing is acknowledged, published or written any more for what was led.

        @return: fires when everything is thrown away and the gateway may begin anew; must not fail.
        """


@dataclass(frozen=True, slots=True)
class Timings:
    """
    How patient a member is, in seconds.

    @ivar heartbeat_s: between two writings of its entry (Kafka: C{broker.heartbeat.interval.ms}).
    @ivar session_s: without anything new from another before it is taken for dead (Kafka:
        C{broker.session.timeout.ms}).
    @ivar margin_s: how much sooner than that a member's own lease ends.
    @ivar stop_s: how long a planned stop waits for others to be given what is led here.
    @ivar forget_s: how long the entry of a gateway that died is kept, and with it its node id.
    """

    heartbeat_s: float = 2.0
    session_s: float = 9.0
    margin_s: float = 0.9
    stop_s: float = 9.0
    forget_s: float = 3600.0

    @classmethod
    def of(cls, heartbeat_ms: int, session_ms: int) -> Timings:
        """
        By Kafka's two configs; the margin is a tenth of the session timeout.

        @raise ValueError: there is no room for three heartbeats in a session timeout, so one that is late would fence
            the gateway.
        """
        if not 0 < 3 * heartbeat_ms <= session_ms:
            raise ValueError(
                f"broker.session.timeout.ms ({session_ms}) must be three times broker.heartbeat.interval.ms "
                f"({heartbeat_ms}) at least"
            )
        session_s = session_ms / 1000
        return cls(heartbeat_ms / 1000, session_s, session_s / 10, session_s)

    @property
    def retry_s(self) -> float:
        """Before what failed is tried again."""
        return self.heartbeat_s / 8
