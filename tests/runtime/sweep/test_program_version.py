"""A half-done sweep goes on after edits that change no numbers, and after no others."""

import shutil
from pathlib import Path

import pytest

import runtime
from runtime.sweep.program_version import PROGRAM, numerical_code
from runtime.system import code_digests

ROOT = Path(runtime.__file__).parents[1]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the sources to edit."""
    for package in ("derive", "runtime"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_digests, "_ROOT", tmp_path)
    return tmp_path


def digest(tree):
    return code_digests.code_digest(numerical_code(tree))


def test_a_copy_is_the_same_program(tree):
    assert PROGRAM.endswith(f"(code {digest(tree)[:12]})")


def test_no_import_is_hidden_from_it():
    """The package loads its names on demand: code that used them would not show its imports."""
    assert ROOT / "runtime" / "__init__.py" not in numerical_code(ROOT)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("runtime/report/page.py", True),
        ("runtime/output/figures.py", True),
        ("runtime/output/output_files.py", True),
        ("runtime/commands/doctor.py", True),
        ("runtime/analysis/riccati.py", True),
        ("derive/emit/latex_document.py", True),
        ("derive/emit/numba_module.py", False),
        ("derive/equations.py", False),
        ("runtime/trajectory/stepper.py", False),
        ("runtime/trajectory/tableaux/tsit5.py", False),
        ("runtime/ensemble/kernels/lane_loop.py", False),
        ("runtime/output/quantiles.py", False),
        ("runtime/sgd/overlap_chain.py", False),
        ("runtime/start/initial_overlaps.py", False),
        ("runtime/sweep/task_kinds.py", False),
        ("runtime/vector/random_numbers.py", False),
    ],
)
def test_only_edits_of_numerical_code_count(tree, name, same):
    before, path = digest(tree), tree / name
    text = path.read_text()
    path.write_text(f"# A comment.\n{text}\n# Another one.\n")
    assert digest(tree) == before
    path.write_text(f"{text}\nSOMETHING = 1\n")
    assert (digest(tree) == before) == same
