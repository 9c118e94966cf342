"""Groups of real consumers in processes that come, go, crash and restart, under production (KGW_GROUP_SECONDS)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial

from kgw.test.live.membership import LIBRARIES, PARTITIONS, SESSION_MS, Member, MembershipTestCase, wait_for

#: How long members come and go; two minutes by hand.
SECONDS = float(os.environ.get("KGW_GROUP_SECONDS", "20"))


class ChurnTests(MembershipTestCase):
    """
    Three libraries in one group.

    @cvar seconds: how long members come and go.
    """

    seconds = SECONDS

    def test_members_come_and_go(self) -> None:
        """
        While members join, leave, crash and come back, and the gateway crashes, every record is consumed, nothing is
        owned twice, and no committed offset goes back. All clients have one client id.
        """
        server, flow, observer = self.begin()
        chance = random.Random(12)
        for library in LIBRARIES:
            self.member(library)
        self.settled()
        end = time.monotonic() + self.seconds
        crash_at = end - self.seconds / 2
        while time.monotonic() < end:
            chance.choice([self.crash, self.crash, self.leave, self.grow])(chance)
            time.sleep(chance.uniform(0.5, 4))
            if crash_at and time.monotonic() > crash_at:
                crash_at = 0
                server.kill()
                server.start()
        self.settled()
        self.drained(flow, observer)

    def crash(self, chance: random.Random) -> None:
        """One dies and is started again at once, as a supervisor would; the group waits for the dead one's session."""
        member = chance.choice(self.alive())
        member.kill()
        self.member(member.library)

    def leave(self, chance: random.Random) -> None:
        """One goes in order, if it is not the last, and is replaced a little later by another library."""
        alive = self.alive()
        if len(alive) > 2:
            chance.choice(alive).leave()
        else:
            self.grow(chance)

    def grow(self, chance: random.Random) -> None:
        """One more comes, or one too many goes."""
        if len(self.alive()) < 5:
            self.member(chance.choice(LIBRARIES))
        else:
            self.leave(chance)


class SteadyTests(MembershipTestCase):
    """What must not make a group rebalance."""

    def rebalances_of(self, member: Member) -> int:
        """How often a member got partitions."""
        return len(member.said("assigned"))

    def has_committed(self, member: Member, times: int) -> bool:
        """Whether a member has committed so often."""
        return len(member.said("committed")) >= times

    def undisturbed(self, members: list[Member], happens: Callable[[], None]) -> None:
        """Nobody of these is given or loses a partition while something happens, and all go on consuming."""
        before = [(self.rebalances_of(member), member.owned()) for member in members]
        happens()
        consumed = [len(member.said("committed")) for member in members]
        for member, count in zip(members, consumed, strict=True):
            wait_for(f"{member.name} goes on", partial(self.has_committed, member, count + 3))
        self.assertEqual([(self.rebalances_of(member), member.owned()) for member in members], before)

    def test_gateway_restarts(self) -> None:
        """A stable group goes on without a rebalance when the gateway is killed and started again."""
        server, flow, observer = self.begin()
        members = [self.member(library) for library in LIBRARIES]
        self.settled()

        def restart() -> None:
            server.kill()
            server.start()

        self.undisturbed(members, restart)
        self.assertEqual(server.terminate(), 0)
        self.undisturbed(members, server.start)
        # sessions were renewed by the restarts, and end when nobody beats
        members[0].kill()
        self.settled()
        self.drained(flow, observer)

    def test_static_members_restart(self) -> None:
        """Static members crash and come back within their session: the others do not notice, the partitions stay."""
        _, flow, observer = self.begin()
        members = [self.member(library, instance=f"instance-{library}") for library in LIBRARIES]
        self.settled()
        for index, library in enumerate(LIBRARIES):
            others = members[:index] + members[index + 1 :]

            def restart(index: int = index, library: str = library) -> None:
                owned = members[index].owned()
                members[index].kill()
                members[index] = self.member(library, instance=f"instance-{library}")
                wait_for("the member is back", lambda: members[index].owned() == owned, SESSION_MS / 1000)

            self.undisturbed(others, restart)
        self.drained(flow, observer)


class CooperativeTests(MembershipTestCase):
    """cooperative-sticky (KIP-429), with librdkafka."""

    def test_incremental(self) -> None:
        """Who keeps partitions when others come or go is never without them."""
        _, flow, observer = self.begin()
        first = self.member(assignor="cooperative-sticky")
        self.settled()
        self.member(assignor="cooperative-sticky")
        self.settled()
        kept = first.owned()
        self.assertEqual(len(kept), PARTITIONS // 2)
        third = self.member(assignor="cooperative-sticky")
        self.settled()
        self.assertEqual({len(member.owned()) for member in self.members}, {PARTITIONS // 3})
        self.assertTrue(first.owned() < kept)
        for event in first.said("revoked"):
            self.assertFalse(set(event["partitions"]) & first.owned(), "took what it gives back")
        third.leave()
        self.settled()
        self.drained(flow, observer)
