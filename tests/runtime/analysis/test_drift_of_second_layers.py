"""Drift monitors with second layers, weight decay, batches and schedules: what is kept, and what is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray
from scipy.integrate import solve_ivp

from derive import Model
from runtime.analysis.conservation.monitors import drift_monitors

ALPHA = np.linspace(0.0, 6.0, 7)
# The factor of the learning rates and its integral, written down by hand.
SCHEDULES = {
    None: (lambda _: 1.0, lambda alpha: alpha),
    "inverse:3": (lambda alpha: 1 / (1 + alpha / 3), lambda alpha: 3 * np.log(1 + alpha / 3)),
}


@dataclasses.dataclass(frozen=True)
class Values:
    """The run-time parameters of a run."""

    v: tuple = ()
    vstar: tuple = ()
    eta: float = 0.3
    eta_second: float = 0.2
    weight_decay: float = 0.0
    batch: int = 1
    T: np.ndarray | None = None
    schedule: str | None = None


def drift(model, values, Q, R, v):
    """The closed form (docs/theory.md) with D = diag(a v, −b v*), without `derive`."""
    p, pstar = model.p, model.pstar
    a, b = 1 / p, 1 / pstar
    T = np.eye(pstar) if values.T is None else values.T
    C = np.block([[Q, R], [R.T, T]])
    D = np.diag([*(a * v), *(-b * np.asarray(values.vstar))])
    s, t = np.trace(D @ C), np.trace(D @ C @ D @ C)
    mean = s * C + 2 * C @ D @ C
    noise = (s**2 + 2 * t) * C + 4 * s * C @ D @ C + 8 * C @ D @ C @ D @ C
    kappa, decay = 2 * a * values.eta * v, values.eta * values.weight_decay
    dR = -kappa[:, None] * mean[:p, p:] - decay * R
    dQ = -(kappa[:, None] + kappa) * mean[:p, :p] - 2 * decay * Q
    if model.flow == "sgd":
        dQ = dQ + kappa[:, None] * kappa * noise[:p, :p] / values.batch
    if model.constraint == "sphere":
        growth = np.diagonal(dQ) / (2 * np.diagonal(Q))
        dQ, dR = dQ - Q * (growth[:, None] + growth), dR - growth[:, None] * R
    dv = -values.eta_second * a * np.diagonal(mean)[:p] if model.trained else 0 * v
    return dQ, dR, dv


def solved(model, values, seed=0, R0=None):
    """A run as a result of ours, by SciPy: nothing to compile."""
    p, pstar = model.p, model.pstar
    W = np.random.default_rng(seed).standard_normal((p, 12)) / np.sqrt(12)
    Q0, R0 = (W @ W.T, W[:, :pstar]) if R0 is None else (np.eye(p), R0)
    if values.T is not None:
        R0 = R0 @ np.linalg.cholesky(values.T).T
    values = dataclasses.replace(values, v=values.v or (1.0,) * p, vstar=values.vstar or (1.0,) * pstar)
    factor = SCHEDULES[values.schedule][0]
    shapes = ((p, p), (p, pstar), (p,))
    ends = np.cumsum([0, p * p, p * pstar, p])

    def parts(y):
        return [y[i:j].reshape(shape) for i, j, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]

    def slope(alpha, y):
        # Gradient flow is slower by the factor; in SGD the η² term has it twice, as η does.
        scaled = dataclasses.replace(
            values, eta=factor(alpha) * values.eta, eta_second=factor(alpha) * values.eta_second
        )
        return np.concatenate([part.ravel() for part in drift(model, scaled, *parts(y))])

    y0 = np.concatenate([np.ravel(part) for part in (Q0, R0, values.v)])
    found = solve_ivp(slope, (0.0, ALPHA[-1]), y0, "DOP853", t_eval=ALPHA, rtol=1e-12, atol=1e-14)
    Q, R, v = (np.array(part) for part in zip(*map(parts, found.y.T), strict=True))
    variables = {"Q": (("alpha", "i", "j"), Q), "R": (("alpha", "i", "r"), R)}
    attributes = {**model.to_dict(), "rtol": 1e-12, "atol": 1e-14, "eta": values.eta}
    attributes |= {"weight_decay": values.weight_decay, "batch": values.batch}
    if values.T is not None:
        variables["T"] = (("r", "s"), values.T)
    if model.weighted:
        variables["teacher_weights"] = ("r", np.array(values.vstar))
    if model.second_layer == "fixed":
        variables["student_weights"] = ("i", np.array(values.v))
    if model.trained:
        variables["v"] = (("alpha", "i"), v)
        attributes["eta_second"] = values.eta_second
    if values.schedule:
        attributes["schedule"] = values.schedule
    return xarray.Dataset(variables, {"alpha": ALPHA}, attributes)


def kept(monitors):
    return {str(name) for name, variable in monitors.data_vars.items() if variable.attrs["conserved"]}


def largest(monitors, name):
    return np.nanmax(np.abs(monitors[name].values))


def second(layer, p=3, pstar=2, flow="gradient", **options):
    return Model(p, pstar, flow=flow, second_layer=layer, **options)


UNEQUAL = {"v": (0.8, -0.5, 1.1), "vstar": (1.0, -0.7)}
EQUAL = {"v": (0.8, 0.8, 0.8), "vstar": (1.2, 0.7)}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("T", [None, np.array([[1.0, 0.3], [0.3, 0.7]])], ids=["orthonormal", "general"])
def test_each_student_keeps_the_balance_of_its_layers(T, schedule):
    model = second("trained", teacher="orthonormal" if T is None else "general")
    run = solved(model, Values(**UNEQUAL, T=T, schedule=schedule))
    monitors = drift_monitors(run)
    assert "balance" in kept(monitors)
    assert largest(monitors, "balance") < 1e-10
    # Other powers of the ratio, and other factors, are not kept.
    diagonal, squares = np.diagonal(run["Q"].values, axis1=1, axis2=2), run["v"].values ** 2
    for wrong in (
        diagonal - 0.3 / 0.2 * squares,
        diagonal - 4 * 0.3 / 0.2 * squares,
        diagonal - 2 * squares,
    ):
        assert np.abs(wrong - wrong[0]).max() > 1e-2
    assert not {"K_shape", "K_growth", "first_integral"} & set(monitors.data_vars)


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"flow": "sgd"}, {}),
        ({"flow": "sgd"}, {"batch": 5}),
        ({"constraint": "sphere"}, {}),
        ({}, {"weight_decay": 0.3}),
    ],
    ids=["sgd", "batch", "sphere", "decay"],
)
def test_noise_sphere_and_decay_lose_the_balance(options, values):
    monitors = drift_monitors(solved(second("trained", **options), Values(**UNEQUAL, **values)))
    assert "balance" not in kept(monitors)
    assert largest(monitors, "balance") > 1e-3


def test_equal_teachers_keep_the_row_space_and_unequal_ones_turn_it():
    for layer in ("fixed", "trained"):
        model = second(layer, 2, 3, flow="sgd")
        same = drift_monitors(solved(model, Values(v=(0.8, -0.5), vstar=(0.9, 0.9, 0.9))))
        assert {"row_space", "rank"} <= kept(same)
        assert largest(same, "row_space") < 1e-10
        other = drift_monitors(solved(model, Values(v=(0.8, -0.5), vstar=(0.9, 0.9, 0.4))))
        assert not {"row_space", "rank"} & kept(other)
        assert largest(other, "row_space") > 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("T", [None, np.array([[1.0, 0.3], [0.3, 0.7]])], ids=["orthonormal", "general"])
def test_students_of_equal_weight_keep_K_in_the_frame_of_the_teachers(T, schedule):
    model = second("fixed", teacher="orthonormal" if T is None else "general")
    run = solved(model, Values(**EQUAL, T=T, weight_decay=0.2, schedule=schedule))
    monitors = drift_monitors(run)
    assert {"K_shape", "K_growth", "rank"} <= kept(monitors)
    assert largest(monitors, "K_shape") < 1e-9
    assert largest(monitors, "K_growth") < 1e-9
    assert "K_rate" not in monitors
    # The same states with other weights, or with another schedule, are those of no such run.
    for wrong in (
        run.assign(teacher_weights=("r", np.array([0.7, 1.2]))),
        run.assign(student_weights=("i", np.full(3, 0.7))),
        run.assign_attrs(schedule="exponential:2"),
    ):
        assert largest(drift_monitors(wrong), "K_growth") > 1e-2
    unequal = drift_monitors(run.assign(student_weights=("i", np.array([0.8, 0.8, 0.9]))))
    assert "K_shape" not in unequal


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_K_does_not_notice_weight_decay(schedule):
    monitors = drift_monitors(
        solved(Model(4, 2, flow="gradient"), Values(weight_decay=0.3, schedule=schedule))
    )
    assert {"K_shape", "K_growth", "K_rate"} <= kept(monitors)
    for name in ("K_shape", "K_growth"):
        assert largest(monitors, name) < 1e-9
    np.testing.assert_allclose(monitors["K_rate"].values[1:], 8 / (4 * 2) * 0.3, rtol=1e-9)
    # Against α itself the rate is that of the mean factor.
    elapsed = SCHEDULES[schedule][1](ALPHA)
    slope = monitors["K_rate"].values[-1] * elapsed[-1] / ALPHA[-1]
    assert (slope == pytest.approx(0.3, rel=1e-9)) == (schedule is None)


@pytest.mark.parametrize("layer", ["ones", "fixed"])
def test_polar_factor_does_not_notice_decay_batches_and_schedules(layer):
    R0 = 0.2 * np.random.default_rng(2).standard_normal((3, 2))
    values = Values(weight_decay=0.2, batch=3, schedule="inverse:3")
    if layer == "fixed":
        values = dataclasses.replace(values, v=(0.8,) * 3, vstar=(1.2,) * 2)
    monitors = drift_monitors(solved(second(layer, flow="sgd"), values, R0=R0))
    assert {"polar_factor", "left_vectors", "right_vectors", "commutator"} <= kept(monitors)
    assert largest(monitors, "polar_factor") < 1e-10
    for v, vstar in (((0.8, 0.8, 0.9), (1.2, 1.2)), ((0.8, 0.8, 0.8), (1.2, 0.9))):
        changed = dataclasses.replace(values, v=v, vstar=vstar)
        unequal = drift_monitors(solved(second("fixed", flow="sgd"), changed, R0=R0))
        assert "polar_factor" not in kept(unequal)
        assert largest(unequal, "polar_factor") > 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("case", ["one", "signs", "two"])
def test_first_integrals_with_weights_and_decay(case, weight_decay, schedule):
    model, weights = {
        "one": (second("fixed", 1, 3), {"v": (0.8,), "vstar": (1.2, 0.7, 0.7)}),
        "signs": (second("fixed", 1, 2), {"v": (0.8,), "vstar": (1.2, -0.7)}),
        "two": (second("fixed", 2, 3), {"v": (0.8, 0.8), "vstar": (0.9, 0.9, 0.9)}),
    }[case]
    run = solved(model, Values(**weights, weight_decay=weight_decay, schedule=schedule))
    monitors = drift_monitors(run)
    assert "first_integral" in kept(monitors)
    assert np.isfinite(monitors["first_integral"].values).all()
    assert largest(monitors, "first_integral") < 1e-8
    other = 0.2 - weight_decay
    assert largest(drift_monitors(run.assign_attrs(weight_decay=other)), "first_integral") > 1e-3


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_students_of_opposite_weights_keep_their_overlap(weight_decay):
    weights = {"v": (0.8, -0.8, 1.1), "vstar": (1.0, -0.7)}
    values = Values(**weights, weight_decay=weight_decay, schedule="inverse:3")
    run = solved(second("fixed"), values)
    monitors = drift_monitors(run)
    assert kept(monitors) == {"opposite_students"}
    assert largest(monitors, "opposite_students") < 1e-11
    other = {(0, 2), (1, 2)}
    assert all(np.ptp(run["Q"].values[:, i, j]) > 1e-3 for i, j in other)
    for options in ({"flow": "sgd"}, {"constraint": "sphere"}):
        lost = drift_monitors(solved(second("fixed", **options), values))
        assert "opposite_students" not in kept(lost)
        assert largest(lost, "opposite_students") > 1e-4
    assert "opposite_students" not in drift_monitors(solved(second("fixed"), Values(**UNEQUAL)))


def test_each_trajectory_has_its_own_weights():
    model = second("fixed")
    cases = [Values(v=(x,) * 3, vstar=(y, 0.7)) for x, y in ((0.8, 1.2), (1.1, -0.4))]
    runs = [solved(model, values, seed) for seed, values in enumerate(cases)]
    names = {"v": "student_weights", "vstar": "teacher_weights"}
    together = xarray.concat([run.drop_vars(names.values()) for run in runs], "trajectory")
    for field, name in names.items():
        axis = "i" if field == "v" else "r"
        together[name] = (("trajectory", axis), np.array([getattr(values, field) for values in cases]))
    monitors = drift_monitors(together)
    assert {"K_shape", "K_growth"} <= kept(monitors)
    for number, run in enumerate(runs):
        alone = drift_monitors(run)
        for name in alone.data_vars:
            np.testing.assert_allclose(alone[name], monitors[name][number], atol=1e-11)
    assert largest(monitors, "K_growth") < 1e-9
