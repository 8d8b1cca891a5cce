"""SGD at finite N as the exact Markov chain of the overlaps, whose cost does not depend on N.

A state is the students' coordinates along the teacher and beyond it (`weight_coordinates`);
`chain_step` has the step, and `chain_batch` that of a batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from runtime.sgd.chain_batch import BatchChainEmitter
from runtime.sgd.chain_memory import ChainRecord
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.sgd_process import SgdProcess, StepForm
from runtime.sgd.step_rates import set_rates, start_clock
from runtime.vector.aligned_arrays import Array
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.vector_record import RecordMemory


@lru_cache(maxsize=64)
def _compile(form: StepForm, columns: int, others: int, target: Target) -> Any:
    emitter = BatchChainEmitter if columns else ChainEmitter
    compiled = CompiledModule(emitter(form, columns, others, target).module, target)
    return compiled.function("chain", ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 2)


class OverlapChain:
    """SGD as a Markov chain of the overlaps, for as many runs as there are lanes.

    batch
        The number of samples of a step, of all these runs.
    """

    def __init__(self, process: SgdProcess, target: Target, batch: int = 1) -> None:
        p, others = process.p, process.beyond
        if others < 0:
            raise ValueError("fewer dimensions than teachers and students")
        self.process, self.lanes, self.batch = process, target.lanes, batch
        # The number of directions in which the samples' inputs beyond teacher and students push.
        columns = 0 if batch == 1 else min(batch, p)
        self.record = ChainRecord(process.form, columns)
        degrees = others - np.arange(self.record.shapes["shape"][0])
        self._shape = (0.5 * degrees - 1.0 / 3.0)[:, None]
        self._advance = _compile(process.form, columns, min(others, max(columns, 1) + 1), target)
        rows, places = np.tril_indices(p)
        order = np.lexsort((rows, places))
        self._rows, self._columns = rows[order], places[order]

    def start(self, A: Array, S: Array, words: np.ndarray, parameters: Mapping[str, Array]) -> RecordMemory:
        """Memory of runs with these coordinates, streams and run-time parameters.

        A (lanes, p, k), S (lanes, p, p), words (lanes, WORDS), each parameter (lanes,), and vectors
        (lanes, width).
        """
        process, form = self.process, self.process.form
        run = RecordMemory(self.record, self.lanes)
        run["words"][:] = words.T.view(np.float64)
        run["noise"][:] = np.sqrt(parameters["label_noise"])
        run["shape"][:] = self._shape
        run["student"][:] = process.readout[0]
        labels = process.label_weights(parameters)
        if not form.separate:
            rows, columns = np.tril_indices(form.k)
            labels = labels[..., rows, columns] * np.where(rows == columns, 1.0, 2.0)
        run["weights"][:] = np.broadcast_to(labels, (self.lanes, labels.shape[-1])).T
        if form.teachers:
            run["teachers"][:] = process.teacher.factor[..., None]
        if form.weighted:
            run["second"][:] = parameters["student_weights"].T
        run["norms"][:] = (np.sum(A**2, axis=2) + np.sum(S**2, axis=2)).T
        run["along"][:] = np.moveaxis(A, 0, -1)
        run["beyond"][:] = S[:, self._rows, self._columns].T
        start_clock(run, process)
        self.set_rates(run, parameters)
        return run

    def set_rates(self, run: RecordMemory, parameters: Mapping[str, Array], factor: float = 1.0) -> None:
        """Let the next steps have the learning rates of the runs times a factor."""
        set_rates(run, self.process, parameters, factor, self.process.n)

    def advance(self, run: RecordMemory, steps: int) -> None:
        """Take that many steps in all lanes; other threads run meanwhile."""
        if steps:
            self._advance(run.address, steps, self.batch)

    def coordinates(self, run: RecordMemory) -> tuple[Array, Array]:
        """A (lanes, p, k) and S (lanes, p, p) of the present states."""
        A = np.moveaxis(run["along"], -1, 0).copy()
        S = np.zeros((self.lanes, self.record.p, self.record.p))
        S[:, self._rows, self._columns] = run["beyond"].T
        return A, S

    def second_layer(self, run: RecordMemory) -> Array | None:
        """v (lanes, p) of the present states; None if it is not trained."""
        return run["second"].T.copy() if self.process.form.trained else None
