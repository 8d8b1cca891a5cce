"""`cli doctor`: each line against surroundings that were made good or bad on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import derive
from runtime.commands import installation_checks
from runtime.vector import jit

ROOT = Path(__file__).parents[3]
STATUSES = {"ok", "warning", "problem"}


def named(checks, name):
    (check,) = [check for check in checks if check.name == name]
    return check


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """An empty working folder, nothing restricted."""
    monkeypatch.chdir(tmp_path)
    for name in ("OVERLAP_ODE_SIMD", "NUMBA_DISABLE_JIT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_everything_has_a_status_and_what_is_not_ok_says_what_to_do(apart):
    checks = installation_checks.examine(apart / "generated")
    assert {check.status for check in checks} <= STATUSES
    assert all(check.next for check in checks if check.status != "ok")
    assert installation_checks.worst(checks) in ("ok", "warning")
    names = [check.name for check in checks]
    for name in (
        "Python",
        "numpy",
        "numba",
        "llvmlite",
        "sympy",
        "scipy",
        "xarray",
        "netcdf4",
        "matplotlib",
    ):
        assert name in names


def test_the_command_prints_a_line_a_check_and_json(call):
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert all(line.startswith(("ok ", "warning ", "problem ", "   ")) for line in out.splitlines())
    assert "\x1b" not in out
    code, out, _ = call("doctor --json")
    report = json.loads(out)
    assert code == 0
    assert report["version"] == derive.VERSION
    assert {check["status"] for check in report["checks"]} <= STATUSES


def test_problems_are_exit_code_1(call, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    code, out, _ = call("doctor")
    assert code == 1
    assert "problem  NUMBA_DISABLE_JIT: is set" in out
    assert "next: unset NUMBA_DISABLE_JIT" in out


def required(name):
    """The line by which the installed package asks for another."""
    return next(
        line for line in metadata.requires(installation_checks.DISTRIBUTION) if line.startswith(f"{name}>=")
    )


def test_absent_and_old_packages(monkeypatch):
    real = metadata.version
    told = {"scipy": "1.2.3"}

    def version(name):
        if name in ("xarray", "heyoka"):
            raise metadata.PackageNotFoundError(name)
        return told.get(name) or real(name)

    monkeypatch.setattr(installation_checks.metadata, "version", version)
    checks = list(installation_checks.versions())
    old, absent, extra = (named(checks, name) for name in ("scipy", "xarray", "optional [bench]"))
    assert (old.status, old.next) == ("problem", f"pip install '{required('scipy')}'")
    assert (absent.status, absent.found) == ("problem", "is not installed")
    assert extra.status == "ok"
    assert "heyoka" in extra.found
    assert "overlap-ode[bench]" in extra.next


def test_requirements_are_those_of_the_package():
    by_extra = installation_checks.requirements()
    always = {requirement.name: str(requirement) for requirement in by_extra[""]}
    for name in ("numba", "platformdirs"):
        assert always[name] == required(name)
    assert set(by_extra) == {"", "bench", "cluster", "docs", "test"}
    assert "heyoka" in [requirement.name for requirement in by_extra["bench"]]


@pytest.mark.parametrize("restriction", jit.RESTRICTIONS)
def test_restricted_vector_code_says_so(monkeypatch, restriction):
    widest = jit.target(restrict="")
    monkeypatch.setenv(jit.ENVIRONMENT, restriction)
    check = named(installation_checks.processor(), "vector code")
    chosen = jit.target()
    assert check.found.startswith(f"{chosen.name}: {chosen.lanes} trajectories")
    if chosen == widest:
        assert check.status == "ok"
    else:
        assert check.status == "warning"
        assert jit.ENVIRONMENT in check.next


def test_an_unknown_restriction_is_a_problem(monkeypatch):
    monkeypatch.setenv(jit.ENVIRONMENT, "avx9")
    check = named(installation_checks.processor(), "vector code")
    assert check.status == "problem"
    assert "avx9" in check.found


def test_limits_of_a_container(apart, monkeypatch):
    quota = apart / "cpu.max"
    quota.write_text("50000 100000\n")
    monkeypatch.setattr(installation_checks, "_CGROUP_QUOTA", quota)
    (check,) = installation_checks.threads()
    assert (check.status, check.next) == ("warning", "--threads 1")
    quota.write_text("max 100000\n")
    (check,) = installation_checks.threads()
    assert check.status == "ok"


def test_the_cache_is_counted(apart, monkeypatch):
    monkeypatch.setenv("OVERLAP_ODE_CACHE", str(apart / "cache"))
    entry = apart / "cache" / "entry"
    entry.mkdir(parents=True, mode=0o700)
    (apart / "cache").chmod(0o700)
    (entry / "code").write_bytes(b"x" * 2**20)
    check = installation_checks.cache()
    assert check.status == "ok"
    assert "1 entries, 1.0 MiB" in check.found


def test_parts_of_the_cache_that_others_can_write_are_named(apart, monkeypatch):
    monkeypatch.setenv("OVERLAP_ODE_CACHE", str(apart / "cache"))
    for name in ("one", "two"):
        (apart / "cache" / name).mkdir(parents=True)
        (apart / "cache" / name).chmod(0o700)
    (apart / "cache").chmod(0o700)
    assert installation_checks.cache().status == "ok"
    (apart / "cache" / "two").chmod(0o770)
    check = installation_checks.cache()
    assert check.status == "warning"
    problem = f"{apart / 'cache' / 'two'} can be written by other users (chmod go-w mends that)"
    assert check.found.endswith(f": 2 entries, 0.0 MiB; 1 of them cannot be used: {problem}")
    assert check.next.startswith(f"delete {apart / 'cache' / 'two'}: ")
    (apart / "cache").chmod(0o777)
    check = installation_checks.cache()
    assert check.status == "warning"
    assert f"is not used: {apart / 'cache'} can be written by other users" in check.found
    (apart / "cache").chmod(0o700)
    apart.chmod(0o777)
    assert f"is not used: {apart} can be written by other users" in installation_checks.cache().found


def test_a_large_cache_may_be_deleted(monkeypatch):
    monkeypatch.setattr(installation_checks, "LARGE_CACHE", -1)
    assert installation_checks.cache().next.startswith("delete ")


def test_a_cache_that_cannot_be_used_is_a_warning(apart, monkeypatch):
    (apart / "file").write_text("in the way")
    monkeypatch.setenv("OVERLAP_ODE_CACHE", str(apart / "file"))
    check = installation_checks.cache()
    assert check.status == "warning"
    assert "OVERLAP_ODE_CACHE" in check.next


def test_a_read_only_cache_in_a_process_of_its_own(tmp_path):
    """The warning of the cache is a line of the report, and nothing on stderr."""
    (tmp_path / "file").write_text("in the way")
    result = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "doctor"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        # Nothing is compiled, which would take ten seconds, and is a problem of its own.
        env={**os.environ, "OVERLAP_ODE_CACHE": str(tmp_path / "file"), "NUMBA_DISABLE_JIT": "1"},
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert "problem  NUMBA_DISABLE_JIT" in result.stdout
    assert "warning  cache of compiled code" in result.stdout


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_folders_without_permission(apart):
    folder = apart / "closed"
    folder.mkdir(mode=0o500)
    assert installation_checks.writable("results", folder, "elsewhere").status == "problem"


def test_folders_that_are_not_there_or_full(apart, monkeypatch):
    missing = installation_checks.writable("results", apart / "nowhere", "make it")
    assert (missing.status, missing.next) == ("problem", "make it")
    monkeypatch.setattr(installation_checks, "LEAST_FREE", 2**80)
    assert installation_checks.writable("results", apart, "clear it").status == "warning"


def test_damaged_systems_come_with_their_remedy(apart):
    folder = derive.overlap_odes(derive.Model(1, 1)).write(apart / "generated")
    derive.overlap_odes(derive.Model(2, 1)).write(apart / "generated")
    (folder / "odes.tex").unlink()
    checks = list(installation_checks.generated_systems(apart / "generated"))
    assert "1 of 2" in checks[1].found
    damaged = named(checks, "system p1_pstar1")
    assert damaged.status == "warning"
    assert "cli derive --p 1 --pstar 1" in damaged.next
    assert "cli derive" not in damaged.found
    (apart / "file").write_text("")
    (check,) = installation_checks.generated_systems(apart / "file")
    assert check.status == "problem"


def test_colours_and_their_reason():
    assert "NO_COLOR" in installation_checks.colour_reason({"NO_COLOR": "1"}, True)
    assert "TERM=dumb" in installation_checks.colour_reason({"TERM": "dumb"}, True)
    assert installation_checks.colour_reason({"NO_COLOR": ""}, True) == "as the terminal has them"
    assert "not a terminal" in installation_checks.colour_reason({}, False)


def test_other_character_sets_are_a_warning(monkeypatch):
    class Latin:
        encoding = "latin-1"

        def isatty(self):
            return False

    monkeypatch.setattr(installation_checks.sys, "stdout", Latin())
    check = named(installation_checks.terminal(), "character set")
    assert (check.status, check.next) == ("warning", "set PYTHONUTF8=1")


def test_the_trial_run_and_its_failure(monkeypatch):
    check = installation_checks.trial_run()
    assert check.status == "ok"
    monkeypatch.setattr(installation_checks, "_ACCURACY", 0.0)
    assert installation_checks.trial_run().status == "problem"
    monkeypatch.setattr(installation_checks.tempfile, "TemporaryDirectory", None)
    check = installation_checks.trial_run()
    assert check.status == "problem"
    assert "TypeError" in check.found
