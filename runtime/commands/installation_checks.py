"""The checks of `cli doctor`: what is fine about the installation, what is not, and what to do."""

from __future__ import annotations

import dataclasses
import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from packaging.requirements import Requirement

import runtime
from derive.errors import InputError
from derive.model import Model
from derive.version import VERSION
from runtime.concurrency.thread_pool import thread_count
from runtime.system import catalogue, compile_cache
from runtime.vector import jit

DISTRIBUTION = "overlap-ode"
OLDEST_PYTHON = (3, 11)
# A full development cache has some hundred megabytes.
LARGE_CACHE = 2**30
LEAST_FREE = 2**28
# Both solvers of the trial run keep a relative tolerance of 1e-8.
_ACCURACY = 1e-6
# Features of the processor that decide how wide and how exact vector code is, by LLVM's names.
FEATURES = ("sse4.2", "avx", "fma", "avx2", "avx512f", "avx512dq", "avx512vl", "neon", "sve")
# Here Linux says how much processor time a container may use: quota and period.
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the report.

    status
        ``"ok"``, ``"warning"`` (works, but slower or not everywhere) or ``"problem"``.
    found
        What there is; `next` says what to do about it, "" where there is nothing to do.
    """

    name: str
    status: str
    found: str
    next: str = ""

    def to_dict(self) -> dict[str, str]:
        return dataclasses.asdict(self)


def examine(generated: Path, trial: bool = False) -> list[Check]:
    """All checks in order; `generated` is the folder of systems, `trial` also integrates one."""
    checks = [
        *versions(),
        *processor(),
        *threads(),
        cache(),
        *generated_systems(generated),
        writable(
            "temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written"
        ),
        writable(
            "results", Path.cwd(), "change to a folder that can be written, or give --out a full path"
        ),
        *terminal(),
    ]
    return [*checks, trial_run()] if trial else checks


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The report as plain values."""
    return {"version": VERSION, "status": worst(checks), "checks": [check.to_dict() for check in checks]}


def worst(checks: list[Check]) -> str:
    """The worst status among the checks."""
    order = ("ok", "warning", "problem")
    return max((check.status for check in checks), key=order.index)


# --- versions --------------------------------------------------------------------------------


def versions() -> Iterator[Check]:
    """This package, Python, what is required, what is optional."""
    yield _package()
    running = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Check("Python", "problem", running, f"use Python {wanted} or newer")
    else:
        yield Check("Python", "ok", f"{running}, {platform.python_implementation()}, {sys.executable}")
    for extra, wanted_packages in requirements().items():
        if extra:
            yield _extra(extra, wanted_packages)
        else:
            yield from map(_dependency, wanted_packages)
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        yield Check(
            "NUMBA_DISABLE_JIT", "problem", "is set: nothing is compiled", "unset NUMBA_DISABLE_JIT"
        )


def requirements() -> dict[str, list[Requirement]]:
    """What the installed package requires, by extra, "" being what it always needs; sorted by name."""
    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return {}
    listed = sorted(map(Requirement, about.get_all("Requires-Dist") or []), key=lambda r: r.name.lower())
    found = {"": [r for r in listed if _applies(r, "")]}
    for extra in about.get_all("Provides-Extra") or []:
        found[extra] = [r for r in listed if _applies(r, extra) and r not in found[""]]
    return found


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _package() -> Check:
    where = Path(__file__).resolve().parents[2]
    try:
        installed = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return Check(
            DISTRIBUTION, "warning", f"{VERSION} in {where}, not installed", f"pip install {where}"
        )
    if installed != VERSION:
        found = f"{VERSION} in {where}, but {installed} is what pip installed"
        return Check(DISTRIBUTION, "warning", found, f"pip install {where}, or leave that folder")
    return Check(DISTRIBUTION, "ok", f"{VERSION} in {where}")


def _installed(requirement: Requirement) -> str | None:
    """The version of a package, None if it is not installed."""
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _dependency(requirement: Requirement) -> Check:
    name, version = requirement.name, _installed(requirement)
    hint = f"pip install '{name}{requirement.specifier}'"
    if version is None:
        return Check(name, "problem", "is not installed", hint)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(name, "problem", f"{version}, and {requirement.specifier} is needed", hint)
    return Check(name, "ok", version)


def _extra(extra: str, wanted: list[Requirement]) -> Check:
    absent = [requirement.name for requirement in wanted if _installed(requirement) is None]
    everything = f"all of {', '.join(requirement.name for requirement in wanted)}"
    found = f"without {', '.join(absent)}" if absent else everything
    hint = f"only if you need it: pip install '{DISTRIBUTION}[{extra}]'" if absent else ""
    return Check(f"optional [{extra}]", "ok", found, hint)


# --- processor -------------------------------------------------------------------------------


def processor() -> Iterator[Check]:
    """The processor, and how wide the vector code of ensembles and simulations is, with the reason."""
    features = llvm.get_host_cpu_features()
    there = [name for name in FEATURES if features.get(name)]
    found = f"{_model_name()}, {platform.machine()}, {platform.system()}; LLVM calls it"
    found += f" {llvm.get_host_cpu_name()}, with {', '.join(there) or 'no vector features'}"
    yield Check("processor", "ok", found)
    restriction = os.environ.get(jit.ENVIRONMENT, "")
    name = "vector code"
    try:
        chosen, widest = jit.target(), jit.target(restrict="")
    except InputError as error:
        yield Check(name, "problem", f"{error.option} {error.problem}", f"unset {jit.ENVIRONMENT}")
        return
    found = f"{chosen.name}: {chosen.lanes} trajectories per operation"
    found += ", fused multiply-adds" if chosen.fma else ", no fused multiply-adds"
    if restriction and chosen != widest:
        reason = f"; {jit.ENVIRONMENT}={restriction} keeps it from {widest.name}"
        yield Check(name, "warning", found + reason, f"unset {jit.ENVIRONMENT} for full speed")
    elif restriction:
        yield Check(name, "ok", f"{found}; {jit.ENVIRONMENT}={restriction} changes nothing")
    elif not chosen.fma:
        hint = "results differ in the last bits from those of processors that have them; nothing to do"
        yield Check(name, "warning", f"{found}: this processor has no AVX2 with FMA", hint)
    else:
        yield Check(name, "ok", f"{found}; the widest of this processor")


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    # platform.processor() would run a program.
    return names[0] if names else "unknown processor"


def threads() -> Iterator[Check]:
    """How many threads a command starts, against what the machine and a container allow."""
    usable, there = thread_count(None), os.cpu_count() or 1
    found = f"{usable} by default, on {there} processors"
    quota = _quota()
    if quota is not None and quota < usable:
        whole = max(1, int(quota))
        yield Check(
            "threads",
            "warning",
            f"{found}, but the container may use the time of {quota:g} only",
            f"--threads {whole}",
        )
    else:
        yield Check("threads", "ok", found)


def _quota() -> float | None:
    """Processors' worth of time that a container may use; None without a limit."""
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        return None


# --- folders ---------------------------------------------------------------------------------


def cache() -> Check:
    """The folder of compiled code."""
    root = compile_cache.cache_root()
    name = "cache of compiled code"
    origin = (
        f"{compile_cache.ENVIRONMENT} names it"
        if os.environ.get(compile_cache.ENVIRONMENT)
        else "the default"
    )
    problem = compile_cache.problem_with(root)
    if problem is not None:
        hint = (
            f"set {compile_cache.ENVIRONMENT} to a private folder; until then every process compiles anew"
        )
        return Check(name, "warning", f"{root} ({origin}) is not used: {problem}", hint)
    files = [path for path in root.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    entries = sorted(path for path in root.iterdir() if path.is_dir())
    found = f"{root} ({origin}): {len(entries)} entries, {size / 2**20:.1f} MiB"
    problems = {entry: problem for entry in entries if (problem := compile_cache.problem_with(entry))}
    if problems:
        first, reason = next(iter(problems.items()))
        found += f"; {len(problems)} of them cannot be used: {reason}"
        return Check(name, "warning", found, f"delete {first}: what is needed is compiled again")
    if size > LARGE_CACHE:
        return Check(name, "warning", found, f"delete {root}: what is needed is compiled again")
    return Check(name, "ok", found)


def generated_systems(folder: Path) -> Iterator[Check]:
    """The folder of derived systems, and whether each can be loaded."""
    name = "derived systems"
    try:
        systems = catalogue.systems(folder)
        there = folder.exists()
    except (InputError, OSError) as error:
        problem = error.problem if isinstance(error, InputError) else str(error)
        yield Check(name, "problem", problem, "give --generated a folder that can be read")
        return
    if not there:
        parent = writable(name, folder.absolute().parent, "give --generated a folder that can be written")
        if parent.status == "ok":
            yield Check(name, "ok", f"{folder} is not there yet; the first command that needs it makes it")
        else:
            yield parent
        return
    yield writable(name, folder, "give --generated a folder that can be written")
    loadable = [system for system in systems if "problem" not in system]
    yield Check(name, "ok", f"{len(loadable)} of {len(systems)} in {folder} can be loaded")
    for system in systems:
        if "problem" in system:
            # The message ends with its own remedy.
            problem, _, remedy = system["problem"].rpartition("; ")
            yield Check(f"system {system['name']}", "warning", problem or remedy, remedy if problem else "")


def writable(name: str, folder: Path, hint: str) -> Check:
    """Whether files can be made in a folder, and whether there is room."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(name, "problem", f"{folder} cannot be written ({error.strerror})", hint)
    if free < LEAST_FREE:
        return Check(name, "warning", f"{folder} has {free / 2**20:.0f} MiB left", f"free space, or {hint}")
    return Check(name, "ok", f"{folder} can be written, {free / 2**30:.1f} GiB free")


# --- terminal --------------------------------------------------------------------------------


def terminal() -> Iterator[Check]:
    """Character set and colours of the output."""
    encoding = getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)
    if encoding.lower().replace("-", "") == "utf8":
        yield Check("character set", "ok", encoding)
    else:
        yield Check("character set", "warning", f"{encoding} lacks Greek letters", "set PYTHONUTF8=1")
    yield Check("colours", "ok", colour_reason(os.environ, sys.stdout.isatty()))


def colour_reason(environment: Mapping[str, str], is_terminal: bool) -> str:
    """Whether output is coloured, and why."""
    if environment.get("NO_COLOR"):
        return "none: NO_COLOR is set"
    if environment.get("TERM") == "dumb":
        return "none, and no progress bars: TERM=dumb"
    return "as the terminal has them" if is_terminal else "none: the output is not a terminal"


# --- a trial ---------------------------------------------------------------------------------


def trial_run() -> Check:
    """Derive, compile and integrate (1, 1), alone and as an ensemble in vector code."""
    name = "trial run"
    hint = "report it with the output of `cli doctor --json`"
    try:
        with tempfile.TemporaryDirectory(prefix="overlap-ode-") as folder:
            system = runtime.load(Model(1, 1), folder)
            Q, R = runtime.random_overlaps(1, 1, n=1000, trajectories=3)
            single = runtime.integrate(system, Q[0], R[0], eta=0.1, alpha=10.0)
            runs = runtime.integrate_ensemble(system, Q, R, eta=0.1, alpha=10.0, output="final")
    except Exception as error:  # noqa: BLE001 (whatever is wrong here is what doctor is for)
        return Check(name, "problem", f"{type(error).__name__}: {' '.join(str(error).split())}", hint)
    difference = float(np.max(np.abs(runs["Q"].values[0] - single["Q"].values[-1])))
    found = f"(1, 1) to alpha = 10; alone and in vector code differ by {difference:.1e}"
    if difference < _ACCURACY:
        return Check(name, "ok", found)
    return Check(name, "problem", found, hint)
