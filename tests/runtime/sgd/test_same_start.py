"""The ODE beside a simulation starts where its runs do, and so do all commands with the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from derive.model import Model
from runtime import integrate, integrate_ensemble
from runtime.problem import chosen_problem
from runtime.sgd.comparison import chosen_comparison
from runtime.sgd.same_start import ode_from_same_start
from runtime.sgd.simulation import chosen_simulation
from runtime.start.chosen_start import ChosenStart

TIMES = [0.0, 1.0, 3.0]
SOLVER = {"rtol": 1e-8, "atol": 1e-10, "method": "prince8"}


def simulation(model, start, **options):
    chosen = {"n": 50, "trajectories": 5, "alpha": TIMES, "method": "chain", "threads": 1, "eta": 0.2}
    return chosen_simulation(model, start, **(chosen | options))


def test_the_ode_starts_at_the_start_of_each_run(system_of):
    system = system_of(2, 1)
    chosen = simulation(system.model, ChosenStart(seed=3), label_noise=0.3, schedule="inverse:5")
    runs, ode = chosen.run(), ode_from_same_start(chosen, system)
    Q0, R0 = runs["Q"].values[:, 0], runs["R"].values[:, 0]
    np.testing.assert_allclose(ode["Q"].values[:, 0], Q0, rtol=1e-14)
    settings = {"eta": 0.2, "label_noise": 0.3, "schedule": "inverse:5", "alpha": TIMES}
    expected = integrate_ensemble(system, Q0, R0, **settings)
    np.testing.assert_allclose(ode["R"].values, expected["R"].values, rtol=1e-6, atol=1e-9)
    # Another schedule is seen.
    other = integrate_ensemble(system, Q0, R0, **{**settings, "schedule": None})
    assert np.max(np.abs(ode["R"].values - other["R"].values)) > 1e-4


def test_from_a_single_start_there_is_one_trajectory(system_of, tmp_path):
    system = system_of(2, 1)
    Q0, R0 = np.array([[1.0, 0.1], [0.1, 0.9]]), np.array([[0.2], [-0.1]])
    np.savez(tmp_path / "start.npz", Q=Q0, R=R0)
    chosen = simulation(system.model, ChosenStart(overlaps=tmp_path / "start.npz"))
    ode = ode_from_same_start(chosen, system)
    expected = integrate(system, Q0, R0, eta=0.2, alpha=TIMES)
    np.testing.assert_allclose(ode["R"].values, expected["R"].values, rtol=1e-12)


@pytest.mark.parametrize("choice", [{"n": 50}, {"ideal": 0.1}], ids=str)
def test_the_same_seed_is_the_same_start_in_all_commands(choice):
    model, start = Model(2, 1), ChosenStart(seed=7, **choice)
    Q, R = chosen_problem(model, start, alpha=TIMES, eta=0.2, **SOLVER).start.all()
    ensemble = chosen_problem(model, start, 4, alpha=TIMES, eta=0.2, **SOLVER).start.all()
    runs = simulation(model, ChosenStart(seed=7, ideal=choice.get("ideal"))).start.all()
    for one in (ensemble, runs):
        np.testing.assert_array_equal(one[0][0], Q[0])
        np.testing.assert_array_equal(one[1][0], R[0])
    if "ideal" in choice:
        given = {
            "n": [50, 100],
            "trajectories": 16,
            "weights": False,
            "alpha": TIMES,
            "threads": 1,
            "eta": 0.2,
        }
        compared = chosen_comparison(model, start, **given).start.all()
        np.testing.assert_array_equal(compared[1][0], R[0])
    # Another seed is another start.
    other = chosen_problem(model, ChosenStart(seed=8, **choice), alpha=TIMES, eta=0.2, **SOLVER).start.all()
    assert np.max(np.abs(other[1] - R)) > 0.01
