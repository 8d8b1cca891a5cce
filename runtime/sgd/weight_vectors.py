"""One-pass SGD on the N-dimensional weights of one run; `weights_step` has the step.

The teacher spans the first k axes (see `weight_coordinates`), so its fields are inputs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from runtime.sgd.sgd_process import SgdProcess, StepForm
from runtime.sgd.step_rates import set_rates, start_clock
from runtime.sgd.weights_batch import BatchWeightsEmitter
from runtime.sgd.weights_step import LANES, WeightsEmitter, WeightsRecord
from runtime.vector.aligned_arrays import Array, aligned
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.random_numbers import WORDS
from runtime.vector.vector_record import RecordMemory


@lru_cache(maxsize=64)
def _compile(form: StepForm, batch: int, target: Target) -> Any:
    emitter = WeightsEmitter if batch == 1 else BatchWeightsEmitter
    compiled = CompiledModule(emitter(form, batch, target).module, target)
    return compiled.function("weights", ctypes.c_int64, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)


class WeightVectors:
    """SGD on the weights of one run."""

    def __init__(
        self,
        process: SgdProcess,
        A: Array,
        S: Array,
        words: np.ndarray,
        parameters: Mapping[str, Any],
        target: Target,
    ) -> None:
        self.process = process
        p, k, n = process.p, process.teacher.rank, process.n
        self._pairs = -(-n // (2 * LANES))
        row = (2 * self._pairs + 1) * LANES
        self.W = aligned(p * row).reshape(p, row)
        width = min(p, n - k)
        self.W[:, :k] = np.sqrt(n) * A
        self.W[:, k : k + width] = np.sqrt(n) * S[:, :width]
        self._batch = int(parameters["batch"])
        rows = max(2, self._batch)
        self._inputs = aligned(rows * row).reshape(rows, row)
        self._norms = np.sum(A**2, axis=1) + np.sum(S**2, axis=1)
        self._control = RecordMemory(WeightsRecord(process.form, self._batch), LANES)
        self._fill(words, parameters)
        advance = _compile(process.form, min(self._batch, 2), target)
        addresses = (self.W.ctypes.data, self._inputs.ctypes.data, self._control.address)
        self._advance = partial(advance, *addresses)

    def _fill(self, words: np.ndarray, parameters: Mapping[str, Any]) -> None:
        """Write the control memory before the first step."""
        process, control, k = self.process, self._control, self.process.teacher.rank
        control["words"][:] = words.reshape(LANES, WORDS).T.view(np.float64)
        control["noise"][:] = np.sqrt(parameters["label_noise"])
        control["student"][:] = process.readout[0]
        control["scale"][:] = 1.0 / np.sqrt(process.n)
        rest = process.n - (self._pairs - 1) * 2 * LANES
        control["masks"][:] = (np.arange(2 * LANES) < rest).reshape(2, LANES)
        control["norms"][:] = self._norms[:, None]
        control["shrinks"][:] = 1.0
        labels = process.label_weights(parameters)
        if process.form.teachers:
            control["labels"][:] = labels[:, None]
            labels = process.teacher.factor
        control["teacher"].reshape(len(control["teacher"]), -1)[:, :k] = labels
        if process.form.weighted:
            control["second"][:] = parameters["student_weights"][:, None]
        start_clock(control, process)
        self.set_rates(parameters)

    def set_rates(self, parameters: Mapping[str, Any], factor: float = 1.0) -> None:
        """Let the next steps have the learning rates of the run times a factor."""
        set_rates(self._control, self.process, parameters, factor, 1.0)

    def advance(self, steps: int) -> None:
        """Take that many steps; other threads go on meanwhile."""
        if not steps:
            return
        control, sphere = self._control, self.process.sphere
        # Weights that diverge are a result and no error.
        with np.errstate(over="ignore", invalid="ignore"):
            if sphere and self._batch > 1:
                # A batch needs the lengths at once; a single sample finds them by itself.
                control["lengths"][:] = np.sum(self.W**2, axis=1)[:, None]
            self._advance(steps, self._pairs, self._batch)
            if self._batch == 1:
                # The last gradient still waits. Which of the two rows holds the last input depends on the
                # count.
                if sphere or self.process.form.decays:
                    self.W *= control["shrinks"][:, :1]
                self.W -= control["kicks"][0, :, :1] * self._inputs[steps % 2]
            if sphere:
                lengths = np.sum(self.W**2, axis=1) / self.process.n
                self.W *= np.sqrt(self._norms / lengths)[:, None]
        control["shrinks"][:] = 1.0
        control["kicks"][:] = 0.0
        self._inputs[:] = 0.0

    def coordinates(self) -> tuple[Array, Array]:
        """A (p, k) and all other coordinates (p, N − k) of the present weights/√N."""
        n, k = self.process.n, self.process.teacher.rank
        weights = self.W[:, :n] / np.sqrt(n)
        return weights[:, :k], weights[:, k:]

    def second_layer(self) -> Array | None:
        """v (p,) of the present state; None if it is not trained."""
        return self._control["second"][:, 0].copy() if self.process.form.trained else None
