"""Three gateways on one SeaweedMQ, harmed at random for some minutes under load; C{python -m bench.cluster_chaos}.

Producers of three libraries and a group of three consumers go on while gateways are killed, stopped, paused and started
again, one at a time. At the end everything that was promised is looked for. Ends with 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kgw.test.live.chaos import Chaos, Event
from kgw.test.live.fleet import Fleet, Ship
from kgw.test.seaweed import Engine

#: Kafka's defaults, in ms.
_SESSION_MS, _HEARTBEAT_MS = 9000, 2000
#: Between the end of one event and the next, at most, in seconds.
_CALM_S = 5.0
#: How long after the lease of a gateway that is gone all must be led again, in seconds.
_AFTER_LEASE_S = 2.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long gateways are harmed (5)")
    parser.add_argument("--seed", type=int, default=-1, help="of what is done to whom (another one each time)")
    parser.add_argument("--session-ms", type=int, default=_SESSION_MS, help="broker.session.timeout.ms (9000)")
    return parser.parse_args()


def _harm(chaos: Chaos, chance: random.Random, until: float, say: Callable[[str], None]) -> None:
    kinds: list[Callable[[Ship], None]] = [chaos.kill, chaos.crash, chaos.stop, chaos.pause, chaos.doze]
    plan: list[Callable[[Ship], None]] = []
    while time.monotonic() < until:
        if not plan:
            # each kind as often as any other
            plan = chance.sample(kinds, len(kinds))
        plan.pop()(chance.choice(chaos.fleet.ships))
        say(str(chaos.events[-1]))
        time.sleep(chance.uniform(0.0, _CALM_S))


def _table(events: list[Event]) -> list[str]:
    lines = [f"{'event':<20}{'times':>6}{'written: mean':>15}{'max':>8}{'served: max':>13}{'whole again: max':>18}"]
    for kind in sorted({event.kind for event in events}):
        some = [event for event in events if event.kind == kind]
        written = [event.written_s for event in some]
        lines.append(
            f"{kind:<20}{len(some):>6}{sum(written) / len(written):>15.2f}{max(written):>8.2f}"
            f"{max(event.served_s for event in some):>13.2f}{max(event.returned_s for event in some):>18.2f}"
        )
    return lines


def main() -> int:
    """Harm, and tell."""
    options = _options()
    seed = options.seed if options.seed >= 0 else random.SystemRandom().randrange(1_000_000)
    session_s = options.session_ms / 1000
    heartbeat_ms = min(_HEARTBEAT_MS, options.session_ms // 4)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {text}", flush=True)

    print(f"seed {seed}, session timeout {session_s} s, heartbeat {heartbeat_ms / 1000} s")
    engine = Engine().start()
    with tempfile.TemporaryDirectory(prefix="kgw-chaos-") as name:
        folder = Path(name)
        timings = ("--set", f"broker.session.timeout.ms={options.session_ms}")
        timings += ("--set", f"broker.heartbeat.interval.ms={heartbeat_ms}")
        fleet = Fleet(folder, engine.masters, 3, *timings, "--set", "group.initial.rebalance.delay.ms=500")
        # members outlive the pause of their coordinator
        chaos = Chaos(fleet, folder, session_s, int(4000 * session_s), 5000)
        try:
            fleet.start()
            chaos.begin()
            say("records flow")
            _harm(chaos, random.Random(seed), time.monotonic() + 60 * options.minutes, say)
            counts = chaos.finish(say)
        except BaseException:
            print(fleet.account())
            raise
        finally:
            chaos.end()
            fleet.kill()
            engine.discard()
    print("\n".join(_table(chaos.events)))
    for what, count in counts.items():
        print(f"{what:<32}{count:>10}")
    late = [
        str(event)
        for event in chaos.events
        if event.kind.startswith(("kill", "long")) and event.written_s > session_s + _AFTER_LEASE_S
    ]
    wrong = [*chaos.wrong, *(f"too late: {event}" for event in late)]
    print(f"seed {seed}: " + ("nothing lost, nothing doubled, nothing out of order" if not wrong else "WRONG"))
    for text in wrong:
        print(f"  {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
