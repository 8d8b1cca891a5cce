"""The runs of one simulation of SGD, as tasks for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.recorder import RunRecorder
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.weight_vectors import RUN_WORDS, WeightVectors
from runtime.start.checked_arrays import Array
from runtime.vector import jit
from runtime.vector.random_numbers import WORDS, streams

# Each method has its own set of random streams for a seed.
_STREAMS = {"chain": 1, "weights": 2}
# How many numbers are written between two looks at whether to stop: some hundredths of a second.
_NUMBERS_BETWEEN_PAUSES = 50_000_000
# A task takes together at most this many runs on small weights, and at most this many weights.
_RUNS_TOGETHER, _NUMBERS_TOGETHER = 64, 2**17


class SgdRuns:
    """All runs of one simulation; each task advances some of them and writes to the recorder.

    parameters
        An array (runs,) for each run-time parameter.
    """

    def __init__(
        self, process: SgdProcess, seed: int, parameters: Mapping[str, Array], recorder: RunRecorder
    ) -> None:
        self.process, self.seed, self.parameters = process, seed, parameters
        self.recorder, self.steps = recorder, recorder.steps
        self.count = recorder.count
        self.total = int(self.steps[-1]) * self.count
        self.done = 0
        self.cancelled = False
        self._lock = threading.Lock()

    def _advance(self, step: Callable[[int], None], steps: int, cost: int, runs: int) -> None:
        """Take `steps` steps, in pieces that end soon enough to be cancelled; a step costs `cost`."""
        piece = max(1, _NUMBERS_BETWEEN_PAUSES // cost)
        while steps and not self.cancelled:
            now = min(piece, steps)
            step(now)
            steps -= now
            self._count(now * runs)

    def cancel(self) -> None:
        self.cancelled = True

    def _count(self, steps: int) -> None:
        with self._lock:
            self.done += steps

    def _parameters(self, runs: Any) -> dict[str, Any]:
        """The parameters of one run, or arrays of those of some."""
        return {name: values[runs] for name, values in self.parameters.items()}

    def _intervals(self) -> Iterator[tuple[int, int]]:
        """The number of each record, and the steps since the record before."""
        return enumerate(np.diff(self.steps, prepend=0).tolist())

    def chains(self) -> Iterator[Callable[[], None]]:
        chain = OverlapChain(self.process, jit.target())
        for first in range(0, self.count, chain.lanes):
            yield partial(self._chain, chain, first)

    def _chain(self, chain: OverlapChain, first: int) -> None:
        real = range(first, min(first + chain.lanes, self.count))
        # Lanes without a run repeat the last run, and nobody reads them.
        picks = np.minimum(np.arange(first, first + chain.lanes), real[-1])
        words = streams(self.seed, _STREAMS["chain"], first, chain.lanes, WORDS)
        A, S = self.recorder.start(picks)
        work = chain.start(A, S, words, self._parameters(picks))
        cost = chain.lanes * 20 * chain.record.component_count
        for record, steps in self._intervals():
            self._advance(lambda count: chain.advance(work, count), steps, cost, len(real))
            if self.cancelled:
                return
            A, S = chain.coordinates(work)
            going = self.recorder.write(record, real, A[: len(real)], S[: len(real)])
            if not going:
                self._count(int(self.steps[-1] - self.steps[record]) * len(real))
                return

    def weights(self) -> Iterator[Callable[[], None]]:
        # Small runs are taken several at once, since otherwise the time in Python would dominate.
        together = min(_RUNS_TOGETHER, max(1, _NUMBERS_TOGETHER // (self.process.p * self.process.n)))
        for first in range(0, self.count, together):
            yield partial(self._weights, range(first, min(first + together, self.count)))

    def _weights(self, runs: range) -> None:
        words = streams(self.seed, _STREAMS["weights"], runs[0], len(runs), RUN_WORDS)
        A, S = self.recorder.start(np.array(runs))
        weights = [
            WeightVectors(self.process, A[k], S[k], words[k], self._parameters(run), jit.target())
            for k, run in enumerate(runs)
        ]
        cost = 4 * self.process.n * (self.process.p + 4)
        for record, steps in self._intervals():
            for run in weights:
                self._advance(run.advance, steps, cost, 1)
            if self.cancelled:
                return
            found = [run.coordinates() for run in weights]
            A, S = (np.array(part) for part in zip(*found, strict=True))
            if not self.recorder.write(record, runs, A, S):
                self._count(int(self.steps[-1] - self.steps[record]) * len(runs))
                return
