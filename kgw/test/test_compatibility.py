"""docs/compatibility.md: what it says is not served, against the registry."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from kgw.doctor.api_names import NAMES
from kgw.handlers.registry import ALL
from kgw.test.pages import page

#: What brokers, controllers and coordinators ask one another, and no client does.
BETWEEN_BROKERS = {
    *("LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown", "Vote", "BeginQuorumEpoch"),
    *("EndQuorumEpoch", "AlterPartition", "Envelope", "FetchSnapshot", "BrokerRegistration", "BrokerHeartbeat"),
    *("AllocateProducerIds", "ControllerRegistration", "InitializeShareGroupState", "ReadShareGroupState"),
    *("WriteShareGroupState", "DeleteShareGroupState", "ReadShareGroupStateSummary"),
}


class PageTests(SynchronousTestCase):
    """The page."""

    def test_not_served(self) -> None:
        """Its table names every client's API that the registry does not have, and no other."""
        table = page("compatibility.md").partition("## Not served")[2].partition("\n## ")[0]
        told = [name for row in re.findall(r"^\| (\w+(?:, \w+)*) \|", table, re.MULTILINE) for name in row.split(", ")]
        missing = set(NAMES.values()) - {api.name for api in ALL} - BETWEEN_BROKERS
        self.assertEqual(sorted(told), sorted({*missing, "APIs"}))

    def test_names(self) -> None:
        """Kafka's names are those by which kgw serves them."""
        self.assertEqual({api.key: api.name for api in ALL}, {api.key: NAMES[api.key] for api in ALL})
