"""Deletes what a gateway has: all groups, with whoever is still in them, all topics, and all that was altered."""

from __future__ import annotations

from kgw.handlers import (
    alter_client_quotas,
    alter_configs,
    delete_groups,
    delete_topics,
    describe_client_quotas,
    describe_groups,
    leave_group,
    list_config_resources,
    list_groups,
    metadata,
)
from kgw.handlers.config_resource import ResourceType
from kgw.test.live.raw import RawClient


def clear(port: int) -> None:
    """
    Leave the gateway at this port of the loopback interface without topics, groups, configs and quotas of its own.

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
        types: list[int] = [ResourceType.BROKER, ResourceType.GROUP]
        kept = client.ask(list_config_resources.API, 1, list_config_resources.Request(types)).config_resources
        altered = [(one.resource_type, one.resource_name) for one in kept] + [(ResourceType.BROKER, "")]
        # to be replaced by nothing
        resources = [alter_configs.RequestResource(kind, name) for kind, name in altered]
        reset = client.ask(alter_configs.API, 2, alter_configs.Request(resources))
        assert not any(one.error_code for one in reset.responses), reset
        remove_quotas(client)


def remove_quotas(client: RawClient) -> None:
    """
    Leave no quotas.

    @raise AssertionError: the gateway refused something.
    """
    found = client.ask(describe_client_quotas.API, 1, describe_client_quotas.Request()).entries
    entries = [
        alter_client_quotas.RequestEntry(
            [alter_client_quotas.RequestEntity(one.entity_type, one.entity_name) for one in entry.entity],
            [alter_client_quotas.RequestOp(one.key, one.value, True) for one in entry.values],
        )
        for entry in found or []
    ]
    removed = client.ask(alter_client_quotas.API, 1, alter_client_quotas.Request(entries))
    assert not any(one.error_code for one in removed.entries), removed
