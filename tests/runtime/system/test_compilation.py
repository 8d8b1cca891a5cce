"""Compiled code in processes of its own: filled, hit, damaged, and compiled again only if it changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cached_kernels import files_in, flipped, without_a_page
from numba import types
from numba.core import errors
from processes import started

from derive import Model, overlap_odes
from runtime.ensemble import loss_statistics
from runtime.ensemble.kernels import lane_loop
from runtime.system import compilation
from runtime.system.code_digests import modules_behind
from runtime.system.compilation import kernel
from runtime.system.compile_cache import ENVIRONMENT, SUFFIX
from runtime.trajectory import stepper, watched_stepper

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CHILD_LIMIT = 250.0


def results_of(folder, root, count=1):
    """What so many processes printed that run side by side, without warnings."""
    command = [sys.executable, str(HERE / "integrate_once.py"), str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), ENVIRONMENT: str(root)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    results = []
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(started(command, env=variables, **streams)) for _ in range(count)]
        for child in children:
            output, talk = child.communicate(timeout=CHILD_LIMIT)
            assert (child.returncode, talk) == (0, "")
            results.append(json.loads(output))
    return results


def total(result, what):
    return sum(value[what] for value in result.values() if isinstance(value, dict))


@pytest.fixture(scope="module")
def kept():
    """The folder where this process keeps the stepper, which it compiles before the tests have caches."""
    return Path(stepper.advance.compile()._cache.cache_path)


@pytest.fixture
def lent(root, kept):
    """In the cache, from that of this process: the stepper, which takes longest to compile."""
    folder = root / kept.name
    folder.mkdir(0o700, parents=True)
    root.chmod(0o700)
    return [Path(shutil.copy2(path, folder)) for path in kept.glob(f"advance.*{SUFFIX}")]


def test_life_of_the_cache(root, lent, tmp_path):
    folder = overlap_odes(Model(2, 1)).write(tmp_path)
    assert lent
    # Two processes at once fill it, and do not harm each other.
    first, second = results_of(folder, root, 2)
    for name in ("loss_function", "rhs"):
        assert first[name]["misses"] + second[name]["misses"] >= 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in (root, *root.iterdir()))
    # Filled: nothing is compiled. A copy of the system's folder is the same code.
    entries = sorted(root.rglob("*"))
    (copied,) = results_of(shutil.copytree(folder, tmp_path / "copy"), root)
    assert total(copied, "misses") == 0
    assert copied["loss_function"]["hits"] == copied["rhs"]["hits"] == 1
    assert sorted(root.rglob("*")) == entries
    # Each file is damaged in another way: they are compiled again without a word.
    files = [path for path in files_in(root) if path not in lent]
    assert len(files) == 2
    damages = (flipped, without_a_page, lambda content: content[: len(content) // 2], lambda _: b"")
    for damage in (damages[:2], damages[2:]):
        for path, damaged in zip(files, damage, strict=True):
            path.write_bytes(damaged(path.read_bytes()))
        (repaired,) = results_of(folder, root)
        assert repaired["loss_function"]["misses"] == repaired["rhs"]["misses"] == 1
    (again,) = results_of(folder, root)
    assert total(again, "misses") == 0
    assert {run["loss"] for run in (second, copied, repaired, again)} == {first["loss"]}


HELPER = """
from numba import types

from runtime.constants import FACTOR
from runtime.system.compilation import kernel


@kernel(types.float64(types.float64))
def scaled(x):
    return FACTOR * x
"""
USER = """
from numba import types

from runtime.helper import scaled
from runtime.system.compilation import kernel


@kernel(types.float64(types.float64))
def shifted(x):
    return scaled(x) + 1.0
"""
CALL = """
from runtime.user import shifted

print(shifted(2.0), sum(shifted.compile().stats.cache_hits.values()))
"""


def test_kernels_are_compiled_again_if_and_only_if_their_code_changes(root, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("derive", "runtime"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    package = tmp_path / "runtime"
    files = {"__init__": "", "constants": "FACTOR = 3.0\n", "helper": HELPER, "user": USER}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)

    def called():
        # Python would read back its own bytecode after an edit of the same size within a second.
        variables = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", ENVIRONMENT: str(root)}
        child = subprocess.run(
            [sys.executable, "-c", CALL],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=CHILD_LIMIT,
            check=True,
        )
        return child.stdout.split()

    def edit(name, old, new):
        path = package / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    assert called() == ["7.0", "0"]
    # Another room, and words in all modules of the kernel.
    edit("report/page.py", "\n\n", "\n\nX = 1\n")
    for name in ("constants.py", "helper.py", "user.py"):
        (package / name).write_text(f'"""A module."""\n\n# Words.\n{(package / name).read_text()}')
    assert called() == ["7.0", "1"]
    edit("constants.py", "3.0", "5.0")
    assert called() == ["11.0", "0"]
    edit("helper.py", "FACTOR * x", "FACTOR - x")
    assert called() == ["4.0", "0"]
    edit("system/compilation.py", '"error_model": "numpy"', '"error_model": "python"')
    assert called() == ["4.0", "0"]


def test_no_import_compiles_anything(root):
    command = [sys.executable, str(HERE / "import_everything.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), ENVIRONMENT: str(root)}
    subprocess.run(command, env=environment, timeout=CHILD_LIMIT, check=True)
    assert not root.exists()


def test_kernels_that_threads_call_at_once_are_compiled_once(root):
    """One of them calls the other, and both are asked for at the same moment."""

    @kernel(types.float64(types.float64))
    def inner(x):
        return x + 1.0

    @kernel(types.float64(types.float64))
    def outer(x):
        return 2.0 * inner(x)

    barrier, results = threading.Barrier(4), []

    def call(function):
        barrier.wait()
        results.append((function(2.0), function.compile()))

    threads = [threading.Thread(target=call, args=(function,)) for function in (inner, outer) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {(3.0, inner.compile()), (6.0, outer.compile())}
    assert len(results) == 4
    assert len(files_in(root)) == 2


@pytest.mark.usefixtures("root")
def test_a_kernel_takes_arguments_of_its_types_only():
    @kernel(types.float64(types.float64[::1]))
    def first(x):
        return x[0]

    assert first(np.ones(3)) == 1.0
    with pytest.raises(TypeError, match="No matching definition"):
        first(np.ones(3, dtype=bool))


@pytest.mark.usefixtures("lent")
@pytest.mark.usefixtures("root")
def test_a_kernel_that_says_that_it_makes_no_arrays_makes_none():
    def counting(x):
        return np.zeros(x).size

    assert kernel(types.int64(types.int64))(counting)(3) == 3
    with pytest.raises(errors.TypingError):
        kernel(types.int64(types.int64), makes_arrays=False)(counting)(3)


def test_the_command_line_says_that_it_compiles_unless_it_is_quiet(root, tmp_path):
    environment = {**os.environ, ENVIRONMENT: str(root)}

    def talk(*options):
        line = ["integrate", "--p", "1", "--pstar", "1", "--eta", "0.1", "--alpha", "1", *options]
        command = [sys.executable, str(ROOT / "cli.py"), *line]
        child = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, timeout=CHILD_LIMIT, check=True
        )
        assert b"status ok" in child.stdout
        return child.stderr.decode()

    assert talk("--quiet") == ""
    # What is kept is not compiled.
    assert talk() == ""
    shutil.rmtree(files_in(root)[0].parent)
    assert talk() == "compiling, once per installation and system ...\n"


@pytest.mark.parametrize("module", [stepper, watched_stepper, lane_loop, loss_statistics])
def test_kernels_depend_on_few_modules_and_none_that_derives(module):
    """Else an edit elsewhere would compile them again, and each process would read all these modules."""
    place = Path(module.__file__)
    behind = modules_behind(place, apart_from=Path(compilation.__file__).__eq__)
    assert place in behind
    assert not [path for path in behind if path.is_relative_to(ROOT / "derive")]
