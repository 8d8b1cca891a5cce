"""Statistics of ensembles: in batches the same as of all trajectories at once."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from rejections import rejected

import runtime
from runtime.ensemble import ensemble_statistics
from runtime.ensemble.loss_statistics import QUANTILE_ERROR, LossStatistics
from runtime.output.quantiles import QUANTILES, exact_quantiles


@pytest.fixture
def losses():
    """Over many decades, with ends (NaN), values that rounding made negative, and an empty time."""
    values = 10.0 ** np.random.default_rng(1).uniform(-15.0, 3.0, (4000, 3))
    values[:1000, 1] = np.nan
    values[::50, 0] *= -1e-20
    values[:, 2] = np.nan
    return values


def test_moments_are_those_of_all_at_once(losses):
    statistics = LossStatistics(3)
    for part in np.array_split(losses, 7):
        statistics.add(np.ascontiguousarray(part), np.zeros(len(part), dtype=bool))
    np.testing.assert_array_equal(statistics.counts, [4000, 3000, 0])
    np.testing.assert_allclose(statistics.mean()[:2], np.nanmean(losses[:, :2], axis=0), rtol=1e-12)
    error = np.nanstd(losses[:, :2], axis=0, ddof=1) / np.sqrt([4000, 3000])
    np.testing.assert_allclose(statistics.standard_error()[:2], error, rtol=1e-9)
    assert np.isnan([statistics.mean()[2], statistics.standard_error()[2]]).all()


def exact_error(values):
    """The standard error of a mean, in rational numbers up to its root."""
    numbers = [Fraction(float(value)) for value in values]
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1)
    return math.sqrt(variance / len(numbers))


@pytest.mark.parametrize(
    "values",
    [
        0.3 + 2e-11 * np.random.default_rng(2).standard_normal(1000),
        0.3 + 2.0**-54 * np.random.default_rng(3).integers(-3, 4, 1000),
        np.full(1000, 0.1),
        # The first value is the only one far from the others.
        np.append(1.0, 1e-9 * (1.0 + 1e-7 * np.random.default_rng(4).uniform(size=999))),
        10.0 ** np.random.default_rng(5).uniform(-15.0, 3.0, 1000),
    ],
    ids=["narrow", "rounding", "equal", "one far", "wide"],
)
def test_standard_error_does_not_cancel(values):
    whole, parts = LossStatistics(1), LossStatistics(1)
    running = np.zeros(values.size, dtype=bool)
    whole.add(values[:, None], running)
    for part in np.array_split(values, [1, 8, 500]):
        parts.add(part[:, None], running[: part.size])
    assert whole.standard_error()[0] == pytest.approx(exact_error(values), rel=1e-10, abs=0.0)
    assert parts.standard_error()[0] == whole.standard_error()[0]
    assert whole.mean()[0] == np.cumsum(values)[-1] / values.size


@pytest.mark.parametrize("stops", [0, 150, 300, 1000])
def test_quantiles_are_within_a_bin_of_a_sample(losses, stops):
    """A thousand are missing at the second time: some stopped, the others failed."""
    statistics = LossStatistics(3)
    stopped = np.arange(4000) < stops
    for part in (slice(0, 500), slice(500, None)):
        statistics.add(losses[part], stopped[part])
    found = statistics.quantiles()
    filled = np.where(np.isnan(losses[:, 1]), np.where(stopped, -np.inf, np.inf), losses[:, 1])
    for row, quantile in enumerate(QUANTILES):
        sample = np.quantile(filled, quantile, method="inverted_cdf")
        expected = sample if np.isfinite(sample) else np.nan
        assert found[row, 1] == pytest.approx(expected, rel=1.001 * QUANTILE_ERROR, nan_ok=True)
    assert np.isnan(found[:, 1]).any()
    assert np.isnan(found[:, 2]).all()


T = np.array([[1.0, 0.3], [0.3, 1.0]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"trajectories": count}, "is not an integer from 1") for count in (0, 1.5, "3", True)),
        ({"method": "rk4"}, "'rk4' is not one of"),
        ({"sampler": None}, "is of the type NoneType, not an OverlapSampler"),
        ({"sampler": (3, 2)}, "draws starts with p = 3, the system has 2"),
        ({"sampler": (2, 1)}, "draws starts with pstar = 1, the system has 2"),
        ({"sampler": {"constraint": "sphere"}}, "draws starts with constraint = sphere, the system"),
        ({"sampler": {"T": np.eye(2)}}, "draws starts with another T"),
        ({"sampler": {}}, "draws starts with another T"),
    ],
    ids=str,
)
def test_wrong_arguments_are_rejected(system_of, changes, words):
    option = next(iter(changes))
    system = system_of(2, 2, teacher="general")
    kind = changes.pop("sampler", {"T": T})
    if isinstance(kind, dict):
        kind = runtime.OverlapSampler(2, 2, **kind)
    elif kind:
        kind = runtime.OverlapSampler(*kind)
    settings = {"trajectories": 2, "eta": 0.4, "alpha": 1.0, "T": T, **changes}
    with rejected(option, words):
        runtime.ensemble_statistics(system, kind, **settings)


@pytest.mark.parametrize("stop_loss", [None, 0.3])
def test_batches_do_not_matter(system_of, monkeypatch, stop_loss):
    system = system_of(2, 1)
    settings = {"eta": 0.2, "alpha": [0.0, 5.0, 20.0, 40.0], "stop_loss": stop_loss}
    Q, R = runtime.random_overlaps(2, 1, n=300, seed=4, trajectories=50)
    runs = runtime.integrate_ensemble(system, Q, R, output="loss", **settings)
    whole = runtime.ensemble_statistics(system, runtime.OverlapSampler(2, 1, 300, 4), 50, **settings)
    monkeypatch.setattr(ensemble_statistics, "BATCH", 16)
    seen = []
    parts = runtime.ensemble_statistics(
        system,
        runtime.OverlapSampler(2, 1, 300, 4),
        50,
        progress=lambda finished, total: seen.append((finished, total)),
        **settings,
    )
    assert seen[-1] == (50, 50)
    assert seen == sorted(seen)
    for found in (whole, parts):
        loss = runs["loss"].values
        counts = np.isfinite(loss).sum(axis=0)
        np.testing.assert_array_equal(found["count"], counts)
        there = counts > 0
        mean = np.nanmean(loss[:, there], axis=0)
        np.testing.assert_allclose(found["loss_mean"][there], mean, rtol=1e-12)
        error = [exact_error(column[np.isfinite(column)]) for column in loss.T[there]]
        np.testing.assert_allclose(found["loss_error"][there], error, rtol=1e-12)
        assert found["status_count"].sel(status="ok").item() == 50
        if stop_loss is not None:
            np.testing.assert_array_equal(found["escape_alpha"], runs["escape_alpha"])
    stopped = np.isfinite(runs["escape_alpha"].values) if stop_loss else None
    np.testing.assert_array_equal(whole["loss_quantile"], exact_quantiles(loss, stopped))
    there = np.isfinite(parts["loss_quantile"].values)
    np.testing.assert_array_equal(there, np.isfinite(whole["loss_quantile"]))
    assert there.all() == (stop_loss is None)
    assert parts["loss_quantile"].attrs["relative_error"] == pytest.approx(0.0023, rel=0.01)
