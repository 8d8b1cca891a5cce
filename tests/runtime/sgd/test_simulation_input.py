"""`simulate`: starts, bad input, progress, interrupts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from rejections import rejected
from short_simulation import MODEL, Q0, R0, START, TEACHER, short

from derive import Model
from derive.parameters import PARAMETERS
from runtime import random_overlaps, simulate
from runtime.run_options import SIMULATION_METHODS as METHODS
from runtime.sgd import simulation
from runtime.sgd.simulation import Simulation, chosen_simulation
from runtime.start import checked_arrays
from runtime.start.chosen_start import ChosenStart
from runtime.start.starts import GivenStart
from runtime.trajectory.single_run import integrate

ROOT = Path(__file__).parents[3]

# Starts.

SIZE = 1e-7
STARTS = {
    "random": ({}, *random_overlaps(4, 2, 100, seed=2), None),
    "small students": ({}, SIZE**2 * np.eye(4), SIZE * np.eye(4, 2, -1) / 3, None),
    "in the span of the teacher": ({}, R0 @ R0.T, R0, None),
    "students alike": ({"constraint": "sphere"}, np.ones((4, 4)), np.full((4, 2), 0.3), None),
    "correlated teacher": ({"teacher": "general"}, np.eye(4), 0.2 * np.eye(4, 2) @ TEACHER, TEACHER),
    "equal teachers": ({"teacher": "general"}, np.eye(4), np.full((4, 2), 0.4), np.ones((2, 2))),
    "small teacher": (
        {"teacher": "general"},
        np.eye(4),
        0.5 * np.eye(4, 2) * [1.0, SIZE],
        np.diag([1.0, SIZE**2]),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STARTS)
def test_the_first_record_is_the_start_that_was_given(name, method):
    options, Q, R, T = STARTS[name]
    model = Model(4, 2, **options)
    run = simulate(model, n=40, alpha=[0.0, 0.025], method=method, trajectories=2, Q0=Q, R0=R, T=T)
    students = np.sqrt(np.diag(Q))
    teachers = np.ones(2) if T is None else np.sqrt(np.diag(T))
    for k in range(2):
        apart = (run["Q"].values[k, 0] - Q) / np.outer(students, students)
        assert np.max(np.abs(apart)) < 1e-14
        assert np.max(np.abs((run["R"].values[k, 0] - R) / np.outer(students, teachers))) < 1e-14


def test_a_start_that_weights_would_change_is_rejected():
    """The ODE may start there, since it does not need weights: SGD does."""
    R = np.array([[1.0 + 1e-7], [0.0]])
    checked_arrays.overlaps(Model(2, 1), np.eye(2), R, np.eye(1))
    with rejected("R0", "misses their overlaps by 2e-07 of the norms"):
        simulate(Model(2, 1), n=40, alpha=1.0, Q0=np.eye(2), R0=R)
    with rejected("R0", "R0: trajectory 1 belongs to no weights"):
        simulate(Model(2, 1), n=40, alpha=1.0, Q0=np.stack([np.eye(2)] * 2), R0=np.stack([0.0 * R, R]))


@pytest.mark.parametrize(("constraint", "method"), [("free", "prince8"), ("sphere", "scipy:LSODA")])
def test_the_end_of_a_run_is_a_start(system_of, constraint, method):
    """At zero loss C is singular up to the error of the run, of either sign."""
    model = Model(2, 2, constraint=constraint)
    Q, R = random_overlaps(2, 2, 100, seed=1, constraint=constraint)
    run = integrate(
        system_of(2, 2, constraint=constraint),
        Q,
        R,
        eta=0.3,
        alpha=[150.0, 200.0, 300.0, 1000.0],
        method=method,
    )
    for k in range(4):
        Q, R = run["Q"].values[k], run["R"].values[k]
        sgd = simulate(model, n=100, alpha=[0.0, 0.01], trajectories=1, Q0=Q, R0=R)
        np.testing.assert_allclose(sgd["Q"].values[0, 0], Q, atol=1e-9)
        np.testing.assert_allclose(sgd["R"].values[0, 0], R, atol=1e-14)


# Bad input: one value for each rule; what counts as a number is tested with the checks.

GENERAL, SPHERE = Model(4, 2, teacher="general"), Model(4, 2, constraint="sphere")
STARTS_OF_THREE = {"Q0": np.tile(Q0, (3, 1, 1)), "R0": np.tile(R0, (3, 1, 1))}
BAD = [
    ("flow", {"model": Model(4, 2, flow="gradient")}),
    *(("method", {"method": method}) for method in ("euler", None, ["chain"])),
    # Below the rank of the teacher, too large, not whole; too few dimensions for the overlaps.
    *(("n", {"n": n}) for n in (0, 1, 10**9 + 1, 100.5, "100", True, 4)),
    ("n", {"n": 10**9, "method": "weights", "alpha": 1e-8}),
    # A step is not interrupted, and its samples are counted by an integer; weights keep their inputs.
    *(("batch", {"batch": batch}) for batch in (10**9 + 1, 2**63, 1e300)),
    ("batch", {"batch": 10**12, "method": "weights"}),
    (
        "n",
        {
            "model": Model(1, 1),
            "Q0": [[1.0]],
            "R0": [[0.1]],
            "n": 10**9,
            "method": "weights",
            "alpha": 1e-8,
        },
    ),
    *(("eta", {"eta": eta}) for eta in (0.0, np.nan, "0.1", np.full(10, 0.1), np.eye(11)[0])),
    *(("label_noise", {"label_noise": noise}) for noise in (-1e-9, [np.nan] * 11, np.zeros(12))),
    *(("alpha", {"alpha": alpha}) for alpha in (0.0, [0.0], [2.0, 1.0], [], 0.4 / 60, 1e30)),
    *(("trajectories", {"trajectories": count}) for count in (0, 1.5, 2**40 + 1)),
    ("trajectories", STARTS_OF_THREE),
    *(("seed", {"seed": seed}) for seed in (-1, 2**63, None)),
    *(("threads", {"threads": threads}) for threads in (0, 5000)),
    *(("Q0", {"Q0": Q}) for Q in (None, np.eye(3), np.eye(4) + np.eye(4, k=1), [[1.0], [1.0, 2.0]])),
    *(("R0", {"R0": R}) for R in (None, np.full((4, 2), 0.9), np.full((4, 2), np.nan))),
    ("Q0", {"model": SPHERE, "Q0": np.diag([1.0, 1.0, 1.0, 0.0]), "R0": np.zeros((4, 2))}),
    ("T", {"T": 2 * np.eye(2)}),
    *(("T", {"model": GENERAL, "T": T}) for T in (None, np.eye(3), -np.eye(2))),
]


@pytest.mark.parametrize(("name", "options"), BAD, ids=lambda value: str(value)[:30])
def test_bad_input_names_the_option_in_one_line(name, options):
    with rejected(name):
        short(**{**START, **options})


@pytest.mark.parametrize(
    ("alpha", "pair"),
    [
        ([0.0, 0.001, 0.002, 5.0], "0 and 0.001"),
        ([0.0, 1.0, 1.004, 5.0], "1 and 1.004"),
        (np.linspace(0.0, 1.0, 150), "0.00671140939597 and 0.0134228187919"),
    ],
)
def test_given_times_on_the_same_step_are_rejected(alpha, pair):
    """No time that was asked for is left out without a word."""
    with rejected("alpha", f": {pair} are the same whole step at n = 100:"):
        simulate(MODEL, n=100, eta=0.1, alpha=alpha, trajectories=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("eta", 1e-300), ("eta", np.float32(0.1)), ("n", np.int64(60)), ("label_noise", 0)],
        *[("alpha", 1), ("alpha", (0, 1)), ("seed", 2**63 - 1), ("threads", 4096), ("trajectories", 1)],
    ],
    ids=str,
)
def test_values_that_are_allowed(name, value):
    runs = short(**START, **{name: value})
    assert (runs["status"] == "ok").all()


def test_a_parameter_that_sgd_does_not_know_has_its_default(monkeypatch):
    unknown = dataclasses.replace(PARAMETERS["label_noise"], at_finite_n=False)
    monkeypatch.setattr(simulation, "NUMBERS", (PARAMETERS["eta"], unknown))
    with rejected("label_noise", "is not known at finite N: SGD is simulated with label_noise = 0"):
        short(**START, label_noise=[0.0] * 10 + [0.1])
    assert (short(**START, label_noise=0.0)["status"] == "ok").all()


def test_results_that_do_not_fit_into_memory():
    with rejected("trajectories", "1099511627776 need .* GiB at 201 times"):
        short(**START, trajectories=2**40, alpha=1000.0)


def test_a_simulation_is_checked_before_it_is_run():
    start = GivenStart(np.ones((4, 4)), np.zeros((4, 2)))
    made = Simulation(MODEL, start, {"eta": np.full(3, 0.1)}, 5, [0.0, 1.0], trajectories=3)
    # With so few dimensions the weights themselves are run.
    assert (made.method, made.count, made.steps.tolist()) == ("weights", 3, [0, 5])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.n = 6
    # The first random start is looked at, the others are not drawn.
    ideal = ChosenStart(ideal=0.1)
    options = {"eta": 0.1, "alpha": 1.0, "method": "chain", "threads": 1, "trajectories": 2**20}
    assert chosen_simulation(MODEL, ideal, n=6, **options).count == 2**20
    with rejected("n", "these overlaps need 4 dimensions beyond the 2 of the teacher"):
        chosen_simulation(MODEL, ideal, n=5, **options)


# Progress and interrupts.


@pytest.mark.parametrize("eta", [0.2, 1e3], ids=["ok", "diverging"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_progress_reaches_its_total(method, eta):
    seen = []
    short(method=method, eta=eta, progress=lambda *now: seen.append((*now, threading.get_ident())), **START)
    total = 11 * 60
    assert seen[-1][:2] == (total, total)
    done = [now[0] for now in seen]
    assert done == sorted(done)
    assert {now[1] for now in seen} == {total}
    assert {now[2] for now in seen} == {threading.get_ident()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_stops_all_threads(method, error):
    calls = []

    def progress(done, _total):
        calls.append(done)
        if len(calls) == 3:
            raise error

    before = threading.active_count()
    with pytest.raises(error):
        # Hours of it.
        short(method=method, alpha=[1e7], threads=3, trajectories=100, progress=progress, **START)
    assert threading.active_count() == before
    assert len(calls) == 3


SCRIPT = """
    import os, signal, sys, threading
    import runtime
    from derive import Model
    for method in sys.argv[1:]:
        settings = dict(n=1000, eta=0.01, threads=3, trajectories=100, method=method)
        runtime.simulate(Model(4, 2), alpha=0.01, **settings)
        try:
            timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            runtime.simulate(Model(4, 2), alpha=[1e7], **settings)
        except KeyboardInterrupt:
            timer.join()
            print("interrupted", threading.active_count())
"""


def test_ctrl_c_stops_all_threads():
    script = textwrap.dedent(SCRIPT)
    result = subprocess.run(
        [sys.executable, "-c", script, *METHODS],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (result.stdout, result.stderr, result.returncode) == ("interrupted 1\n" * 2, "", 0)


def test_an_error_in_a_run_is_raised(monkeypatch):
    def broken(*_):
        raise MemoryError("out of it")

    monkeypatch.setattr("runtime.sgd.weight_vectors.WeightVectors.coordinates", broken)
    with pytest.raises(MemoryError, match="out of it"):
        short(method="weights", **START)
