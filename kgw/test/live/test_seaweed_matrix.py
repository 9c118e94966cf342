"""The same clients find the same with SeaweedMQ as the engine.

Left out is what is about local files (crashes in the middle of a write, full disks, the engines on this machine), and
what never comes to an engine (attacks, listeners). Of groups whose members come and go there is one short run.
"""

from __future__ import annotations

from kgw.test.live import (
    test_admin,
    test_groups,
    test_groups_admin,
    test_groups_pipelined,
    test_operators,
    test_records,
)
from kgw.test.live.server import GatewayProcess


class RecordTests(test_records.RecordTests):
    """Three libraries, five codecs, restarts; all but the engines on local disk and in memory."""

    engine = "seaweedmq"


class ConfluentAdminTests(test_admin.ConfluentAdminTests):
    """librdkafka's admin client."""

    engine = "seaweedmq"


class KafkaPythonAdminTests(test_admin.KafkaPythonAdminTests):
    """kafka-python's admin client."""

    engine = "seaweedmq"


class AiokafkaAdminTests(test_admin.AiokafkaAdminTests):
    """aiokafka's admin client."""

    engine = "seaweedmq"


class OperatorTests(test_operators.KafkaPythonTests):
    """What user interfaces ask, with kafka-python's admin client."""

    engine = "seaweedmq"

    def check_place(self, server: GatewayProcess) -> None:
        """Named by the masters; nothing is said of their volumes."""
        found = self.log_dir()
        self.assertTrue(found["log_dir"].startswith("seaweedmq:"), found)
        self.assertEqual((found["usable_bytes"], found["total_bytes"]), (-1, -1))


class ElectionTests(test_operators.ConfluentTests):
    """Elections, with librdkafka's admin client."""

    engine = "seaweedmq"


class AutoCreationTests(test_admin.AutoCreationTests):
    """Topics that come to be by being written to."""

    engine = "seaweedmq"


class ConfluentGroupTests(test_groups_admin.ConfluentTests):
    """Groups and offsets with librdkafka's admin client."""

    engine = "seaweedmq"


class KafkaPythonGroupTests(test_groups_admin.KafkaPythonTests):
    """Groups and offsets with kafka-python's admin client."""

    engine = "seaweedmq"


class PipelinedTests(test_groups_pipelined.PipelinedTests):
    """Group requests that share one connection."""

    engine = "seaweedmq"


class ChurnTests(test_groups.ChurnTests):
    """Members that come and go, while records flow and the gateway crashes."""

    engine = "seaweedmq"
    seconds = min(test_groups.SECONDS, 4.0)
