"""SGD at finite N as the exact Markov chain of the overlaps, whose cost does not depend on N.

A state is the students' coordinates along the teacher and beyond it (`weight_coordinates`);
`chain_step` has the step.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np

from runtime.sgd.chain_memory import ChainLayout
from runtime.sgd.chain_step import ChainEmitter
from runtime.start.teacher_directions import Teacher
from runtime.vector.aligned_arrays import Array, aligned
from runtime.vector.jit import CompiledModule, Target
from runtime.vector.random_numbers import WORDS


@lru_cache(maxsize=64)
def _compile(p: int, k: int, sphere: bool, noise: bool, others: int, target: Target) -> Any:
    compiled = CompiledModule(ChainEmitter(p, k, sphere, noise, others, target).module, target)
    return compiled.function("chain", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


class OverlapChain:
    """SGD at one N as a Markov chain of the overlaps, for as many runs as there are lanes."""

    def __init__(self, p: int, teacher: Teacher, n: int, sphere: bool, noise: bool, target: Target) -> None:
        self.layout = ChainLayout(p, teacher.rank)
        self.lanes = target.lanes
        self._teacher, self._n = teacher, n
        others = n - teacher.rank - p
        if others < 0:
            raise ValueError("fewer dimensions than teachers and students")
        self._shape = 0.5 * others - 1.0 / 3.0
        self._advance = _compile(p, teacher.rank, sphere, noise, min(others, 2), target)
        rows, columns = np.tril_indices(p)
        order = np.lexsort((rows, columns))
        self._rows, self._columns = rows[order], columns[order]

    def start(
        self,
        A: Array,
        S: Array,
        words: np.ndarray,
        eta: Array,
        label_noise: Array,
        readout: tuple[float, float],
    ) -> Array:
        """Memory (components, lanes) for runs with these coordinates, streams and parameters.

        A (lanes, p, k), S (lanes, p, p), words (lanes, WORDS), η and Δ (lanes,), readout (a, b).
        """
        layout, (a, b) = self.layout, readout
        work = aligned(layout.component_count * self.lanes).reshape(layout.component_count, self.lanes)
        work[:WORDS] = words.T.view(np.float64)
        work[layout.rate_at] = 2.0 * a * eta / self._n
        work[layout.noise_at] = np.sqrt(label_noise)
        work[layout.shape_at] = self._shape
        work[layout.student_at] = a
        work[layout.weights_at : layout.norms_at] = b * self._teacher.weights[:, None]
        norms = np.sum(A**2, axis=2) + np.sum(S**2, axis=2)
        work[layout.norms_at : layout.along_at] = norms.T
        work[layout.along_at : layout.beyond_at] = A.reshape(self.lanes, -1).T
        work[layout.beyond_at : layout.teacher_inputs_at] = S[:, self._rows, self._columns].T
        return work

    def advance(self, work: Array, steps: int) -> None:
        """Take that many steps in all lanes; other threads run meanwhile."""
        if steps:
            self._advance(work.ctypes.data, steps)

    def coordinates(self, work: Array) -> tuple[Array, Array]:
        """A (lanes, p, k) and S (lanes, p, p) of the present states."""
        layout = self.layout
        A = work[layout.along_at : layout.beyond_at].T.reshape(self.lanes, layout.p, layout.k).copy()
        S = np.zeros((self.lanes, layout.p, layout.p))
        S[:, self._rows, self._columns] = work[layout.beyond_at : layout.teacher_inputs_at].T
        return A, S
