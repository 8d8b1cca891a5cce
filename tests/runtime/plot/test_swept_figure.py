"""Figures of merged sweeps: a line for each value of the axes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

import overlap_ode as oo
from runtime.analysis.recorded_runs import read_run
from runtime.plot.kinds_of_results import drawing_of

SMALL = {"p": 2, "pstar": 1, "alpha": [0.0, 5.0, 20.0], "eta": 0.3}


@pytest.fixture(scope="module")
def merged(tmp_path_factory, generated):
    """``merged(job, **parameters)``: a merged sweep."""

    def merged(job, zip=(), **parameters):
        path = tmp_path_factory.mktemp("sweep")
        given = {name: value for name, value in {**SMALL, **parameters}.items() if value is not None}
        oo.run_sweep(
            path / "sweep",
            job,
            given,
            zip=zip,
            workers=1,
            engine="threads",
            generated=generated,
        )
        oo.merge_sweep(path / "sweep", path / "merged.nc")
        return read_run(path / "merged.nc", "file")

    return merged


def curves(axes):
    """The lines that have points, without those of the legend."""
    return [line for line in axes.lines if len(line.get_xdata())]


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_trajectories_have_a_line_each_in_the_colour_of_the_first_axis(merged):
    runs = merged("ode", eta=[0.2, 0.3], seed="0:2")
    figure = oo.plot.result(runs)
    for axes, name in zip(figure.axes, ("loss", "R"), strict=True):
        lines = curves(axes)
        assert len(lines) == 2 * 3
        values = runs[name].values.reshape(6, 3, -1)
        expected = values[..., 0] if name == "loss" else np.sqrt(np.mean(values**2, axis=2))
        for line, curve in zip(lines, expected, strict=True):
            np.testing.assert_allclose(line.get_ydata(), curve, rtol=1e-12)
        assert [line.get_color() for line in lines[:3]] == [lines[0].get_color()] * 3
        assert lines[3].get_color() != lines[0].get_color()
        assert labels(axes) == [r"$\eta=0.2$", r"$\eta=0.3$"]
    assert "each for seed 0, seed 1 and seed 2" in figure.get_suptitle().replace("\n", " ")
    with pytest.raises(oo.InputError, match=r"is a merged sweep: plot\.result draws it"):
        oo.plot.trajectory(runs)


@pytest.mark.matrix
def test_a_short_second_axis_has_a_style_of_line(merged):
    runs = merged("ode", p=[2, 3], eta=[0.2, 0.3], seed=1)
    lines = curves(oo.plot.result(runs, panels="loss").axes[0])
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "--"]
    assert [line.get_color() for line in lines[:2]] == [lines[0].get_color()] * 2


def test_lines_of_one_style_differ_along_the_other_axes(merged):
    runs = merged("ode", eta=[0.2, 0.3], label_noise=[0.0, 0.1], seed="0:2", alpha=[0.0, 5.0])
    figure = oo.plot.result(runs, panels="loss")
    (axes,) = figure.axes
    assert [line.get_linestyle() for line in curves(axes)] == (["-"] * 3 + ["--"] * 3) * 2
    assert labels(axes)[2:] == [r"$\Delta=0$", r"$\Delta=0.1$"]
    assert "Delta" not in figure.get_suptitle()
    assert "each for seed 0, seed 1 and seed 2" in figure.get_suptitle().replace("\n", " ")


def test_above_some_forty_lines_there_are_medians(merged):
    few = merged("ode", eta=[0.2, 0.3], seed="0:2", alpha=[0.0, 5.0])
    runs = xarray.concat([few] * 7, "seed", data_vars="minimal", coords="minimal", compat="override")
    lines = curves(oo.plot.result(runs, panels="loss").axes[0])
    assert len(lines) == 2
    np.testing.assert_allclose(lines[0].get_ydata(), np.median(runs["loss"].values[0], axis=0), rtol=1e-12)


def test_runs_of_sgd_have_their_median_at_times_that_differ_with_n(merged):
    runs = merged("chain", n=[50, 75], trajectories=5, alpha=3.03)
    assert runs["alpha"].dims == ("n", "alpha_index")
    figure = oo.plot.result(runs, panels="loss")
    assert "random weights" in figure.get_suptitle()
    lines = curves(figure.axes[0])
    for k, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_xdata(), runs["alpha"].values[k])
        median = np.median(runs["loss"].values[k], axis=0)
        there = np.isfinite(median)
        np.testing.assert_allclose(line.get_ydata()[there], median[there], rtol=1e-12)


def test_escape_times_are_drawn_against_n(merged):
    runs = merged("escape", alpha=None, n=[1000, 10_000], eta=[0.05, 0.1], trajectories=8)
    drawing = drawing_of(runs)
    assert [panel.name for panel in drawing.panels] == ["escape"]
    axes = drawing.figure().axes[0]
    assert axes.get_xscale() == "log"
    medians = [container.lines[0].get_ydata() for container in axes.containers[:2]]
    np.testing.assert_allclose(np.array(medians).T, runs["alpha_quantile"].values[..., 2], rtol=1e-12)


@pytest.mark.matrix
def test_last_losses_are_drawn_against_an_axis(merged):
    runs = merged("ensemble", output="final", eta=[0.1, 0.2, 0.3], trajectories=9, seed=2)
    axes = drawing_of(runs).figure().axes[0]
    np.testing.assert_array_equal(axes.containers[0].lines[0].get_xdata(), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        axes.containers[0].lines[0].get_ydata(), np.median(runs["loss"].values, axis=1), rtol=1e-12
    )
    with pytest.raises(oo.InputError, match="dataset: has no time, and no axis of numbers"):
        drawing_of(merged("ensemble", output="final", trajectories=9, seed=[1, 2]))


@pytest.mark.matrix
def test_axes_that_vary_together_are_named_together(merged):
    runs = merged("ode", zip=[["eta", "seed"]], eta=[0.2, 0.3], seed=[4, 5])
    assert labels(oo.plot.result(runs, panels="loss").axes[0]) == [
        r"$\eta=0.2$, seed 4",
        r"$\eta=0.3$, seed 5",
    ]
