"""Deletes what a gateway has: all groups, with whoever is still in them, and all topics."""

from __future__ import annotations

from kgw.handlers import delete_groups, delete_topics, describe_groups, leave_group, list_groups, metadata
from kgw.test.live.raw import RawClient


def clear(port: int) -> None:
    """
    Leave the gateway at this port of the loopback interface without topics and groups.

    @raise AssertionError: it refused something.
    """
    with RawClient(port) as client:
        listed = client.ask(list_groups.API, 5, list_groups.Request())
        assert not listed.error_code, listed
        names = [one.group_id for one in listed.groups]
        for group in client.ask(describe_groups.API, 5, describe_groups.Request(groups=names)).groups:
            # members of a test that has killed them are there until their sessions end
            members = [leave_group.RequestMember(one.member_id, one.group_instance_id) for one in group.members]
            left = client.ask(leave_group.API, 5, leave_group.Request(group.group_id, members=members))
            assert not left.error_code, left
        gone = client.ask(delete_groups.API, 2, delete_groups.Request(names))
        assert not any(one.error_code for one in gone.results), gone
        found = client.ask(metadata.API, 9, metadata.Request(topics=None))
        topics = delete_topics.Request(topic_names=[one.name for one in found.topics], timeout_ms=15_000)
        deleted = client.ask(delete_topics.API, 5, topics)
        assert not any(one.error_code for one in deleted.responses), deleted
