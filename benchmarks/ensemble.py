"""Measures trajectories per second of the ensemble engine and of its peers, at equal achieved error.

    python benchmarks/ensemble.py            all cases, some minutes
    python benchmarks/ensemble.py --quick    (2, 1) and (4, 2) only

Every solver integrates the same starts to the same time on one thread. All solvers run in one
process, round by round in turn, so that a busy machine disturbs all of them alike. In each round a
solver runs twice and the faster run counts; the median over the rounds is its speed. An error is
the largest one over trajectories, times and order parameters, against references by DOP853 at
3e-14.

Two kinds of ratios are printed: each of our settings with the best peer at the same error, and our
best setting with the best peer at round errors. Speeds between two settings are interpolated
(log-log).

Freed memory is kept, and every solver runs untimed first, so that no timing includes the page
faults of fresh results. Peers that cannot be imported are skipped. Install the extra `bench` for
them, and numbalsoda by hand where there is a Fortran compiler. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import peers
from peak import peak, rhs_speed
from problem import Task, largest_error, reference, task

import derive
from runtime.ensemble.kernels.compiled_kernels import compile_kernels
from runtime.output.figure_axes import COLOURS
from runtime.vector import jit

RESULTS = Path(__file__).parent / "results"
CASES = {(2, 1): (4096, 200.0), (4, 2): (2048, 200.0), (8, 4): (512, 200.0)}
LARGE_CASES = {(12, 6): (128, 400.0), (32, 8): (32, 1000.0)}
TOLERANCES = {
    "overlap-ode tsit5": (1e-5, 1e-6, 1e-7, 1e-8),
    "overlap-ode prince8": (1e-5, 1e-6, 1e-7, 1e-8),
    "overlap-ode dop853": (1e-5, 1e-6, 1e-7, 1e-8, 1e-9),
    "heyoka batch 8": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
    "diffrax Tsit5": (1e-5, 1e-6, 1e-7, 1e-8),
    "CyRK DOP853": (1e-6, 1e-8, 1e-10),
    "numbalsoda LSODA": (1e-6, 1e-8, 1e-10),
    "scipy LSODA + numba": (1e-6, 1e-8, 1e-10),
    "scipy DOP853 + numpy": (1e-8,),
}
MODES = ("final", "grid")
# Errors at which our best method is compared with the best peer.
ERRORS = (1e-9, 1e-8, 1e-7, 1e-6)
# One colour per solver; figures of the package need fewer.
SOLVER_COLOURS = (*COLOURS, "#999999", "#8c510a")
GOALS = {(2, 1): 3.0, (4, 2): 3.0, (8, 4): 5.0, (12, 6): 8.0, (32, 8): 10.0}

# Parameters of mallopt, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Make glibc's malloc reuse freed memory instead of returning it to the kernel.

    A result of 200 outputs takes some 60 MB. By default malloc maps every such array anew and unmaps it
    when it is freed. Each run then pays page faults and zeroed pages for all of it, which can cost more
    than the integration and varies much. On systems without glibc this function does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # Never trim: the value is taken as an unsigned size.


def measure(work: Task, rounds: int, kinds: Sequence[type[peers.Solver]], tolerances: dict) -> list[dict]:
    """One row per solver, tolerance and mode: error, trajectories per second, seconds of preparation."""
    expected = reference(work)
    entries = []
    for kind in kinds:
        if kind.missing():
            print(f"  {kind.name}: cannot be imported, skipped", flush=True)
            continue
        for tolerance in tolerances[kind.name]:
            start = time.perf_counter()
            solver = kind(work, tolerance)
            prepared = time.perf_counter() - start
            for mode in MODES:
                entries.append(
                    {
                        "solver": kind.name,
                        "tolerance": tolerance,
                        "mode": mode,
                        "prepare_s": prepared,
                        "run": (getattr(solver, mode), work.initial[: solver.count]),
                        "speeds": [],
                    }
                )
    # These untimed runs have full size and are done twice: a first run leaves lasting allocations in the
    # freed memory, so that the next large result does not fit there and takes fresh pages once more.
    for entry in 2 * entries:
        function, initial = entry["run"]
        entry["error"] = largest_error(function(initial), expected)
    for _ in range(rounds):
        for entry in entries:
            function, initial = entry["run"]
            # The solver runs twice, since the freed memory that another one left can be too small at first.
            best = math.inf
            for _ in range(2):
                start = time.perf_counter()
                function(initial)
                best = min(best, time.perf_counter() - start)
            entry["speeds"].append(len(initial) / best)
    for entry in entries:
        del entry["run"]
        speeds = entry.pop("speeds")
        entry |= {"speed": float(np.median(speeds)), "speed_best": max(speeds), "speed_least": min(speeds)}
    return entries


def fastest(entries: list[dict], mode: str, error: float, ours: bool) -> tuple[float, str]:
    """The greatest speed at this error and the solver that has it, among ours or among the peers.

    Speeds are interpolated between settings; faster settings of smaller error count as well.
    """
    best, name = 0.0, "none"
    for solver in {e["solver"] for e in entries if e["solver"].startswith("overlap-ode") == ours}:
        points = sorted(
            (e["error"], e["speed"]) for e in entries if e["solver"] == solver and e["mode"] == mode
        )
        errors, speeds = np.array(points).T
        # A setting that is slower and less accurate than another is replaced by that other one.
        speeds = np.maximum.accumulate(speeds)
        if error < errors[0]:
            continue
        speed = float(np.exp(np.interp(np.log(error), np.log(errors), np.log(speeds))))
        if speed > best:
            best, name = speed, solver
    return best, name


def report(goal: float, entries: list[dict]) -> list[dict]:
    """Print the table and the ratios, and return the ratios."""
    print(
        f"  {'solver':24} {'tolerance':>9} {'mode':>6} {'error':>9}"
        + f" {'traj/s':>10} {'least-best':>19} {'prepare s':>9}"
    )
    for e in sorted(entries, key=lambda e: (e["mode"], e["solver"], -e["tolerance"])):
        spread = f"{e['speed_least']:.0f}-{e['speed_best']:.0f}"
        print(
            f"  {e['solver']:24} {e['tolerance']:9.0e} {e['mode']:>6} {e['error']:9.1e}"
            f" {e['speed']:10.0f} {spread:>19} {e['prepare_s']:9.2f}"
        )
    ratios = []
    for e in entries:
        if e["solver"].startswith("overlap-ode"):
            speed, name = fastest(entries, e["mode"], e["error"], ours=False)
            if speed:
                row = {key: e[key] for key in ("solver", "tolerance", "mode", "error", "speed")}
                ratios.append({**row, "peer": name, "peer_speed": speed, "ratio": e["speed"] / speed})
    for mode in MODES:
        rows = [row for row in ratios if row["mode"] == mode]
        if rows:
            text = ", ".join(
                f"{r['ratio']:.2f} at {r['error']:.0e}" for r in sorted(rows, key=lambda r: r["error"])
            )
            print(f"  ratio to the best peer, {mode}: {text} (goal {goal:g})", flush=True)
    return ratios


def summary(entries: list[dict]) -> list[dict]:
    """Compare our best method with the best peer at round errors that both reach; print and return this."""
    rows = []
    for mode in MODES:
        for error in ERRORS:
            ours, method = fastest(entries, mode, error, ours=True)
            theirs, peer = fastest(entries, mode, error, ours=False)
            if ours and theirs:
                ratio = ours / theirs
                rows.append({"mode": mode, "error": error, "method": method, "peer": peer, "ratio": ratio})
                text = f"{method} {ours:.0f}, {peer} {theirs:.0f}, ratio {ratio:.2f}"
                print(f"  {mode:>5} at {error:.0e}: {text}", flush=True)
    return rows


def scaling(widths: tuple[int, int]) -> dict:
    """Trajectories per second for several numbers of trajectories, and for one and two threads."""
    work = task(*widths, 2**14)
    solver = peers.Tsit5(work, 1e-7)
    solver.final(work.initial[:64])
    numbers = {}
    for count in (1, 8, 64, 512, 4096, 2**14):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            solver.final(work.initial[:count])
            best = min(best, time.perf_counter() - start)
        numbers[count] = count / best
    threads = {}
    for workers in (1, 2):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            solver.final(work.initial, threads=workers)
            best = min(best, time.perf_counter() - start)
        threads[workers] = len(work.initial) / best
    print(f"  trajectories/s by number: {', '.join(f'{k}: {v:.0f}' for k, v in numbers.items())}")
    print(
        f"  trajectories/s by threads: {', '.join(f'{k}: {v:.0f}' for k, v in threads.items())}", flush=True
    )
    return {"trajectories": numbers, "threads": threads}


def plot(results: dict, path: Path) -> None:
    """Draw the work-precision figure: trajectories per second against achieved error."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = list(results["cases"])
    figure = Figure(figsize=(3.4 * len(cases) + 1.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(len(MODES), len(cases), sharex=True, squeeze=False))
    names = list(TOLERANCES)
    for column, case in enumerate(cases):
        for row, mode in enumerate(MODES):
            ax = axes[row, column]
            for k, name in enumerate(names):
                points = sorted(
                    (e["error"], e["speed"])
                    for e in results["cases"][case]["entries"]
                    if e["solver"] == name and e["mode"] == mode
                )
                if points:
                    style = "o-" if name.startswith("overlap-ode") else "s--"
                    colour = SOLVER_COLOURS[k]
                    ax.loglog(*zip(*points, strict=True), style, color=colour, ms=4, lw=1.2, label=name)
            ax.set_title(f"{case}, {'final state' if mode == 'final' else '200 outputs'}", fontsize=9)
            ax.grid(alpha=0.25, lw=0.5)
            if column == 0:
                ax.set_ylabel("trajectories / s, one thread")
            if row == len(MODES) - 1:
                ax.set_xlabel("largest error")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small cases, fewer rounds")
    options = parser.parse_args()
    keep_freed_memory()
    warnings.simplefilter("ignore")
    rounds = 3 if options.quick else 5
    cases = {key: CASES[key] for key in ((2, 1), (4, 2))} if options.quick else {**CASES, **LARGE_CASES}
    target = jit.target()
    top = peak(target)
    print(f"{platform.machine()} {target.cpu}, {target.name}; peak {top * 1e-9:.1f} GF/s on one thread")
    results: dict = {"cpu": target.cpu, "simd": target.name, "peak": top, "cases": {}}
    for widths, (trajectories, end) in cases.items():
        start = time.perf_counter()
        compile_kernels.cache_clear()
        compile_kernels(derive.Model(*widths), "tsit5", target)
        compiled = time.perf_counter() - start
        share = rhs_speed(derive.Model(*widths), target) / peak(target)
        print(
            f"(p, p*) = {widths}: right-hand side {share:.0%} of peak, kernels compile in {compiled:.2f} s",
            flush=True,
        )
        work = task(*widths, trajectories, end)
        entries = measure(work, rounds, (*peers.OURS, *peers.PEERS), TOLERANCES)
        results["cases"][str(widths)] = {
            "entries": entries,
            "ratios": report(GOALS[widths], entries),
            "summary": summary(entries),
            "peak_share": share,
            "compile_s": compiled,
        }
    print("scaling at (4, 2), tsit5 at 1e-7:")
    results["scaling"] = scaling((4, 2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ensemble.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(results, RESULTS / "ensemble.png")
    print(f"wrote {RESULTS / 'ensemble.json'} and {RESULTS / 'ensemble.png'}")


if __name__ == "__main__":
    main()
