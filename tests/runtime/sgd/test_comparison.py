"""`compare`: agrees with the right ODE, disagrees with wrong ones; its fit and its bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matrix import thinned
from rejections import rejected
from scipy import stats

import runtime
from derive import Model
from runtime import InputError, compare
from runtime.sgd import comparison
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.comparison import Comparison, mean_and_error, observables
from runtime.sgd.extrapolation import extrapolate
from runtime.sgd.simulation import Simulation
from runtime.start.starts import GivenStart
from runtime.trajectory.single_run import integrate, integrate_problem

Q0, R0 = np.eye(2), np.array([[0.4], [0.1]])
QUICK = {"n": (100, 200), "eta": 0.2, "alpha": [0.0, 0.5, 1.0], "trajectories": 64, "weights": False}


@pytest.fixture(autouse=True)
def _nothing_at_order_one_over_n(request, monkeypatch):
    """Spread and bias have tests of their own; here their code would be compiled for every model."""
    if request.node.name != "test_dataset":
        monkeypatch.setattr(comparison, "predicted", lambda *_: {})


# Verdicts.


@pytest.mark.parametrize(
    ("widths", "options", "settings"),
    [
        ((4, 2), {}, {"eta": 0.4}),
        ((2, 3), {"constraint": "sphere"}, {"eta": 0.5, "label_noise": 0.3}),
        (
            (2, 2),
            {"teacher": "general", "readout": "sqrt"},
            {"eta": 0.1, "T": [[1.0, 0.5], [0.5, 1.0]], "label_noise": 0.1},
        ),
    ],
    ids=["free", "sphere", "general"],
)
def test_sgd_agrees_with_the_derived_ode(system_of, widths, options, settings):
    system = system_of(*widths, **options)
    R = 0.2 * np.arange(widths[0] * widths[1]).reshape(widths) / (widths[0] * widths[1])
    Q = np.eye(widths[0])
    settings |= {"alpha": np.arange(61) / 20}
    result = compare(system, Q, R, n=(300, 600, 1200), trajectories=200, weights=False, seed=1, **settings)
    assert result.attrs["verdict"] == "agree"
    assert 0.0 < result.attrs["deviation"] < result.attrs["allowed"] < 7.0
    # Nothing but the start, and norms on the sphere, is left out.
    p, pstar = widths
    entries = 1 + p * (p + 1) // 2 + p * pstar - (p if "constraint" in options else 0)
    assert result.attrs["comparisons"] == 60 * entries
    # One in a thousand right theories is rejected, whatever the number of comparisons.
    chance = 2.0 * stats.t.sf(result.attrs["allowed"], 199) * result.attrs["comparisons"]
    assert chance == pytest.approx(1e-3)
    theory = integrate(system, Q, R, **settings)
    np.testing.assert_allclose(result["loss"], theory["loss"], rtol=0, atol=1e-6)


# Everything that a run of SGD may have, for (4, 2).
EVERYTHING = {
    "student_weights": [1.0, 0.8, -0.5, 0.4],
    "teacher_weights": [1.0, -0.6],
    "eta_second": 0.3,
    "weight_decay": 0.2,
    "batch": 2,
    "schedule": "inverse:4",
    "label_noise": 0.1,
    "eta": 0.4,
    "seed": 1,
}
START = np.eye(4), 0.3 * np.arange(8.0).reshape(4, 2) / 8.0


@pytest.fixture
def trained(system_of):
    return system_of(4, 2, second_layer="trained")


@pytest.mark.parametrize(
    "sizes",
    thinned(
        [
            {"n": (300, 600), "trajectories": 100, "alpha": np.arange(21) / 10},
            {"n": (500, 1000, 2000), "trajectories": 1000, "alpha": np.arange(61) / 10, "weights": True},
        ],
        0,
    ),
    ids=["short", "long"],
)
def test_sgd_with_everything_agrees_with_the_derived_ode(trained, sizes):
    result = compare(trained, *START, **{"weights": False, **EVERYTHING, **sizes})
    assert result.attrs["verdict"] == "agree"
    assert result.attrs["deviation"] > 0.5
    # The loss, ten entries of Q, eight of R and four of v, at all times but the start.
    assert result.attrs["comparisons"] == (len(sizes["alpha"]) - 1) * 23
    assert result["observable"].values.tolist()[-4:] == ["v_1", "v_2", "v_3", "v_4"]
    assert result["v"].dims == ("alpha", "i")
    assert result["v_mean"].dims == result["v_error"].dims == ("n", "alpha", "i")
    np.testing.assert_allclose(
        result["v_mean"][:, 0], np.tile(EVERYTHING["student_weights"], (len(sizes["n"]), 1))
    )
    np.testing.assert_array_equal(result["teacher_weights"], EVERYTHING["teacher_weights"])
    assert {"schedule": "inverse:4", "batch": 2.0, "eta_second": 0.3}.items() <= result.attrs.items()


# Widths, activation, learning rate, and what else the model is. Quartic moments need more dimensions.
ACTIVATIONS = [
    ((2, 1), "he3", 0.02, {"second_layer": "trained"}),
    ((2, 1), "he3", 0.02, {}),
    ((2, 1), "he2", 0.1, {"constraint": "sphere"}),
    ((4, 2), "he2", 0.1, {"second_layer": "trained"}),
    ((4, 2), "he2", 0.1, {"constraint": "sphere", "second_layer": "fixed"}),
    ((4, 2), "he3", 0.05, {"second_layer": "trained"}),
    ((4, 2), "he3", 0.05, {"constraint": "sphere"}),
    ((2, 1), "he4", 0.0005, {"second_layer": "trained"}),
    ((4, 2), "he4", 0.001, {"constraint": "sphere"}),
]


@pytest.mark.parametrize(("widths", "activation", "eta", "options"), thinned(ACTIVATIONS, 0), ids=str)
def test_sgd_with_polynomial_activations_agrees_with_the_derived_ode(
    system_of, widths, activation, eta, options
):
    system = system_of(*widths, activation=activation, **options)
    settings = {**EVERYTHING, "eta": eta}
    if "second_layer" not in options:
        settings = {"eta": eta, "weight_decay": 0.2, "batch": 2, "schedule": "inverse:4", "seed": 1}
    else:
        for name, width in zip(("student_weights", "teacher_weights"), widths, strict=True):
            settings[name] = EVERYTHING[name][:width]
        if not system.model.trained:
            del settings["eta_second"]
    start = np.eye(widths[0]), 0.3 * np.arange(widths[0] * widths[1]).reshape(widths) / 8.0
    sizes = {"n": (4000, 8000), "trajectories": 200, "alpha": np.arange(11) / 10, "weights": False}
    result = compare(system, *start, **settings, **sizes)
    assert result.attrs["verdict"] == "agree"
    assert result.attrs["deviation"] > 0.5


WRONG_OPTIONS = {
    "weight_decay": 0.35,
    "batch": 3,
    "eta_second": 0.24,
    "teacher_weights": [1.0, -0.5],
    "schedule": "inverse:6",
}


@pytest.mark.parametrize("name", thinned(WRONG_OPTIONS, 1))
def test_wrong_options_are_found(trained, monkeypatch, name):
    """The ODE has another value of one of them than the runs."""

    def other(system, problem):
        given = problem.parameters.keywords
        changed = {"parameters": {**given, name: WRONG_OPTIONS[name]}}
        if name == "schedule":
            changed = {"schedule": WRONG_OPTIONS[name]}
        return integrate_problem(system, dataclasses.replace(problem, **changed))

    monkeypatch.setattr(comparison, "integrate_problem", other)
    sizes = {"n": (1000, 2000), "trajectories": 600, "alpha": np.arange(7.0)}
    result = compare(trained, *START, **{"weights": False, **EVERYTHING, **sizes})
    assert result.attrs["verdict"] == "disagree"


def test_a_comparison_may_start_later(monkeypatch, system_of):
    # Later runs see the same inputs here, so that they can be compared.
    monkeypatch.setattr(Simulation, "_seed_of_inputs", property(lambda simulation: simulation.seed))
    later = {"start_alpha": 3.0, "alpha": [3.0, 3.5, 4.0], "schedule": "exponential:4"}
    result = compare(system_of(2, 1), Q0, R0, **{**QUICK, **later})
    np.testing.assert_array_equal(result["alpha"], [3.0, 3.5, 4.0])
    assert result.attrs["start_alpha"] == 3.0
    assert result.attrs["verdict"] == "agree"
    # The same with the rate of that time, counted from there.
    rate = 0.2 * np.exp(-0.75)
    same = compare(system_of(2, 1), Q0, R0, **{**QUICK, "eta": rate, "schedule": "exponential:4"})
    for name in ("loss", "Q_mean", "R_error", "limit"):
        np.testing.assert_allclose(result[name], same[name], rtol=1e-9, atol=1e-12)


LONG = {"n": (1000, 2000, 4000), "eta": 0.2, "trajectories": 1000, "weights": False}
LONG |= {"alpha": np.arange(0.0, 5.1)}


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def long_runs(monkeypatch, known):
    """The simulations of LONG, run once for all tests, at each N and noise."""
    run = Simulation.run

    def once(simulation, progress=None):
        key = simulation.n, simulation.parameters["label_noise"]
        if key not in known:
            known[key] = run(simulation, progress)
        return known[key]

    monkeypatch.setattr(Simulation, "run", once)


@pytest.mark.usefixtures("long_runs")
def test_the_long_comparison_agrees(system_of):
    result = compare(system_of(2, 1), Q0, R0, **LONG)
    assert result.attrs["verdict"] == "agree"


@pytest.mark.usefixtures("long_runs")
@pytest.mark.parametrize("wrong", ["two percent less", "two percent more", "no noise", "no label noise"])
def test_wrong_odes_are_found(system_of, monkeypatch, wrong):
    def other(system, problem):
        given = dict(problem.parameters.attributes)
        if wrong.startswith("two"):
            given["eta"] *= 0.98 if wrong.endswith("less") else 1.02
        elif wrong == "no noise":
            system = system_of(2, 1, flow="gradient")
        else:
            given["label_noise"] = 0.0
        return integrate_problem(system, dataclasses.replace(problem, model=system.model, parameters=given))

    monkeypatch.setattr(comparison, "integrate_problem", other)
    noise = 0.1 if wrong == "no label noise" else 0.0
    result = compare(system_of(2, 1), Q0, R0, label_noise=noise, **LONG)
    assert result.attrs["verdict"] == "disagree"
    assert result.attrs["deviation"] > 1.2 * result.attrs["allowed"]
    # Where the deviation is largest is named.
    name, time = result.attrs["where"].split(" at alpha = ")
    assert name in result["observable"]
    limit = result["limit"].sel(observable=name, alpha=float(time))
    error = result["limit_error"].sel(observable=name, alpha=float(time))
    assert abs(limit / error) == pytest.approx(result.attrs["deviation"])


def test_divergence_is_undecided(system_of):
    result = compare(system_of(2, 1), Q0, R0, n=(10, 20), eta=1.0, alpha=10.0, weights=False)
    assert result.attrs["verdict"] == "undecided"
    assert "deviation" not in result.attrs
    assert (result["diverged"] > 0).all()
    assert np.isfinite(result["loss_mean"][:, 0]).all()
    assert np.isnan(result["loss_mean"][:, -1]).all()


def test_one_diverged_run_is_enough(system_of, monkeypatch):
    run = Simulation.run

    def damaged(simulation, progress):
        runs = run(simulation, progress)
        if simulation.n == 200:
            runs["status"][3] = "diverged"
        return runs

    monkeypatch.setattr(Simulation, "run", damaged)
    result = compare(system_of(2, 1), Q0, R0, **QUICK)
    assert result.attrs["verdict"] == "undecided"
    np.testing.assert_array_equal(result["diverged"], [0, 1])


# Weights.

SPHERE = {"n": (12, 24), "eta": 0.5, "alpha": [1.0, 2.0], "trajectories": 500, "label_noise": 0.5}


def test_weights_are_compared_with_the_chain(system_of):
    result = compare(system_of(2, 1, constraint="sphere"), Q0, R0, weights=True, **SPHERE)
    assert 0.0 < result.attrs["weights_deviation"] < result.attrs["weights_allowed"] < 6.0


@pytest.mark.usefixtures("recompiled")
def test_weights_find_a_wrong_chain(system_of, monkeypatch):
    monkeypatch.setattr(ChainEmitter, "_other_directions", lambda emitter, _: emitter.vector.constant(0.0))
    result = compare(system_of(2, 1, constraint="sphere"), Q0, R0, weights=True, **SPHERE)
    assert result.attrs["weights_deviation"] > 1.2 * result.attrs["weights_allowed"]
    assert result.attrs["verdict"] == "disagree"


def test_weights_that_are_not_finite_are_no_agreement(system_of, monkeypatch):
    run = Simulation.run

    def damaged(simulation, progress):
        runs = run(simulation, progress)
        if simulation.method == "weights":
            for name in ("Q", "R", "loss"):
                runs[name][3, 1:] = np.nan
            runs["status"][3] = "diverged"
        return runs

    monkeypatch.setattr(Simulation, "run", damaged)
    result = compare(system_of(2, 1, constraint="sphere"), Q0, R0, weights=True, **SPHERE)
    deviation = result.attrs.get("weights_deviation", np.inf)
    assert result.attrs["verdict"] == "undecided" or not deviation <= result.attrs["weights_allowed"]


def test_weights_are_run_if_they_are_cheap(system_of, monkeypatch):
    settings = {**QUICK, "weights": None}
    system = system_of(2, 1)
    assert "weights_deviation" in compare(system, Q0, R0, **settings).attrs
    monkeypatch.setattr(comparison, "AFFORDABLE_WEIGHTS", 1e3)
    assert "weights_deviation" not in compare(system, Q0, R0, **settings).attrs
    assert "weights_deviation" in compare(system, Q0, R0, **{**settings, "weights": True}).attrs


# The dataset.


def test_dataset(system_of):
    system = system_of(2, 1)
    result = compare(system, Q0, R0, seed=3, **QUICK)
    assert result["Q_mean"].dims == ("n", "alpha", "i", "j")
    assert result["R_error"].dims == ("n", "alpha", "i", "r")
    assert result["loss_mean"].dims == result["loss_spread"].dims == ("n", "alpha")
    assert result["limit"].dims == ("observable", "alpha")
    assert result["observable"].values.tolist() == ["loss", "Q_1_1", "Q_1_2", "Q_2_2", "R_1_1", "R_2_1"]
    np.testing.assert_array_equal(result["n"], [100, 200])
    np.testing.assert_array_equal(result["alpha"], [0.0, 0.5, 1.0])
    assert {"trajectories": 64, "seed": 3, "eta": 0.2, "p": 2}.items() <= result.attrs.items()
    # From the same seed the same numbers, whatever types say so; from another one others.
    same = {**QUICK, "n": range(100, 300, 100), "weights": np.False_, "seed": np.array(3)}
    assert compare(system, Q0, R0, **same).identical(result)
    other = compare(system, Q0, R0, seed=4, **QUICK)
    assert not np.isin(other["loss_mean"].values[:, 1:], result["loss_mean"].values[:, 1:]).any()
    # The start is exact.
    np.testing.assert_allclose(result["Q_mean"][:, 0], np.tile(Q0, (2, 1, 1)), atol=1e-15)
    assert (result["loss_error"][:, 0] < 1e-15).all()


def test_simulations_are_independent():
    given, sizes, times = {"eta": 0.2}, (100, 200), [0.0, 0.5, 1.0]
    seeds = [
        simulation.seed
        for seed in (0, 1)
        for simulation in Comparison(
            Model(2, 1), GivenStart(Q0, R0), given, sizes, times, 64, weights=True, seed=seed
        ).simulations
    ]
    assert len(set(seeds)) == len(seeds) == 6


def test_times_need_not_begin_at_zero(system_of):
    with_start = compare(system_of(2, 1), Q0, R0, **QUICK)
    without = compare(system_of(2, 1), Q0, R0, **{**QUICK, "alpha": [0.5, 1.0]})
    for name in ("loss", "Q", "R", "loss_mean", "Q_mean"):
        np.testing.assert_allclose(without[name], with_start[name].isel(alpha=[1, 2]), atol=1e-9)
    assert without.attrs["comparisons"] == with_start.attrs["comparisons"] == 12


def test_times_are_rounded_to_steps_at_the_smallest_n(system_of):
    result = compare(system_of(2, 1), Q0, R0, **{**QUICK, "n": (10, 30), "alpha": [0.12, 0.97]})
    np.testing.assert_array_equal(result["alpha"], [0.1, 1.0])


def test_given_times_on_the_same_step_are_rejected(system_of):
    with pytest.raises(InputError, match=r"^alpha: 0\.97 and 1 are the same whole step at n = 10"):
        compare(system_of(2, 1), Q0, R0, **{**QUICK, "n": (10, 30), "alpha": [0.12, 0.97, 1.0]})
    # Even times up to an end are recorded once.
    result = compare(system_of(2, 1), Q0, R0, **{**QUICK, "n": (10, 30), "alpha": 1.0})
    np.testing.assert_array_equal(result["alpha"], np.arange(11) / 10)


def test_progress_reaches_its_total(system_of):
    seen = []
    settings = {**QUICK, "weights": True}
    compare(system_of(2, 1), Q0, R0, progress=lambda *now: seen.append(now), **settings)
    total = 64 * (100 + 200 + 100)
    assert {now[1] for now in seen} == {total}
    done = [now[0] for now in seen]
    assert done == sorted(done)
    assert done[-1] == total


# The parts.


def test_extrapolation_is_a_weighted_fit():
    rng = np.random.default_rng(1)
    n = np.array([100.0, 200.0, 400.0, 1000.0])
    deviation, error = rng.standard_normal((4, 5, 3)), rng.uniform(0.1, 2.0, (4, 5, 3))
    found = extrapolate(deviation, error, n)
    for place in np.ndindex(5, 3):
        at = (slice(None), *place)
        (bias, limit), covariance = np.polyfit(1.0 / n, deviation[at], 1, w=1.0 / error[at], cov="unscaled")
        expected = [limit, np.sqrt(covariance[1, 1]), bias, np.sqrt(covariance[0, 0])]
        np.testing.assert_allclose([part[place] for part in found], expected, rtol=1e-9)


def test_extrapolation_of_two_sizes_and_of_exact_numbers():
    n = np.array([100.0, 400.0])
    limit, error, bias, bias_error = extrapolate(0.5 + 7.0 / n, np.zeros(2), n)
    assert (limit, bias) == (pytest.approx(0.5), pytest.approx(7.0))
    assert (error, bias_error) == (0.0, 0.0)
    # An error at one N only says nothing about weights.
    assert extrapolate(0.5 + 7.0 / n, np.array([0.0, 1.0]), n)[1] == 0.0
    limit, error, *_ = extrapolate(0.5 + 7.0 / n, np.array([0.3, 0.1]), n)
    assert limit == pytest.approx(0.5)
    # limit = (400 d₂ − 100 d₁)/300.
    assert error == pytest.approx(np.hypot(400 * 0.1, 100 * 0.3) / 300)


def test_errors_of_very_different_sizes_leave_nothing_to_extrapolate():
    """As where runs at one N are about to diverge; rounding makes the determinant zero or negative."""
    n = np.array([100.0, 200.0])
    error = np.geomspace(1e-9, 1.0, 40) * np.array([[1e9], [1e-2]])
    _, limit_error, _, bias_error = extrapolate(np.ones_like(error), error, n)
    assert not np.isfinite(limit_error + bias_error).all()


def test_mean_and_error():
    x = np.random.default_rng(2).standard_normal((50, 4))
    mean, error = mean_and_error(x)
    np.testing.assert_allclose(mean, x.mean(axis=0))
    np.testing.assert_allclose(error, np.sqrt(np.sum((x - mean) ** 2, axis=0) / 49 / 50))
    x[3, 1] = np.nan
    mean, error = mean_and_error(x)
    assert np.isnan(mean).tolist() == np.isnan(error).tolist() == [False, True, False, False]


def test_observables_are_all_independent_entries(system_of):
    runs = runtime.simulate(system_of(2, 3).model, n=50, eta=0.1, alpha=[0.0, 0.2], trajectories=3)
    names, found = observables(runs)
    assert len(names) == len(set(names)) == found.shape[-1] == 1 + 3 + 6
    for name, x in zip(names, np.moveaxis(found, -1, 0), strict=True):
        letter, *indices = name.split("_")
        place = (..., *(int(k) - 1 for k in indices))
        np.testing.assert_array_equal(x, runs[letter].values[place] if indices else runs["loss"])


# Bad input.

BAD = [
    *(("n", {"n": n}) for n in ((100,), 100, np.array(100), (), None, {100, 200}, b"de")),
    *(("n", {"n": n}) for n in ((200, 100), (100, 100), (0, 100), (100, 10**10), (100, 150.5))),
    ("n", {"n": (size for size in (100, 200))}),
    ("n", {"n": (100, 130), "alpha": [0.0, 0.01, 1.0]}),
    *(("trajectories", {"trajectories": count}) for count in (15, 64.0)),
    *(("eta", {"eta": eta}) for eta in (0.0, [0.1] * 64)),
    ("label_noise", {"label_noise": -1.0}),
    *(("alpha", {"alpha": alpha}) for alpha in (0.0, 0.004)),
    ("T", {"T": [[2.0]]}),
    *(("seed", {"seed": seed}) for seed in (-1, 2**63, 1.5)),
    ("threads", {"threads": 0}),
    *(("weights", {"weights": weights}) for weights in ([True, False], np.array([True, False]))),
    ("Q0", {"Q0": np.eye(3)}),
    ("Q0", {"Q0": np.tile(Q0, (64, 1, 1)), "R0": np.tile(R0, (64, 1, 1))}),
    *(("R0", {"R0": R}) for R in (np.full((2, 1), 0.9), np.zeros((1, 2)))),
]


@pytest.mark.parametrize(("name", "options"), BAD, ids=lambda value: str(value)[:30])
def test_bad_input_names_the_option_in_one_line(system_of, name, options):
    with rejected(name):
        compare(system_of(2, 1), **{"Q0": Q0, "R0": R0, **QUICK, **options})


def test_gradient_flow_is_rejected(system_of):
    with rejected("flow"):
        compare(system_of(2, 1, flow="gradient"), Q0, R0, **QUICK)


def test_a_single_time_that_is_no_step_of_all_n(system_of):
    with rejected("n"):
        compare(system_of(2, 1), Q0, R0, **{**QUICK, "n": (10, 15), "alpha": [0.1]})
