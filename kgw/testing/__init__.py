"""A Kafka for your tests: a whole kgw inside the test process, on a free port, gone when the test is.

From any thread, without a reactor of your own::

    with KafkaGateway() as kgw:
        producer = Producer({"bootstrap.servers": kgw.bootstrap})

From trial, on the reactor that runs the test::

    gateway = await start_gateway(reactor)
    self.addCleanup(gateway.stop)

With pytest, where kgw is installed, as the fixture C{kgw}.
"""

from __future__ import annotations

from kgw.testing.gateway import RunningGateway, start_gateway
from kgw.testing.thread import KafkaGateway

__all__ = ["KafkaGateway", "RunningGateway", "start_gateway"]
