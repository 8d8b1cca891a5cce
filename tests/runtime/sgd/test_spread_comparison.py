"""The spread of SGD against the covariance at order 1/N: its statistics, and wrong theories."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from derive import InputError
from runtime import compare, fluctuations, simulate
from runtime.covariance.fluctuation_run import FluctuationProblem
from runtime.sgd import comparison, spread_comparison
from runtime.sgd.spread_comparison import spread_ratios

Q0, R0 = np.eye(2), np.array([[0.5], [0.2]])
SETTINGS = {
    "n": (200, 400, 800),
    "eta": 0.1,
    "label_noise": 0.2,
    "alpha": [0.0, 1.0, 2.0, 4.0],
    "trajectories": 400,
    "weights": False,
}


@pytest.mark.parametrize("runs", [16, 200])
def test_cube_roots_are_normal_numbers(runs):
    """For Gaussian runs, also far from the centre, where verdicts are given."""
    values = np.random.default_rng(1).normal(scale=0.3, size=(runs, 20_000))
    deviations, errors = spread_ratios(values, 100, np.full(20_000, 3.0))
    z = deviations / errors
    assert abs(np.mean(z)) < 0.03
    # The kurtosis is estimated, and counted only where it is large: that makes some errors too large.
    assert 0.8 < np.std(z) < 1.02
    for level in (1e-2, 1e-3):
        assert np.mean(np.abs(z) > stats.norm.isf(level / 2)) < 1.5 * level
    # A variance that is wrong by 30 % is found with 200 runs.
    wrong, errors = spread_ratios(values, 130, np.full(20_000, 3.0))
    assert np.mean(wrong / errors) > (0.5 if runs == 16 else 2.0)


def test_heavy_tails_are_no_deviation():
    values = np.random.default_rng(2).standard_t(6, size=(400, 5000)) * np.sqrt(4.0 / 6.0)
    deviations, errors = spread_ratios(values, 1, np.ones(5000))
    gaussian = np.sqrt(2.0 / (9.0 * 399))
    assert np.std(deviations) > 1.3 * gaussian
    assert np.std(deviations / errors) < 1.3


def test_spreads_agree_and_are_in_the_dataset(system_of):
    result = compare(system_of(2, 1), Q0, R0, **SETTINGS)
    found = result.attrs
    assert found["verdict"] == "agree"
    assert 0.5 < found["spread_deviation"] < found["spread_allowed"]
    # Nothing spreads at the start.
    assert found["spread_comparisons"] == 3 * 5
    assert found["spread_until"] == 4.0
    assert result["R_std"].dims == ("alpha", "i", "r")
    assert result["Q_spread"].dims == ("n", "alpha", "i", "j")
    runs = simulate(
        system_of(2, 1).model, n=400, Q0=Q0, R0=R0, trajectories=50, alpha=[4.0], eta=0.1, label_noise=0.2
    )
    ratio = np.sqrt(400) * runs["R"].values.std(axis=0, ddof=1) / result["R_std"].values[-1]
    np.testing.assert_allclose(ratio, 1.0, atol=0.5)


@pytest.mark.parametrize("wrong", [{"batch": 2}, {"eta": 0.13}], ids=str)
def test_a_wrong_diffusion_matrix_is_found(system_of, monkeypatch, wrong):
    right = spread_comparison.predicted_spread

    def predicted(system, problem, records, bias):
        parameters = problem.parameters.replaced(**wrong)
        changed = type(problem)(
            problem.model,
            problem.start,
            parameters,
            alpha=problem.alpha,
            rtol=problem.rtol,
            atol=problem.atol,
            method=problem.method,
        )
        return right(system, changed, records, bias)

    monkeypatch.setattr(comparison, "predicted_spread", predicted)
    found = compare(system_of(2, 1), Q0, R0, **SETTINGS).attrs
    assert found["verdict"] == "disagree"
    assert found["deviation"] < found["allowed"]
    assert found["spread_deviation"] > 1.2 * found["spread_allowed"]


def test_what_is_not_compared_has_a_reason(system_of, monkeypatch):
    result = compare(system_of(2, 1), Q0, 1e-3 * R0, **{**SETTINGS, "alpha": [0.0, 20.0, 40.0]})
    assert result.attrs["spread_comparisons"] == 0
    assert result.attrs["spread_reason"] == "the linear theory needs a larger N than 200 from this start"
    assert "loss_std" in result

    def refused(*_):
        raise spread_comparison.InputError("activation", "is refused")

    monkeypatch.setattr(FluctuationProblem, "run", refused)
    result = compare(system_of(2, 1), Q0, R0, **{**SETTINGS, "alpha": [0.0, 0.1], "trajectories": 16})
    assert result.attrs["spread_reason"] == "no covariance is derived for this activation"
    assert "loss_std" not in result


def test_the_bias_is_predicted(system_of):
    system, settings = system_of(1, 1, constraint="sphere"), SETTINGS | {"eta": 0.05}
    result = compare(system, [[1.0]], [[0.7]], bias=True, **settings)
    for name in ("n", "trajectories", "weights"):
        del settings[name]
    alone = fluctuations(system, [[1.0]], [[0.7]], bias=True, **settings)
    for name in ("Q", "R", "loss"):
        np.testing.assert_allclose(result[f"{name}_bias"], alone[f"{name}_bias"], rtol=1e-6, atol=1e-10)
    assert result.loss_bias.values[2] == pytest.approx(0.3204, abs=1e-4)
    measured, error = (result[name].sel(observable="loss").values[1:] for name in ("bias", "bias_error"))
    assert np.all(np.abs(measured - result.loss_bias.values[1:]) < 4.0 * error)
    with pytest.raises(InputError, match="bias: 'yes' is neither True nor False"):
        compare(system, [[1.0]], [[0.7]], bias="yes", **SETTINGS)
