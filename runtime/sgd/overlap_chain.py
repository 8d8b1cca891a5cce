"""SGD at finite N as the exact Markov chain of the overlaps, whose cost does not depend on N.

A state is the students' coordinates along the teacher and beyond it (`weight_coordinates`);
`chain_step` has the step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from runtime.sgd.chain_memory import ChainRecord
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.sgd_process import SgdProcess
from runtime.vector.aligned_arrays import Array
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.vector_record import RecordMemory


@lru_cache(maxsize=64)
def _compile(p: int, k: int, sphere: bool, noise: bool, others: int, target: Target) -> Any:
    compiled = CompiledModule(ChainEmitter(p, k, sphere, noise, others, target).module, target)
    return compiled.function("chain", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


class OverlapChain:
    """SGD as a Markov chain of the overlaps, for as many runs as there are lanes."""

    def __init__(self, process: SgdProcess, target: Target) -> None:
        p, k, others = process.p, process.teacher.rank, process.beyond
        if others < 0:
            raise ValueError("fewer dimensions than teachers and students")
        self.process, self.lanes = process, target.lanes
        self.record = ChainRecord(p, k)
        self._shape = 0.5 * others - 1.0 / 3.0
        self._advance = _compile(p, k, process.sphere, process.noisy, min(others, 2), target)
        rows, columns = np.tril_indices(p)
        order = np.lexsort((rows, columns))
        self._rows, self._columns = rows[order], columns[order]

    def start(self, A: Array, S: Array, words: np.ndarray, parameters: Mapping[str, Array]) -> RecordMemory:
        """Memory of runs with these coordinates, streams and run-time parameters.

        A (lanes, p, k), S (lanes, p, p), words (lanes, WORDS), each parameter (lanes,).
        """
        process, (a, b) = self.process, self.process.readout
        run = RecordMemory(self.record, self.lanes)
        run["words"][:] = words.T.view(np.float64)
        run["rate"][:] = 2.0 * a * parameters["eta"] / process.n
        run["noise"][:] = np.sqrt(parameters["label_noise"])
        run["shape"][:] = self._shape
        run["student"][:] = a
        run["weights"][:] = b * process.teacher.weights[:, None]
        run["norms"][:] = (np.sum(A**2, axis=2) + np.sum(S**2, axis=2)).T
        run["along"][:] = np.moveaxis(A, 0, -1)
        run["beyond"][:] = S[:, self._rows, self._columns].T
        return run

    def advance(self, run: RecordMemory, steps: int) -> None:
        """Take that many steps in all lanes; other threads run meanwhile."""
        if steps:
            self._advance(run.address, steps)

    def coordinates(self, run: RecordMemory) -> tuple[Array, Array]:
        """A (lanes, p, k) and S (lanes, p, p) of the present states."""
        A = np.moveaxis(run["along"], -1, 0).copy()
        S = np.zeros((self.lanes, self.record.p, self.record.p))
        S[:, self._rows, self._columns] = run["beyond"].T
        return A, S
