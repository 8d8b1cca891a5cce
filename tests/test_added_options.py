"""A copy of the tree with one more readout, or two more run-time parameters, works throughout."""

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
run("report --p 3 --pstar 2 --readout square --eta 0.1 --alpha 5 --out page.html --quiet")
run("sweep --p 3 --pstar 2 --readout square --eta 0.1 --alpha 5 --seed 0,1 --out grid --quiet")
run("sweep --help")
assert cli.run("derive --readout cube".split()) == 2
"""

PARAMETER = """
model = derive.Model(3, 2)
system = runtime.load(model)
dQ, dR, _ = theory(Q, R, 1 / 3, 1 / 2, 0.3, 0.1)
given = dict(eta=0.3, label_noise=0.1, shrinkage=0.7)
found = system.rhs(Q, R, **given)
for new, old, shrunk in zip(found, (dQ, dR), (2 * Q, R)):
    np.testing.assert_allclose(new, old - 0.7 * shrunk, rtol=1e-12, atol=1e-12)
for new, old in zip(system.rhs(Q, R, eta=0.3, label_noise=0.1), (dQ, dR)):
    np.testing.assert_allclose(new, old, rtol=1e-12, atol=1e-12)
assert derive.overlap_odes(model).symbols["shrinkage"].name == "rho"
assert r"\\rho" in derive.latex_for_any_widths()
for options in (dict(constraint="sphere"), dict(flow="gradient", teacher="general")):
    derive.overlap_odes(derive.Model(2, 2, **options))
    derive.overlap_odes(derive.Model(12, 5, **options))
derive.sector_odes(derive.SectorModel(2))

# Every integrator: one trajectory, SciPy's, an ensemble in registers and in tiles, the sector.
Q0, R0 = np.eye(3), np.eye(3, 2) * 0.1
alone = runtime.integrate(system, Q0, R0, alpha=[0, 5], **given)
other = runtime.integrate(system, Q0, R0, alpha=[0, 5], method="scipy:DOP853", **given)
plain = runtime.integrate(system, Q0, R0, alpha=[0, 5], eta=0.3, label_noise=0.1)
assert alone.attrs["shrinkage"] == 0.7 and plain.attrs["shrinkage"] == 0.0
assert float(abs(alone.loss[-1] - plain.loss[-1])) > 1e-3
many = runtime.integrate_ensemble(
    system, np.stack([Q0] * 2), np.stack([R0] * 2), alpha=[0, 5], **given | dict(shrinkage=[0.7, 0.0])
)
aligned = runtime.SectorStart.from_singular_values(3, 2, 0.1)
loaded = runtime.load_sector(derive.SectorModel(2))
sector = runtime.integrate_sector(loaded, aligned, alpha=[0, 5], **given)
for run_of in (other, many.isel(trajectory=0), sector):
    np.testing.assert_allclose(run_of.loss[-1], alone.loss[-1], rtol=1e-6)
np.testing.assert_allclose(many.loss[1, -1], plain.loss[-1], rtol=1e-6)

# The noise of SGD has a factor; gradient flow does not know it.
flow = runtime.load(derive.Model(3, 2, flow="gradient"))
for cold, expected in zip(system.rhs(Q, R, temperature=0.0, **given), flow.rhs(Q, R, **given)):
    np.testing.assert_allclose(cold, expected, rtol=1e-12, atol=1e-12)
assert cli.run("integrate --p 3 --pstar 2 --flow gradient --temperature 0.5".split()) == 2
run("report --p 3 --pstar 2 --temperature 0.5 --alpha 5 --out warm.html --quiet")
run("report --p 3 --pstar 2 --flow gradient --alpha 5 --out flow.html --quiet")

run("derive --p 3 --pstar 2 --show equations")
run("integrate --p 3 --pstar 2 --shrinkage 0.7 --alpha 5 --out run.nc --quiet")
run("ensemble --p 3 --pstar 2 --shrinkage 0.7 --alpha 5 --trajectories 3 --quiet")
run("sector --p 50 --shrinkage 0.7 --alpha 5 --quiet")
run("sweep --p 3 --pstar 2 --shrinkage 0,0.7 --eta 0.1 --alpha 5 --out grid --quiet")
run("merge grid --out grid.nc")
assert cli.run("integrate --shrinkage -1".split()) == 2
try:
    runtime.simulate(model, n=100, eta=0.3, alpha=1.0, shrinkage=0.7)
except derive.InputError as error:
    assert error.option == "shrinkage"
else:
    raise AssertionError("simulations do not know the parameter")
form = runtime.closed_form(flow="gradient")
point = {"p": 3, "eta": 0.3, "rho": 0.03}
q = form.q.subs({form.symbols[name]: value for name, value in point.items()})
np.testing.assert_allclose(float(q), 3 * (1 - 0.1 * 3 / 2) / 5, rtol=1e-12)
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


@pytest.mark.matrix
def test_a_readout_is_one_entry_of_its_table(tree):
    entry = '        Readout("sqrt", Fraction(-1, 2)),\n'
    changed(tree / "derive/readout.py", entry, f'{entry}        Readout("square", Fraction(-2)),\n')
    result = run(tree, "-c", THEORY + READOUT)
    assert "'cube' is not one of 'mean', 'sum', 'sqrt', 'square'" in result.stderr
    assert "(1/p², 1/(p*)²)" in " ".join(result.stdout[result.stdout.rindex("Usage") :].split())
    run(tree, str(tree / "docs/regenerate.py"))
    assert "(1/p², 1/(p\\*)²)" in (tree / "docs" / "options.md").read_text("utf-8")


ENTRY = """
        RuntimeParameter(
            name="shrinkage",
            symbol="ρ",
            latex=r"\\rho",
            words="decoupled weight decay",
            help="Decoupled weight decay ρ: w ← (1 − ρ/N) w after each step.",
            default=0.0,
            usual=0.0,
            least=0.0,
        ),
        RuntimeParameter(
            name="temperature",
            symbol="θ",
            latex=r"\\theta",
            words="factor of the noise of SGD",
            help="Factor θ of the η² noise of SGD.",
            default=1.0,
            usual=1.0,
            least=0.0,
            only_with=("flow", ("sgd",)),
        ),
"""
DECAY = 'values["eta"] * values["weight_decay"]'
NOISE = 'values["inverse_batch"] * moment(2'


def test_parameters_are_entries_and_terms_of_both_derivations(tree):
    table, equations, proof = (tree / f"derive/{name}.py" for name in ("parameters", "equations", "proof"))
    changed(
        table, "    eta_second: Any\n", "    eta_second: Any\n    shrinkage: Any\n    temperature: Any\n"
    )
    end = "    )\n}\n# The parameters that are numbers"
    changed(table, end, ENTRY[1:] + end)
    changed(equations, "eta * _name(WEIGHT_DECAY)", 'eta * _name(WEIGHT_DECAY) + _name("shrinkage")')
    changed(equations, "* _name(INVERSE_BATCH),", '* _name(INVERSE_BATCH) * _name("temperature"),')
    changed(proof, f"2 * {DECAY}", f'2 * ({DECAY} + values["shrinkage"])')
    changed(proof, f"False) - {DECAY}", f'False) - ({DECAY} + values["shrinkage"])')
    changed(proof, NOISE, f'values["temperature"] * {NOISE}')
    program = tree / "derive/overlap_program.py"
    changed(program, "share = _name(INVERSE_BATCH)", 'share = _name(INVERSE_BATCH) * _name("temperature")')
    run(tree, "-c", THEORY + PARAMETER)
    run(tree, str(tree / "docs/regenerate.py"))
    assert "shrinkage" in (tree / "docs/options.md").read_text("utf-8")
