"""The same clients find the same with SeaweedMQ as the engine.

Left out is what is about local files (crashes in the middle of a write, full disks, the engines on this machine), and
what never comes to an engine (attacks, listeners). Of groups whose members come and go there is one short run.
"""

from __future__ import annotations

from kgw.test.live import test_admin, test_groups, test_groups_admin, test_groups_pipelined, test_records


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
