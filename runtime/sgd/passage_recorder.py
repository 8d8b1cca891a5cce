"""Notes when the loss of SGD runs first comes down to a level, and ends runs that have."""

from __future__ import annotations

import numpy as np

from runtime.output.progress import Progress
from runtime.sgd.recorder import RunWatcher, generalisation_error
from runtime.sgd.simulation import Simulation
from runtime.start.checked_arrays import Array


class PassageRecorder(RunWatcher):
    """The first times at which runs report a loss of at most `level`, after `every` so many steps.

    Between two reports the loss is taken to be a straight line, so times are known to less than the time
    between reports.

    alpha
        The times (run,), NaN for runs that have not come down; the start for those that start below.
    """

    def __init__(self, simulation: Simulation, level: float, every: int) -> None:
        model = simulation.model
        self._weights: dict[str, Array] = {}
        if model.weighted:
            self._weights = {
                "v": simulation.values("student_weights"),
                "vstar": simulation.values("teacher_weights"),
            }
        steps = np.arange(0, int(simulation.steps[-1]) + every, every)
        v = self._weights["v"] if model.trained else None
        super().__init__(steps, *simulation.starts, simulation.teacher, v)
        self.alpha = np.full(self.count, np.nan)
        self._level, self._model, self._T = level, model, simulation.parameters.T
        self._times = simulation.start.alpha + steps / simulation.n
        self._loss = np.full(self.count, np.nan)

    def write(self, record: int, runs: np.ndarray, A: Array, S: Array, v: Array | None = None) -> bool:
        """Look at some runs at a record; returns whether any of them has neither come down nor diverged."""
        Q, R, fine = self._overlaps(runs, A, S, v)
        waiting = np.isnan(self.alpha[runs]) & ~self.diverged[runs]
        self.diverged[runs[waiting & ~fine]] = True
        waiting &= fine
        with np.errstate(over="ignore", invalid="ignore"):
            weights = {name: values[runs] for name, values in self._weights.items()}
            if v is not None:
                weights["v"] = v
            loss = generalisation_error(self._model, Q, R, self._T, **weights)
        down = waiting & (loss <= self._level)
        found = runs[down]
        if record:
            before, step = self._loss[found], self._times[record] - self._times[record - 1]
            part = (before - self._level) / (before - loss[down])
            self.alpha[found] = self._times[record - 1] + part * step
        else:
            self.alpha[found] = self._times[0]
        self._loss[runs] = loss
        return bool(np.any(waiting & ~down))


def first_passages(
    simulation: Simulation, level: float, every: int, progress: Progress | None = None
) -> PassageRecorder:
    """When the loss of each run first comes down to a level, until the last time of the simulation.

    It is looked at after `every` so many steps, and runs end when they have come down.
    """
    recorder = PassageRecorder(simulation, level, every)
    simulation.follow(recorder, progress)
    return recorder
