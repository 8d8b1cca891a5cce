"""Measures what a task of a sweep costs beside its work on each engine, and how two workers scale.

    python benchmarks/sweep.py            some minutes
    python benchmarks/sweep.py --quick    fewer tasks and rounds, about a minute

`overhead` is the cost of a task beside the integration: its place in the queue, the shard with its
two syncs, and the way back. It is measured with sweeps of many and of few tasks of the smallest
kind, (1, 1) at three times, on one worker. The difference of their times per task, less the time of
the same integration without a sweep, is the overhead. What is left of the smaller sweep is the
start: the plan, the imports of the workers and their systems. `look` is the time to read and verify
a shard when a sweep is continued. `merge` is the time per shard of writing the merged file.

`scaling` compares sweeps on one and on two workers, in turn, with tasks of about a tenth of a
second. One ratio of their times includes the start. The other leaves it out, by means of sweeps of
two lengths.

All figures are medians over the rounds. Every sweep starts in a new folder, with compiled code in
the cache. The disk counts, so run it where your sweeps will be (--folder). Results go to
benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# These must be set before NumPy loads its linear algebra.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import runtime
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.task_kinds import JOBS, result_of
from runtime.sweep.task_plan import Plan

RESULTS = Path(__file__).parent / "results"
SMALL = ("ode", {"p": 1, "pstar": 1, "alpha": [0.0, 1.0, 2.0]})
LONG = ("chain", {"p": 4, "pstar": 2, "n": 2000, "alpha": [0.0, 50.0], "trajectories": 32})
FEW, MANY = 50, 550
SHORT, LENGTHY = 10, 50
WORKERS = 2
ENGINES = ("threads", "processes")


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Sweeps:
    """Runs sweeps, each in a new folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def time(self, kind: tuple[str, dict[str, Any]], tasks: int, engine: str, workers: int) -> float:
        """Seconds of a sweep with this number of tasks, from the call to its return."""
        self.count += 1
        self.last = self.folder / f"sweep{self.count}"
        job, fixed = kind
        parameters = {**fixed, "seed": f"0:{tasks - 1}"}
        options = {"engine": engine, "workers": workers, "generated": self.folder / "generated"}
        return seconds(lambda: runtime.run_sweep(self.last, job, parameters, **options))


def bare(kind: tuple[str, dict[str, Any]], folder: Path, tasks: int) -> float:
    """Seconds per task without a sweep."""
    job, fixed = kind
    listed = list(Plan.of(job, {**fixed, "seed": f"0:{tasks - 1}"}).tasks())
    parameters = [task.parameters for task in listed]
    result_of(JOBS[job], parameters[0], folder / "generated", 1)
    return seconds(lambda: [result_of(JOBS[job], p, folder / "generated", 1) for p in parameters]) / tasks


def overheads(sweeps: Sweeps, rounds: int, many: int) -> list[dict[str, Any]]:
    sweeps.time(SMALL, 1, "threads", 1)
    found: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
    alone, looks, merges = [], [], []
    for _ in range(rounds):
        alone.append(bare(SMALL, sweeps.folder, many))
        for engine, times in found.items():
            few = sweeps.time(SMALL, FEW, engine, 1)
            times.append((few, sweeps.time(SMALL, many, engine, 1)))
        folder = SweepFolder(sweeps.last)
        plan = folder.stored_plan()
        assert plan is not None
        looks.append(seconds(lambda folder=folder, plan=plan: folder.state(plan)) / many)
        out = sweeps.folder / "merged.nc"
        merges.append(seconds(lambda out=out: runtime.merge_sweep(sweeps.last, out)) / many)
    work = statistics.median(alone)
    rows = []
    for engine, times in found.items():
        each = statistics.median((long - few) / (many - FEW) for few, long in times)
        start = statistics.median(few for few, _ in times) - FEW * each
        rows.append({"engine": engine, "task_ms": 1e3 * each, "overhead_ms": 1e3 * (each - work)})
        rows[-1] |= {"start_s": start, "work_ms": 1e3 * work}
        print(
            f"  {engine:<10} {1e3 * each:8.2f} ms per task, {1e3 * (each - work):6.2f} ms of it overhead;"
            f" start {start:.2f} s",
            flush=True,
        )
    look, merge = 1e3 * statistics.median(looks), 1e3 * statistics.median(merges)
    print(f"  the task alone {1e3 * work:.2f} ms; look at a shard {look:.2f} ms, merge it {merge:.2f} ms")
    return [*rows, {"look_ms": look, "merge_ms": merge}]


def scalings(sweeps: Sweeps, rounds: int) -> list[dict[str, Any]]:
    work = bare(LONG, sweeps.folder, 4)
    print(f"scaling from 1 to {WORKERS} workers, tasks of {1e3 * work:.0f} ms", flush=True)
    rows = []
    for engine in ENGINES:
        whole, rate = [], []
        for _ in range(rounds):
            times = {
                (workers, tasks): sweeps.time(LONG, tasks, engine, workers)
                for tasks in (SHORT, LENGTHY)
                for workers in (1, WORKERS)
            }
            whole.append(times[1, LENGTHY] / times[WORKERS, LENGTHY])
            slopes = [times[workers, LENGTHY] - times[workers, SHORT] for workers in (1, WORKERS)]
            rate.append(slopes[0] / slopes[1])
        row = {"engine": engine, "work_ms": 1e3 * work, "tasks": LENGTHY}
        row |= {"ratio": statistics.median(whole), "ratio_without_start": statistics.median(rate)}
        rows.append(row)
        print(
            f"  {engine:<10} {row['ratio']:.2f} times as fast with the start ({LENGTHY} tasks),"
            f" {row['ratio_without_start']:.2f} without it",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer tasks and rounds")
    parser.add_argument("--folder", type=Path, help="where sweeps are written [default: a temporary one]")
    options = parser.parse_args()
    rounds, many = (1, 250) if options.quick else (3, MANY)
    print(f"{platform.machine()}, {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sweeps = Sweeps(Path(folder))
        print("overhead on one worker", flush=True)
        results = {
            "processors": os.cpu_count(),
            "overhead": overheads(sweeps, rounds, many),
            "scaling": scalings(sweeps, rounds),
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sweep.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {RESULTS / 'sweep.json'}")


if __name__ == "__main__":
    main()
