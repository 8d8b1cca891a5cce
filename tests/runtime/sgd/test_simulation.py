"""`simulate`: records, reproducibility, divergence, conventions, means."""

from __future__ import annotations

import numpy as np
import pytest
from short_simulation import MODEL, Q0, R0, START, TEACHER, short

from derive import Model
from derive.parameters import NUMBERS
from derive.version import VERSION
from runtime import random_overlaps, simulate
from runtime.run_options import SIMULATION_METHODS, default
from runtime.sgd import sgd_runs
from runtime.sgd.recorder import RunRecorder, generalisation_error
from runtime.start.teacher_directions import Teacher
from runtime.trajectory.single_run import integrate
from runtime.vector import jit

NAMES = ("Q", "R", "loss", "status", "alpha_end")
METHODS, DEFAULT_RUNS = tuple(SIMULATION_METHODS), default("trajectories", "simulate")


def assert_same(one, other, runs=slice(None), names=NAMES):
    """The same numbers, to the last bit."""
    for name in names:
        assert one[name].values[runs].tobytes() == other[name].values[runs].tobytes(), name


# The dataset.


@pytest.mark.parametrize("method", METHODS)
def test_dataset(method):
    runs = short(method=method, **START)
    assert dict(runs.sizes) == {"trajectory": 11, "alpha": 3, "i": 4, "j": 4, "r": 2, "s": 2}
    assert runs["Q"].dims == ("trajectory", "alpha", "i", "j")
    assert runs["R"].dims == ("trajectory", "alpha", "i", "r")
    assert runs["loss"].dims == ("trajectory", "alpha")
    for name in ("eta", "label_noise", "status", "alpha_end"):
        assert runs[name].dims == ("trajectory",)
    np.testing.assert_array_equal(runs["T"], np.eye(2))
    np.testing.assert_array_equal(runs["i"], [1, 2, 3, 4])
    np.testing.assert_array_equal(runs["trajectory"], np.arange(11))
    assert (runs["status"] == "ok").all()
    assert (runs["alpha_end"] == 1.0).all()
    assert all("long_name" in runs[name].attrs for name in ("Q", "R", "T", "loss", "status", "alpha"))
    assert runs.attrs["title"] == "SGD of p4_pstar2 at N = 60"
    expected = {"n": 60, "method": method, "seed": 5, "eta": 0.2, "label_noise": 0.1}
    expected |= {"p": 4, "flow": "sgd", "version": f"overlap-ode {VERSION}"}
    assert expected.items() <= runs.attrs.items()
    # Symmetric to the last bit, and the loss is that of the overlaps.
    np.testing.assert_array_equal(runs["Q"], np.swapaxes(runs["Q"].values, 2, 3))
    loss = generalisation_error(MODEL, runs["Q"].values, runs["R"].values, np.eye(2))
    np.testing.assert_array_equal(runs["loss"], loss)
    assert np.unique(runs["loss"].values[:, 1:]).size == 22


@pytest.mark.parametrize("method", METHODS)
def test_first_and_last_record(method):
    runs = short(method=method, **START)
    np.testing.assert_allclose(runs["Q"][:, 0], np.broadcast_to(Q0, (11, 4, 4)), atol=1e-15)
    np.testing.assert_allclose(runs["R"][:, 0], np.broadcast_to(R0, (11, 4, 2)), atol=1e-15)
    # A run whose first record comes later goes through the same states.
    later = short(method=method, alpha=[0.5, 0.75, 1.0], **START)
    for name in ("Q", "R", "loss"):
        np.testing.assert_allclose(later[name][:, [0, 2]], runs[name][:, [1, 2]], rtol=0, atol=1e-12)
    alone = short(method=method, alpha=[1.0], **START)
    np.testing.assert_allclose(alone["Q"][:, 0], runs["Q"][:, 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [7, 60, 1000, 12345])
def test_times_are_those_of_whole_steps(n):
    asked = np.array([0.0, 0.101, 0.3, 0.5, 0.7, 1.0])
    runs = simulate(Model(1, 1), n=n, eta=0.01, alpha=asked, trajectories=1)
    steps = np.rint(asked * n)
    np.testing.assert_array_equal(runs["alpha"], steps / n)
    assert runs["alpha"].values[[0, -1]].tolist() == [0.0, 1.0]
    # One more step is another record.
    one = simulate(Model(1, 1), n=n, eta=0.01, alpha=[0.0, 1 / n, 2 / n], trajectories=1)
    np.testing.assert_array_equal(one["alpha"], [0.0, 1 / n, 2 / n])
    assert np.unique(one["Q"]).size == 3


def test_a_number_is_the_end_of_even_times():
    runs = simulate(Model(1, 1), n=2000, eta=0.1, alpha=10.0, trajectories=1)
    np.testing.assert_allclose(runs["alpha"], np.linspace(0.0, 10.0, 201), rtol=1e-14)
    # At small N several of them are the same step.
    few = simulate(Model(1, 1), n=4, eta=0.01, alpha=10.0, trajectories=1)
    np.testing.assert_array_equal(few["alpha"], np.arange(41) / 4)


def test_random_starts_are_those_of_random_overlaps():
    runs = simulate(MODEL, n=50, eta=0.1, alpha=[0.0, 0.1], seed=3)
    Q, R = random_overlaps(4, 2, 50, 3, DEFAULT_RUNS)
    np.testing.assert_allclose(runs["Q"][:, 0], Q, atol=1e-14)
    np.testing.assert_allclose(runs["R"][:, 0], R, atol=1e-14)


def test_a_start_for_all_and_one_a_run():
    together = short(**START)
    each = short(Q0=np.tile(Q0, (11, 1, 1)), R0=np.tile(R0, (11, 1, 1)))
    assert_same(together, each)
    assert short(trajectories=None, **START).sizes["trajectory"] == DEFAULT_RUNS
    given = {"Q0": np.tile(Q0, (3, 1, 1)), "R0": np.tile(R0, (3, 1, 1)), "trajectories": None}
    assert short(**given).sizes["trajectory"] == 3


def test_parameters_that_are_not_given_are_those_of_commands():
    runs = simulate(MODEL, n=50, alpha=[0.0, 0.1], trajectories=2)
    numbers = [number for number in NUMBERS if number.belongs_to(MODEL)]
    assert {number.name: runs.attrs[number.name] for number in numbers} == {
        number.name: number.usual for number in numbers
    }


# Reproducibility.


@pytest.mark.parametrize("start", [START, {}], ids=["given", "random"])
@pytest.mark.parametrize("method", METHODS)
def test_numbers_depend_on_seed_and_place_alone(method, start):
    runs = short(method=method, threads=1, **start)
    for threads in (2, 5, None):
        assert_same(short(method=method, threads=threads, **start), runs)
    for count in (1, 8, 40):
        shared = slice(min(count, 11))
        assert_same(short(method=method, trajectories=count, **start), runs, shared)
    other = short(method=method, seed=6, **start)
    assert not np.isin(other["loss"].values[:, 1:], runs["loss"].values[:, 1:]).any()


def test_chain_and_weights_have_streams_of_their_own():
    chain, weights = (short(method=method, **START)["loss"].values[:, 1:] for method in METHODS)
    assert not np.isin(chain, weights).any()
    assert len(set(sgd_runs._STREAMS.values())) == len(METHODS)
    # And equal starts do not mean equal runs.
    assert np.unique(chain).size == np.unique(weights).size == 22


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_vectors_gives_the_same_runs(monkeypatch, method):
    found = {}
    for kind in jit.RESTRICTIONS:
        monkeypatch.setenv(jit.ENVIRONMENT, kind)
        found[kind] = short(method=method, threads=1)
    assert_same(found["avx2"], found["avx512"])
    for name in ("Q", "R", "loss"):
        np.testing.assert_allclose(found["baseline"][name], found["avx512"][name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_rates_and_noises_of_each_run(method):
    rates, noises = np.linspace(0.05, 0.3, 11), np.linspace(0.1, 1.0, 11)
    runs = short(method=method, eta=rates, label_noise=noises, **START)
    np.testing.assert_array_equal(runs["eta"], rates)
    np.testing.assert_array_equal(runs["label_noise"], noises)
    assert not {"eta", "label_noise"} & set(runs.attrs)
    for k in (0, 4, 10):
        alone = short(method=method, eta=rates[k], label_noise=noises[k], **START)
        assert_same(alone, runs, slice(k, k + 1))
        assert alone.attrs["eta"] == rates[k]


def test_one_start_a_run():
    Q, R = random_overlaps(4, 2, 30, 9, trajectories=11)
    runs = short(Q0=Q, R0=R)
    for k in (0, 9):
        alone = short(Q0=Q[k], R0=R[k])
        assert_same(alone, runs, slice(k, k + 1))


# Divergence.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_diverging_runs_do_not_disturb_their_neighbours(method):
    rates = np.full(11, 0.2)
    wild = np.array([2, 3, 9])
    rates[wild] = [3.0, 1e3, 1e300]
    calm = np.delete(np.arange(11), wild)
    times = np.linspace(0.0, 2.0, 31)
    runs = short(method=method, eta=rates, alpha=times, **START)
    assert (runs["status"][wild] == "diverged").all()
    assert (runs["status"][calm] == "ok").all()
    assert_same(runs, short(method=method, alpha=times, **START), calm)
    # All is there up to alpha_end, and nothing after it.
    reached = runs["alpha"].values <= runs["alpha_end"].values[:, None]
    for name in ("Q", "R", "loss"):
        finite = np.isfinite(runs[name].values).reshape(*reached.shape, -1)
        assert (finite == reached[:, :, None]).all()
    assert (runs["alpha_end"][calm] == 2.0).all()
    ends = runs["alpha_end"].values[wild]
    assert 0.0 < ends[0] < 2.0
    assert ends[1] < ends[0]
    assert ends[2] == 0.0
    assert (np.diagonal(runs["Q"].values[2], axis1=1, axis2=2)[reached[2]] < 1e6).all()


def test_a_run_that_has_diverged_does_not_come_back():
    teacher = Teacher.from_overlaps(np.eye(1))
    A, S = np.full((2, 1, 1), 0.5), np.full((2, 1, 1), 0.5)
    recorder = RunRecorder(np.arange(4), A, S, teacher)
    wild = A * np.array([1.0, 1e4])[:, None, None]
    # Norms may grow a million times.
    both = np.arange(2)
    assert recorder.write(0, both, A, S)
    assert recorder.write(1, both, 0.19 * wild, S)
    assert not recorder.diverged.any()
    assert recorder.write(2, both, wild, S)
    assert recorder.write(3, both, A, S)
    assert recorder.diverged.tolist() == [False, True]
    assert recorder.reached.tolist() == [4, 2]
    assert np.isnan(recorder.Q[:, :, 0, 0]).tolist() == [[False] * 4, [False, False, True, True]]
    # Nothing to go on with.
    assert not recorder.write(3, both[1:], A[:1], S[:1])


def test_a_second_layer_that_has_diverged_does_not_come_back():
    teacher = Teacher.from_overlaps(np.eye(1))
    A, S, both = np.full((2, 1, 1), 0.5), np.full((2, 1, 1), 0.5), np.arange(2)
    # Weights may grow a million times.
    recorder = RunRecorder(np.arange(4), A, S, teacher, np.array([[2.0], [-20.0]]))
    assert recorder.write(0, both, A, S, np.array([[1e6], [1e6]]))
    assert recorder.write(1, both, A, S, np.array([[2.1e6], [-1.9e7]]))
    assert recorder.write(2, both, A, S, np.array([[1.0], [np.nan]])) is False
    assert recorder.diverged.all()
    np.testing.assert_array_equal(
        np.isnan(recorder.v[:, :, 0]), [[False, *[True] * 3], [False] * 2 + [True] * 2]
    )


def test_all_runs_diverge():
    runs = short(eta=1e3, alpha=[3.0, 4.0], **START)
    assert (runs["status"] == "diverged").all()
    assert (runs["alpha_end"] == 0.0).all()
    assert np.isnan(runs["Q"]).all()
    assert np.isnan(runs["loss"]).all()


def test_weights_that_diverge_do_not_warn():
    # The second gradient is infinite, and inputs beyond N are zero.
    runs = short(method="weights", eta=1e200, alpha=[2 / 60], threads=1, **START)
    assert (runs["status"] == "diverged").all()


# Constraint, teachers, readouts.


@pytest.mark.parametrize("method", METHODS)
def test_norms_stay_on_the_sphere(method):
    norms = np.array([1.0, 0.25, 4.0, 1.0])
    start = {"Q0": np.diag(norms), "R0": np.zeros((4, 2))}
    runs = short(Model(4, 2, constraint="sphere"), method=method, eta=1.0, alpha=20.0, **start)
    assert (runs["status"] == "ok").all()
    found = np.diagonal(runs["Q"].values, axis1=2, axis2=3)
    np.testing.assert_allclose(found, np.broadcast_to(norms, found.shape), rtol=1e-14)
    assert np.abs(runs["R"].values[:, -1]).max() > 0.1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_stay_on_the_sphere_however_far_records_are_apart():
    model = Model(1, 1, constraint="sphere")
    settings = {"n": 10, "eta": 1.0, "label_noise": 1.0, "trajectories": 2, "Q0": [[1.0]], "R0": [[0.0]]}
    for method in METHODS:
        often = simulate(model, method=method, alpha=np.arange(0.0, 1001.0, 10.0), **settings)
        assert (often["status"] == "ok").all()
        rarely = simulate(model, method=method, alpha=[0.0, 1000.0], **settings)
        assert (rarely["status"] == "ok").all()


CONVENTIONS = [
    ({"readout": "sum"}, 0.02, None),
    ({"readout": "sqrt", "constraint": "sphere"}, 0.3, None),
    ({"teacher": "general"}, 0.1, TEACHER),
    ({"teacher": "general", "constraint": "sphere", "readout": "sqrt"}, 0.3, np.ones((2, 2))),
    ({"teacher": "general"}, 0.1, np.zeros((2, 2))),
]


@pytest.mark.parametrize(("options", "eta", "T"), CONVENTIONS, ids=lambda value: str(value)[:40])
def test_large_n_follows_the_ode(system_of, options, eta, T):
    system = system_of(3, 2, **options)
    Q = np.eye(3)
    # Some students' overlaps with a teacher that may be singular.
    R = np.array([[0.3, 0.1], [-0.2, 0.1], [0.0, 0.2]]) @ (np.eye(2) if T is None else T)
    settings = {"eta": eta, "alpha": [0.0, 1.0, 2.0], "label_noise": 0.2, "T": T}
    runs = simulate(system.model, n=30_000, trajectories=16, Q0=Q, R0=R, seed=2, **settings)
    theory = integrate(system, Q, R, **settings)
    for name in ("Q", "R", "loss"):
        # Several standard errors at this N.
        np.testing.assert_allclose(runs[name].mean("trajectory"), theory[name], rtol=0, atol=0.015)
    assert np.abs(theory["Q"].values[-1] - Q).max() > 0.04
    np.testing.assert_allclose(runs["T"], theory["T"])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_fewer_dimensions_than_students_and_teachers(n):
    settings = {"n": n, "eta": 0.02, "alpha": [0.0, 5.0]}
    runs = short(**settings)
    assert runs.attrs["method"] == "weights"
    assert_same(runs, short(method="weights", **settings))
    assert (runs["status"] == "ok").all()
    joint = np.block(
        [
            [runs["Q"].values[:, 1], runs["R"].values[:, 1]],
            [np.swapaxes(runs["R"].values[:, 1], 1, 2), np.broadcast_to(np.eye(2), (11, 2, 2))],
        ]
    )
    # N vectors of length n: of rank n.
    assert (np.linalg.matrix_rank(joint, tol=1e-9) == n).all()
    assert short(n=6, eta=0.02, alpha=[0.0, 5.0]).attrs["method"] == "chain"


def test_the_chain_s_least_dimension_is_that_of_the_teacher_s_rank():
    model = Model(2, 3, teacher="general")
    start = {"Q0": np.eye(2), "R0": np.zeros((2, 3)), "trajectories": 2, "eta": 0.01}
    assert short(model, n=3, T=np.ones((3, 3)), **start).attrs["method"] == "chain"
    assert short(model, n=2, T=np.zeros((3, 3)), **start).attrs["method"] == "chain"
    one = {**start, "Q0": np.ones((2, 2)), "R0": np.ones((2, 3))}
    runs = short(model, n=1, T=np.ones((3, 3)), alpha=[0.0, 1.0], **one)
    assert runs.attrs["method"] == "weights"
    assert (runs["status"] == "ok").all()


def test_random_starts_where_the_teacher_s_rank_is_less_than_its_width():
    model = Model(2, 3, teacher="general")
    assert short(model, n=2, eta=0.01, T=np.ones((3, 3))).attrs["n"] == 2


def test_largest_n():
    runs = simulate(MODEL, n=10**9, eta=0.4, alpha=[0.0, 1e-6], trajectories=8, seed=1)
    np.testing.assert_array_equal(runs["alpha"], [0.0, 1e-6])
    change = np.abs(runs["Q"].values[:, 1] - runs["Q"].values[:, 0]).max(axis=(1, 2))
    assert ((change > 1e-9) & (change < 1e-5)).all()


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ((1, 1), {}),
        ((4, 2), {"constraint": "sphere"}),
        ((2, 3), {"readout": "sum"}),
        ((3, 2), {"readout": "sqrt", "teacher": "general"}),
    ],
    ids=str,
)
def test_generalisation_error_is_the_derived_loss(system_of, widths, options):
    system = system_of(*widths, **options)
    T = TEACHER if "teacher" in options else None
    Q, R = random_overlaps(*widths, n=20, seed=4, trajectories=30, T=T)
    Q, R = Q.reshape(5, 6, *Q.shape[1:]), R.reshape(5, 6, *R.shape[1:])
    found = generalisation_error(system.model, Q, R, np.eye(widths[1]) if T is None else T)
    assert found.shape == (5, 6)
    np.testing.assert_allclose(found, system.loss(Q, R, T), rtol=1e-13)


def test_means_and_standard_errors_are_those_of_the_runs_that_go_on():
    runs = short(Model(1, 1), n=10, eta=3.0, alpha=[0.0, 0.5, 1.0, 2.0], trajectories=200, seed=3)
    gone = runs["status"].values == "diverged"
    assert gone.sum() > 0
    for name in ("Q", "R", "loss"):
        for k, count in enumerate(runs["runs"].values):
            values = runs[name].values[:, k]
            values = values[np.isfinite(runs["loss"].values[:, k])]
            assert len(values) == count
            mean, error = runs[f"{name}_mean"].values[k], runs[f"{name}_error"].values[k]
            if count > 1:
                np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
                expected = values.std(axis=0, ddof=1) / np.sqrt(count)
                np.testing.assert_allclose(error, expected, rtol=1e-9)
            else:
                assert np.isnan(error).all()


def test_no_mean_without_a_run():
    runs = short(Model(1, 1), n=10, eta=1e3, alpha=[5.0, 6.0], trajectories=9)
    assert (runs["runs"] == 0).all()
    assert np.isnan(runs["loss_mean"]).all()
