"""The one tuple of all APIs: dispatch, the ApiVersions answer, docs/apis.md and metrics derive from it."""

from __future__ import annotations

from kgw.handlers import (
    api_versions,
    create_partitions,
    create_topics,
    delete_records,
    delete_topics,
    describe_cluster,
    describe_configs,
    describe_topic_partitions,
    fetch,
    find_coordinator,
    init_producer_id,
    list_offsets,
    metadata,
    offset_for_leader_epoch,
    produce,
)
from kgw.handlers.contract import Api, MakeShortcut
from kgw.handlers.produce_shortcut import ProduceShortcut

#: Every API kgw serves, by key.
ALL: tuple[Api, ...] = (
    produce.API,
    fetch.API,
    list_offsets.API,
    metadata.API,
    find_coordinator.API,
    api_versions.API,
    create_topics.API,
    delete_topics.API,
    delete_records.API,
    init_producer_id.API,
    offset_for_leader_epoch.API,
    describe_configs.API,
    create_partitions.API,
    describe_cluster.API,
    describe_topic_partitions.API,
)

BY_KEY: dict[int, Api] = {api.key: api for api in ALL}

#: Short ways for the commonest requests of an API, by its key.
SHORTCUTS: dict[int, MakeShortcut] = {produce.API.key: ProduceShortcut}
