"""kgw: a Kafka wire-protocol gateway on Twisted, with an embedded durable log behind it."""

__version__ = "0.1.0"
