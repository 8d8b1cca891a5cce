"""Exact relations of runs with second layers, weight decay, batches and schedules (PHYSICS, section 11)."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import final_state, final_weights, integrate
from runtime.trajectory import single_run

ETA, SECOND, DECAY = 0.3, 0.2, 0.05
P, PSTAR = 3, 2
V, VSTAR = np.array([1.2, -0.7, 0.5]), np.array([0.9, -0.4])
# A schedule of each kind, with ∫ g from 0 to α.
INTEGRALS = {
    "exponential:20": lambda t: 20.0 * -np.expm1(-t / 20.0),
    "inverse:20": lambda t: 20.0 * np.log1p(t / 20.0),
    "inverse-sqrt:20": lambda t: 40.0 * (np.sqrt(1.0 + t / 20.0) - 1.0),
    "0:1,7:0.5,20:2": lambda t: np.interp(t, [0, 7, 20, 99], [0, 7, 13.5, 171.5]),
}
# Everything at once, for one-pass SGD.
ALL = {
    "eta": ETA,
    "eta_second": SECOND,
    "label_noise": 0.2,
    "weight_decay": DECAY,
    "batch": 4,
    "teacher_weights": VSTAR,
    "schedule": "inverse:20",
    "rtol": 1e-10,
    "atol": 1e-12,
}


def overlaps_of_weights(seed=0, p=P, pstar=PSTAR, n=12):
    """Overlaps Q and R of random weights with an orthonormal teacher."""
    W = np.random.default_rng(seed).standard_normal((p, n))
    return W @ W.T / n, W[:, :pstar] / np.sqrt(n)


def trained(system_of, flow="sgd"):
    return system_of(P, PSTAR, second_layer="trained", flow=flow)


@pytest.mark.parametrize("word", INTEGRALS)
def test_gradient_flow_with_a_schedule_is_that_of_constant_rates_at_another_time(
    system_of, word, monkeypatch
):
    alpha = np.linspace(0.0, 30.0, 16)
    settings = {
        name: ALL[name] for name in ("eta", "eta_second", "weight_decay", "teacher_weights", "rtol")
    }
    settings |= {"student_weights": V, "atol": 1e-12}
    system, start = trained(system_of, "gradient"), overlaps_of_weights()

    def apart(**more):
        run = integrate(system, *start, alpha=alpha, schedule=word, **settings, **more)
        constant = integrate(system, *start, alpha=INTEGRALS[word](alpha), **settings)
        return max(np.abs(run[name].values - constant[name].values).max() for name in ("Q", "R", "v"))

    assert apart() < 2e-8
    # Wrong: the rate of the second layer stays as it is.
    monkeypatch.setattr(single_run, "scheduled_places", lambda _: (0,))
    assert apart() > 1e-3


@pytest.mark.parametrize("word", [None, *INTEGRALS])
def test_students_without_output_only_decay(system_of, word):
    """With v = 0 R falls as e^(−ηγα), and Q with twice that rate; with a schedule α is replaced by ∫ g."""
    system, (Q0, R0), alpha = (
        system_of(P, PSTAR, second_layer="fixed"),
        overlaps_of_weights(),
        [0.0, 9.0, 30.0],
    )
    run = integrate(
        system,
        Q0,
        R0,
        eta=ETA,
        weight_decay=DECAY,
        student_weights=np.zeros(P),
        teacher_weights=VSTAR,
        label_noise=0.3,
        schedule=word,
        alpha=alpha,
        rtol=1e-11,
        atol=1e-13,
    )
    time = np.array(alpha) if word is None else INTEGRALS[word](np.array(alpha))
    factor = np.exp(-ETA * DECAY * time)[:, None, None]
    np.testing.assert_allclose(run["R"].values, factor * R0, rtol=1e-9)
    np.testing.assert_allclose(run["Q"].values, factor**2 * Q0, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("second_layer", ["fixed", "trained"])
def test_permuted_students_have_permuted_weights(interpreted, second_layer):
    system = interpreted(P, PSTAR, second_layer=second_layer)
    (Q, R), order = overlaps_of_weights(), [2, 0, 1]
    settings = {"eta": ETA, "weight_decay": DECAY, "batch": 4, "teacher_weights": VSTAR}
    if second_layer == "trained":
        settings["eta_second"] = SECOND
    drift = system.rhs(Q, R, student_weights=V, **settings)
    permuted = system.rhs(Q[np.ix_(order, order)], R[order], student_weights=V[order], **settings)
    np.testing.assert_allclose(permuted[0], drift[0][np.ix_(order, order)], rtol=1e-13)
    for ours, theirs in zip(permuted[1:], drift[1:], strict=True):
        np.testing.assert_allclose(ours, theirs[order], rtol=1e-13)
    # Wrong: the weights stay where they were.
    wrong = system.rhs(Q[np.ix_(order, order)], R[order], student_weights=V, **settings)
    assert np.abs(wrong[1] - drift[1][order]).max() > 1e-3


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_positive_teacher_weights_are_a_general_teacher(interpreted, constraint):
    """T = diag(v*_r) with R_ir → √v*_r R_ir."""
    weights = np.array([1.7, 0.4])
    settings = {"eta": ETA, "label_noise": 0.1, "weight_decay": DECAY, "batch": 3}
    weighted = interpreted(P, PSTAR, second_layer="fixed", constraint=constraint)
    general = interpreted(P, PSTAR, teacher="general", constraint=constraint)
    Q, R = overlaps_of_weights()
    T, scale = np.diag(weights), np.sqrt(weights)
    dQ, dR = weighted.rhs(Q, R, teacher_weights=weights, **settings)
    same_q, same_r = general.rhs(Q, scale * R, T=T, **settings)
    np.testing.assert_allclose(same_q, dQ, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(same_r, scale * dR, rtol=1e-12, atol=1e-14)
    assert general.loss(Q, scale * R, T=T) == pytest.approx(
        weighted.loss(Q, R, teacher_weights=weights), rel=1e-13
    )
    # Wrong: R times the weights themselves.
    assert np.abs(general.rhs(Q, weights * R, T=T, **settings)[0] - dQ).max() > 1e-3


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_weights_of_ones_are_the_model_without_weights(interpreted, constraint, flow):
    options = {"constraint": constraint, "flow": flow}
    ones, fixed = (interpreted(P, PSTAR, second_layer=layer, **options) for layer in ("ones", "fixed"))
    Q, R = overlaps_of_weights()
    settings = {"eta": ETA, "weight_decay": DECAY, "batch": 2}
    for theirs, ours in zip(ones.rhs(Q, R, **settings), fixed.rhs(Q, R, **settings), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(
        fixed.jacobian(Q, R, **settings), ones.jacobian(Q, R, **settings), rtol=1e-12, atol=1e-14
    )
    assert fixed.loss(Q, R) == pytest.approx(ones.loss(Q, R), rel=1e-14)


def test_a_run_goes_on_from_its_last_state_and_time(system_of):
    system, start = trained(system_of), overlaps_of_weights()
    whole = integrate(system, *start, alpha=[10.0, 40.0], student_weights=V, **ALL)
    half = integrate(system, *start, alpha=10.0, student_weights=V, **ALL)
    assert "start_alpha" not in half.attrs

    def rest(start_alpha):
        return integrate(
            system,
            *final_state(half),
            student_weights=final_weights(half),
            alpha=[30.0 + start_alpha],
            start_alpha=start_alpha,
            **ALL,
        )

    end = rest(10.0)
    assert end.attrs["start_alpha"] == 10.0
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(end[name].values[-1], whole[name].values[-1], atol=1e-8)
    # Wrong: the schedule begins again.
    assert np.abs(rest(0.0)["v"].values[-1] - whole["v"].values[-1]).max() > 1e-3


def conserved(run):
    """Q_ii − 2 (η/η_v) v_i² at all times (alpha, i)."""
    norms = np.diagonal(run["Q"].values, axis1=1, axis2=2)
    return norms - 2.0 * ETA / SECOND * run["v"].values ** 2


@pytest.mark.parametrize("word", ["constant", "exponential:20", "0:1,7:0.5"])
def test_norms_and_weights_of_a_trained_second_layer_are_balanced(system_of, word):
    """Gradient flow with free norms conserves Q_ii − 2 (η/η_v) v_i², also with a schedule."""
    settings = {name: ALL[name] for name in ("eta", "eta_second", "teacher_weights", "rtol", "atol")}
    settings |= {"alpha": 40.0, "schedule": word, "student_weights": V}
    system, start = trained(system_of, "gradient"), overlaps_of_weights()
    run = integrate(system, *start, **settings)
    assert np.abs(run["v"].values[-1] - V).max() > 0.05
    values = conserved(run)
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-9)
    # Neither weight decay nor the noise of SGD leaves it as it is.
    decaying = conserved(integrate(system, *start, weight_decay=DECAY, **settings))
    noisy = conserved(integrate(trained(system_of), *start, **settings))
    for changed in (decaying, noisy):
        assert np.abs(changed[-1] - changed[0]).max() > 1e-2


@pytest.mark.parametrize("method", ["scipy:DOP853", "scipy:LSODA", "scipy:Radau"])
@pytest.mark.parametrize("word", ["inverse:20", "0:1,7:0.5,20:2"])
def test_scipy_agrees_with_everything_at_once(system_of, method, word):
    system, start = trained(system_of), overlaps_of_weights()
    settings = {**ALL, "schedule": word, "alpha": [0.0, 5.0, 7.0, 25.0], "student_weights": V}
    own = integrate(system, *start, **settings)
    theirs = integrate(system, *start, **{**settings, "method": method, "rtol": 1e-8, "atol": 1e-10})
    for name in ("Q", "R", "v", "loss"):
        np.testing.assert_allclose(own[name].values, theirs[name].values, atol=2e-6)
    other = integrate(system, *start, **{**settings, "schedule": None})
    assert np.abs(own["v"].values - other["v"].values).max() > 5e-3
