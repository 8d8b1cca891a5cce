"""The invariant sector: reduction, proof, code, LaTeX, files."""

import dataclasses
import random
import re
from fractions import Fraction
from pathlib import Path

import generated_code
import numpy as np
import pytest
from closed_form import READOUT_POWERS, Point, drift, loss
from pdflatex import needs_pdflatex, overfull_points
from scipy.stats import ortho_group

import derive
from derive import InputError, Model, ProofError
from derive.proof import evaluate_exactly
from derive.scalar_polynomials import ScalarPolynomial
from derive.sector import SectorModel, sector_odes, sector_pipeline, sector_proof
from derive.sector.sector_pipeline import SectorPipeline
from derive.sector.sector_program import chain, drift_outputs, written_out
from derive.sector.sector_proof import LARGEST_PSTAR, prove_sector

ROOT = Path(derive.__file__).parent.parent
FLOWS = ("sgd", "gradient")
SECOND_LAYERS = ("ones", "fixed")
# More, as many and fewer students than teachers; more than the proof looks at.
WIDTHS = [(1, 1), (5, 1), (4, 2), (9, 2), (3, 3), (2, 3), (1, 4), (12, 5)]


def executed(model):
    """The generated module in plain Python."""
    return generated_code.execute(SectorPipeline.of(model).python)


def sector_state(p, pstar, seed):
    """q, m, q_⊥ with zeros where no student is, and Q, R in a random frame."""
    rng = np.random.default_rng(seed)
    count = min(p, pstar)
    q, m = np.zeros(pstar), np.zeros(pstar)
    m[:count] = rng.uniform(-1.0, 1.0, count)
    q[:count] = m[:count] ** 2 + rng.uniform(0.1, 1.0, count)
    q_perp = rng.uniform(0.2, 1.0) if p > pstar else 0.0
    left, right = (
        ortho_group.rvs(n, random_state=seed) if n > 1 else np.array([[-1.0]]) for n in (p, pstar)
    )
    Q, R = embed(left, right, q, m, q_perp)
    return (q, m, q_perp), (left, right), (Q, R)


def embed(left, right, q, m, q_perp):
    count = min(len(left), len(right))
    u, v = left[:, :count], right[:, :count]
    Q = (u * (q[:count] - q_perp)) @ u.T + q_perp * np.eye(len(left))
    return Q, (u * m[:count]) @ v.T


TRAINING = {"eta": 0.3, "label_noise": 0.2, "weight_decay": 0.15, "batch": 4.0}
WEIGHTS = {"student_weights": 1.5, "teacher_weights": -0.75}


def given(model):
    """The run-time parameters of a model by the names of users."""
    return TRAINING | (WEIGHTS if model.second_layer == "fixed" else {})


def exact(model):
    """The same by the names of programs, as exact numbers."""
    named = {name: Fraction(value) for name, value in given(model).items()}
    named["inverse_batch"] = 1 / named.pop("batch")
    letters = {"student_weights": "v", "teacher_weights": "vstar"}
    return {letters.get(name, name): value for name, value in named.items()}


@pytest.mark.parametrize("second_layer", SECOND_LAYERS)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("readout", READOUT_POWERS)
@pytest.mark.parametrize(("p", "pstar"), WIDTHS)
def test_generated_code_is_the_closed_form_in_any_frame(p, pstar, flow, readout, second_layer):
    """Against the NumPy closed form of the full drift, components outside the sector included."""
    model = Model(p, pstar, flow=flow, readout=readout, second_layer=second_layer)
    module = executed(SectorModel.of(model))
    (q, m, q_perp), (left, right), (Q, R) = sector_state(p, pstar, seed=p + 7 * pstar)
    point = Point(Q, R, np.eye(pstar), **TRAINING)
    if second_layer == "fixed":
        v, vstar = WEIGHTS.values()
        point = dataclasses.replace(point, v=np.full(p, v), vstar=np.full(pstar, vstar))
    state = module.pack(q, m, np.asarray(q_perp))
    found = np.full(module.STATE_SIZE, np.nan)
    parameters = module.pack_parameters(p, **given(model))
    module.rhs(state, parameters, found)
    dq, dm, dq_perp = module.unpack(found)
    dQ, dR = drift(model, point)
    expected_Q, expected_R = embed(left, right, dq, dm, dq_perp)
    scale = max(np.max(np.abs(dQ)), 1.0)
    np.testing.assert_allclose(expected_Q, dQ, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(expected_R, dR, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(module.loss(state, parameters), loss(model, point), rtol=1e-12)
    # Where no student is, nothing appears.
    assert not np.any(dq[p:])
    assert not np.any(dm[p:])
    assert p > pstar or dq_perp == 0.0


@pytest.mark.parametrize("second_layer", SECOND_LAYERS)
@pytest.mark.parametrize("flow", FLOWS)
def test_generated_code_is_the_proved_program(flow, second_layer):
    model = SectorModel(3, flow=flow, readout="sum", second_layer=second_layer)
    module, program = executed(model), written_out(SectorPipeline.of(model).program)
    (q, m, q_perp), _, _ = sector_state(7, 3, seed=1)
    values = dict(zip(model.state, map(Fraction, (*q, *m, q_perp)), strict=True))
    values |= exact(model) | {"a": 1, "b": 1, "rest": 7 - 3}
    proved = evaluate_exactly(program, values)
    found = np.empty(module.STATE_SIZE)
    state, parameters = module.pack(q, m, np.asarray(q_perp)), module.pack_parameters(7, **given(model))
    module.rhs(state, parameters, found)
    expected = [float(proved[name]) for name in drift_outputs(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert module.loss(state, parameters) == pytest.approx(float(proved["loss"]), rel=1e-14)


def test_chains_of_a_direction_are_powers_of_its_block():
    rng = np.random.default_rng(5)
    values = {name: Fraction(int(rng.integers(1, 99)), 7) for name in ("a", "b", "q", "m")}
    c = np.array([[values["q"], values["m"]], [values["m"], Fraction(1)]])
    d = np.diag([values["a"], -values["b"]])
    power = c
    for length in range(4):
        found = [[entry.evaluate(values, Fraction) for entry in row] for row in chain(length)]
        assert (np.array(found) == power).all()
        power = power @ d @ c


# --- proof -------------------------------------------------------------------------------


@pytest.mark.parametrize("second_layer", SECOND_LAYERS)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("pstar", [1, 2, 3, 40])
def test_every_sector_is_proved(pstar, flow, second_layer):
    proof = sector_odes(SectorModel(pstar, flow=flow, second_layer=second_layer)).proof
    small = min(pstar, LARGEST_PSTAR)
    assert (proof.method, proof.pstar) == ("polynomial identity", small)
    assert {1, small, small + 1, small + 2} <= set(proof.widths)
    entries = sum(p * (p + 1) // 2 + p * small + 1 for p in proof.widths)
    assert proof.compared == entries


def mutated(polynomial):
    for monomial, coefficient in polynomial.terms.items():
        for changed in (2 * coefficient, -coefficient, Fraction(0)):
            yield ScalarPolynomial({**polynomial.terms, monomial: changed})


def mutations(program):
    """Programs with one coefficient changed, dropped or of the other sign."""
    for group in ("weights", "coefficients", "direction", "complement"):
        statements = getattr(program, group)
        for k, statement in enumerate(statements):
            for polynomial in mutated(statement.polynomial):
                changed = dataclasses.replace(statement, polynomial=polynomial)
                wrong = (*statements[:k], changed, *statements[k + 1 :])
                yield dataclasses.replace(program, **{group: wrong})
    for k, loop in enumerate(program.loops):
        for part in ("direction", "complement"):
            for polynomial in mutated(getattr(loop, part)):
                changed = dataclasses.replace(loop, **{part: polynomial})
                yield dataclasses.replace(
                    program, loops=(*program.loops[:k], changed, *program.loops[k + 1 :])
                )
    for polynomial in mutated(program.loss.polynomial):
        yield dataclasses.replace(program, loss=dataclasses.replace(program.loss, polynomial=polynomial))


@pytest.mark.parametrize("second_layer", SECOND_LAYERS)
@pytest.mark.parametrize("flow", FLOWS)
def test_every_wrong_program_is_rejected(flow, second_layer):
    model = SectorModel(1, flow=flow, second_layer=second_layer)
    wrong = list(mutations(SectorPipeline.of(model).program))
    assert len(wrong) > 60
    for program in wrong:
        with pytest.raises(ProofError, match="differs"):
            prove_sector(model, program)


@pytest.mark.parametrize("flow", FLOWS)
def test_random_frames_alone_reject_every_wrong_program(flow, monkeypatch):
    """Integers in random frames stand by themselves: one look at the numbers is enough."""
    monkeypatch.setattr(sector_proof, "_compare_polynomials", lambda *_: None)
    model = SectorModel(2, flow=flow)
    prove_sector(model, SectorPipeline.of(model).program)
    for program in mutations(SectorPipeline.of(model).program):
        with pytest.raises(ProofError, match="differs"):
            prove_sector(model, program)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_frames_are_random_rotations(size):
    generator = random.Random(3)
    frames = [np.array(sector_proof._rotation(size, generator), dtype=object) for _ in range(20)]
    for frame in frames:
        assert (frame @ frame.T == np.eye(size, dtype=int)).all()
    # Two reflections along one line are none, which happens in the plane now and then.
    assert len({str(frame) for frame in frames}) >= (15 if size > 1 else 1)


@pytest.mark.usefixtures("no_stages")
def test_wrong_sector_never_becomes_files(tmp_path, monkeypatch):
    program = next(mutations(SectorPipeline(SectorModel(2)).program))
    monkeypatch.setattr(sector_pipeline, "sector_program", lambda *_: program)
    with pytest.raises(ProofError):
        sector_odes(SectorModel(2)).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [
        ("constraint", "sphere", {}),
        ("teacher", "general", {"T": np.array([[1.0, 0.4], [0.4, 1.0]])}),
        ("second_layer", "fixed", {"v": np.array([1.0, 1.0, 1.0, 2.0])}),
        ("second_layer", "fixed", {"vstar": np.array([1.0, -0.5])}),
    ],
)
def test_what_is_rejected_does_leave_the_sector(option, value, changed):
    """Sphere: norms differ from student to student; T and unequal weights: the drift mixes directions."""
    model = Model(4, 2, **{option: value})
    _, (left, right), (Q, R) = sector_state(4, 2, seed=3)
    dQ, dR = drift(
        model, Point(**({"Q": Q, "R": R, "T": np.eye(2), "eta": 0.3, "label_noise": 0.0} | changed))
    )
    outside = [left.T @ dQ @ left, (left.T @ dR @ right)[:2]]
    outside = [matrix - np.diag(np.diag(matrix)) for matrix in outside]
    assert max(np.max(np.abs(matrix)) for matrix in outside) > 0.01
    if option != "second_layer":
        with pytest.raises(InputError, match="has no invariant sector") as error:
            SectorModel.of(model)
        assert error.value.option == option


def test_a_trained_second_layer_follows_the_norms_and_is_rejected():
    """From equal weights v_i moves by the norm of student i, and in the sector norms differ."""
    model = Model(4, 2, second_layer="trained")
    _, _, (Q, R) = sector_state(4, 2, seed=3)
    point = Point(Q, R, np.eye(2), 0.3, 0.0, v=np.ones(4), vstar=np.ones(2), eta_second=0.5)
    *_, dv = drift(model, point)
    assert np.ptp(dv) > 0.01
    with pytest.raises(InputError, match="follows the norm Q_ii") as error:
        SectorModel.of(model)
    assert error.value.option == "second_layer"


# --- model, code, LaTeX, files -------------------------------------------------------------


def test_model_names_and_dictionary():
    model = SectorModel(2, flow="gradient", readout="sqrt")
    assert model.name == "sector_pstar2_gradient_sqrt"
    assert SectorModel(3).name == "sector_pstar3"
    assert SectorModel.from_dict(model.to_dict()) == model
    assert model.state == ("q_1", "q_2", "m_1", "m_2", "q_perp")
    training = ("p", "eta", "label_noise", "weight_decay", "inverse_batch")
    assert (model.state_size, model.parameters) == (5, training)
    fixed = SectorModel(2, second_layer="fixed")
    assert (fixed.name, fixed.parameters) == ("sector_pstar2_fixed", (*training, "v", "vstar"))
    assert SectorModel.of(model.with_widths(9)) == model
    assert len({model, SectorModel(2, flow="gradient", readout="sqrt"), SectorModel(2)}) == 2


def test_code_does_not_grow_with_the_teacher():
    small, large = (SectorPipeline.of(SectorModel(pstar)) for pstar in (2, 500))
    assert abs(large.python.count("\n") - small.python.count("\n")) <= 1
    assert large.operations["rhs"] < 300 * small.operations["rhs"]


def test_gradient_flow_computes_no_second_moment():
    text = SectorPipeline.of(SectorModel(2, flow="gradient")).python
    rhs = text[text.index("def rhs") : text.index("def loss")]
    assert "label_noise" not in rhs
    assert "t +=" not in rhs
    assert "z =" not in rhs


EQUATIONS = r"""\[
  a = \frac{1}{p},\qquad b = \frac{1}{2}
\]
\begin{align*}
  \kappa &= 2a\eta \\
  s &= \operatorname{tr}(DC) = \sum_{k=1}^{2} (aq_k - b) + (p - 2)aq_\perp \\
  t &= \operatorname{tr}(DCDC) \\
  &= \sum_{k=1}^{2} (a^2q_k^2 + b^2 - 2abm_k^2) + (p - 2)a^2q_\perp^2 \\
  x_k &= aq_k^2 - bm_k^2 \\
  y_k &= am_kq_k - bm_k \\
  z_k &= aq_kx_k - bm_ky_k \\
  \frac{\mathrm{d}m_k}{\mathrm{d}\alpha} &= -\kappa[sm_k + 2y_k] - \eta\gamma m_k \\
  \frac{\mathrm{d}q_k}{\mathrm{d}\alpha} &= -2\kappa[sq_k + 2x_k] \\
  &\quad + \frac{\kappa^2}{B}[(s^2 + 2t + \Delta)q_k + 4sx_k + 8z_k] \\
  &\quad - 2\eta\gamma q_k \\
  \frac{\mathrm{d}q_\perp}{\mathrm{d}\alpha} &= -2\kappa[sq_\perp + 2aq_\perp^2] \\
  &\quad + \frac{\kappa^2}{B}[(s^2 + 2t + \Delta)q_\perp + 4saq_\perp^2 + 8a^2q_\perp^3] \\
  &\quad - 2\eta\gamma q_\perp
\end{align*}
"""


def test_equations_as_printed():
    odes = sector_odes(SectorModel(2))
    assert odes.latex(definitions=False) == EQUATIONS
    assert odes.latex().endswith("\n" + EQUATIONS)
    assert r"\varepsilon &= \frac{1}{2}s^2 + t" in odes.latex("loss")
    assert r"\kappa^2" not in sector_odes(SectorModel(2, flow="gradient")).latex(definitions=False)
    with pytest.raises(InputError, match="what"):
        odes.latex("jacobian")


@pytest.mark.parametrize(
    ("readout", "equation", "words"),
    [
        ("mean", r"a = \frac{1}{p},\qquad b = \frac{1}{3}", "a = 1/p, b = 1/p*"),
        ("sum", "a = b = 1", "a = b = 1"),
        ("sqrt", r"a = \frac{1}{\sqrt{p}},\qquad b = \frac{1}{\sqrt{3}}", "a = 1/sqrt(p), b = 1/sqrt(p*)"),
    ],
)
def test_readouts_as_they_are_written(readout, equation, words):
    model = SectorModel(3, readout=readout)
    for what in ("odes", "loss"):
        assert sector_odes(model).latex(what, definitions=False).startswith(f"\\[\n  {equation}\n\\]\n")
    assert re.search(rf"[ (]{re.escape(words)}[ ).;,\n]", SectorPipeline.of(model).python)


@needs_pdflatex
@pytest.mark.parametrize(
    "model", [SectorModel(2), SectorModel(11, flow="gradient", readout="sqrt", second_layer="fixed")]
)
def test_document_compiles(model, tmp_path):
    assert overfull_points(SectorPipeline.of(model).latex, tmp_path) == 0
