"""Fixtures of several folders of tests."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from processes import restore_signals

import cli
import runtime
from derive import Model
from runtime.concurrency.thread_pool import thread_count
from runtime.system.compiled_system import VerifiedCode

# No deadlines: machines are shared. The same examples each time, unless asked for new ones.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("new", deadline=None, derandomize=False)
settings.load_profile("new" if os.environ.get("OVERLAP_ODE_FUZZ") else "same")

# Generous: nothing here takes a tenth of it on an idle machine.
LONGEST_TEST = 600.0


def pytest_xdist_auto_num_workers() -> int | None:
    """One per processor that the tests may use: with psutil, xdist would count cores of the machine."""
    asked = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return None if asked else thread_count(None)


class TooLongError(BaseException):
    """No exception that a command would take for its own, and report."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt what runs inside, compiled chunks included, if it does not end by itself."""

    def interrupt(*_: object) -> None:
        raise TooLongError(f"not finished after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    # The alarm is repeated each second: an exception that comes while Numba unpacks arguments is lost.
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, 1.0 if remaining else 0.0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def time_limit() -> Callable[[float], contextlib.AbstractContextManager[None]]:
    return within


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    with within(LONGEST_TEST):
        yield


@pytest.fixture(autouse=True, scope="session")
def _usual_signals() -> None:
    restore_signals()


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of derived systems, shared by the tests of one process."""
    return tmp_path_factory.mktemp("generated")


@pytest.fixture(scope="session")
def system_of(generated: Path) -> Callable[..., runtime.System]:
    """``system_of(p, pstar, **options)``: the loaded system of that model."""

    @functools.cache
    def system_of(p: int, pstar: int, **options: str) -> runtime.System:
        return runtime.load(Model(p, pstar, **options), generated)

    return system_of


@pytest.fixture(scope="session")
def interpreted(system_of: Callable[..., runtime.System]) -> Callable[..., runtime.System]:
    """As `system_of`, but run as plain Python: for tests of a few states, quicker than to compile."""

    @functools.cache
    def interpreted(p: int, pstar: int, **options: str) -> runtime.System:
        system = system_of(p, pstar, **options)
        module, operations = ModuleType("odes"), system.operations
        text = (system.folder / "odes.py").read_text()
        module.__dict__["njit"] = lambda **_: lambda function: function
        exec(text.replace("from numba import njit\n", ""), vars(module))  # noqa: S102
        plain = runtime.System(system.model, system.folder, lambda: VerifiedCode(module, operations))
        vars(plain)["compiled_rhs"] = module.rhs
        return plain

    return interpreted


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    # Help is as wide as this says.
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str, *more: str) -> tuple[int, str, str]:
        code = cli.run([*shlex.split(line), *more])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
