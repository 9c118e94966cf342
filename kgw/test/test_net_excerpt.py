"""Excerpts: what is told of a message, and what never is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import describe_configs, heartbeat, join_group, metadata, offset_commit, produce
from kgw.net.excerpt import excerpt
from kgw.test.builders import EPOCH_MS, raw_batch


class ExcerptTests(SynchronousTestCase):
    """Messages of real APIs."""

    def test_error_code(self) -> None:
        """Errors have their names; what has its default is left out."""
        self.assertEqual(
            excerpt(heartbeat.Response(error_code=ErrorCode.REBALANCE_IN_PROGRESS), 4),
            "error_code=REBALANCE_IN_PROGRESS",
        )
        self.assertEqual(excerpt(heartbeat.Response(error_code=32123), 4), "error_code=32123")
        self.assertEqual(excerpt(heartbeat.Response(), 4), "")

    def test_records(self) -> None:
        """Records are counted and never shown."""
        batch = raw_batch(EPOCH_MS, EPOCH_MS, value=b"a secret", base_offset=7)
        partition = produce.RequestPartition(3, batch + batch)
        request = produce.Request(topic_data=[produce.RequestTopic("orders", partition_data=[partition])])
        text = excerpt(request, 9)
        self.assertIn(f"index=3 records=<4 records in 2 batches from offset 7, {2 * len(batch)} bytes>", text)
        self.assertNotIn("secret", text)
        partition.records = b"no batch but a secret"
        self.assertIn("records=<21 bytes>", excerpt(request, 9))

    def test_bytes_and_metadata(self) -> None:
        """What members tell each other, and what clients keep with their offsets."""
        protocols = [join_group.RequestProtocol("range", b"secret")]
        self.assertIn("{name='range' metadata=<6 bytes>}", excerpt(join_group.Request("g", protocols=protocols), 5))
        place = offset_commit.RequestPartition(0, 5, committed_metadata="a secret")
        text = excerpt(offset_commit.Request("g", topics=[offset_commit.RequestTopic("t", partitions=[place])]), 8)
        self.assertIn("committed_metadata=<8 characters>", text)

    def test_configs(self) -> None:
        """A password is hidden, and a config that kgw does not know might be one."""
        rows = [
            describe_configs.ResponseConfig(name, value)
            for name, value in (
                ("retention.ms", "86400000"),
                ("ssl.keystore.password", "secret"),
                ("listener.name.internal.sasl.jaas.config", "secret"),
            )
        ]
        text = excerpt(describe_configs.Response(results=[describe_configs.ResponseResult(configs=rows)]), 4)
        self.assertIn("value='86400000'", text)
        self.assertEqual(text.count("value=(hidden)"), 2)
        self.assertNotIn("secret", text)

    def test_many(self) -> None:
        """Of a long array the first few, and a number."""
        names = [metadata.RequestTopic(name=f"t{number}") for number in range(10)]
        text = excerpt(metadata.Request(topics=names), 9)
        self.assertIn("{name='t3'}, and 6 more]", text)

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.text(max_size=200), max_size=20), st.integers(0, 300))
    def test_bounded_and_printable(self, names: list[str], most: int) -> None:
        """However long and strange, one line of plain characters that is no longer than it may be."""
        text = excerpt(metadata.Request(topics=[metadata.RequestTopic(name=name) for name in names]), 9, most)
        self.assertLessEqual(len(text), most + 3)
        self.assertTrue(text.isprintable())
