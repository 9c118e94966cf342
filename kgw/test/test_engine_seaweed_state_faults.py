"""The state store while a real filer is killed and comes back."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.errors import KafkaError
from kgw.test import seaweed
from kgw.test.builders import ThreadQueue


class KilledFilerTests(SynchronousTestCase):
    """Every commit that was answered is there, none that failed, and the store heals by itself."""

    def test_kill(self) -> None:
        engine = seaweed.Engine().start()
        self.addCleanup(engine.discard)
        threads = ThreadQueue()
        bridge = ThreadBridge(threads, 32, "test-filer")
        bridge.start()
        self.addCleanup(bridge.stop)
        calls = Calls(bridge, None)
        self.addCleanup(calls.stop)
        filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
        clock = Clock()
        store = FilerStateStore(filer, clock)
        threads.wait(store.open(), 60)
        expected: dict[str, bytes] = {}
        failed: list[KafkaError] = []
        started = []

        for n in range(2000):
            puts = {f"k/{n % 100}": b"%d" % n, "last": b"%d" % n}
            committing = store.commit(puts)
            committing.addCallbacks(lambda _, puts=puts: expected.update(puts), lambda f: failed.append(f.value))
            started.append(committing)
            if n % 50 == 49 and n < 1000:
                threads.wait(started[n - 40])
            if n == 1200:
                engine.kill()
        for one in started:
            threads.wait(one, 60)
        self.assertGreater(len(expected), 50)
        self.assertGreater(len(failed), 100)
        for error in failed:
            self.assertIsInstance(error, KafkaError)

        engine.start()
        threads.wait(store.commit({"healed": b"1"}), 60)
        expected["healed"] = b"1"
        found = threads.wait(store.scan(""), 60)
        self.assertEqual(found, sorted(expected.items()))
        # It ends without being closed; another takes over.
        other = FilerStateStore(filer, clock)
        threads.wait(other.open(), 60)
        found = threads.wait(other.scan(""), 60)
        self.assertEqual(found, sorted(expected.items()))
        threads.wait(other.close(), 60)
