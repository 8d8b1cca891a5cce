"""The plateau and its stability: known numbers, closed forms, long runs, dense Jacobians."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from matrix import matrix, thinned

import derive
import runtime
from runtime import InputError
from runtime.analysis.landscape.solution_stability import largest_stable_eta
from runtime.analysis.plateau.bisection import largest_where
from runtime.analysis.plateau.fixed_point import NoPlateauError
from runtime.analysis.plateau.linear_modes import (
    ALIGNMENT,
    FIXED_NORMS,
    NORM,
    NORM_DIFFERENCES,
    STUDENTS,
)
from runtime.analysis.plateau.plateau_curve import largest_plateau_eta, plateau
from runtime.analysis.plateau.plateau_formulas import closed_form

WIDTHS = [(1, 1), (4, 2), (2, 3), (7, 3)]
GRADIENT_WIDTHS = [(4, 2), (7, 3)]
SPHERE_WIDTHS = [(3, 2), (4, 2)]
UNEQUAL = np.array([[1.0, 0.3], [0.3, 2.0]])
SPHERE_GENERAL = {"constraint": "sphere", "teacher": "general", "readout": "sqrt"}
# Widths, options of the model, run-time parameters: every convention at least once.
CASES = [
    (4, 2, {}, {"eta": 0.4}),
    (7, 3, {}, {"eta": 0.9, "label_noise": 0.5}),
    (1, 2, {"readout": "sqrt"}, {"eta": 0.02, "label_noise": 0.1, "batch": 4}),
    (3, 3, {"readout": "sum"}, {"eta": 0.02}),
    (3, 2, {"teacher": "general"}, {"eta": 0.1, "label_noise": 0.2, "T": UNEQUAL, "weight_decay": 0.25}),
    (3, 2, {"teacher": "general", "flow": "gradient"}, {"eta": 0.3, "label_noise": 0.7, "T": UNEQUAL}),
    (4, 2, {"constraint": "sphere"}, {"eta": 0.4, "label_noise": 0.3, "weight_decay": 0.2, "batch": 2}),
    (3, 2, SPHERE_GENERAL, {"eta": 0.1, "T": UNEQUAL}),
    (4, 2, {}, {"eta": 3.0, "weight_decay": 0.1, "batch": 5}),
    (4, 2, {"flow": "gradient"}, {"eta": 0.4, "weight_decay": 0.1}),
]


@pytest.fixture
def system(interpreted):
    """For tests of a few states; those that integrate take `system_of`, which compiles."""
    return interpreted


# --- known numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar"), GRADIENT_WIDTHS)
@pytest.mark.parametrize("eta", [1e-6, 0.3, 50.0])
def test_gradient_flow(system, p, pstar, eta):
    """q = p/(p+2), ε = 1/(p+2) + 1/p*, R ~ exp(4ηα/(p p*)) at any η."""
    point = plateau(system(p, pstar, flow="gradient"), eta)
    np.testing.assert_allclose(point.Q, p / (p + 2) * np.eye(p), rtol=0.0, atol=1e-14)
    assert point.loss == pytest.approx(1 / (p + 2) + 1 / pstar, rel=1e-13)
    assert point.rate == pytest.approx(4 * eta / (p * pstar), rel=1e-12)
    assert point.multiplicity == p * pstar
    assert point.stable


def test_sgd(system):
    """(p, p*, η) = (4, 2, 0.4): q = 3 − √5 = 0.76393, ε = 0.67376, rate 0.17082."""
    point = plateau(system(4, 2), 0.4)
    assert point.q == pytest.approx(3.0 - np.sqrt(5.0), rel=1e-14)
    assert point.loss == pytest.approx(0.67376, abs=5e-6)
    assert point.rate == pytest.approx(0.17082, abs=5e-6)
    assert (point.multiplicity, point.stable) == (8, True)
    assert not point.R.any()
    assert [(mode.name, mode.multiplicity) for mode in point.modes] == [
        (NORM, 1),
        (NORM_DIFFERENCES, 3),
        (STUDENTS, 6),
        (ALIGNMENT, 8),
    ]


@pytest.mark.parametrize(("p", "pstar"), SPHERE_WIDTHS)
def test_sphere(system, p, pstar):
    point = plateau(system(p, pstar, constraint="sphere"), 0.05)
    np.testing.assert_array_equal(point.Q, np.eye(p))
    assert point.loss == pytest.approx(1 / p + 1 / pstar, rel=1e-14)
    assert point.modes[0].name == FIXED_NORMS
    assert point.residual < 1e-16


def test_norms_on_the_sphere_are_kept(system):
    norms = np.array([0.5, 1.0, 1.0, 3.0])
    sphere = system(4, 2, constraint="sphere")
    point = plateau(sphere, 0.2, norms=norms)
    np.testing.assert_array_equal(point.Q, np.diag(norms))
    dense = np.linalg.eigvals(sphere.jacobian(point.Q, point.R, 0.2))
    np.testing.assert_allclose(point.spectrum, np.sort(dense.real)[::-1], atol=1e-14)
    # Only one student has the norm that grows fastest.
    assert point.multiplicity == 2


@pytest.mark.parametrize(("p", "pstar"), GRADIENT_WIDTHS)
def test_small_learning_rates_are_gradient_flow(system, p, pstar):
    sgd, flow = plateau(system(p, pstar), 1e-7), plateau(system(p, pstar, flow="gradient"), 1e-7)
    assert sgd.q == pytest.approx(flow.q, rel=1e-5)
    assert sgd.loss == pytest.approx(flow.loss, rel=1e-10)
    np.testing.assert_allclose(sgd.spectrum, flow.spectrum, rtol=1e-5)


# --- independent routes ----------------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar", "options", "parameters"), CASES)
def test_spectrum_is_that_of_the_dense_jacobian(system, p, pstar, options, parameters):
    one = system(p, pstar, **options)
    point = plateau(one, **parameters)
    jacobian = one.jacobian(point.Q, point.R, **parameters)
    dense = np.linalg.eigvals(jacobian)
    assert np.abs(dense.imag).max() < 1e-14
    np.testing.assert_allclose(point.spectrum, np.sort(dense.real)[::-1], atol=1e-13)
    assert point.spectrum.size == one.model.state_size
    alignment = jacobian[-p * pstar :, -p * pstar :]
    values = np.linalg.eigvals(alignment).real
    assert point.rate == pytest.approx(values.max(), rel=1e-12)
    assert point.multiplicity == np.sum(values > values.max() - 1e-9)


@pytest.mark.parametrize(("p", "pstar", "options", "parameters"), thinned(CASES, 0, 2, 3, 4, 5, 6, 7, 8, 9))
def test_long_run_sits_on_the_plateau_and_leaves_at_its_rate(
    system, system_of, p, pstar, options, parameters
):
    """From random students almost orthogonal to the teachers; what grows is R along T's largest."""
    one = system_of(p, pstar, **options)
    point = plateau(system(p, pstar, **options), **parameters)
    T = parameters.get("T")
    Q0, R0 = runtime.random_overlaps(
        p, pstar, n=300, seed=2, constraint=one.model.constraint, T=T, trajectories=None
    )
    # Q relaxes as its slowest mode; meanwhile R must stay tiny.
    moving = [m.rate for m in point.modes if m.name not in (ALIGNMENT, FIXED_NORMS)]
    end = 26.0 / -max(moving)
    run = runtime.integrate(
        one,
        Q0,
        1e-9 * R0 * np.exp(-point.rate * end),
        **parameters,
        alpha=np.array([0.95 * end, end]),
        rtol=1e-12,
        atol=1e-40,
    )
    np.testing.assert_allclose(run["Q"].values[-1], point.Q, atol=1e-9)
    assert run["loss"].values[-1] == pytest.approx(point.loss, rel=1e-9)
    top = np.linalg.eigh(point.T)[1][:, -1]
    R = run["R"].values @ top
    np.testing.assert_allclose(np.log(R[1] / R[0]) / (0.05 * end), point.rate, rtol=1e-7)


@pytest.mark.parametrize("name", [NORM, STUDENTS])
def test_deviations_return_at_their_rates(system_of, name):
    one = system_of(4, 2)
    point = plateau(one, 0.4, 0.1)
    shape = np.eye(4) if name == NORM else np.ones((4, 4)) - np.eye(4)
    deviation = 1e-7 * shape
    alpha = np.array([0.0, 3.0])
    run = runtime.integrate(
        one, point.Q + deviation, point.R, eta=0.4, label_noise=0.1, alpha=alpha, rtol=1e-13, atol=1e-18
    )
    left = np.sum((run["Q"].values[1] - point.Q) * shape) / np.sum(deviation * shape)
    assert np.log(left) / 3.0 == pytest.approx(point.rate_of(name), rel=1e-6)


@pytest.mark.parametrize(("p", "pstar", "options", "parameters"), CASES)
def test_closed_form_agrees(system, p, pstar, options, parameters):
    """With γ and B as symbols where they are not as by default."""
    point = plateau(system(p, pstar, **options), **parameters)
    numbers = {"weight_decay": parameters.get("weight_decay", 0.0), "batch": parameters.get("batch", 1)}
    form = closed_form(**options, **dict.fromkeys(numbers.keys() & parameters.keys()))
    teacher = parameters.get("T", np.eye(pstar))
    values = {"p": p, "pstar": pstar, "eta": parameters["eta"], "Delta": parameters.get("label_noise", 0.0)}
    values |= {"gamma": numbers["weight_decay"], "B": numbers["batch"]}
    values |= {"T1": np.trace(teacher), "T2": np.sum(teacher**2), "tau": np.linalg.eigvalsh(teacher)[-1]}
    known = {symbol: values[name] for name, symbol in form.symbols.items() if name in values}

    def value(expression):
        return float(expression.subs(known))

    assert value(form.q) == pytest.approx(point.q, rel=1e-13)
    assert value(form.loss) == pytest.approx(point.loss, rel=1e-12)
    assert value(form.rate) == pytest.approx(point.rate, rel=1e-11)
    if p > 1:
        assert value(form.overlap_rate) == pytest.approx(point.rate_of(STUDENTS), rel=1e-11)
    if NORM in [mode.name for mode in point.modes]:
        assert value(form.norm_rate) == pytest.approx(point.rate_of(NORM), rel=1e-11)
    with_q = known | {form.symbols.get("q", sympy.Symbol("q")): point.q}
    assert float(form.in_q["rate"].subs(with_q)) == pytest.approx(point.rate, rel=1e-11)


# --- closed forms ----------------------------------------------------------------------------


def test_closed_form_of_gradient_flow():
    form = closed_form(flow="gradient")
    p, pstar, eta = (form.symbols[name] for name in ("p", "pstar", "eta"))
    assert sympy.simplify(form.q - p / (p + 2)) == 0
    assert sympy.simplify(form.loss - 1 / (p + 2) - 1 / pstar) == 0
    assert sympy.simplify(form.rate - 4 * eta / (p * pstar)) == 0
    assert form.largest_eta == sympy.oo


def test_closed_form_of_gradient_flow_with_any_readout_and_teacher():
    form = closed_form(flow="gradient", teacher="general", readout=None)
    a, b, eta, tau = (form.symbols[name] for name in ("a", "b", "eta", "tau"))
    p, trace = form.symbols["p"], form.symbols["T1"]
    assert sympy.simplify(form.rate - 4 * a * b * tau * eta) == 0
    assert sympy.simplify(form.q - b * trace / (a * (p + 2))) == 0


def test_closed_form_of_sgd_in_q():
    """ε and the rates as polynomials in q, derived by hand, u = aq and κ = 2aη."""
    form = closed_form(readout=None, teacher="general")
    a, b, eta, q, p = (form.symbols[name] for name in ("a", "b", "eta", "q", "p"))
    u, kappa, B, tau = a * q, 2 * a * eta, b * form.symbols["T1"], form.symbols["tau"]
    rate = kappa * (B + 2 * b * tau - (p + 2) * u)
    overlaps = 4 * kappa * u * ((p + 4) * kappa * u - kappa * B - 1)
    assert sympy.expand(form.in_q["rate"] - rate) == 0
    assert sympy.expand(form.in_q["overlap_rate"] - overlaps) == 0
    assert sympy.expand(form.in_q["norm_rate"] - (p + 2) / sympy.Integer(2) * overlaps) == 0


@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("flow", ["sgd", "gradient"])
def test_closed_form_solves_the_derived_components(constraint, flow):
    """Substituted into every component that was derived for (2, 2), exactly."""
    options = {"constraint": constraint, "flow": flow, "teacher": "general"}
    odes = derive.overlap_odes(derive.Model(2, 2, **options))
    eta, noise = sympy.Rational(1, 10), sympy.Rational(1, 3)
    T = sympy.Matrix([[1, sympy.Rational(1, 2)], [sympy.Rational(1, 2), 1]])
    form = closed_form(**options, weight_decay=None, batch=None)
    decay, batch = sympy.Rational(1, 7), sympy.Integer(3)
    known = {"p": 2, "pstar": 2, "eta": eta, "Delta": noise, "tau": sympy.Rational(3, 2)}
    known |= {"gamma": decay, "B": batch}
    known |= {"T1": T.trace(), "T2": (T * T).trace()}
    known = {symbol: known[name] for name, symbol in form.symbols.items() if name in known}
    q, size = form.q.subs(known), sympy.Symbol("size")
    at = {odes.symbols["eta"]: eta, odes.symbols.get("label_noise"): noise}
    at |= {odes.symbols["weight_decay"]: decay, odes.symbols["batch"]: batch}
    at |= {odes.symbols[f"T_{r + 1}_{s + 1}"]: T[r, s] for r in range(2) for s in range(r, 2)}
    at |= {odes.symbols[name]: q if name in ("Q_1_1", "Q_2_2") else 0 for name in odes.state}
    assert all(sympy.simplify(entry.subs(at)) == 0 for entry in [*odes.dQ, *odes.dR])
    assert sympy.simplify(odes.loss.subs(at) - form.loss.subs(known)) == 0
    # R = size · (1, 1) for the first student: the eigenvector of T with eigenvalue 3/2.
    at |= {odes.symbols["R_1_1"]: size, odes.symbols["R_1_2"]: size}
    growth = sympy.diff(odes.dR[0, 0].subs(at), size).subs(size, 0)
    assert sympy.simplify(growth - form.rate.subs(known)) == 0


def test_closed_form_rejects_other_options():
    with pytest.raises(InputError, match=r"^flow: "):
        closed_form(flow="momentum")
    with pytest.raises(InputError, match=r"^readout: 'max' is not one of"):
        closed_form(readout="max")
    with pytest.raises(InputError, match=r"^weight_decay: -1 is not"):
        closed_form(weight_decay=-1)
    with pytest.raises(InputError, match=r"^batch: 0 is not"):
        closed_form(batch=0)


def test_weight_decay_and_batches_in_closed_form():
    """In gradient flow γ shortens the students and leaves the rate; with B the noise is that of η/B."""
    form = closed_form(flow="gradient", weight_decay=None)
    p, pstar, eta, decay = (form.symbols[name] for name in ("p", "pstar", "eta", "gamma"))
    assert sympy.simplify(form.q - p / (p + 2) * (1 - decay * p / 2)) == 0
    assert sympy.simplify(form.rate - 4 * eta / (p * pstar)) == 0
    single, several = closed_form(), closed_form(batch=7)
    slower = {single.symbols["eta"]: single.symbols["eta"] / 7}
    assert sympy.simplify(several.q - single.q.subs(slower)) == 0
    assert sympy.simplify(several.largest_eta - 7 * single.largest_eta) == 0
    assert sympy.simplify(several.in_q["rate"] - 7 * single.in_q["rate"].subs(slower)) == 0


# --- where the plateau ends ------------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar"), thinned(WIDTHS, 0, 1, 2))
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_largest_plateau_eta_is_where_two_roots_meet(system, p, pstar, noise):
    largest = largest_plateau_eta(system(p, pstar), noise)
    form = closed_form()
    known = {"p": p, "pstar": pstar, "Delta": noise}
    known = {form.symbols[name]: value for name, value in known.items()}
    assert largest == pytest.approx(float(form.largest_eta.subs(known)), rel=1e-13)
    decayed, form = {"weight_decay": 0.3, "batch": 3}, closed_form(weight_decay=0.3, batch=3)
    assert largest_plateau_eta(system(p, pstar), noise, **decayed) == pytest.approx(
        float(form.largest_eta.subs(known)), rel=1e-13
    )
    assert largest_stable_eta(system(p, pstar), label_noise=noise) == pytest.approx(largest, rel=1e-13)
    point = plateau(system(p, pstar), largest * (1.0 - 1e-9), noise)
    assert point.stable
    # All rates of Q vanish there, as the square root of the distance.
    assert -1e-3 * abs(plateau(system(p, pstar), 0.5 * largest, noise).rate_of(NORM)) < point.rate_of(NORM)
    with pytest.raises(NoPlateauError, match="the norms of the students run away"):
        plateau(system(p, pstar), largest * (1.0 + 1e-9), noise)


def test_on_the_sphere_no_norms_run_away(system):
    with pytest.raises(InputError, match=r"^constraint: 'sphere': the plateau exists at any η"):
        largest_plateau_eta(system(3, 2, constraint="sphere"))


def test_label_noise_lets_the_plateau_attract_before_it_ends(system):
    """For T = 1 above Δ = 2b²(2 − p*)(p + p* + 4)/(p + 2)."""
    for p, pstar in ((3, 1), (4, 2), (1, 1)):
        b = 1.0 / pstar
        threshold = 2.0 * b**2 * (2 - pstar) * (p + pstar + 4) / (p + 2)
        for noise, coincide in ((threshold + 0.05, False), (max(threshold - 0.05, 0.0), True)):
            ends, attracts = (
                largest_stable_eta(system(p, pstar), where, label_noise=noise)
                for where in ("plateau", "escape")
            )
            assert (ends == pytest.approx(attracts, rel=1e-9)) == coincide
            assert attracts <= ends * (1.0 + 1e-12)


def test_beyond_it_norms_run_away(system_of):
    one = system_of(4, 2)
    assert largest_plateau_eta(one) == pytest.approx(1.2, rel=1e-14)
    for eta, stays in ((1.19, True), (1.21, False)):
        run = runtime.integrate(one, 0.5 * np.eye(4), np.zeros((4, 2)), eta=eta, alpha=3000.0)
        assert (run["status"].item() == "ok") == stays


def test_no_largest_eta_in_gradient_flow(system):
    for where in ("plateau", "escape", "solution"):
        assert largest_stable_eta(system(4, 2, flow="gradient"), where) == np.inf


@pytest.mark.parametrize(("p", "pstar"), SPHERE_WIDTHS)
def test_students_align_on_the_sphere(system, p, pstar):
    """κ((p+4)/p − 1) = 1 with κ = 2η/p: at p²/8."""
    one = system(p, pstar, constraint="sphere")
    largest = largest_stable_eta(one)
    assert largest == pytest.approx(p * p / 8, rel=1e-12)
    form = closed_form(constraint="sphere")
    assert sympy.simplify(form.largest_eta - form.symbols["p"] ** 2 / 8) == 0
    assert not plateau(one, largest * 1.001).stable


@pytest.mark.parametrize(
    ("p", "pstar", "constraint", "expected"),
    # Where 2b = (p + 2)u − p*b, with u = aq on the lower branch; for p* ≤ 2 the plateau ends first.
    [matrix((7, 3, "free", 2.7)), (3, 3, "free", 0.9), (4, 2, "free", 1.2), (4, 2, "sphere", 2.0)],
)
def test_escape_ends_where_its_rate_vanishes(system, p, pstar, constraint, expected):
    one = system(p, pstar, constraint=constraint)
    largest = largest_stable_eta(one, "escape")
    assert largest == pytest.approx(expected, rel=1e-10)
    assert largest <= largest_stable_eta(one, "plateau") * (1.0 + 1e-12)
    assert plateau(one, largest * (1.0 - 1e-6)).rate > 0.0


@pytest.mark.matrix
def test_plateau_attracts_between_these_learning_rates(system, system_of):
    point = plateau(system(7, 3), 2.75)
    assert point.stable
    assert point.rate < 0.0
    run = runtime.integrate(
        system_of(7, 3), point.Q, np.full((7, 3), 1e-3), eta=2.75, alpha=np.array([100.0]), rtol=1e-10
    )
    assert np.abs(run["R"].values).max() < 1e-4


# --- several learning rates ------------------------------------------------------------------


def test_several_learning_rates_are_a_dataset(system):
    one, rates = system(4, 2), [0.1, 0.4, 1.3]
    curve = plateau(one, rates, 0.1, batch=2)
    assert curve["eta"].values.tolist() == rates
    for k, eta in enumerate(rates[:2]):
        point = plateau(one, eta, 0.1, batch=2)
        for name in ("q", "loss", "rate", "multiplicity", "stable"):
            assert curve[name].values[k] == getattr(point, name)
        np.testing.assert_array_equal(curve["norm"].values[k], point.norms)
    for where in ("plateau", "escape"):
        largest = largest_stable_eta(one, where, label_noise=0.1, batch=2)
        assert curve.attrs[f"largest_eta_{where}"] == largest
    beyond = plateau(one, [2.0])
    assert np.isnan([beyond[name].item() for name in ("q", "loss", "rate")]).all()
    assert (beyond["stable"].item(), beyond["multiplicity"].item()) == (0, 0)
    with pytest.raises(InputError, match=r"^eta: needs ascending learning rates"):
        plateau(one, [0.2, 0.1])


def test_repr_is_short(system):
    text = repr(plateau(system(4, 2), 0.4))
    assert text == (
        "<plateau of p4_pstar2 at eta = 0.4: q = 0.763932, loss 0.673762, rate 0.17082 (8 directions),"
        " stable within R = 0>"
    )


# --- what is rejected ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 0.0}, r"^eta: 0\.0 is not a finite number greater than 0"),
        ({"eta": np.nan}, r"^eta: "),
        ({"eta": 0.4, "label_noise": -1.0}, r"^label_noise: "),
        ({"eta": 0.4, "T": 2 * np.eye(2)}, r"^T: is not 1, but the model has an orthonormal teacher"),
        ({"eta": 0.4, "norms": np.ones(4)}, r"^norms: are given, but the norms are free"),
        ({"eta": 3.0}, r"^eta: 3 has no plateau.*the largest learning rate is 1\.2$"),
    ],
)
def test_plateau_rejects(system, arguments, message):
    with pytest.raises(InputError, match=message):
        plateau(system(4, 2), **arguments)


def test_plateau_rejects_wrong_norms_and_a_zero_teacher(system):
    with pytest.raises(InputError, match=r"^norms: has the shape \(3,\)"):
        plateau(system(4, 2, constraint="sphere"), 0.4, norms=np.ones(3))
    with pytest.raises(InputError, match=r"^norms: 0 is not greater than 0"):
        plateau(system(4, 2, constraint="sphere"), 0.4, norms=[1.0, 1.0, 0.0, 1.0])
    general = system(3, 2, teacher="general")
    with pytest.raises(NoPlateauError, match=r"^T: is zero"):
        plateau(general, 0.1, T=np.zeros((2, 2)))
    # Label noise alone sustains norms.
    assert plateau(general, 0.1, 0.5, np.zeros((2, 2))).q > 0.0


@pytest.mark.parametrize("edge", [1e-9, 0.3, 1.0, 7.0, 1e9])
def test_bisection(edge):
    assert largest_where(lambda x: x <= edge, 1.0) == pytest.approx(edge, rel=2e-15)


def test_bisection_without_an_edge():
    assert largest_where(lambda _: True, 1.0) == np.inf
    assert largest_where(lambda _: False, 1.0) == 0.0
