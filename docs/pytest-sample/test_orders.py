"""A sample of a test project that needs a Kafka: see README.md beside it."""

import json

from confluent_kafka import Consumer, Producer, TopicPartition


def place_order(producer: Producer, number: int) -> None:
    """The code under test: it announces an order."""
    producer.produce("orders", key=str(number), value=json.dumps({"order": number}))
    producer.flush(10)


def test_orders_are_announced(kgw):
    place_order(Producer({"bootstrap.servers": kgw.bootstrap}), 7)

    consumer = Consumer({"bootstrap.servers": kgw.bootstrap, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition("orders", 0, 0)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None and message.error() is None
    assert json.loads(message.value()) == {"order": 7}


def test_every_test_has_its_own_broker(kgw):
    topics = Producer({"bootstrap.servers": kgw.bootstrap}).list_topics(timeout=10).topics
    assert topics == {}
