"""The doctor's round: from the connection to consumer groups, one thing after the other."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from kgw.doctor.addresses import check_addresses
from kgw.doctor.connection import Address, Connection, NoAnswer
from kgw.doctor.findings import Findings, listed
from kgw.doctor.groups import GroupTrial
from kgw.doctor.strangers import explain
from kgw.doctor.topics import TopicTrial, check_auto_creation, check_topic
from kgw.doctor.visit import Visit
from kgw.handlers import (
    create_topics,
    fetch,
    find_coordinator,
    heartbeat,
    join_group,
    list_offsets,
    metadata,
    offset_commit,
    offset_fetch,
    produce,
    sync_group,
)

#: What every producer and consumer needs.
_NEEDED = (
    produce.API,
    fetch.API,
    list_offsets.API,
    metadata.API,
    offset_commit.API,
    offset_fetch.API,
    find_coordinator.API,
    join_group.API,
    heartbeat.API,
    sync_group.API,
    create_topics.API,
)


def examine(
    address: Address,
    patience: float,
    topic: str | None = None,
    now: Callable[[], float] = time.time,
    tls: ssl.SSLContext | None = None,
) -> Findings:
    """
    Look at a broker as a client would. Makes a topic and a group of its own, and removes them.

    @param patience: seconds for each answer.
    @param topic: one that the user's clients need, to be looked at too.
    @param now: this machine's clock, in seconds since the epoch.
    @param tls: what TLS is spoken with; C{None} for none.
    """
    findings = Findings()
    try:
        first = Connection(address, patience, tls)
    except NoAnswer as refusal:
        findings.problem("connection", *explain(address, refusal, tls is not None))
        return findings
    findings.reached = True
    with Visit(address, patience, findings, now, first, tls) as visit:
        findings.ok("connection", f"{address} takes connections", first.connect_seconds)
        _check_versions(findings, first)
        if _look_around(visit):
            check_addresses(visit)
            _try(visit, topic)
    return findings


def _check_versions(findings: Findings, connection: Connection) -> None:
    missing = [api.name for api in _NEEDED if connection.version(api) is None]
    if missing:
        findings.problem("versions", f"no version that kgw knows too is served of {listed(missing)}")
    else:
        findings.ok("versions", f"{len(connection.served)} APIs, among them all that clients need", connection.seconds)


def _look_around(visit: Visit) -> bool:
    findings = visit.findings
    try:
        visit.look_around()
    except NoAnswer as refusal:
        findings.problem("metadata", str(refusal))
        return False
    seconds = visit.seconds
    if not visit.brokers:
        findings.problem("metadata", "the cluster names no broker: it is starting, or has lost them all")
        return False
    count = "one broker" if len(visit.brokers) == 1 else f"{len(visit.brokers)} brokers"
    findings.ok("metadata", f"cluster {visit.cluster_id} with {count}", seconds)
    visit.read_configs()
    return True


def _try(visit: Visit, topic: str | None) -> None:
    if topic is None:
        check_auto_creation(visit)
    else:
        check_topic(visit, topic)
    trial = TopicTrial(visit)
    made = False
    try:
        made = trial.create()
        if made:
            trial.write_and_read()
        else:
            visit.findings.note("produce", "producing, fetching and the clock were not tried, for want of a topic")
        GroupTrial(visit, trial.name if made else None).run()
    finally:
        trial.remove()
