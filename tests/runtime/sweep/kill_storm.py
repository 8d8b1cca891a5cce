"""Kills drivers, workers and schedulers of a sweep at random times; the sweep must finish all the same.

    python tests/runtime/sweep/kill_storm.py 60    kills on processes, threads, parts and Dask

After each kill everything that had appeared as a shard must still be there, byte for byte; in the end
the merged file must be that of an undisturbed sweep.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# As a script it may run where the package is not installed.
sys.path.insert(0, str(Path(__file__).parents[3]))

import cli
from derive.atomic_files import TEMPORARY

ROOT = Path(__file__).parents[3]
CLI = [sys.executable, str(ROOT / "cli.py")]
# Tasks of some hundredths of a second, and too many to finish between two kills.
_WORDS = "--job chain --p 2 --pstar 1 --n 2000 --alpha 0,20,40 --trajectories 8 --eta 0.1:0.4:4"
SWEEP = _WORDS.split(" ")
SEEDS = 30
# Seconds after the start of a driver, which is then anywhere from its imports to the middle of its tasks.
EARLIEST, LATEST = 0.3, 3.0
# Seconds between two kills, and until something must have ended.
BETWEEN = (0.05, 0.8)
PATIENCE = 120.0


def children(pid: int) -> dict[int, str]:
    """Processes below this one, and their command lines."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            # Zombies are dead already.
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: dict[int, str] = {}
    front = {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        for child in front:
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def shards(folder: Path) -> dict[str, str]:
    """Digests of the shards with final names, without those that `Storm.forget_some` has cut off."""
    found = {}
    for path in sorted(folder.glob("shards/*/[0-9]*.nc")):
        content = path.read_bytes()
        if content.endswith(b"\n"):
            found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Driver:
    """A process that runs a sweep; what it says goes to a file."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._said = folder.parent / f"{folder.name}-{time.monotonic_ns()}.err"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*CLI, "sweep", *arguments, "--out", str(folder), "--quiet"],
                cwd=folder.parent,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> bool:
        """Kill it; returns whether it was still there to be killed."""
        # The number of a process that was waited for may be another's by now.
        if not self.running:
            return False
        self.process.kill()
        return self.process.wait(PATIENCE) == -signal.SIGKILL

    def end(self) -> tuple[int, str]:
        """Wait for it: its code, and what it said on stderr."""
        return self.process.wait(PATIENCE), self._said.read_text()


class Storm:
    """Starts one sweep again and again, and kills."""

    def __init__(self, folder: Path, seed: int, seeds: int = SEEDS) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.arguments = [*SWEEP, "--seed", f"0:{seeds - 1}"]
        self.kills = {"driver": 0, "worker": 0, "scheduler": 0}
        self.seen: dict[str, str] = {}
        self.drivers: list[Driver] = []

    @property
    def count(self) -> int:
        return sum(self.kills.values())

    def start(self, folder: Path, *options: str) -> Driver:
        self.drivers.append(Driver(folder, [*self.arguments, *options]))
        return self.drivers[-1]

    def undisturbed(self) -> bytes:
        """The merged file of a sweep that nobody kills."""
        folder = self.folder.with_name("undisturbed")
        self.here("sweep", *self.arguments, "--out", str(folder))
        return self.merged(folder)

    def merged(self, folder: Path) -> bytes:
        out = folder.with_suffix(".nc")
        self.here("merge", str(folder), "--out", str(out))
        return out.read_bytes()

    def here(self, *words: str) -> None:
        """A command in this process, which has imported everything."""
        generated = ["--quiet", "--generated", str(self.folder.with_name("generated"))]
        assert cli.run([*words, *(generated if words[0] == "sweep" else [])]) == 0

    def look(self) -> None:
        """Check that what was stored before is still there, byte for byte."""
        now = shards(self.folder)
        lost = {name for name, digest in self.seen.items() if now.get(name) != digest}
        assert not lost, f"lost or changed: {sorted(lost)}"
        self.seen = now

    def forget_some(self) -> None:
        """Make work for the next kills: some shards go missing, others are cut off."""
        for path in sorted(self.folder.glob("shards/*/[0-9]*.nc")):
            choice = self.random.random()
            if choice < 0.5:
                path.unlink()
            elif choice < 0.6:
                path.write_bytes(path.read_bytes()[: self.random.randrange(1000)] + b"!")
            else:
                continue
            self.seen.pop(path.name, None)

    def strike(self, driver: Driver, workers: dict[int, str]) -> bool:
        """Kill a worker or the driver; returns whether it was the driver."""
        self.look()
        if workers and self.random.random() < 0.6:
            self.kills["worker"] += kill(self.random.choice(sorted(workers)))
            return False
        self.kills["driver"] += driver.kill()
        return True

    def run(self, options: list[str], kills: int) -> None:
        """Kill so many times with one engine, one driver after the other."""
        goal = self.count + kills
        while self.count < goal:
            driver = self.start(self.folder, *options)
            time.sleep(self.random.uniform(EARLIEST, LATEST))
            while driver.running and self.count < goal:
                below = children(driver.pid)
                workers = {pid: line for pid, line in below.items() if "sweep.process_worker" in line}
                if self.strike(driver, workers):
                    self.gone(below)
                    break
                time.sleep(self.random.uniform(*BETWEEN))
            driver.kill()
            code, err = driver.end()
            # 1: a task may be hit so often that it counts as failed; the next run tries it again.
            assert code in (0, 1, -signal.SIGKILL), (code, err)
            self.look()
            if code == 0:
                self.forget_some()

    def parts(self, kills: int, count: int = 2) -> None:
        """Kill so many times while parts of a job array run side by side."""
        goal = self.count + kills
        drivers: dict[int, Driver] = {}
        while self.count < goal:
            for index in range(count):
                if index not in drivers or not drivers[index].running:
                    options = ["--workers", "1", "--task-index", str(index), "--task-count", str(count)]
                    drivers[index] = self.start(self.folder, *options)
            time.sleep(self.random.uniform(EARLIEST, LATEST))
            self.look()
            victim = drivers[self.random.randrange(count)]
            if victim.running:
                self.kills["driver"] += victim.kill()
            elif not any(driver.running for driver in drivers.values()):
                self.forget_some()
        for driver in drivers.values():
            driver.kill()
        self.look()

    def dask(self, kills: int) -> None:
        """Kill so many times with a scheduler and two workers of Dask, which are killed too."""
        goal, file = self.count + kills, str(self.folder.parent / "scheduler.json")
        while self.count < goal:
            with cluster(self.folder.parent) as processes:
                driver = self.start(self.folder, "--scheduler", file)
                time.sleep(self.random.uniform(EARLIEST, 2 * LATEST))
                while self.count < goal:
                    self.look()
                    if not driver.running:
                        code, err = driver.end()
                        assert code in (0, 1, -signal.SIGKILL), (code, err)
                        if code == 0:
                            self.forget_some()
                        driver = self.start(self.folder, "--scheduler", file)
                        time.sleep(self.random.uniform(EARLIEST, 2 * LATEST))
                    victim = self.random.choice(["driver", "worker", "worker", "scheduler"])
                    if victim == "driver":
                        self.kills[victim] += driver.kill()
                        continue
                    if victim == "scheduler":
                        self.kills[victim] += kill(processes[0].pid)
                        code, err = driver.end()
                        # 2: it may not even have reached the scheduler.
                        assert code == 0 or (code in (1, 2) and err.count("\n") == 1), err
                        break
                    below = [pid for nanny in processes[1:] for pid in children(nanny.pid)]
                    if below:
                        self.kills[victim] += kill(self.random.choice(below))
                    time.sleep(self.random.uniform(*BETWEEN))
                driver.kill()
        self.look()

    def gone(self, below: dict[int, str]) -> None:
        """Check that workers end with their driver."""
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() and line == command(pid) for pid, line in below.items()):
            assert time.monotonic() < end, f"workers outlive their driver: {below}"
            time.sleep(0.02)

    def finish(self) -> bytes:
        """Let it finish; the merged file."""
        self.here("sweep", *self.arguments, "--out", str(self.folder))
        self.look()
        left = [path for path in self.folder.rglob("*") if TEMPORARY in path.name]
        assert not left, left
        return self.merged(self.folder)


def command(pid: int) -> str | None:
    """The command line of a process, None if it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() or None
    except OSError:
        return None


class cluster:
    """A scheduler and two workers; a context manager of their processes, the scheduler first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []

    def __enter__(self) -> list[subprocess.Popen[bytes]]:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        options = ["--host", "127.0.0.1", "--no-dashboard"]
        self._start("scheduler", "--port", "0", "--scheduler-file", str(file), *options)
        end = time.monotonic() + PATIENCE
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        for _ in range(2):
            more = ["--nthreads", "1", "--nworkers", "1", "--local-directory", str(self.folder / "dask")]
            self._start("worker", "--scheduler-file", str(file), *options, *more)
        return self.processes

    def _start(self, kind: str, *arguments: str) -> None:
        self.processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *arguments],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            for pid in (*children(process.pid), process.pid):
                kill(pid)
            process.wait(PATIENCE)


def storm_of(folder: Path, kills: int, seed: int = 0, seeds: int = SEEDS) -> Storm:
    """Run a storm in which the engines share the kills; the sweep has `seeds` tasks for each η."""
    storm = Storm(folder / "sweep", seed, seeds)
    wanted = storm.undisturbed()
    share = kills // 4
    try:
        storm.run(["--engine", "processes", "--workers", "2"], kills - 3 * share)
        print("processes", storm.kills, flush=True)
        storm.run(["--engine", "threads", "--workers", "2"], share)
        print("and threads", storm.kills, flush=True)
        storm.parts(share)
        print("and two parts of an array", storm.kills, flush=True)
        storm.dask(share)
        print("and Dask", storm.kills, flush=True)
    finally:
        for driver in storm.drivers:
            driver.kill()
    assert storm.finish() == wanted
    return storm


if __name__ == "__main__":
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        done = storm_of(Path(temporary), int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)
    words = f"{done.count} kills {done.kills}: nothing lost, the merged files are equal"
    print(f"{words}, {time.monotonic() - begun:.0f} s")
