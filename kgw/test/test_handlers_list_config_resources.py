"""ListConfigResources: topics, this broker, and groups that have configs of their own."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers.config_resource import ResourceType
from kgw.handlers.list_config_resources import API, Request
from kgw.model import ConfigChange, ConfigOperation
from kgw.test.stage import Stage

TOPIC, BROKER, GROUP = ResourceType.TOPIC, ResourceType.BROKER, ResourceType.GROUP


class ListConfigResourcesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage(self)
        for name in ("b", "a"):
            self.stage.create(name)
        change = ConfigChange("consumer.session.timeout.ms", ConfigOperation.SET, "50000")
        self.successResultOf(self.stage.dynamic_configs.alter_group("g", [change]))

    def listed(self, *types: int) -> list[tuple[int, str]]:
        response = self.stage.call(API, 1, Request(resource_types=list(types)))
        self.assertEqual(response.error_code, 0)
        return [(row.resource_type, row.resource_name) for row in response.config_resources]

    def test_all(self) -> None:
        self.assertEqual(self.listed(), [(TOPIC, "a"), (TOPIC, "b"), (BROKER, "1"), (GROUP, "g")])

    def test_some(self) -> None:
        self.assertEqual(self.listed(GROUP, GROUP), [(GROUP, "g")])
        self.assertEqual(self.listed(BROKER, TOPIC), [(TOPIC, "a"), (TOPIC, "b"), (BROKER, "1")])
        self.assertEqual(self.listed(ResourceType.CLIENT_METRICS, ResourceType.BROKER_LOGGER), [])

    def test_client_metrics(self) -> None:
        """All that version 0 asks for; there are none."""
        response = self.stage.call(API, 0, Request())
        self.assertEqual((response.error_code, response.config_resources), (0, []))

    def test_unknown_types(self) -> None:
        response = self.stage.call(API, 1, Request(resource_types=[TOPIC, 99]))
        self.assertEqual((response.error_code, response.config_resources), (ErrorCode.UNSUPPORTED_VERSION, []))

    def test_refusal(self) -> None:
        for version in API.versions:
            response = self.stage.refuse(API, version, Request(), ErrorCode.UNKNOWN_SERVER_ERROR)
            self.assertEqual(response.error_code, ErrorCode.UNKNOWN_SERVER_ERROR)
