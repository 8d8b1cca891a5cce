"""The runs of one simulation of SGD, as tasks for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.recorder import RunWatcher
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.weight_vectors import WeightVectors
from runtime.sgd.weights_step import RUN_WORDS
from runtime.start.checked_arrays import Array
from runtime.vector import jit
from runtime.vector.random_numbers import WORDS, streams

# Each method has its own set of random streams for a seed.
_STREAMS = {"chain": 1, "weights": 2}
# Coordinates A and S of some runs along the teacher and beyond it, and v if it is trained.
States = tuple[Array, Array, Array | None]
# How many numbers are written between two looks at whether to stop: some hundredths of a second.
_NUMBERS_BETWEEN_PAUSES = 50_000_000
# A task takes together at most this many runs on small weights, and at most this many weights.
_RUNS_TOGETHER, _NUMBERS_TOGETHER = 64, 2**17


class SgdRuns:
    """All runs of one simulation; each task advances some of them and writes to the recorder.

    Runs that are advanced together end when none of them has to go on.

    parameters
        An array (runs,) for each run-time parameter that is a number, (runs, width) for vectors.
    """

    def __init__(
        self, process: SgdProcess, seed: int, parameters: Mapping[str, Array], recorder: RunWatcher
    ) -> None:
        self.process, self.seed, self.parameters = process, seed, parameters
        self.recorder, self.steps = recorder, recorder.steps
        self.count = recorder.count
        self.total = int(self.steps[-1]) * self.count
        self.done = 0
        self.cancelled = False
        self._stretches = process.stretches(self.steps)
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

    def chains(self) -> Iterator[Callable[[], None]]:
        # All lanes of a chain have batches of one size.
        sizes = self.parameters["batch"]
        for size in np.unique(sizes):
            chain = OverlapChain(self.process, jit.target(), int(size))
            runs = np.flatnonzero(sizes == size)
            for first in range(0, len(runs), chain.lanes):
                yield partial(self._chain, chain, runs[first : first + chain.lanes])

    def _chain(self, chain: OverlapChain, runs: np.ndarray) -> None:
        count = len(runs)
        # Lanes without a run repeat the last run, and nobody reads them.
        picks = np.concatenate([runs, np.full(chain.lanes - count, runs[-1])])
        words = self._words("chain", picks, WORDS)
        parameters = self._parameters(picks)
        work = chain.start(*self.recorder.start(picks), words, parameters)

        def state() -> States:
            A, S = chain.coordinates(work)
            v = chain.second_layer(work)
            return A[:count], S[:count], None if v is None else v[:count]

        cost = chain.lanes * 20 * chain.record.component_count * chain.batch
        self._follow(
            runs,
            lambda steps: self._advance(lambda now: chain.advance(work, now), steps, cost, count),
            lambda factor: chain.set_rates(work, parameters, factor),
            state,
        )

    def weights(self) -> Iterator[Callable[[], None]]:
        # Small runs are taken several at once, since otherwise the time in Python would dominate.
        together = min(_RUNS_TOGETHER, max(1, _NUMBERS_TOGETHER // (self.process.p * self.process.n)))
        for first in range(0, self.count, together):
            yield partial(self._weights, np.arange(first, min(first + together, self.count)))

    def _weights(self, runs: np.ndarray) -> None:
        words = self._words("weights", runs, RUN_WORDS)
        A, S = self.recorder.start(runs)
        parameters = [self._parameters(run) for run in runs]
        weights = [
            WeightVectors(self.process, A[k], S[k], words[k], parameters[k], jit.target())
            for k in range(len(runs))
        ]

        def advance(steps: int) -> None:
            for run, given in zip(weights, parameters, strict=True):
                cost = 4 * self.process.n * (self.process.p + 4) * int(given["batch"])
                self._advance(run.advance, steps, cost, 1)

        def set_rates(factor: float) -> None:
            for run, given in zip(weights, parameters, strict=True):
                run.set_rates(given, factor)

        def state() -> States:
            A, S = (np.array(part) for part in zip(*(run.coordinates() for run in weights), strict=True))
            v = [run.second_layer() for run in weights]
            return A, S, np.array(v) if self.process.form.trained else None

        self._follow(runs, advance, set_rates, state)

    def _words(self, method: str, runs: np.ndarray, words: int) -> np.ndarray:
        """The streams of runs (runs, words), each by its place among all runs."""
        first, count = int(runs[0]), len(runs)
        if np.array_equal(runs, np.arange(first, first + count)):
            return streams(self.seed, _STREAMS[method], first, count, words)
        return np.concatenate([streams(self.seed, _STREAMS[method], int(run), 1, words) for run in runs])

    def _follow(
        self,
        runs: np.ndarray,
        advance: Callable[[int], None],
        set_rates: Callable[[float], None],
        state: Callable[[], States],
    ) -> None:
        """Take some runs through all stretches, and write their states at the records."""
        before, done = 1.0, 0
        for steps, factor, record in self._stretches:
            if factor != before:
                set_rates(factor)
                before = factor
            advance(steps)
            done += steps
            if self.cancelled:
                return
            if record >= 0 and not self.recorder.write(record, runs, *state()):
                self._count((int(self.steps[-1]) - done) * len(runs))
                return
