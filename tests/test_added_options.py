"""What an added option costs: a copy of the tree, with one more entry of a table, works throughout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("derive", "runtime", "docs", "cli.py", "overlap_ode.py", "overlap_ode.pyi", "README.md")

# The drift of docs/theory.md, written with NumPy for any readout weights a and b and T = 1.
THEORY = """
import json, sys
import numpy as np
import cli, derive, runtime
from runtime.sector import load_sector

def theory(Q, R, a, b, eta, noise):
    p, k = R.shape
    C = np.block([[Q, R], [R.T, np.eye(k)]])
    D = np.diag([a] * p + [-b] * k)
    s, t, kappa = np.trace(D @ C), np.trace(D @ C @ D @ C), 2 * a * eta
    first = s * C + 2 * C @ D @ C
    second = (s**2 + 2 * t + noise) * C + 4 * s * C @ D @ C + 8 * C @ D @ C @ D @ C
    dR, dQ = -kappa * first[:p, p:], (-2 * kappa * first + kappa**2 * second)[:p, :p]
    return dQ, dR, s**2 / 2 + t

def run(line):
    assert cli.run(line.split()) == 0, line

V = np.random.default_rng(0).standard_normal((3, 5))
Q, R = V @ V.T, V[:, :2]
"""

READOUT = """
model = derive.Model(3, 2, readout="square")
system = runtime.load(model)
dQ, dR, loss = theory(Q, R, 1 / 9, 1 / 4, 0.3, 0.1)
for found, expected in zip(system.rhs(Q, R, eta=0.3, label_noise=0.1), (dQ, dR)):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
np.testing.assert_allclose(system.loss(Q, R), loss, rtol=1e-12)
odes = derive.overlap_odes(model)
point = {f"Q_{i + 1}_{j + 1}": Q[i, j] for i in range(3) for j in range(i, 3)}
point |= {f"R_{i + 1}_{r + 1}": R[i, r] for i in range(3) for r in range(2)}
values = {odes.symbols[name]: value for name, value in point.items()}
np.testing.assert_allclose(float(odes.loss.subs(values)), loss, rtol=1e-12)
assert r"a = \\frac{1}{9},\\qquad b = \\frac{1}{4}" in odes.latex()
assert r"\\kappa &= \\frac{2}{9}\\eta" in odes.latex("components")
assert r"b = \\frac{1}{(p^*)^2}" in derive.latex_for_any_widths(readout="square")
assert str(runtime.closed_form(flow="gradient", readout="square").q) == "p**2/(pstar*(p + 2))"
one = "--p 3 --pstar 2 --readout square --eta 0.1"
run("derive --p 3 --pstar 2 --readout square")
run("latex --readout square --what jacobian")
run("latex --p 3 --pstar 2 --readout square --form components")
run(f"integrate {one} --alpha 5 --out run.nc")
run(f"ensemble {one} --alpha 5 --trajectories 5 --quiet")
run("sector --p 50 --readout square --eta 0.1 --alpha 5")
run("invariants --p 1 --pstar 1 --flow gradient --readout square --degree 1 --quiet")
run("report --p 2 --pstar 1 --flow gradient --readout square --eta 0.1 --alpha 5 --out page.html --quiet")
run("sweep --p 2 --pstar 1 --readout mean,square --eta 0.1 --alpha 5 --seed 0,1 --out grid --quiet")
run("sweep --help")
assert cli.run("derive --readout cube".split()) == 2
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and of its docs, with a folder `work` to run in."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    (tmp_path / "work").mkdir()
    return tmp_path


def changed(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(before) == 1, before
    file.write_text(text.replace(before, after), "utf-8")


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree / "work",
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    return result


def test_a_readout_is_one_entry_of_its_table(tree):
    entry = '        Readout("sqrt", Fraction(-1, 2)),\n'
    changed(tree / "derive/readout.py", entry, f'{entry}        Readout("square", Fraction(-2)),\n')
    result = run(tree, "-c", THEORY + READOUT)
    assert "'cube' is not one of 'mean', 'sum', 'sqrt', 'square'" in result.stderr
    assert "(1/p², 1/(p*)²)" in " ".join(result.stdout[result.stdout.rindex("Usage") :].split())
    run(tree, str(tree / "docs/regenerate.py"))
    assert "(1/p², 1/(p\\*)²)" in (tree / "README.md").read_text("utf-8")
