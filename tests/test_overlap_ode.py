"""What users import: its names, what it does not import, and what it says of foreign files in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import derive
import overlap_ode
import runtime

ROOT = Path(__file__).parent.parent


def python(
    *arguments: str, cwd: Path, path: tuple[Path, ...] = (ROOT,)
) -> subprocess.CompletedProcess[str]:
    """A new Python with these folders on its path, before those of the environment."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [derive, runtime, overlap_ode], ids=lambda module: module.__name__)
def test_a_facade_offers_what_it_declares_and_nothing_else(module):
    names = module.__all__
    assert names == sorted(set(names))
    assert set(dir(module)) - set(names) <= {"__version__"}
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=r"overlap_ode|derive|runtime"):
        module.nothing  # noqa: B018


def test_overlap_ode_is_both_packages():
    assert set(overlap_ode.__all__) == {*derive.__all__, *runtime.__all__}
    assert overlap_ode.__version__ == derive.VERSION
    for package in (derive, runtime):
        for name in package.__all__:
            assert getattr(overlap_ode, name) is getattr(package, name)


# --- what is imported ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("import overlap_ode as oo, sys; dir(oo); oo.__version__", "numpy flint"),
        ("from derive.model import Model; Model(2, 1)", "numpy flint runtime"),
        ("from overlap_ode import random_overlaps, InputError, LoadError", "flint"),
        ("from overlap_ode import *", ""),
    ],
)
def test_importing_takes_no_more_than_it_needs(statement, unneeded, tmp_path):
    names = {"sympy", "scipy", "numba", "xarray", "matplotlib", "pandas"} if "*" not in statement else set()
    code = f"{statement}\nimport sys\nprint(sorted({names | set(unneeded.split())} & set(sys.modules)))"
    found = python("-c", code, cwd=tmp_path)
    assert (found.stdout, found.stderr) == ("[]\n", "")


# --- foreign files in the place of ours ------------------------------------------------------


def foreign(folder: Path, name: str, content: str = "raise RuntimeError('foreign code was run')") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_foreign_file_beside_a_script_is_named(tmp_path):
    """It may even be broken, since it is not run."""
    script = foreign(tmp_path, "script.py", "import overlap_ode as oo\nprint(oo.load)")
    path = foreign(tmp_path, "derive.py", "this is no Python")
    found = python(str(script), cwd=ROOT)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == (
        f"ImportError: {path} is imported in place of overlap-ode's 'derive' ({ROOT}/derive/__init__.py): "
        "rename it, or work in another folder"
    )


def test_one_that_was_imported_before_is_named(tmp_path):
    path = foreign(tmp_path, "runtime/__init__.py", "mine = 1")
    code = "import runtime, sys; sys.path.pop(0)\nimport overlap_ode"
    found = python("-c", code, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith(f"ImportError: {path} is imported in place of")


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("overlap_ode", "derive.py"),
        ("overlap_ode", "runtime/__init__.py"),
        ("overlap_ode", "cli.py"),
        ("cli", "runtime.py"),
    ],
)
def test_the_command_line_names_it_in_one_line(program, name, tmp_path):
    path = foreign(tmp_path, name)
    found = python("-m", program, "list", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"overlap-ode: {path} is imported in place of overlap-ode's ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["runtime", "derive", "cli"])
def test_a_folder_without_python_code_is_in_nobodys_way(name, tmp_path):
    foreign(tmp_path, f"{name}/notes.txt")
    for program in ("overlap_ode", "cli"):
        found = python("-m", program, "--version", cwd=tmp_path)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout == f"overlap-ode, version {derive.VERSION}\n"


def test_another_distribution_before_an_editable_installation(tmp_path):
    path = foreign(tmp_path, "site-packages/runtime/__init__.py")
    found = python("-c", "import overlap_ode", cwd=tmp_path, path=(path.parents[1], ROOT))
    error = found.stderr.splitlines()[-1]
    assert error.startswith(f"ImportError: {path} is imported in place of overlap-ode's 'runtime' ({ROOT}/")
    assert error.endswith(f": {overlap_ode._CLEAN}")


@pytest.mark.parametrize("files", [{"runtime/__init__.py": ""}, {}], ids=["overwritten", "missing"])
def test_a_package_that_another_distribution_has_spoiled(files, tmp_path):
    shutil.copy(ROOT / "overlap_ode.py", tmp_path)
    foreign(tmp_path, "derive/__init__.py", (ROOT / "derive" / "__init__.py").read_text())
    for name, content in files.items():
        foreign(tmp_path, name, content)
    # Only the standard library is on the path beside this folder, since the environment has our packages.
    found = python("-S", "-c", "import overlap_ode", cwd=tmp_path, path=())
    path = tmp_path / "runtime" / "__init__.py"
    words = "is not overlap-ode's: another distribution has overwritten it" if files else "is missing"
    assert found.stderr.splitlines()[-1] == f"ImportError: {path} {words}; {overlap_ode._CLEAN}"


def test_an_archive_is_refused_in_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "ours.zip", "w") as archive:
        for name in ("overlap_ode.py", "derive/__init__.py"):
            archive.write(ROOT / name, name)
    found = python("-S", "-c", "import overlap_ode", cwd=tmp_path, path=(tmp_path / "ours.zip",))
    problem = f"{tmp_path}/ours.zip/derive/__init__.py is in an archive, from which overlap-ode cannot be"
    assert found.stderr.splitlines()[-1] == f"ImportError: {problem} imported: install it"


def test_python_m_names_itself(tmp_path):
    found = python("-m", "overlap_ode", "integrate", "--p", "x", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("python -m overlap_ode: --p: 'x' is not an integer")
    shown = python("-m", "overlap_ode", "help", "list", cwd=tmp_path).stdout
    assert shown.startswith("Usage: python -m overlap_ode list ")
