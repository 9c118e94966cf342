"""The pytest fixture C{kgw}: a fresh broker for each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kgw.testing.thread import KafkaGateway


@pytest.fixture
def kgw() -> Iterator[KafkaGateway]:
    """A Kafka broker in memory; C{kgw.bootstrap} is what clients connect to."""
    with KafkaGateway() as gateway:
        yield gateway
