"""The object a user holds: SymPy matrices, LaTeX, files; and what importing it costs."""

import dataclasses
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import sympy
from closed_form import named, random_point

import derive
from derive import InputError, Model, ProofError, latex_for_any_widths, overlap_odes, pipeline
from derive.overlap_program import overlap_program
from derive.pipeline import Pipeline
from derive.proof import evaluate_exactly

ROOT = Path(derive.__file__).parent.parent


def rational(value):
    return sympy.Rational(value.numerator, value.denominator)


@pytest.mark.parametrize("widths", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("readout", ["mean", "sum"])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("second_layer", ["ones", "fixed", "trained"])
def test_sympy_matrices_equal_the_program_exactly(widths, readout, constraint, second_layer):
    model = Model(*widths, constraint, teacher="general", readout=readout, second_layer=second_layer)
    odes = overlap_odes(model)
    values = named(model, random_point(model, seed=41))
    if readout == "mean":
        values |= {"a": Fraction(1, model.p), "b": Fraction(1, model.pstar)}
    exact = evaluate_exactly(Pipeline.of(model).program, values)
    values["batch"] = 1 / values["inverse_batch"]
    point = {symbol: rational(values[name]) for name, symbol in odes.symbols.items()}
    for i in range(model.p):
        for j in range(model.p):
            name = f"dQ_{min(i, j) + 1}_{max(i, j) + 1}"
            assert odes.dQ[i, j].xreplace(point) == rational(Fraction(exact[name]))
        for r in range(model.pstar):
            assert odes.dR[i, r].xreplace(point) == rational(exact[f"dR_{i + 1}_{r + 1}"])
        if model.trained:
            assert odes.dv[i, 0].xreplace(point) == rational(exact[f"dv_{i + 1}"])
    assert odes.loss.xreplace(point) == rational(exact["loss"])


def test_one_student_and_one_teacher_by_hand():
    """p = p* = 1: e = λ² − λ*², every moment from E[λ⁶] = 15Q³ and the like, written out."""
    odes = overlap_odes(Model(1, 1))
    names = ("Q_1_1", "R_1_1", "eta", "label_noise", "weight_decay", "batch")
    Q, R, eta, noise, decay, batch = (odes.symbols[name] for name in names)
    first_QQ = 3 * Q**2 - (Q + 2 * R**2)
    first_QR = 3 * Q * R - 3 * R
    second_QQ = 15 * Q**3 - 2 * (3 * Q**2 + 12 * Q * R**2) + (3 * Q + 12 * R**2) + noise * Q
    kappa = 2 * eta
    assert sympy.expand(odes.dR[0, 0] + kappa * first_QR + eta * decay * R) == 0
    mean = 2 * kappa * first_QQ + 2 * eta * decay * Q
    assert sympy.expand(odes.dQ[0, 0] + mean - kappa**2 * second_QQ / batch) == 0
    assert sympy.expand(odes.loss - (3 * Q**2 - 2 * (Q + 2 * R**2) + 3) / 2) == 0


def test_one_student_with_a_trained_weight_by_hand():
    """p = p* = 1: e = vλ² − v*λ*², with the moments of above."""
    odes = overlap_odes(Model(1, 1, second_layer="trained"))
    names = ("Q_1_1", "R_1_1", "v_1", "vstar_1", "eta", "eta_second", "label_noise", "batch")
    Q, R, v, vstar, eta, eta_second, noise, batch = (odes.symbols[name] for name in names)
    first_QQ = 3 * v * Q**2 - vstar * (Q + 2 * R**2)
    second_QQ = 15 * v**2 * Q**3 - 2 * v * vstar * (3 * Q**2 + 12 * Q * R**2)
    second_QQ += vstar**2 * (3 * Q + 12 * R**2) + noise * Q
    gamma = odes.symbols["weight_decay"]
    kappa = 2 * eta * v
    expected = -2 * kappa * first_QQ + kappa**2 * second_QQ / batch - 2 * eta * gamma * Q
    assert sympy.expand(odes.dQ[0, 0] - expected) == 0
    assert sympy.expand(odes.dR[0, 0] + kappa * (3 * v * Q * R - 3 * vstar * R) + eta * gamma * R) == 0
    assert sympy.expand(odes.dv[0, 0] + eta_second * first_QQ) == 0


def test_irrational_readout_stays_exact():
    odes = overlap_odes(Model(2, 3, readout="sqrt"))
    loss = odes.loss.subs(dict.fromkeys(odes.loss.free_symbols, 0))
    assert sympy.expand(loss - (3 * sympy.sqrt(3) ** 2 / 3 + 2) / 2) == 0
    assert sympy.sqrt(2) in {part for part in odes.dR[0, 0].atoms(sympy.Pow) if part.exp == sympy.S.Half}


def test_symbols_have_the_names_of_state_and_parameters():
    odes = overlap_odes(Model(2, 1, teacher="general"))
    names = [*odes.model.parameters, *odes.state]
    assert list(odes.symbols) == [name.replace("inverse_", "") for name in names]
    letters = {"label_noise": "Delta", "weight_decay": "gamma", "batch": "B"}
    assert {name: str(odes.symbols[name]) for name in letters} == letters
    assert (odes.dQ.shape, odes.dR.shape, odes.dv) == ((2, 2), (2, 1), None)
    assert odes.dQ.is_symmetric()
    free = odes.dQ.free_symbols | odes.dR.free_symbols | odes.loss.free_symbols
    assert free == set(odes.symbols.values())


def test_symbols_of_second_layers():
    odes = overlap_odes(Model(2, 3, second_layer="trained"))
    given = ["eta", "Delta", "gamma", "B", "vstar_1", "vstar_2", "vstar_3", "eta_v"]
    assert list(map(str, odes.symbols.values())) == [*given, *odes.state]
    assert odes.state[-2:] == ("v_1", "v_2")
    assert odes.dv.shape == (2, 1)
    free = odes.dQ.free_symbols | odes.dR.free_symbols | odes.dv.free_symbols
    assert free == set(odes.symbols.values())
    fixed = overlap_odes(Model(2, 1, second_layer="fixed"))
    assert fixed.dv is None
    assert {"v_1", "v_2", "vstar_1"} <= set(fixed.symbols)


@pytest.mark.parametrize(
    ("option", "bad"), [("form", "matrices"), ("what", "ode"), ("form", ""), ("what", None)]
)
def test_unknown_latex_is_rejected(option, bad):
    with pytest.raises(InputError, match=f"{option}: .* is not one of ") as error:
        overlap_odes(Model(1, 1)).latex(**{option: bad})
    assert error.value.option == option


def test_unknown_options_for_any_widths_are_rejected():
    with pytest.raises(InputError, match="readout"):
        latex_for_any_widths(readout="median")
    with pytest.raises(InputError, match="what"):
        latex_for_any_widths("lagrangian")


@pytest.mark.usefixtures("no_stages")
@pytest.mark.parametrize("function", [overlap_odes, derive.latex, derive.sector_odes])
@pytest.mark.parametrize("value", ["p4_pstar2", None, [4, 2]])
def test_what_is_no_model_is_refused(function, value):
    with pytest.raises(InputError, match=r"^model: is of the type .*, not a (Sector)?Model$"):
        function(value)


@pytest.mark.usefixtures("no_stages")
def test_wrong_derivation_never_becomes_files(tmp_path, monkeypatch):
    def wrong(model, equations):
        program = overlap_program(model, equations)
        return dataclasses.replace(
            program,
            statements=tuple(
                dataclasses.replace(s, polynomial=2 * s.polynomial) if s.target == "r1" else s
                for s in program.statements
            ),
        )

    monkeypatch.setattr(pipeline, "overlap_program", wrong)
    with pytest.raises(ProofError, match="dR_1_1"):
        overlap_odes(Model(2, 1)).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()


@pytest.mark.parametrize(
    ("call", "loaded"),
    [
        ("derive.Model(2, 1)", set()),
        ("derive.latex(derive.Model(4, 2), 'components')", set()),
        ("derive.overlap_odes(derive.Model(2, 1, 'sphere')).files()", {"flint"}),
        ("derive.sector_odes(derive.SectorModel(2)).files()", {"flint"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(call, loaded):
    code = f"import derive, sys; {call}; print(*{{name.split('.')[0] for name in sys.modules}})"
    heavy = {"flint", "sympy", "numba", "numpy", "runtime"}
    assert heavy.intersection(run_python(code)) == loaded
