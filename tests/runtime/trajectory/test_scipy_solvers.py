"""SciPy's solvers as a cross-check: statuses, Jacobians, outputs."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.run_options import SCIPY_METHODS
from runtime.system.compiled_system import System
from runtime.trajectory import scipy_solvers
from runtime.trajectory.single_run import integrate

METHODS = [f"scipy:{name}" for name in SCIPY_METHODS]
TIMES = [0.0, 1.0, 20.0, 60.0]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def small(system_of):
    """A system with start and learning rate."""
    return system_of(2, 1), np.eye(2), np.array([[0.1], [-0.05]])


def test_every_method_agrees_with_ours(small, method):
    settings = {"eta": 0.3, "alpha": TIMES, "rtol": 1e-7, "atol": 1e-9}
    run = integrate(*small, method=method, **settings)
    own = integrate(*small, **settings)
    assert run["status"].item() == "ok"
    assert run["alpha_end"].item() == TIMES[-1]
    assert run["evaluations"].item() > 50
    np.testing.assert_allclose(run["Q"], own["Q"], atol=1e-5)
    np.testing.assert_allclose(run["R"], own["R"], atol=1e-5)


def test_start_alone(small, method):
    run = integrate(*small, eta=0.3, alpha=[0.0], method=method)
    assert (run["status"].item(), run["alpha_end"].item()) == ("ok", 0.0)
    np.testing.assert_array_equal(run["R"].values[0], small[2])


def test_single_late_time(small, method):
    run = integrate(*small, eta=0.3, alpha=[5.0], method=method)
    own = integrate(*small, eta=0.3, alpha=[5.0])
    np.testing.assert_allclose(run["Q"], own["Q"], atol=1e-5)


@pytest.mark.parametrize("name", ["Radau", "BDF"])
def test_implicit_methods_use_the_generated_jacobian(small, name, monkeypatch):
    calls = []
    jacobian = System.jacobian_of_state

    def counted(self, y, parameters):
        calls.append(y)
        return jacobian(self, y, parameters)

    monkeypatch.setattr(System, "jacobian_of_state", counted)
    settings = {"eta": 0.3, "alpha": 20.0, "method": f"scipy:{name}"}
    with_jacobian = integrate(*small, **settings)
    used = len(calls)
    assert used > 0
    monkeypatch.setattr(scipy_solvers, "_WITH_JACOBIAN", ())
    without = integrate(*small, **settings)
    assert len(calls) == used
    np.testing.assert_allclose(with_jacobian["Q"], without["Q"], atol=1e-6)


def test_explicit_methods_need_no_jacobian(small, monkeypatch):
    def must_not_be_called(*_):
        raise AssertionError

    monkeypatch.setattr(System, "jacobian_of_state", must_not_be_called)
    assert integrate(*small, eta=0.3, alpha=1.0, method="scipy:DOP853")["status"].item() == "ok"


def test_events_are_found_where_ours_finds_them(small, method):
    settings = {"eta": 0.3, "alpha": np.linspace(0.0, 60.0, 61), "stop_loss": 0.3}
    run, own = (integrate(*small, method=name, **settings) for name in (method, "prince8"))
    assert own["status"].item() == run["status"].item() == "ok"
    assert 1.0 < own["escape_alpha"].item() < 59.0
    assert run["escape_alpha"].item() == pytest.approx(own["escape_alpha"].item(), abs=1e-4)
    assert run["alpha_end"].item() == run["escape_alpha"].item()
    np.testing.assert_array_equal(np.isfinite(run["loss"]), run["alpha"] <= run["alpha_end"])
    assert (run["loss"].values[np.isfinite(run["loss"])] > 0.3).all()


@pytest.mark.parametrize("alpha", [[0.0], [0.0, 1.0], [1.0]])
def test_a_low_loss_at_the_start_is_an_event_at_zero(small, method, alpha):
    run = integrate(*small, eta=0.3, alpha=alpha, method=method, stop_loss=10.0)
    assert (run["status"].item(), run["escape_alpha"].item(), run["evaluations"].item()) == ("ok", 0.0, 0)
    np.testing.assert_array_equal(np.isfinite(run["loss"]), run["alpha"] == 0.0)


def test_divergence_is_found_where_ours_finds_it(small, method):
    settings = {"eta": 100.0, "alpha": np.append(np.linspace(0.0, 2e-5, 21), 1.0)}
    own = integrate(*small, **settings)
    run = integrate(*small, method=method, **settings)
    assert own["status"].item() == run["status"].item() == "diverged"
    assert run["alpha_end"].item() == pytest.approx(own["alpha_end"].item(), rel=1e-4)
    reached = run["alpha"].values <= run["alpha_end"].item()
    assert 5 < reached.sum() < 21
    assert np.isfinite(run["Q"].values[reached]).all()
    assert np.isnan(run["Q"].values[~reached]).all()
    np.testing.assert_allclose(run["Q"].values[reached], own["Q"].values[reached], rtol=1e-3)


@pytest.mark.parametrize("alpha", [[1.0], [0.0, 1.0]])
def test_divergence_between_outputs(small, method, alpha):
    """The end is where the solver was, also for BDF, whose steps vanish before the bound is reached."""
    own, run = (integrate(*small, eta=100.0, alpha=alpha, method=name) for name in ("prince8", method))
    assert own["status"].item() == run["status"].item() == "diverged"
    assert run["alpha_end"].item() == pytest.approx(own["alpha_end"].item(), rel=1e-4)
    assert np.isfinite(run["Q"].values[:-1]).all()
    assert np.isnan(run["Q"].values[-1]).all()


def test_steps_that_vanish_without_growth_say_where(small, monkeypatch):
    monkeypatch.setattr(scipy_solvers, "blow_up_of", lambda _: np.inf)
    run = integrate(*small, eta=100.0, alpha=[0.0, 1.0], method="scipy:BDF")
    assert run["status"].item() == "step_too_small"
    assert run["alpha_end"].item() == pytest.approx(1.044e-5, rel=1e-3)


def test_overflow_at_the_start_is_diverged(system_of, method, time_limit):
    with time_limit(60.0):
        run = integrate(
            system_of(2, 1), 1e200 * np.eye(2), np.zeros((2, 1)), eta=0.3, alpha=[0.0, 1.0], method=method
        )
    assert run["status"].item() == "diverged"


def test_tolerances_below_those_of_scipy_are_raised_silently(small):
    run = integrate(*small, eta=0.3, alpha=1.0, rtol=1e-14, atol=1e-14, method="scipy:DOP853")
    assert run["status"].item() == "ok"
    assert run.attrs["rtol"] == 1e-14
