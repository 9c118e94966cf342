"""The embedded engine with real threads behind its bridge."""

from __future__ import annotations

import threading

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kgw.engine.bridge import IBridge, InlineBridge, ThreadBridge
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.engine import LocalLogEngine
from kgw.model import LogConfig
from kgw.test.builders import ThreadQueue, batch, topic


class BridgeTests(SynchronousTestCase):
    """Both bridges."""

    def test_interface(self) -> None:
        for bridge in (InlineBridge(), ThreadBridge(ThreadQueue())):
            self.assertTrue(verifyObject(IBridge, bridge))

    def test_inline(self) -> None:
        bridge = InlineBridge()
        bridge.start()
        self.assertEqual(self.successResultOf(bridge.call(divmod, 7, 2)), (3, 1))
        self.failureResultOf(bridge.call(divmod, 7, 0), ZeroDivisionError)
        bridge.stop()

    def test_threads(self) -> None:
        queue = ThreadQueue()
        bridge = ThreadBridge(queue)
        bridge.start()
        self.addCleanup(bridge.stop)
        self.assertNotEqual(queue.wait(bridge.call(threading.get_ident)), threading.get_ident())
        self.assertRaises(ZeroDivisionError, queue.wait, bridge.call(divmod, 7, 0))

    def test_an_engine_with_threads(self) -> None:
        directory = DataDirectory.open(self.mktemp(), 1)
        self.addCleanup(directory.close)
        queue = ThreadQueue()
        bridge = ThreadBridge(queue)
        bridge.start()
        self.addCleanup(bridge.stop)
        orders, config = topic(), LogConfig(flush_messages=1)
        for attempt in range(2):
            engine = LocalLogEngine(directory, Clock(), bridge)
            queue.wait(engine.start([(orders, config)]))
            log = engine.partition("orders", 0)
            waiting = [log.append(batch()) for _ in range(50)]
            offsets = [queue.wait(one).base_offset for one in waiting]
            self.assertEqual(offsets, list(range(50 * attempt, 50 * attempt + 50)))
            self.assertEqual(queue.wait(log.trim(7)), 7)
            queue.wait(engine.stop())
            self.assertTrue(directory.was_clean)
