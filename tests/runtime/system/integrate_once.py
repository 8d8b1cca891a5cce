"""Child process of the cache tests: integrate one trajectory, print result and cache statistics."""

from __future__ import annotations

import json
import sys

import numpy as np

import runtime
from runtime.trajectory import stepper


def counts(dispatcher):
    stats = dispatcher.stats
    return {"hits": sum(stats.cache_hits.values()), "misses": sum(stats.cache_misses.values())}


system = runtime.load(sys.argv[1])
run = runtime.integrate(system, np.eye(2), np.full((2, 1), 0.1), eta=0.3, alpha=5.0)
json.dump(
    {
        "loss": run["loss"].values[-1].hex(),
        "advance": counts(stepper.advance.compile()),
        "rhs": counts(system.module.rhs),
        "loss_function": counts(system.module.loss),
    },
    sys.stdout,
)
