"""What every implementation of a seam must do: one mixin of tests for each interface, and one for producers.

A concrete test inherits a mixin and C{SynchronousTestCase}, in this order, and says how to make an implementation
(C{make_engine}, C{make_store}) and, where it takes threads, how to C{wait} for it.
"""

from __future__ import annotations

from kgw.test.contracts.log_engine import LogEngineContract
from kgw.test.contracts.partition_log import PartitionLogContract
from kgw.test.contracts.producers import ProducerContract
from kgw.test.contracts.state_store import StateStoreContract

__all__ = ["LogEngineContract", "PartitionLogContract", "ProducerContract", "StateStoreContract"]
