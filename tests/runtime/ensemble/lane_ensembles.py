"""Ensembles that have every kind of trajectory, and what an engine may write of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from runtime import random_overlaps
from runtime.ensemble.engine_plan import EnginePlan
from runtime.ensemble.ensemble_results import EnsembleResults
from runtime.ensemble.ensemble_run import EnsembleEngine
from runtime.start.parameter_values import RunParameters

FIELDS = ("states", "losses", "outcomes")
END = 40.0
# Not even, several in a step and several steps between two.
TIMES = np.concatenate([np.linspace(0.0, 1.0, 30), [1.5, 7.0, 7.0001, 20.0, END]])
COUNT = 41
# These blow up, and one fails at steps that are too small.
DIVERGING = range(7, COUNT, 7)
STUCK = 10
# This one starts at a scale that single precision cannot hold.
HUGE = 20
# What a run writes; (4, 2) at these rates passes the threshold in some lanes only.
MODES: dict[str, dict[str, Any]] = {
    "all": {},
    "final": {"output": "final", "losses": False, "times": TIMES[-1:]},
    "loss": {"output": "loss"},
    "states alone": {"losses": False},
    "event": {"stop_loss": 0.7},
    "event final": {"output": "final", "losses": False, "times": TIMES[-1:], "stop_loss": 0.7},
    "event loss": {"output": "loss", "stop_loss": 0.7},
}


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Packed states and parameters, one row per trajectory."""

    initial: np.ndarray
    parameters: np.ndarray

    def __len__(self) -> int:
        return len(self.initial)

    def __getitem__(self, picks: Any) -> Ensemble:
        return Ensemble(
            np.ascontiguousarray(self.initial[picks]), np.ascontiguousarray(self.parameters[picks])
        )

    @staticmethod
    def plan(**options: Any) -> EnginePlan:
        return EnginePlan(**{"times": TIMES, "rtol": 1e-6, "atol": 1e-9, **options})

    def run(self, engine: EnsembleEngine, **options: Any) -> EnsembleResults:
        progress = options.pop("progress", None)
        return engine.run(self.initial, self.parameters, self.plan(**options), progress)


def make_ensemble(engine: EnsembleEngine, count: int = COUNT) -> Ensemble:
    system = engine.system
    p, pstar = system.model.p, system.model.pstar
    Q, R = random_overlaps(p, pstar, n=1000, seed=3, trajectories=count)
    # Step sizes far apart, and some trajectories that blow up.
    rates = np.geomspace(0.001, 0.2, count) * p
    rates[DIVERGING] = 3.0 * p
    rates[STUCK] = 1e11 * p
    noises = np.linspace(0.0, 0.3, count)
    initial = system.pack(Q, R)
    initial[HUGE] *= 1e40
    rates[HUGE] = 1e-41 * p
    parameters = RunParameters.of(system.model, {"eta": rates, "label_noise": noises}, count)
    return Ensemble(initial, parameters.packed)


def assert_same(results: EnsembleResults, expected: EnsembleResults, picks: Any = slice(None)) -> None:
    """Equal to the last bit."""
    for field in FIELDS:
        assert getattr(results, field).tobytes() == getattr(expected, field)[picks].tobytes()
