"""Measures ensembles of polynomial activations beside peers on the same equations, at equal achieved error.

    python benchmarks/polynomial.py          He3 and others, some minutes
    python benchmarks/polynomial.py --quick  (4, 2) He3 only

It measures as `benchmarks/ensemble.py` does: all solvers in one process on one thread, in turns. Peers have
the right-hand side in the way that suits them: straight-line Numba code, an array operation for each
statement in NumPy and JAX, expressions in heyoka. Those that cannot be imported are skipped. Results go to
benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import peers
from ensemble import RESULTS, TOLERANCES, keep_freed_memory, measure, report, summary
from peak import peak, rhs_speed
from problem import Task, polynomial_task

from derive.emit import numba_module
from derive.expansion import operation_count
from derive.pipeline import Pipeline
from runtime.ensemble.kernels.compiled_kernels import compile_kernels
from runtime.ensemble.kernels.form_by_size import form_by_size
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TSIT5
from runtime.vector import jit

# Numbers of trajectories and end times. The last is measured in its right-hand side alone.
CASES = {
    ("he3", 4, 2): (1024, 100.0),
    ("he2+he3", 4, 2): (512, 100.0),
    ("he3", 8, 4): (128, 100.0),
    ("he3", 32, 8): None,
}
GOAL = 3.0
# Peers get straight-line Numba code up to this many operations. It is faster than the loops that are
# generated for such sizes, but takes longer to compile.
PEER_LINES = 8000
ROUNDS = 5


class OneByOne(peers.Solver):
    """The loop that integrates single trajectories here: tsit5 on the generated Numba right-hand side.

    It stands in for compiled solvers of single trajectories that are not installed, such as CyRK.
    """

    name, share = "one by one, tsit5", 0.25

    def prepare(self) -> None:
        self.system = peers.load(self.task)
        self.parameters = self.system.parameters(self.task.eta)
        self.rules = SolverRules(TSIT5, self.tolerance, self.tolerance / 100)

    def _run(self, initial: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.array([solve(self.system, y, times, self.parameters, self.rules).states for y in initial])

    def final(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times[-1:])

    def grid(self, initial: np.ndarray) -> np.ndarray:
        return self._run(initial, self.task.times)


def right_hand_side(work: Task, target: jit.Target) -> dict:
    """Operations of the right-hand side, its form, its share of the peak, and seconds to compile."""
    program = Pipeline.of(work.model).functions["rhs"]
    start = time.perf_counter()
    compile_kernels(work.model, "tsit5", target)
    compiled = time.perf_counter() - start
    # The peak and the right-hand side are measured in turns, and the best of each counts.
    pairs = [(peak(target), rhs_speed(work.model, target)) for _ in range(ROUNDS)]
    top, speed = np.max(pairs, axis=0)
    row = {
        "operations": operation_count(program),
        "form": form_by_size(program),
        "speed": speed,
        "peak": top,
        "compile_s": compiled,
    }
    print(
        f"{work.activation} ({work.p}, {work.pstar}): {row['operations']} operations, {row['form']}, "
        f"{speed * 1e-9:.1f} GF/s, {speed / top:.0%} of peak, kernels compile in {compiled:.1f} s",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="(4, 2) He3 only")
    options = parser.parse_args()
    keep_freed_memory()
    warnings.simplefilter("ignore")
    numba_module.UNROLL_BUDGET = PEER_LINES
    target = jit.target()
    solvers = (*peers.OURS, OneByOne, *peers.PEERS)
    tolerances = {**TOLERANCES, OneByOne.name: TOLERANCES["overlap-ode tsit5"]}
    results = {}
    for case, size in list(CASES.items())[: 1 if options.quick else None]:
        trajectories, end = size or (8, 1.0)
        work = polynomial_task(*case, trajectories, end)
        results[str(case)] = row = right_hand_side(work, target)
        if size:
            entries = measure(work, ROUNDS, solvers, tolerances)
            row |= {"entries": entries, "ratios": report(GOAL, entries), "summary": summary(entries)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "polynomial.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {RESULTS / 'polynomial.json'}")


if __name__ == "__main__":
    main()
