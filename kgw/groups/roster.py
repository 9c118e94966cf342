"""Who is in a group: members by id and instance id, ids handed out, the leader, and the protocols all share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, JoinRequest
from kgw.groups.effects import Ticket
from kgw.groups.member import Member, rebalance_timeout, request_size


class Roster:
    """
    The members of one group.

    @ivar members: by member id, in the order in which they came.
    @ivar pending: ids that were handed out and have not joined yet (KIP-394).
    @ivar leader: the member id of the leader, C{None} while there are no members.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.pending: dict[str, Caller] = {}
        self.leader: str | None = None
        self._by_instance: dict[str, str] = {}
        self._offers: Counter[str] = Counter()
        self._joining = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self.members)

    @property
    def size(self) -> int:
        """The bytes of what all members say, and of ids handed out, without assignments."""
        return self._size

    @property
    def joining(self) -> int:
        """How many members wait for the next generation."""
        return self._joining

    @property
    def all_joined(self) -> bool:
        """Whether nobody is missing from the next generation."""
        return self._joining == len(self.members) and not self.pending

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member asks for."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def find(self, member_id: str, instance_id: str | None) -> Member:
        """
        The member that speaks.

        @raise KafkaError: C{UNKNOWN_MEMBER_ID}, or C{FENCED_INSTANCE_ID} where another process took over the
            instance id (KIP-345).
        """
        if instance_id is not None:
            holder = self._by_instance.get(instance_id)
            if holder is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"no member has the instance id {instance_id!r}")
            if holder != member_id:
                raise KafkaError(
                    ErrorCode.FENCED_INSTANCE_ID, f"another client has joined as instance {instance_id!r} since"
                )
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"no member has the id {member_id!r}")
        return member

    def find_instance(self, instance_id: str | None) -> Member | None:
        """The static member of this instance id."""
        holder = None if instance_id is None else self._by_instance.get(instance_id)
        return None if holder is None else self.members[holder]

    def add(self, member: Member) -> None:
        """Let a member in; the first one leads."""
        self.take_back(member.member_id)
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self._by_instance[member.instance_id] = member.member_id
        self._count(member)
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member: Member) -> None:
        """Let a member go; none of its requests may be waiting any more. The eldest follows a leader."""
        del self.members[member.member_id]
        if member.instance_id is not None:
            del self._by_instance[member.instance_id]
        self._withdraw(member)
        if self.leader == member.member_id:
            self.leader = next(iter(self.members), None)

    def replace(self, member: Member, newer: Member) -> None:
        """Put C{newer} in the place of the same static member's former self; a leader stays leader."""
        leads = self.leader == member.member_id
        self.remove(member)
        self.add(newer)
        if leads:
            self.leader = newer.member_id

    def update(self, member: Member, request: JoinRequest) -> None:
        """Take over what a member says when it joins again."""
        self._withdraw(member)
        member.protocols = request.protocols
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = rebalance_timeout(request)
        member.caller = request.caller
        self._count(member)

    def hand_out(self, member_id: str, caller: Caller) -> None:
        """Keep an id for one that is to come by it."""
        self.pending[member_id] = caller
        self._size += request_size(member_id, caller)

    def take_back(self, member_id: str) -> bool:
        """Forget an id that was handed out; false where it was not."""
        caller = self.pending.pop(member_id, None)
        if caller is None:
            return False
        self._size -= request_size(member_id, caller)
        return True

    def _count(self, member: Member) -> None:
        self._offers.update(set(member.names))
        self._size += member.size

    def _withdraw(self, member: Member) -> None:
        self._size -= member.size
        for name in set(member.names):
            self._offers[name] -= 1
            if not self._offers[name]:
                del self._offers[name]

    def park_join(self, member: Member, ticket: Ticket) -> None:
        """Let its join wait; it has none that waits already."""
        member.join_ticket = ticket
        self._joining += 1

    def take_join(self, member: Member) -> Ticket | None:
        """Its join that waited, if one did; it waits no more."""
        ticket, member.join_ticket = member.join_ticket, None
        if ticket is not None:
            self._joining -= 1
        return ticket

    def elect_joined(self) -> bool:
        """Make sure that the leader is one that joins the next generation; false where nobody does."""
        if self.leader is not None and self.members[self.leader].join_ticket is not None:
            return True
        joined = next((member for member in self.members.values() if member.join_ticket is not None), None)
        if joined is None:
            return False
        self.leader = joined.member_id
        return True

    def supports(self, names: Iterable[str]) -> bool:
        """Whether one of these protocols is offered by every member."""
        return any(self._offers[name] == len(self.members) for name in names)

    def select_protocol(self) -> str | None:
        """The protocol most members like best among those that all offer; C{None} where there are no members."""
        candidates = {name for name, count in self._offers.items() if count == len(self.members)}
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return votes.most_common(1)[0][0] if votes else None

    def describe_offers(self) -> str:
        """Which members offer which protocols, in words, with one member named for each."""
        offers: dict[tuple[str, ...], list[Member]] = {}
        for member in self.members.values():
            offers.setdefault(member.names, []).append(member)
        return "; ".join(_describe_offer(names, members) for names, members in offers.items())


def _describe_offer(names: Collection[str], members: list[Member]) -> str:
    others = "" if len(members) == 1 else f" and {len(members) - 1} more"
    return f"{members[0].label}{others} offer{'' if others else 's'} {', '.join(names)}"
