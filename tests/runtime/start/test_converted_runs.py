"""Converted runs equal those that are done in the other convention, in all variables and attributes."""

from __future__ import annotations

import numpy as np
import pytest

import overlap_ode as oo
from derive.parameters import NUMBERS
from runtime.start import paper_conventions

P, PSTAR, START_ALPHA = 3, 2, 2.0
ALPHA = np.array([2.0, 5.0, 20.0, 60.0])
NUMBERS_OF_RUN = {"eta": 0.3, "label_noise": 0.05, "weight_decay": 0.02, "batch": 2}
SCHEDULES = ["constant", "inverse:50", "exponential:30", "inverse-sqrt:20", "0:1,10:0.5"]
# What the two runs may say differently: how they were made, and the name of the convention.
OWN = {"title", "history", "convention"}
Q0, R0 = oo.random_overlaps(P, PSTAR, n=100, seed=3)
LAYERS = {"student_weights": np.array([1.0, 0.8, 0.6]), "teacher_weights": np.array([1.0, 0.7])}


def ours(system_of, schedule, stop_loss, **options):
    system = system_of(P, PSTAR, **options)
    layers = LAYERS if system.model.weighted else {}
    trained = {"eta_second": 0.1} if system.model.trained else {}
    return oo.integrate(
        system, Q0, R0, **NUMBERS_OF_RUN, **layers, **trained, alpha=ALPHA, rtol=1e-10, atol=1e-13,
        schedule=schedule, start_alpha=START_ALPHA, stop_loss=stop_loss,
    )  # fmt: skip


def there(system_of, convention, run, half=1.0, **options):
    """The run with the numbers of a convention, whose learning rate is `half` of that of our functions."""
    model = run.attrs
    first = convention.to(Q=run["Q"].values[0], R=run["R"].values[0], T=run["T"].values)
    numbers = {n.name: model[n.name] for n in NUMBERS if n.name in model and n.name != "batch"}
    numbers = convention.to(**numbers)
    numbers["eta"] /= half
    numbers["weight_decay"] *= half
    layers = {name: run[name].values for name in LAYERS if name in run}
    if "v" in run:
        layers["student_weights"] = run["v"].values[0]
    layers = convention.to(**layers)
    T = {"T": first.pop("T")} if options.get("teacher") == "general" else {}
    return oo.integrate(
        system_of(P, PSTAR, **options), first["Q"], first["R"], **T, **numbers, **layers,
        batch=model["batch"], alpha=ALPHA, rtol=1e-10, atol=1e-13, schedule=model.get("schedule"),
        start_alpha=START_ALPHA, stop_loss=convention.loss * half * model["stop_loss"],
    )  # fmt: skip


def assert_same(found, expected, loss=1.0, half=1.0):
    """What one run says the other says, whose losses are `loss` and learning rates `half` times ours."""
    names = {name.replace("alpha", "time") for name in expected.variables}
    assert set(found.variables) == names
    for name in expected.variables:
        a, b = found[name.replace("alpha", "time")].values, expected[name].values
        if a.dtype.kind in "UO" or name in ("steps", "rejected", "evaluations"):
            continue
        factor = loss if name == "loss" else 1.0
        np.testing.assert_allclose(a, factor * b, rtol=2e-6, atol=1e-9, err_msg=name)
    theirs = {name.replace("alpha", "time"): value for name, value in expected.attrs.items()}
    assert set(found.attrs) - {"convention"} == set(theirs)
    factors = {"eta": half, "weight_decay": 1.0 / half, "stop_loss": loss}
    for name in set(theirs) - OWN:
        value = theirs[name]
        if isinstance(value, float):
            value = pytest.approx(factors.get(name, 1.0) * value, rel=1e-12)
        assert found.attrs[name] == value, name


@pytest.mark.parametrize(
    ("schedule", "constraint"), [*((schedule, "free") for schedule in SCHEDULES), ("inverse:50", "sphere")]
)
def test_saad_solla(system_of, schedule, constraint):
    """Their network is ours with readouts of one, and teachers that are shorter."""
    run = ours(system_of, schedule, 0.4, constraint=constraint)
    convention = oo.saad_solla(oo.Model(P, PSTAR, constraint=constraint))
    expected = there(system_of, convention, run, constraint=constraint, readout="sum", teacher="general")
    assert_same(convention.dataset(run), expected)
    assert np.isfinite(expected["escape_alpha"])


@pytest.mark.parametrize("second_layer", ["ones", "fixed"])
def test_readout_free(system_of, second_layer):
    """Their loss (f − y)² and η are twice and half of those of our network with readouts of one."""
    run = ours(system_of, "inverse:50", 0.4, second_layer=second_layer)
    convention = oo.readout_free(oo.Model(P, PSTAR, second_layer=second_layer))
    half = 0.5
    expected = there(
        system_of, convention, run, half, second_layer=second_layer, readout="sum", teacher="general"
    )
    found = convention.dataset(run)
    assert_same(found, expected, loss=2.0, half=half)
    # The wrong variants: what was not converted, or converted twice, is found.
    for name in ("stop_loss", "eta", "weight_decay", "readout"):
        with pytest.raises(AssertionError, match=name):
            assert_same(found.assign_attrs({name: run.attrs[name]}), expected, loss=2.0, half=half)
    for name, factor in (("escape_time", 2.0), ("R", 1.01)):
        with pytest.raises(AssertionError, match="escape_alpha" if name == "escape_time" else name):
            assert_same(found.assign({name: factor * found[name]}), expected, loss=2.0, half=half)


@pytest.mark.parametrize("second_layer", ["ones", "fixed", "trained"])
@pytest.mark.parametrize("readout", ["sum", "sqrt"])
def test_committee(system_of, second_layer, readout):
    """Second layers absorb the readout, also those of ones, which our runs do not name."""
    run = ours(system_of, "0:1,10:0.5", 0.4, second_layer=second_layer)
    convention = oo.committee(oo.Model(P, PSTAR, second_layer=second_layer), readout)
    found = convention.dataset(run)
    layer = "fixed" if second_layer == "ones" else second_layer
    if second_layer == "ones":
        run = run.assign(student_weights=("i", np.ones(P)), teacher_weights=("r", np.ones(PSTAR)))
    expected = there(system_of, convention, run, second_layer=layer, readout=readout)
    assert_same(found, expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_times_in_other_units(system_of, schedule):
    """Each time of a run, those of its schedule too, and the factor of the learning rates at it."""
    run = ours(system_of, schedule, 0.4)
    found = oo.committee(oo.Model(P, PSTAR), "mean", time=2.5).dataset(run)
    assert found.attrs["start_time"] == 2.5 * START_ALPHA
    assert "start_alpha" not in found.attrs
    np.testing.assert_allclose(found["time"], 2.5 * ALPHA, rtol=1e-15)
    for name in ("escape", "end"):
        ours_, theirs = ("escape_alpha", "escape_time") if name == "escape" else ("alpha_end", "time_end")
        assert found[theirs] == 2.5 * run[ours_]
    before, after = (paper_conventions.Schedule.of(x.attrs.get("schedule")) for x in (run, found))
    times = np.linspace(0.0, 100.0, 41)
    np.testing.assert_allclose(after.factors(2.5 * times), before.factors(times), rtol=1e-14)
    if schedule != "constant":
        # Our schedule in their units of time would be another one.
        assert np.ptp(before.factors(2.5 * times) - before.factors(times)) > 0.01


def test_the_time_of_gradient_flow(system_of):
    run = ours(system_of, None, 0.4)
    convention = oo.rescaled_time(oo.Model(P, PSTAR))
    found, unit = convention.dataset(run), 0.3 / P
    assert found.attrs["start_time"] == pytest.approx(unit * START_ALPHA)
    assert found["escape_time"].item() == pytest.approx(unit * run["escape_alpha"].item())
    for name in ("stop_loss", "eta", "weight_decay", "readout", "teacher"):
        assert found.attrs[name] == run.attrs[name]


def test_random_starts_are_in_their_units(call, generated):
    """q0 is a norm and `ideal` an overlap with a teacher."""
    import xarray

    line = f"integrate --p 3 --pstar 2 --eta 0.1 --ideal 0.1 --q0 0.5 --alpha 0,1 --generated {generated}"
    assert call(f"{line} --out run.nc")[0] == 0
    with xarray.open_dataset("run.nc") as run:
        found = oo.saad_solla(oo.Model(3, 2), 0.5).dataset(run)
    # Students are multiplied by √(2/3), teachers by √(2/2).
    assert found.attrs["q0"] == pytest.approx(0.5 * 2 / 3)
    assert found.attrs["ideal"] == pytest.approx(0.1 * np.sqrt(2 / 3))
    assert np.diagonal(found["Q"].values[0]) == pytest.approx(found.attrs["q0"])
    assert (found.attrs["activation"], found.attrs["readout"]) == ("0,0,0.5", "sum")


def test_one_of_many_names_its_own_numbers(system_of):
    """The learning rate, decay and batch of a trajectory are variables of the ensemble."""
    system, count = system_of(P, PSTAR), 3
    rates, decays = np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.01, 0.02])
    Q, R = oo.random_overlaps(P, PSTAR, n=100, trajectories=count)
    common = {"label_noise": 0.1, "batch": 2, "alpha": [0.0, 10.0, 50.0], "stop_loss": 0.4}
    runs = oo.integrate_ensemble(system, Q, R, eta=rates, weight_decay=decays, **common)
    convention = oo.readout_free(oo.Model(P, PSTAR))
    found = convention.dataset(runs.isel(trajectory=1))
    alone = convention.dataset(
        oo.integrate(system, Q[1], R[1], eta=rates[1], weight_decay=decays[1], **common)
    )
    for name in ("eta", "weight_decay", "label_noise", "batch", "stop_loss", "readout", "schedule"):
        assert found.attrs.get(name) == alone.attrs.get(name), name
    np.testing.assert_allclose(found["escape_time"], alone["escape_time"], rtol=1e-6)
    assert "eta" not in found.variables
    sgd = oo.simulate(oo.Model(P, PSTAR), n=50, eta=0.1, alpha=[0.0, 1.0], trajectories=3)
    converted = convention.dataset(sgd.isel(trajectory=0))
    for name, factor in (("Q_mean", 1 / P), ("loss_error", 2.0), ("R_mean", 1 / np.sqrt(P * PSTAR))):
        np.testing.assert_allclose(converted[name], factor * sgd[name], rtol=1e-14)


def test_results_are_described_there_too(system_of):
    run = ours(system_of, None, 0.4)
    found = oo.readout_free(oo.Model(P, PSTAR)).dataset(run)
    for variable in found.variables.values():
        assert variable.attrs["long_name"]
        assert ("units" in variable.attrs) == (variable.dtype.kind != "U")
    assert [line.split()[0] for line in found.attrs["history"].splitlines()] == [
        "integrate",
        "readout_free",
    ]
    assert found.attrs["Conventions"] == "CF-1.9"
    assert found.assign(unknown=1.0).attrs == found.attrs
    assert "unknown" not in oo.readout_free(oo.Model(P, PSTAR)).dataset(run.assign(unknown=1.0))


def test_axes_of_a_merged_sweep_are_converted(system_of):
    """Where a sweep varies η, it is a coordinate, and not one of theirs."""
    run = ours(system_of, None, 0.4)
    eta = run.attrs["eta"]
    swept = run.assign_coords(eta=eta, q0=2.0)
    del swept.attrs["eta"]
    found = oo.saad_solla(oo.Model(P, PSTAR)).dataset(swept)
    assert found.attrs["eta"] == pytest.approx(eta / P)
    assert found.attrs["q0"] == pytest.approx(2.0 / P)
    assert {"eta", "q0"}.isdisjoint(found.variables)


@pytest.mark.matrix
def test_deviations_are_those_of_the_overlaps(system_of):
    """√N times the standard deviation of an overlap converts as it does, and the times of the theory."""
    run = oo.fluctuations(system_of(P, PSTAR), Q0, R0, eta=0.3, alpha=[0.0, 5.0, 10.0], n=100)
    there = oo.fluctuations(
        system_of(P, PSTAR, readout="sum", teacher="general"),
        Q0 / P,
        R0 / np.sqrt(P * PSTAR),
        T=np.eye(PSTAR) / PSTAR,
        eta=0.3 / P,
        alpha=[0.0, 5.0, 10.0],
        n=100,
    )
    found = oo.saad_solla(oo.Model(P, PSTAR)).dataset(run)
    for name in ("Q_std", "R_std", "loss_std", "Q", "R", "loss"):
        np.testing.assert_allclose(found[name], there[name], rtol=1e-5, atol=1e-8, err_msg=name)
    assert np.ptp(found["R_std"].values) > 0.1
    assert "covariance" not in found
    assert found["linear_until"].dims == ()
