"""`simulate` with second layers, weight decay, batches, schedules and later starts: runs and bad input."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from matrix import thinned
from rejections import rejected
from short_simulation import START, TEACHER, short

from derive import Model
from runtime.run_options import SIMULATION_METHODS as METHODS
from runtime.sgd.recorder import generalisation_error
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.simulation import Simulation
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher
from runtime.vector import jit

FIXED, TRAINED = (Model(4, 2, second_layer=layer) for layer in ("fixed", "trained"))
V, VSTAR = np.array([1.0, -0.5, 0.8, 0.3]), np.array([0.7, -0.4])
LAYERS = {"student_weights": V, "teacher_weights": VSTAR}
EVERYTHING = {
    **START,
    **LAYERS,
    "eta_second": 0.3,
    "weight_decay": 0.5,
    "batch": 3,
    "schedule": "inverse:0.5",
}


def order_parameters(runs):
    return [runs[name].values for name in ("Q", "R", "loss", "v") if name in runs]


def assert_equal(one, other, runs=slice(None)):
    """The same numbers, to the last bit."""
    for x, y in zip(order_parameters(one), order_parameters(other), strict=True):
        assert x[runs].tobytes() == y[runs].tobytes()


# What version 0.3.0 computed in these cases, before SGD had any of these options: digests of its results
# with fused multiply-adds, and without.
BEFORE = {
    ("chain", "free"): ("1a1fc587e27fa3b7faae", "0bd91be735138256d929"),
    ("weights", "free"): ("aa4a8e8b7100fde33df4", "378ada3f7c9beb5582d4"),
    ("chain", "sphere"): ("88a4a555886b5dc70faa", "d8d2d907f435e8502a5d"),
    ("weights", "sphere"): ("6c4f71dc8529d162afc4", "184f38a84414448cd3de"),
    ("chain", "general"): ("9bce4f0d8505e6c83c89", "703191d13ac1903b2d32"),
    ("weights", "general"): ("cfd5e0077dc2efadfa50", "352b021eb6d83113f178"),
    ("chain", "loops"): ("6eedac5eee17d221b100", "d5702ab5a72ba56072b1"),
    ("weights", "loops"): ("a364df7f3443c40f4fe9", "ad5baf64a1c06877b467"),
}
MODELS = {
    "free": (Model(4, 2), {}),
    "sphere": (Model(4, 2, constraint="sphere"), {}),
    "general": (Model(3, 2, teacher="general", readout="sqrt"), {"T": TEACHER}),
    "loops": (Model(11, 3), {}),
}


@pytest.mark.parametrize("kind", thinned(["", "baseline"], 0), ids=["widest", "baseline"])
@pytest.mark.parametrize(("method", "case"), BEFORE, ids=str)
def test_usual_sgd_is_that_of_before_to_the_last_bit(monkeypatch, method, case, kind):
    monkeypatch.setenv(jit.ENVIRONMENT, kind)
    model, options = MODELS[case]
    runs = short(model, method=method, eta=0.1, **options)
    numbers = b"".join(runs[name].values.tobytes() for name in ("Q", "R", "loss"))
    assert hashlib.sha256(numbers).hexdigest()[:20] == BEFORE[method, case][not jit.target().fma]


# The dataset.


@pytest.mark.parametrize("method", METHODS)
def test_dataset_of_a_trained_second_layer(method):
    runs = short(TRAINED, method=method, **EVERYTHING)
    assert runs["v"].dims == ("trajectory", "alpha", "i")
    np.testing.assert_array_equal(runs["v"][:, 0], np.broadcast_to(V, (11, 4)))
    assert np.unique(runs["v"][:, 1:]).size == 88
    np.testing.assert_array_equal(runs["teacher_weights"], VSTAR)
    # They are where v begins.
    np.testing.assert_array_equal(runs["student_weights"], V)
    np.testing.assert_allclose(runs["v_mean"], runs["v"].mean("trajectory"), rtol=1e-12)
    error = runs["v"].std("trajectory", ddof=1) / np.sqrt(11)
    np.testing.assert_allclose(runs["v_error"], error, rtol=1e-9, atol=1e-15)
    attributes = {"eta_second": 0.3, "weight_decay": 0.5, "batch": 3, "schedule": "inverse:0.5"}
    assert attributes.items() <= runs.attrs.items()
    arrays = (runs[name].values for name in ("Q", "R", "T", "v"))
    np.testing.assert_array_equal(runs["loss"], generalisation_error(TRAINED, *arrays, VSTAR))


def test_dataset_of_a_fixed_second_layer():
    runs = short(FIXED, **START, student_weights=np.outer(np.linspace(0.5, 1.0, 11), V))
    assert runs["student_weights"].dims == ("trajectory", "i")
    np.testing.assert_array_equal(runs["teacher_weights"], [1.0, 1.0])
    assert "v" not in runs
    # The loss is that of each run's own weights.
    for k in (0, 10):
        alone = short(FIXED, **START, student_weights=runs["student_weights"].values[k])
        assert_equal(alone, runs, slice(k, k + 1))


@pytest.mark.parametrize(
    ("options", "T"),
    [({}, None), ({"teacher": "general", "readout": "sqrt"}, TEACHER)],
    ids=["orthonormal", "general"],
)
def test_generalisation_error_with_a_second_layer_is_the_derived_loss(system_of, options, T):
    system = system_of(4, 2, second_layer="fixed", **options)
    runs = short(system.model, T=T, **LAYERS)
    Q, R = runs["Q"].values, runs["R"].values
    np.testing.assert_allclose(runs["loss"], system.loss(Q, R, T, **LAYERS), rtol=1e-13)


POLYNOMIALS = {
    "he3": {"activation": "he3"},
    "trained": {"activation": "he2+he3", "second_layer": "trained", "teacher": "general"},
    "two degrees": {"activation": "he1", "teacher_activation": "1,-1/2,1/3,1/5", "readout": "sqrt"},
    "he4 on the sphere": {"activation": "he4", "constraint": "sphere", "second_layer": "fixed"},
}


@pytest.mark.parametrize("options", thinned(POLYNOMIALS.values(), 1, 2), ids=POLYNOMIALS)
def test_generalisation_error_with_polynomial_activations_is_the_derived_loss(interpreted, options):
    system = interpreted(2, 2, **options)
    T = TEACHER if "teacher" in options else None
    start = {"Q0": np.eye(2), "R0": np.array([[0.1, 0.3], [-0.2, 0.0]]), "eta": 1e-3}
    layers = {"student_weights": V[:2], "teacher_weights": VSTAR} if system.model.weighted else {}
    trained = {"eta_second": 0.3} if system.model.trained else {}
    runs = short(system.model, T=T, **start, **layers, **trained)
    assert (runs["status"] == "ok").all()
    for run in (0, 10):
        for time in range(3):
            at = {"trajectory": run, "alpha": time}
            Q, R, loss = (runs[name].isel(at).values for name in ("Q", "R", "loss"))
            if "v" in runs:
                layers["student_weights"] = runs["v"].isel(at).values
            np.testing.assert_allclose(loss, system.loss(Q, R, T, **layers), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_he2_is_the_quadratic_activation_where_constants_cancel(method):
    """Equal sums a Σ v and b Σ v*, and v is not trained."""
    numbers = {name: [] for name in ("quadratic", "he2")}
    for activation, found in numbers.items():
        for layer in ("ones", "fixed"):
            layers = LAYERS if layer == "fixed" else {}
            model = Model(4, 2, activation=activation, second_layer=layer)
            found.append(short(model, method=method, **START, **layers))
    for name in ("Q", "R", "loss"):
        equal, other = (tuple(runs[k][name].values for runs in numbers.values()) for k in range(2))
        np.testing.assert_allclose(*equal, rtol=1e-10, atol=1e-12)
        assert not np.allclose(other[0][:, -1], other[1][:, -1], rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_runs_of_a_quartic_that_diverge_say_so(method):
    runs = short(Model(2, 1, activation="he4"), method=method, eta=0.05, alpha=[0.0, 0.1, 1.0, 3.0])
    gone = runs["status"].values == "diverged"
    assert gone.any()
    for run in np.flatnonzero(gone):
        after = runs["alpha"].values > runs["alpha_end"].values[run]
        np.testing.assert_array_equal(np.isnan(runs["loss"].values[run]), after)
    assert np.isfinite(runs["loss"].values[~gone]).all()


# Runs.


@pytest.mark.parametrize("method", METHODS)
def test_numbers_of_a_run_depend_on_its_own_parameters(method):
    """Whatever its neighbours have: runs with batches of one size share the lanes of the chain."""
    own = {
        "batch": np.array([1, 3, 1, 5, 3, 3, 1, 1, 5, 2, 3]),
        "weight_decay": np.linspace(0.0, 1.0, 11),
        "eta_second": np.linspace(0.0, 0.5, 11),
        "student_weights": np.outer(np.linspace(0.5, 1.0, 11), V),
        "teacher_weights": np.outer(np.linspace(1.0, 0.5, 11), VSTAR),
    }
    runs = short(TRAINED, method=method, **START, **own)
    np.testing.assert_array_equal(runs["batch"], own["batch"])
    for k in (0, 3, 9, 10):
        alone = short(TRAINED, method=method, **START, **{name: values[k] for name, values in own.items()})
        assert_equal(alone, runs, slice(k, k + 1))


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_matter(method):
    runs = short(TRAINED, method=method, threads=1, **EVERYTHING)
    assert_equal(short(TRAINED, method=method, threads=3, **EVERYTHING), runs)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_decay_has_no_effect_on_the_sphere(method, batch):
    model = Model(4, 2, constraint="sphere")
    runs = [short(model, method=method, weight_decay=decay, batch=batch, **START) for decay in (0.0, 3.0)]
    assert_equal(*runs)


@pytest.mark.parametrize("method", METHODS)
def test_decay_alone(method):
    """Students without second-layer weights only decay: e^(−2ηγα) but for 1/N."""
    runs = short(FIXED, method=method, weight_decay=2.0, student_weights=np.zeros(4), **START)
    steps = runs["alpha"].values * 60
    kept = (1.0 - 0.2 * 2.0 / 60) ** np.rint(steps)
    np.testing.assert_allclose(runs["Q"].values[0], kept[:, None, None] ** 2 * np.eye(4), atol=1e-13)
    np.testing.assert_allclose(runs["R"].values[0], np.full((4, 2), 0.1) * kept[:, None, None], atol=1e-13)


# Schedules.


@pytest.mark.parametrize("method", METHODS)
def test_jumps_change_the_rates_from_the_first_step_at_their_time_on(method):
    """η, η_v and with η the decay; the jump at 0.25 is the step 15, whether it is recorded or not."""
    options = {**EVERYTHING, "schedule": "0:1,0.25:0.4,0.5:0"}
    runs = short(TRAINED, method=method, alpha=np.arange(61) / 60, **options)
    constant = short(TRAINED, method=method, alpha=np.arange(61) / 60, **options | {"schedule": None})
    rates = {"eta": 0.4 * 0.2, "eta_second": 0.4 * 0.3}
    slow = short(TRAINED, method=method, alpha=np.arange(61) / 60, **options | rates | {"schedule": None})
    for now, other, slower in zip(*map(order_parameters, (runs, constant, slow)), strict=True):
        assert now[:, :16].tobytes() == other[:, :16].tobytes()
        assert (now[:, 16] != other[:, 16]).all()
        # From where the rates are zero nothing moves.
        np.testing.assert_allclose(
            now[:, 30:], np.broadcast_to(now[:, 30:31], now[:, 30:].shape), atol=1e-13
        )
        assert np.abs(slower[:, 15] - now[:, 15]).max() > 1e-6
    few = short(TRAINED, method=method, alpha=[0.0, 1.0], **options)
    for rarely, often in zip(*map(order_parameters, (few, runs)), strict=True):
        np.testing.assert_allclose(rarely[:, 1], often[:, 60], rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_runs_that_go_on_see_new_inputs(method):
    """With the same seed, a second part must not repeat the inputs of the first."""
    first, same, second = (
        short(method=method, **{**START, "start_alpha": start, "alpha": [start + 1.0]})
        for start in (0.0, 0.0, 1.0)
    )
    np.testing.assert_array_equal(first["Q"], same["Q"])
    assert not np.isclose(first["Q"].values, second["Q"].values, rtol=1e-6).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_later_start_is_further_on_in_the_schedule(monkeypatch, method):
    """1/(1 + (1 + α)/τ) = 1/(1 + 1/τ) · 1/(1 + α/(τ + 1)), for the same inputs."""
    monkeypatch.setattr(Simulation, "_seed_of_inputs", property(lambda simulation: simulation.seed))
    later = {"start_alpha": 1.0, "alpha": [1.0, 1.5, 2.0], "schedule": "inverse:2"}
    runs = short(method=method, **{**START, **later})
    same = short(method=method, schedule="inverse:3", **{**START, "eta": 0.2 / 1.5})
    np.testing.assert_array_equal(runs["alpha"], [1.0, 1.5, 2.0])
    assert runs.attrs["start_alpha"] == 1.0
    assert (runs["alpha_end"] == 2.0).all()
    for x, y in zip(order_parameters(runs), order_parameters(same), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
    # And beyond a jump.
    jumped = short(method=method, **{**START, **later, "schedule": "0:1,0.5:0.3,1.5:0.1"})
    expected = short(method=method, **{**START, "eta": 0.06, "schedule": [(0, 1), (0.5, 1 / 3)]})
    for x, y in zip(order_parameters(jumped), order_parameters(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("n", "origin"), [(10, 0.0), (7, 0.0), (10, 0.3), (1000, 0.123), (3, 1 / 3)])
def test_a_jump_is_where_the_factor_changes(n, origin):
    """The stretches between records and jumps have the factor of each of their steps."""
    schedule, teacher = (
        Schedule.of("0:1,0.3:0.5,0.7:0.25,0.70001:2,1.1:0"),
        Teacher.from_overlaps(np.eye(1)),
    )
    process = SgdProcess(
        2, teacher, n, (1.0, 1.0), sphere=False, noisy=False, schedule=schedule, origin=origin
    )
    records = np.unique([0, n // 2, n, 2 * n])
    stretches = process.stretches(records)
    assert [record for *_, record in stretches if record >= 0] == list(range(len(records)))
    factors = np.concatenate([np.full(steps, factor) for steps, factor, _ in stretches])
    np.testing.assert_array_equal(factors, schedule.factors(origin + np.arange(2 * n) / n))
    ends = np.cumsum([steps for steps, *_ in stretches])
    assert ends[[record >= 0 for *_, record in stretches]].tolist() == records.tolist()


# Bad input: one value for each rule.

BAD = [
    *(("batch", {"batch": batch}) for batch in (0, 2.5, -1, np.nan, [1] * 10)),
    *(("weight_decay", {"weight_decay": decay}) for decay in (-0.1, np.inf, 60 / 0.2)),
    ("batch", {"batch": 10**10}),
    ("batch", {"batch": 10**9, "method": "weights"}),
    *(("schedule", {"schedule": schedule}) for schedule in ("cosine:1", "inverse:0", "0:1,1:-1", 3)),
    *(("start_alpha", {"start_alpha": start}) for start in (-1.0, "1", np.nan)),
    ("alpha", {"start_alpha": 2.0, "alpha": [1.0, 3.0]}),
    ("alpha", {"start_alpha": 2.0, "alpha": 1.0}),
    ("alpha", {"start_alpha": 2.0, "alpha": [2.0]}),
    ("student_weights", {"student_weights": V}),
    ("eta_second", {"eta_second": 0.1}),
    ("student_weights", {"model": FIXED, "student_weights": V[:3]}),
    ("teacher_weights", {"model": FIXED, "teacher_weights": [1.0, np.nan]}),
    ("eta_second", {"model": FIXED, "eta_second": 0.1}),
    ("eta_second", {"model": TRAINED}),
]


@pytest.mark.parametrize(("name", "options"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_names_the_option_in_one_line(name, options):
    with rejected(name):
        short(**{**START, **options})
