"""The embedded engine: partition logs in Kafka's own files, on the local disk."""

from __future__ import annotations

from kgw.engine.local.bridge import IBridge, InlineBridge, ThreadBridge
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.engine import LocalLogEngine

__all__ = ["DataDirectory", "IBridge", "InlineBridge", "LocalLogEngine", "ThreadBridge"]
