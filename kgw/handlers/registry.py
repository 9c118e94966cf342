"""The one tuple of all APIs: dispatch, the ApiVersions answer, docs/apis.md and metrics derive from it."""

from __future__ import annotations

from kgw.handlers import (
    api_versions,
    create_partitions,
    create_topics,
    delete_groups,
    delete_records,
    delete_topics,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_topic_partitions,
    fetch,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_groups,
    list_offsets,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    sync_group,
)
from kgw.handlers.contract import Api, MakeShortcut
from kgw.handlers.produce_shortcut import ProduceShortcut

#: Every API kgw serves, by key.
ALL: tuple[Api, ...] = (
    produce.API,
    fetch.API,
    list_offsets.API,
    metadata.API,
    offset_commit.API,
    offset_fetch.API,
    find_coordinator.API,
    join_group.API,
    heartbeat.API,
    leave_group.API,
    sync_group.API,
    describe_groups.API,
    list_groups.API,
    api_versions.API,
    create_topics.API,
    delete_topics.API,
    delete_records.API,
    init_producer_id.API,
    offset_for_leader_epoch.API,
    describe_configs.API,
    create_partitions.API,
    delete_groups.API,
    offset_delete.API,
    describe_cluster.API,
    describe_topic_partitions.API,
)

BY_KEY: dict[int, Api] = {api.key: api for api in ALL}

#: Short ways for the commonest requests of an API, by its key.
SHORTCUTS: dict[int, MakeShortcut] = {produce.API.key: ProduceShortcut}
