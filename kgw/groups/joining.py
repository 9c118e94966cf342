"""Who may join a classic group, and as whom: new members, old ones again, static ones in a former self's place."""

from __future__ import annotations

from collections.abc import Callable

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Joined, JoinRequest
from kgw.groups.effects import GroupLimits, Ticket
from kgw.groups.member import Member, because, name_caller, request_size
from kgw.groups.rebalance import Rebalance
from kgw.groups.standing import Standing, State
from kgw.groups.subscription import CONSUMER, parse_topics


class Joining:
    """The door of one group (Kafka: C{GroupMetadataManager.classicGroupJoinToClassicGroup} and what it calls)."""

    def __init__(
        self, group: Standing, rebalance: Rebalance, limits: GroupLimits, new_uuid: Callable[[], object]
    ) -> None:
        """
        @param new_uuid: makes the second part of member ids.
        """
        self._group = group
        self._rebalance = rebalance
        self._limits = limits
        self._new_uuid = new_uuid

    def join(self, request: JoinRequest, ticket: Ticket) -> None:
        """
        Let a member in, or say why not.

        @raise KafkaError: C{UNKNOWN_MEMBER_ID} or C{FENCED_INSTANCE_ID}.
        """
        size, room = self._size_with(request), self._limits.max_bytes
        if size > room:
            self._refuse_for_size(request, ticket, f"the group would take {size} of {room} bytes (kgw.group.max.bytes)")
        elif not self._has_room(request.member_id):
            most = self._limits.max_size
            self._refuse_for_size(request, ticket, f"the group may have {most} members (group.max.size)")
        elif not self._supports(request):
            self._refuse_for_protocols(request, ticket)
        elif not request.member_id:
            self._join_unknown(request, ticket)
        elif request.member_id in self._group.roster.pending and request.instance_id is None:
            self._add(request.member_id, request, ticket)
        else:
            self._rejoin(self._group.roster.find(request.member_id, request.instance_id), request, ticket)

    def _size_with(self, request: JoinRequest) -> int:
        """The bytes of what all members say, were this one let in."""
        roster = self._group.roster
        former = roster.members.get(request.member_id) or roster.find_instance(request.instance_id)
        return (
            roster.size
            - (former.size if former is not None else 0)
            + request_size(request.member_id, request.caller, request.protocols)
        )

    def _has_room(self, member_id: str) -> bool:
        """
        Whether C{group.max.size} lets this member join.

        While preparing, those that have joined count, not the members: where the limit was lowered the last ones to
        come back are turned away (Kafka: C{acceptJoiningMember}).
        """
        member = self._group.roster.members.get(member_id)
        if self._group.state is State.EMPTY:
            return True
        if self._group.state is State.PREPARING:
            return (member is not None and member.join_ticket is not None) or (
                self._group.roster.joining < self._limits.max_size
            )
        return member is not None or len(self._group.roster) < self._limits.max_size

    def _refuse_for_size(self, request: JoinRequest, ticket: Ticket, why: str) -> None:
        # In bytes, Kafka fails to write the group and answers UNKNOWN_SERVER_ERROR. This one clients take as final
        # just the same, and it says what is wrong.
        name = name_caller(request.member_id or "a new member", request.caller, request.instance_id)
        self._group.note(f"{name} is turned away: {why}")
        member = self._group.roster.members.get(request.member_id)
        if member is not None:
            self._group.remove(member)
        else:
            self._group.forget_pending(request.member_id)
        self._group.reply(ticket, KafkaError(ErrorCode.GROUP_MAX_SIZE_REACHED, why))
        if member is not None:
            self._rebalance.go_on(f"{name} was turned away")
        else:
            self._rebalance.complete_if_all_joined()

    def _supports(self, request: JoinRequest) -> bool:
        if self._group.state is State.EMPTY:
            return bool(request.protocol_type) and bool(request.protocols)
        return request.protocol_type == self._group.protocol_type and self._group.roster.supports(
            protocol.name for protocol in request.protocols
        )

    def _refuse_for_protocols(self, request: JoinRequest, ticket: Ticket) -> None:
        offered = ", ".join(protocol.name for protocol in request.protocols) or "no protocol"
        if (
            request.protocol_type
            and self._group.state is not State.EMPTY
            and request.protocol_type != self._group.protocol_type
        ):
            clash = f"is of type {request.protocol_type!r}, the group of type {self._group.protocol_type!r}"
        else:
            others = self._group.roster.describe_offers()
            clash = f"offers {offered} as {request.protocol_type!r}" + (f", but {others}" if others else "")
        name = name_caller(request.member_id or "a new member", request.caller, request.instance_id)
        self._group.note(f"protocols clash: {name} {clash}")
        self._group.reply(ticket, KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, f"this member {clash}"))

    def _join_unknown(self, request: JoinRequest, ticket: Ticket) -> None:
        """A join without a member id: a new member, or a static one that was restarted."""
        former = self._group.roster.find_instance(request.instance_id)
        if former is not None:
            self._replace(former, request, ticket)
            return
        client_id = request.caller.client_id if request.instance_id is None else request.instance_id
        member_id = f"{client_id}-{self._new_uuid()}"
        if request.instance_id is not None or not request.needs_member_id:
            self._add(member_id, request, ticket)
            return
        self._group.roster.hand_out(member_id, request.caller)
        self._group.sessions.set(member_id, self._group.now + request.session_timeout_ms / 1000)
        self._group.reply(ticket, Joined(ErrorCode.MEMBER_ID_REQUIRED, -1, None, None, "", member_id))

    def _add(self, member_id: str, request: JoinRequest, ticket: Ticket) -> None:
        if not self._group.roster.members:
            self._group.protocol_type = request.protocol_type
        self._rebalance.count_new_member()
        member = Member.asking(member_id, request)
        self._group.roster.add(member)
        self._group.park_join(member, ticket)
        self._group.note(f"{member.label} joins{because(request.reason)}")
        self._rebalance.go_on(f"{member_id} is new")

    def _rejoin(self, member: Member, request: JoinRequest, ticket: Ticket) -> None:
        changed = member.protocols != request.protocols
        leads = member.member_id == self._group.roster.leader
        if self._group.state is State.COMPLETING and not changed:
            # Its answer may have been lost.
            self._group.renew(member)
            self._group.reply(ticket, self._group.joined(member, with_members=leads))
        elif self._group.state is State.STABLE and not changed and not leads:
            self._group.renew(member)
            self._group.reply(ticket, self._group.joined(member))
        else:
            self._group.roster.update(member, request)
            self._group.park_join(member, ticket)
            what = "with other metadata" if changed else "as the leader" if leads else "again"
            self._rebalance.go_on(f"{member.label} joins {what}{because(request.reason)}")

    def _replace(self, former: Member, request: JoinRequest, ticket: Ticket) -> None:
        """A static member came back without its member id: it gets another, its former self is fenced (KIP-345)."""
        was_leader = self._group.roster.leader
        self._group.refuse_parked(former, ErrorCode.FENCED_INSTANCE_ID, f"{former.instance_id!r} joined from elsewhere")
        self._group.sessions.discard(former.member_id)
        member = Member.asking(f"{request.instance_id}-{self._new_uuid()}", request)
        member.assignment = former.assignment
        member.is_new = False
        self._group.roster.replace(former, member)
        if former.member_id in self._group.pending_sync:
            self._group.pending_sync.remove(former.member_id)
            self._group.pending_sync.add(member.member_id)
        self._group.renew(member)
        self._group.note(f"{member.label} is back in the place of {former.member_id}{because(request.reason)}")
        if self._group.state is not State.STABLE:
            self._group.park_join(member, ticket)
            self._rebalance.go_on(f"{member.label} came back while assignments were made")
        elif self._group.roster.select_protocol() != self._group.protocol_name or self._other_topics(former, member):
            self._group.park_join(member, ticket)
            self._rebalance.go_on(f"{member.label} came back with other protocols or topics")
        else:
            leads = member.member_id == self._group.roster.leader
            self._group.persist()
            if request.may_skip_assignment:
                self._group.reply(ticket, self._group.joined(member, with_members=leads, skip_assignment=leads))
            else:
                # Told of its former self as leader, an older client does not compute assignments anew.
                self._group.reply(ticket, self._group.joined(member, leader=was_leader))

    def _other_topics(self, former: Member, member: Member) -> bool:
        """
        Whether a consumer came back with other topics, for which the old assignment cannot do.

        The metadata as such differ after most restarts, in what the consumer owned last.
        """
        if self._group.protocol_type != CONSUMER:
            return False
        name = self._group.protocol_name
        return parse_topics(former.metadata(name)) != parse_topics(member.metadata(name))
