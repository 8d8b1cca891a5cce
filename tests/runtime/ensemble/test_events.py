"""Events in ensembles: a dip of the loss within one step, and the same times as those of a single run."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.trajectory.solver import SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX

# Students near the solution but too short: the loss falls while they grow, and rises with their noise. Its
# minimum is 0.20518 at about 0.92.
DIP = {"eta": 0.2, "label_noise": 2.0}
LOWEST = 0.20518
END = 20.0


@pytest.fixture(scope="module")
def start():
    R = np.array([[0.8], [0.64]])
    return R @ R.T + 1e-3 * np.eye(2), R


@pytest.fixture(params=TABLEAUX)
def method(request):
    return request.param


def crossing(system, start, method, stop_loss, rtol):
    """The time of the event, of a single run and in an ensemble; None for none."""
    y0, packed = system.pack(*start), system.parameters(**DIP)
    options = {"rtol": rtol, "atol": 0.1 * rtol}
    rules = SolverRules(TABLEAUX[method], **options, stop_loss=stop_loss)
    single = solve(system, y0, np.array([END]), packed, rules)
    Q, R = (np.repeat(x[None], 3, axis=0) for x in start)
    runs = integrate_ensemble(
        system, Q, R, **DIP, alpha=END, output="final", stop_loss=stop_loss, method=method, **options
    )
    times = runs["escape_alpha"].values
    assert np.ptp(times) == 0.0 or np.isnan(times).all()
    return (single.end if single.crossed else np.nan), times[0]


@pytest.mark.parametrize("above", [1e-3, 1e-2, 0.05, 0.2])
def test_a_dip_within_one_step_is_found(system_of, start, method, above):
    """A shallow dip lies between the ends of steps that rise and fall around it."""
    stop_loss = LOWEST * (1.0 + above)
    exact, _ = crossing(system_of(2, 1), start, method, stop_loss, 1e-11)
    for rtol in (1e-2, 1e-3, 1e-4, 1e-6):
        for time in crossing(system_of(2, 1), start, method, stop_loss, rtol):
            assert time == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("stop_loss", [0.3, 0.25])
def test_single_runs_and_ensembles_agree(system_of, start, method, stop_loss):
    single, in_ensemble = crossing(system_of(2, 1), start, method, stop_loss, 1e-10)
    assert in_ensemble == pytest.approx(single, rel=1e-8)
    assert np.isnan(crossing(system_of(2, 1), start, method, 0.999 * LOWEST, 1e-10)).all()
