"""Quantiles over all trajectories, of which some have no value."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

from runtime.ensemble.ensemble_figure import ensemble_drawing
from runtime.output import run_summaries
from runtime.output.quantiles import QUANTILES, exact_quantiles, quantiles
from runtime.sgd.simulation_figure import simulation_drawing

NEVER = np.nan


def test_quantiles_are_those_of_numpy():
    times = np.random.default_rng(0).standard_normal((3, 40))
    expected = np.quantile(times, [0.0, 0.31, 0.5, 1.0], axis=-1).T
    np.testing.assert_allclose(quantiles(times, [0.0, 0.31, 0.5, 1.0]), expected, rtol=1e-12)


def test_quantiles_count_missing_times_as_late():
    times = np.array([[3.0, 1.0, NEVER, 2.0, NEVER], [NEVER] * 5])
    np.testing.assert_array_equal(quantiles(times, [0.0, 0.5, 0.75]), [[1.0, 3.0, NEVER], [NEVER] * 3])


def test_exact_quantiles_are_those_of_numpy_to_the_last_bit():
    losses = np.random.default_rng(0).uniform(size=(101, 3))
    np.testing.assert_array_equal(exact_quantiles(losses), np.quantile(losses, QUANTILES, axis=0))


def test_stopped_losses_are_small_and_failed_ones_large():
    """Against the sorted losses, of which 20 of 101 stopped and 10 failed."""
    losses = np.random.default_rng(1).uniform(1.0, 2.0, (101, 2))
    stopped = np.arange(101) < 20
    losses[:30, 1] = NEVER
    low, lower, median, upper, high = exact_quantiles(losses, stopped)[:, 1]
    there = np.sort(losses[30:, 1])
    assert np.isnan([low, high]).all()
    # Places 25, 50 and 75 of 0 to 100.
    np.testing.assert_array_equal([lower, median, upper], there[[5, 30, 55]])
    np.testing.assert_array_equal(exact_quantiles(losses)[2:4, 1], [there[50], NEVER])


def test_infinite_losses_are_large():
    losses = np.full((5, 1), np.inf)
    assert np.isnan(exact_quantiles(losses)).all()
    losses[:4] = 1.0
    np.testing.assert_array_equal(exact_quantiles(losses)[:, 0], [1.0, 1.0, 1.0, 1.0, NEVER])


def ensemble(losses, escapes, status):
    """An ensemble with losses over time."""
    variables = {
        "loss": (("trajectory", "alpha"), losses),
        "escape_alpha": ("trajectory", escapes),
        "status": ("trajectory", status),
    }
    attributes = {"stop_loss": 0.3, "method": "prince8", "p": 1, "pstar": 1, "constraint": "free"}
    return xarray.Dataset(variables, {"alpha": [0.0, 1.0]}, attributes | {"flow": "sgd"})


@pytest.mark.parametrize(
    ("escapes", "failed", "line", "last"),
    [
        ([3.0, 1.0, 2.0, NEVER, NEVER], 0, "3 of 5; alpha at 5 %, 50 %, 95 %: 1.2, 3, -", "1.2, 3, 4.8"),
        ([7.0, NEVER, NEVER, NEVER, NEVER], 2, "1 of 5; alpha at 5 %, 50 %, 95 %: -, -, -", "1.2, 3, -"),
        ([NEVER] * 5, 5, "0 of 5", "none"),
    ],
)
def test_tables_have_a_dash_for_what_is_not_reached(escapes, failed, line, last):
    losses = np.arange(1.0, 6.0)[:, None] * [1.0, 1.0]
    status = ["ok"] * (5 - failed) + ["diverged"] * failed
    table = run_summaries.ensemble_table(ensemble(losses, escapes, status), 5).splitlines()
    text = (
        last
        if last == "none"
        else ", ".join(x if x == "-" else f"{float(x):.4e}" for x in last.split(", "))
    )
    assert table[0] == f"last loss, quantiles 5 %, 50 %, 95 %: {text}"
    assert table[1] == f"loss came down to 0.3 in {line}"


def drawn(drawing, label):
    """The heights of the line with this label in the first panel."""
    (line,) = (line for line in drawing.figure().axes[0].lines if line.get_label() == label)
    return line.get_ydata()


def test_figures_draw_no_median_where_half_have_stopped_or_failed():
    losses = np.array([[1.0, NEVER], [2.0, NEVER], [3.0, NEVER], [4.0, 0.5], [5.0, 0.6]])
    stopped = ensemble(losses, [1.0, 1.0, 1.0, NEVER, NEVER], ["ok"] * 5)
    np.testing.assert_array_equal(drawn(ensemble_drawing(stopped), "median"), [3.0, NEVER])
    diverged = ensemble(losses, [NEVER] * 5, ["diverged"] * 3 + ["ok"] * 2)
    diverged["R"] = (("trajectory", "alpha", "i", "r"), np.ones((5, 2, 1, 1)))
    diverged.attrs["n"] = 100
    np.testing.assert_array_equal(drawn(simulation_drawing(diverged), "median of SGD"), [3.0, NEVER])
