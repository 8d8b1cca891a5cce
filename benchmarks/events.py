"""Measures what looking for events costs: ensembles with a `stop_loss` that is never reached, over without.

    python benchmarks/events.py

Both runs take the same steps, on one thread. They alternate, and the fastest of several counts.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import derive
import runtime

CASES = {(2, 1): 4096, (4, 2): 1024, (8, 4): 256}
ROUNDS = 10
NEVER = -1.0
OPTIONS = {"eta": 0.3, "alpha": 100.0, "output": "final", "threads": 1}
METHODS = ("prince8", "dop853", "tsit5")


def ratio(system: runtime.System, count: int, method: str) -> float:
    """The time of a run that looks for events over that of one that does not."""
    model = system.model
    Q, R = runtime.random_overlaps(model.p, model.pstar, n=10**4, seed=1, trajectories=count)
    best = {}
    for _ in range(ROUNDS):
        for stop_loss in (None, NEVER):
            start = time.process_time()
            runtime.integrate_ensemble(
                system,
                Q,
                R,
                eta=0.3,
                alpha=100.0,
                method=method,
                output="final",
                threads=1,
                stop_loss=stop_loss,
            )
            seconds = time.process_time() - start
            best[stop_loss] = min(seconds, best.get(stop_loss, seconds))
    return best[NEVER] / best[None]


if __name__ == "__main__":
    print("(p, p*)", *METHODS, sep="\t")
    for widths, count in CASES.items():
        system = runtime.load(derive.Model(*widths))
        print(widths, *(f"{ratio(system, count, m):.3f}" for m in METHODS), sep="\t")
