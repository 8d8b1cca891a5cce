"""Measures steps per second of SGD at finite N: chain, weights, their peers, and random numbers alone.

    python benchmarks/sgd.py            all cases, two minutes
    python benchmarks/sgd.py --quick    (2, 1) and (4, 2) only, fewer N and rounds

A step is one sample shown to one run. Our solvers go through `simulate`, from the start to the
dataset. The peers are written in NumPy as a user would write them, on one thread, with the teacher
along the first axes:

    NumPy loop     weights (p, N) of one run, one step at a time
    NumPy batch    the same with many runs per operation, by einsum
    NumPy chain    the chain of the overlaps with a Cholesky factor per step, many runs per operation

The last two use the number of runs per operation that was the fastest of several on our machine.
`draws` are the random numbers of the weights alone: rows of N normal numbers, by NumPy and by a
kernel that draws and stores them just as the weights do (up to a multiple of 16).

All solvers run in turn, round by round, so that a busy machine disturbs all of them alike. The
median over the rounds counts, and the spread is the least and the best round. Speeds are steps per
second of processor time of all threads, that is per second and core, whatever else runs on it.
`wall` is the same by the clock, of all threads together. The share of draws is the median of the
rounds' shares, in which weights and draws follow each other. Each solver runs untimed first. This
compiles it, and finds how many steps take long enough. Every timing starts anew from Q = 1, with
R_ir = 0.1 for r = i mod p* and 0 elsewhere. Before all this, every method must give the same mean
loss at (4, 2) and N = 100, within its error.

`ratio` compares with the best peer of the same kind (chain, weights, draws). `any` compares with
the best of all peers that simulate SGD at the same widths and N. Peers have free norms and no label
noise. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

# These must be set before NumPy loads its linear algebra.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["VECLIB_MAXIMUM_THREADS"] = "1"

import numpy as np
from llvmlite import ir

import derive
from runtime.output.figure_axes import COLOURS
from runtime.output.figures import save_figure
from runtime.sgd.recorder import generalisation_error
from runtime.sgd.simulation import simulate
from runtime.sgd.weights_step import LANES, RUN_WORDS
from runtime.vector import jit
from runtime.vector.aligned_arrays import aligned
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.random_numbers import WORDS, RandomNumbers, streams

RESULTS = Path(__file__).parent / "results"
WIDTHS = ((1, 1), (2, 1), (4, 2), (8, 4), (32, 8))
SWEEPS = ((4, 2), (8, 4))
SIZES = (100, 1000, 10_000, 100_000)
# N of the chain where N is not varied.
CHAIN_SIZE = 10_000
CHAIN_RUNS = 64
ETA = 0.1
LABEL_NOISE = 0.1
SECONDS = 0.15
GOAL_WIDTHS = (4, 2)
GOAL_SPEED = 8e6
GOAL_SHARE = 0.60
# Runs per NumPy operation, by N and by p.
BATCH_RUNS = {100: 256, 1000: 16, 10_000: 4, 100_000: 2}
NUMPY_CHAIN_RUNS = {1: 1024, 2: 1024, 4: 256, 8: 256, 32: 64}
CHECK_SIZE, CHECK_STEPS, CHECK_RUNS = 100, 500, 256
LARGEST_DEVIATION = 5.0


@dataclasses.dataclass(frozen=True)
class Case:
    """What a solver is timed on: widths (0 and 0 for draws alone), N, and what only our solvers vary."""

    p: int
    pstar: int
    n: int
    threads: int = 1
    constraint: str = "free"
    label_noise: float = 0.0

    @property
    def widths(self) -> tuple[int, int]:
        return self.p, self.pstar

    @property
    def plain(self) -> bool:
        return self.constraint == "free" and self.label_noise == 0.0

    @property
    def variant(self) -> str:
        return self.constraint + (", noise" if self.label_noise else "")

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Overlaps Q and R."""
        aligned_with = np.arange(self.p)[:, None] % self.pstar == np.arange(self.pstar)
        return np.eye(self.p), 0.1 * aligned_with

    def weights(self) -> np.ndarray:
        """Weights (p, N) with these overlaps, with the teacher along the first axes."""
        Q, R = self.start()
        weights = np.zeros((self.p, self.n))
        weights[:, : self.pstar] = R
        weights[:, self.pstar : self.pstar + self.p] = np.linalg.cholesky(Q - R @ R.T)
        return np.sqrt(self.n) * weights


class Solver:
    """`run(steps)` returns the overlaps Q (runs, p, p) and R (runs, p, p*) after that many steps."""

    name = ""
    kind = ""
    ours = False
    runs = 1

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rng = np.random.default_rng(1)
        self.prepare()

    def prepare(self) -> None: ...

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


class Simulated(Solver):
    ours = True

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        case = self.case
        Q, R = case.start()
        result = simulate(
            derive.Model(*case.widths, constraint=case.constraint),
            n=case.n,
            eta=ETA,
            alpha=[steps / case.n],
            method=self.kind,
            trajectories=self.runs,
            label_noise=case.label_noise,
            Q0=Q,
            R0=R,
            threads=case.threads,
        )
        # A run that diverges stops early, and its speed would mean nothing.
        if result.attrs["method"] != self.kind or np.any(result["status"] != "ok"):
            raise SystemExit(f"{self.name} at {case} did not run to the end")
        return result["Q"].values[:, -1], result["R"].values[:, -1]


class Chain(Simulated):
    name = "overlap-ode chain"
    kind = "chain"
    runs = CHAIN_RUNS


class Weights(Simulated):
    name = "overlap-ode weights"
    kind = "weights"


class NumpyLoop(Solver):
    name = "NumPy loop"
    kind = "weights"

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        n, k = self.case.n, self.case.pstar
        a, b, root = 1.0 / self.case.p, 1.0 / k, np.sqrt(n)
        W = self.case.weights()
        for _ in range(steps):
            x = self.rng.standard_normal(n)
            fields = W @ x / root
            error = a * np.sum(fields**2) - b * np.sum(x[:k] ** 2)
            W -= np.outer(2.0 * a * ETA * error / root * fields, x)
        return (W @ W.T / n)[None], W[None, :, :k] / root


class NumpyBatch(Solver):
    name = "NumPy batch"
    kind = "weights"

    def prepare(self) -> None:
        self.runs = BATCH_RUNS[self.case.n]

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        n, k = self.case.n, self.case.pstar
        a, b, root = 1.0 / self.case.p, 1.0 / k, np.sqrt(n)
        W = np.tile(self.case.weights(), (self.runs, 1, 1))
        for _ in range(steps):
            x = self.rng.standard_normal((self.runs, n))
            fields = np.einsum("bin,bn->bi", W, x) / root
            error = a * np.sum(fields**2, axis=1) - b * np.sum(x[:, :k] ** 2, axis=1)
            W -= np.einsum("bi,bn->bin", (2.0 * a * ETA * error / root)[:, None] * fields, x)
        return W @ W.transpose(0, 2, 1) / n, W[:, :, :k] / root


class NumpyChain(Solver):
    name = "NumPy chain"
    kind = "chain"

    def prepare(self) -> None:
        self.runs = NUMPY_CHAIN_RUNS[self.case.p]

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        p, k, n, runs, rng = *self.case.widths, self.case.n, self.runs, self.rng
        a, b = 1.0 / p, 1.0 / k
        Q, R = (np.tile(matrix, (runs, 1, 1)) for matrix in self.case.start())
        for _ in range(steps):
            u, v = rng.standard_normal((runs, k)), rng.standard_normal((runs, p))
            S = np.linalg.cholesky(Q - R @ R.transpose(0, 2, 1))
            fields = (R @ u[:, :, None] + S @ v[:, :, None])[:, :, 0]
            along = np.sum(u**2, axis=1)
            length = along + np.sum(v**2, axis=1) + rng.chisquare(n - k - p, runs)
            error = a * np.sum(fields**2, axis=1) - b * along
            c = 2.0 * a * ETA * error / n
            R -= (c[:, None] * fields)[:, :, None] * u[:, None, :]
            Q += ((c * c * length - 2.0 * c)[:, None] * fields)[:, :, None] * fields[:, None, :]
        return Q, R


class Draws(Solver):
    """A kernel with the weights' loop over inputs and nothing but the random numbers in it."""

    name = "overlap-ode normals"
    kind = "draws"
    ours = True

    def prepare(self) -> None:
        module = ir.Module("draws")
        vector = VectorFunction(module, "draws", LANES, jit.target().fma, 4)
        builder = vector.builder
        row, words, steps, pairs = vector.arguments
        count, turns = builder.ptrtoint(pairs, INT64), builder.ptrtoint(steps, INT64)
        random = RandomNumbers(vector)
        random.load(words, 0)

        def pair(index, state):
            random.state = state
            at = builder.mul(index, integer(2))
            for k, x in enumerate(random.normals()):
                vector.store(x, row, builder.add(at, integer(k)))
            return random.state

        def step(_, state):
            return vector.loop(count, pair, state)

        random.state = vector.loop(turns, step, random.state)
        random.save(words, 0)
        builder.ret(integer(0))
        self._pairs = -(-self.case.n // (2 * LANES))
        self.row = aligned(2 * LANES * self._pairs)
        self._words = aligned(RUN_WORDS)
        start = streams(1, 0, 0, 1, RUN_WORDS).reshape(LANES, WORDS)
        self._words[:] = start.T.ravel().view(np.float64)
        self._compiled = jit.CompiledModule(module, jit.target())
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
        self._draw = kind(self._compiled.address("draws"))

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        self._draw(self.row.ctypes.data, self._words.ctypes.data, steps, self._pairs)
        return self.row, self.row


class NumpyDraws(Solver):
    name = "NumPy normals"
    kind = "draws"

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(steps):
            self.row = self.rng.standard_normal(self.case.n)
        return self.row, self.row


SIMULATORS = (Chain, Weights, NumpyLoop, NumpyBatch, NumpyChain)
# Order within a round at one N. Solvers whose times are divided by each other are neighbours.
ORDER = (Weights, Draws, NumpyDraws, NumpyLoop, NumpyBatch, NumpyChain, Chain)


def solvers(
    all_widths: tuple[tuple[int, int], ...], sizes: tuple[int, ...]
) -> Iterator[tuple[type[Solver], Case]]:
    """All pairs of a solver and a case to time."""
    sweeps = [widths for widths in SWEEPS if widths in all_widths]
    for widths in all_widths:
        for n in sizes if widths in sweeps else (CHAIN_SIZE,):
            for kind in SIMULATORS if widths in sweeps else (Chain, NumpyChain):
                yield kind, Case(*widths, n)
        yield Chain, Case(*widths, CHAIN_SIZE, threads=2)
    for constraint, noise in (("free", LABEL_NOISE), ("sphere", 0.0), ("sphere", LABEL_NOISE)):
        yield Chain, Case(*GOAL_WIDTHS, CHAIN_SIZE, constraint=constraint, label_noise=noise)
    for n in sizes:
        yield Draws, Case(0, 0, n)
        yield NumpyDraws, Case(0, 0, n)


def check() -> dict[str, float]:
    """Deviation of each solver's mean loss from the chain's, in standard errors.

    Ends the program if a deviation is larger than chance allows.
    """
    case = Case(*GOAL_WIDTHS, CHECK_SIZE)
    model = derive.Model(*case.widths)
    means, errors = {}, {}
    for kind in SIMULATORS:
        solver = kind(case)
        if solver.ours:
            solver.runs = 4 * CHECK_RUNS
        losses: list[float] = []
        while len(losses) < CHECK_RUNS:
            losses += generalisation_error(model, *solver.run(CHECK_STEPS), np.eye(case.pstar)).tolist()
        means[kind.name] = np.mean(losses)
        errors[kind.name] = np.std(losses) / np.sqrt(len(losses))
    deviations = {
        name: float((means[name] - means[Chain.name]) / np.hypot(errors[name], errors[Chain.name]))
        for name in means
        if name != Chain.name
    }
    for kind in (Draws, NumpyDraws):
        row, _ = kind(Case(0, 0, SIZES[-1])).run(2)
        deviations[kind.name] = float((np.mean(row**2) - 1.0) * np.sqrt(row.size / 2.0))
    text = ", ".join(f"{name} {deviation:+.1f}" for name, deviation in deviations.items())
    print(f"standard errors from the chain's mean loss, of draws from variance 1: {text}", flush=True)
    if max(map(abs, deviations.values())) > LARGEST_DEVIATION:
        raise SystemExit("not all solve the same problem")
    return deviations


def timed(solver: Solver, steps: int) -> tuple[float, float]:
    """Seconds that these steps take: of processor time, and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    solver.run(steps)
    return time.process_time() - processor, time.perf_counter() - clock


def enough_steps(solver: Solver) -> int:
    """Number of steps that takes about SECONDS on each thread."""
    solver.run(1)
    steps, wanted = 1, SECONDS * solver.case.threads
    while True:
        seconds, _ = timed(solver, steps)
        if seconds > wanted / 4.0:
            return max(1, round(steps * wanted / seconds))
        steps *= 4


def measure(work: list[tuple[type[Solver], Case]], rounds: int) -> list[dict]:
    """One row per solver and case."""
    prepared = [kind(case) for kind, case in work]
    counts = [enough_steps(solver) for solver in prepared]
    speeds: list[list[tuple[float, float]]] = [[] for _ in prepared]
    for _ in range(rounds):
        for solver, steps, found in zip(prepared, counts, speeds, strict=True):
            processor, clock = timed(solver, steps)
            found.append((steps * solver.runs / processor, steps * solver.runs / clock))
    rows = []
    for solver, steps, found in zip(prepared, counts, speeds, strict=True):
        cores, walls = zip(*found, strict=True)
        rows.append(
            {
                "solver": solver.name,
                "kind": solver.kind,
                "ours": solver.ours,
                **dataclasses.asdict(solver.case),
                "variant": solver.case.variant,
                "plain": solver.case.plain,
                "runs": solver.runs,
                "steps": steps,
                "speed": float(np.median(cores)),
                "speed_least": min(cores),
                "speed_best": max(cores),
                "speeds": cores,
                "wall": float(np.median(walls)),
            }
        )
    for row in rows:
        if row["ours"] and row["plain"]:
            row |= ratios(rows, row)
    return rows


def ratios(rows: list[dict], row: dict) -> dict:
    """Speed of a row over that of the best peer of its kind, and of all peers that simulate the same."""
    same = [r for r in rows if not r["ours"] and all(r[key] == row[key] for key in ("p", "pstar", "n"))]
    found = {}
    groups = {"ratio": [r for r in same if r["kind"] == row["kind"]]}
    if row["kind"] != Draws.kind:
        groups["ratio_any"] = same
    for name, peers in groups.items():
        best = max(peers, key=lambda r: r["speed"])
        found |= {name: row["speed"] / best["speed"], f"{name}_peer": best["solver"]}
    return found


def report(rows: list[dict]) -> None:
    print(
        f"  {'solver':20} {'widths':>8} {'N':>6} {'threads':>7} {'norms':13} {'steps/s, core':>14}"
        + f" {'least-best':>23} {'wall':>11} {'ratio':>6} {'any':>6}  best of any"
    )
    ordered = sorted(rows, key=lambda r: (r["kind"], not r["ours"], r["p"], not r["plain"], r["threads"]))
    for r in ordered:
        widths = f"({r['p']}, {r['pstar']})" if r["p"] else ""
        variant = r["variant"] if widths else ""
        spread = f"{r['speed_least']:.0f}-{r['speed_best']:.0f}"
        text = (
            f"  {r['solver']:20} {widths:>8} {r['n']:6} {r['threads']:7} {variant:13}"
            f" {r['speed']:14.0f} {spread:>23} {r['wall']:11.0f}"
        )
        if "ratio" in r:
            text += f" {r['ratio']:6.2f}"
        if "ratio_any" in r:
            text += f" {r['ratio_any']:6.3g}  {r['ratio_any_peer']}"
        print(text)


def shares(rows: list[dict]) -> list[dict]:
    """Share of the random numbers in the cost of the weights, and nanoseconds per input; prints them."""
    of = {(r["solver"], r["p"], r["pstar"], r["n"]): r for r in rows if r["threads"] == 1}
    found = []
    for r in sorted(rows, key=lambda r: (r["p"], r["n"])):
        if r["solver"] != Weights.name:
            continue
        n = r["n"]
        draw, numpy_draw = of[Draws.name, 0, 0, n], of[NumpyDraws.name, 0, 0, n]
        loop = of[NumpyLoop.name, r["p"], r["pstar"], n]
        parts = np.divide(r["speeds"], draw["speeds"])
        numpy_parts = np.divide(loop["speeds"], numpy_draw["speeds"])
        entry = {"p": r["p"], "pstar": r["pstar"], "n": n}
        for name, row in (("", r), ("_draw", draw), ("_numpy_loop", loop), ("_numpy_draw", numpy_draw)):
            entry[f"ns{name}"] = 1e9 / (row["speed"] * n)
        entry |= {"share": float(np.median(parts)), "numpy_share": float(np.median(numpy_parts))}
        found.append({**entry, "share_least": float(min(parts)), "share_best": float(max(parts))})
    print(
        f"  weights: ns per input\n  {'widths':>8} {'N':>6} {'total':>7} {'draws':>7} {'share':>6}"
        + f" {'least-best':>10} {'NumPy loop':>11} {'its draws':>9} {'share':>6}"
    )
    for f in found:
        goal = f"  (goal {GOAL_SHARE:.2f})" if (f["p"], f["pstar"]) == GOAL_WIDTHS else ""
        spread = f"{f['share_least']:.2f}-{f['share_best']:.2f}"
        print(
            f"  {(f['p'], f['pstar'])!s:>8} {f['n']:6} {f['ns']:7.3f} {f['ns_draw']:7.3f} {f['share']:6.2f}"
            f" {spread:>10} {f['ns_numpy_loop']:11.3f} {f['ns_numpy_draw']:9.3f}"
            f" {f['numpy_share']:6.2f}{goal}"
        )
    return found


def plot(rows: list[dict], path: Path) -> None:
    """Draw steps per second and core against N."""
    sweeps = [widths for widths in SWEEPS if any((r["p"], r["pstar"]) == widths for r in rows)]

    def draw(figure) -> None:
        axes = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
        for ax, widths in zip(axes, sweeps, strict=True):
            for k, kind in enumerate(SIMULATORS):
                points = sorted(
                    (r["n"], r["speed"])
                    for r in rows
                    if r["solver"] == kind.name
                    and (r["p"], r["pstar"]) == widths
                    and r["plain"]
                    and r["threads"] == 1
                )
                style = "o-" if kind.ours else "s--"
                ax.loglog(
                    *zip(*points, strict=True), style, color=COLOURS[k], ms=4, lw=1.2, label=kind.name
                )
            ax.set_title(rf"$p={widths[0]}$, $p^*={widths[1]}$", fontsize=9)
            ax.set_xlabel("input dimension $N$")
        axes[0].set_ylabel("steps / s and core")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)

    save_figure(draw, (3.2 * len(sweeps) + 1.0, 3.8), path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small cases, fewer N and rounds")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    all_widths = ((2, 1), (4, 2)) if options.quick else WIDTHS
    sizes = (100, CHAIN_SIZE) if options.quick else SIZES
    target = jit.target()
    print(f"{platform.machine()} {target.cpu}, {target.name}, NumPy {np.__version__}", flush=True)
    results: dict = {"cpu": target.cpu, "simd": target.name, "numpy": np.__version__}
    results["deviations"] = check()
    work = sorted(solvers(all_widths, sizes), key=lambda w: (w[1].n, ORDER.index(w[0]), -w[1].p))
    results["rows"] = rows = measure(work, rounds)
    report(rows)
    results["shares"] = shares(rows)
    speed = next(
        r["speed"]
        for r in rows
        if (r["solver"], r["p"], r["pstar"], r["n"]) == (Chain.name, *GOAL_WIDTHS, CHAIN_SIZE)
    )
    print(f"  chain at {GOAL_WIDTHS}: {speed * 1e-6:.2f} M steps/s per core (goal {GOAL_SPEED * 1e-6:g} M)")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sgd.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(rows, RESULTS / "sgd.png")
    print(f"wrote {RESULTS / 'sgd.json'} and {RESULTS / 'sgd.png'}")


if __name__ == "__main__":
    main()
