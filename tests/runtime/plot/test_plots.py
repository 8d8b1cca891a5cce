"""`oo.plot`: a figure or axes for each kind of result, and its panels."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib._pylab_helpers import Gcf
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matrix import thinned

import overlap_ode as oo
from runtime.analysis.bias.closest_solutions import bias_of_run
from runtime.analysis.conservation.monitors import drift_monitors
from runtime.output.figure_axes import MOST_CURVES
from runtime.plot.kinds_of_results import KINDS, drawing_of

# The panels of the results below.
PANELS = {
    "trajectory": ["loss", "R", "Q"],
    "ensemble": ["loss", "R"],
    "simulation": ["loss", "R"],
    "comparison": ["loss", "R", "bias", "spread"],
    "plateau": ["norms", "loss", "rate"],
    "hessian": ["loss", "spectrum"],
    "fluctuations": ["loss", "R", "deviations"],
    "sector": ["loss", "overlaps"],
    "conservation": ["drift"],
    "exponent": ["time"],
    "escape": ["N", "law"],
    "bias": ["distances"],
}


@pytest.fixture(scope="module")
def results(system_of, escape, generated):
    """A small result of each kind."""
    system = system_of(2, 1)
    Q0, R0 = oo.random_overlaps(2, 1, n=100, seed=1, trajectories=20)
    ensemble = oo.integrate_ensemble(system, Q0, R0, eta=0.3, alpha=[0.0, 5.0, 20.0])
    sector = oo.load_sector(oo.SectorModel(pstar=1), generated)
    start = oo.SectorStart.from_singular_values(100, 1, [1e-2])
    return {
        "trajectory": escape,
        "ensemble": ensemble,
        "simulation": oo.simulate(system, n=50, eta=0.2, alpha=[0.0, 1.0, 2.0], trajectories=5),
        "comparison": oo.compare(
            system,
            np.eye(2),
            [[0.2], [0.1]],
            n=[20, 40],
            eta=0.2,
            alpha=1.0,
            trajectories=16,
            weights=False,
        ),
        "fluctuations": oo.fluctuations(system, np.eye(2), [[0.2], [0.1]], eta=0.2, alpha=[0.0, 1.0, 2.0]),
        "plateau": oo.plateau(system, eta=[0.1, 0.2]),
        "hessian": oo.spectra_along(escape.isel(alpha=slice(0, 201, 40)), 100),
        "sector": oo.integrate_sector(sector, start, eta=0.4, alpha=2000.0),
        "conservation": drift_monitors(escape),
        "exponent": oo.information_exponent("he1", n=[100, 1000], generated=generated),
        "escape": oo.escape_times(system, n=1000, trajectories=8, eta=0.1),
        "bias": bias_of_run(ensemble),
    }


@pytest.mark.parametrize("kind", PANELS)
def test_each_kind_has_a_function(results, kind):
    assert {*PANELS, "result"} == set(oo.plot.__all__) == set(dir(oo.plot))
    assert {known.name for known in KINDS} == set(PANELS)
    figure = getattr(oo.plot, kind)(results[kind])
    assert isinstance(figure, Figure)
    assert len(figure.axes) == len(PANELS[kind])
    assert [panel.name for panel in drawing_of(results[kind]).panels] == PANELS[kind]


def test_a_notebook_shows_figures_that_pyplot_does_not_know(escape):
    assert oo.plot.result(escape, panels="loss")._repr_png_().startswith(b"\x89PNG")
    assert not Gcf.get_all_fig_managers()


@pytest.mark.parametrize("kind", PANELS)
def test_one_kind_is_not_drawn_as_another(results, kind):
    other = "sector" if kind != "sector" else "trajectory"
    with pytest.raises(oo.InputError, match=rf"is a result of `cli .*`: plot\.{kind} draws it"):
        getattr(oo.plot, other)(results[kind])


def test_axes_of_the_user_are_filled_and_returned(escape):
    figure, axes = plt.subplots(3, 1)
    try:
        assert oo.plot.trajectory(escape, axes[0]) is axes[0]
        assert len(axes[0].lines) == 1
        assert axes[0].get_title().startswith("ODE of one-pass SGD, $p=4$")
        assert not axes[1].lines
        axes[0].clear()
        axes[0].set_title("mine")
        assert oo.plot.trajectory(escape, ax=axes) is axes
        assert all(place.lines for place in axes)
        assert axes[0].get_title() == "mine"
        with pytest.raises(oo.InputError, match="ax: is 3 axes, but the panels are loss"):
            oo.plot.trajectory(escape, axes, panels="loss")
        with pytest.raises(oo.InputError, match="ax: is of the type Figure, not matplotlib axes"):
            oo.plot.trajectory(escape, figure)
    finally:
        plt.close(figure)


def test_panels_are_chosen_by_name(escape):
    (axes,) = oo.plot.trajectory(escape, panels="R").axes
    assert "R_{ir}" in axes.get_ylabel()
    first, second = oo.plot.trajectory(escape, panels=["Q", "loss"]).axes
    assert "Q_{ij}" in first.get_ylabel()
    assert second.get_yscale() == "log"
    for wrong in ("S", []):
        with pytest.raises(oo.InputError, match=r"panels: .*loss, R, Q"):
            oo.plot.trajectory(escape, panels=wrong)


def test_words_can_be_left_out(escape):
    assert oo.plot.trajectory(escape).get_suptitle().startswith("ODE of one-pass SGD")
    assert oo.plot.trajectory(escape, title=False).get_suptitle() == ""


@pytest.mark.parametrize("kind", thinned([kind.name for kind in KINDS if kind.log_x], 0, 1))
def test_time_can_be_logarithmic(results, kind):
    for axes in oo.plot.result(results[kind], log_x=True).axes:
        assert axes.get_xscale() == "log"
    times = results[kind]["eta" if kind == "plateau" else "alpha"].values
    assert oo.plot.result(results[kind], log_x=True).axes[0].get_xlim() == (
        times[times > 0][0],
        times[-1],
    )


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if not kind.log_x])
def test_what_has_no_time_has_no_logarithmic_axis_of_time(results, kind):
    with pytest.raises(oo.InputError, match="log_x: does not go with results of"):
        oo.plot.result(results[kind], log_x=True)


def test_what_is_no_result_is_refused(escape):
    for wrong, words in (
        (xarray.Dataset(), "holds no result"),
        (escape.drop_vars("R"), "holds no result"),
        (escape.assign(loss=escape["loss"].astype(str)), "holds no result"),
        (escape.transpose("i", ...), "holds no result"),
        (np.eye(2), "is of the type ndarray"),
    ):
        with pytest.raises(oo.InputError, match=f"dataset: {words}"):
            oo.plot.result(wrong)


def test_the_ode_is_drawn_beside_runs_of_sgd(results, system_of):
    runs = results["simulation"]
    settings = {"eta": 0.2, "alpha": [0.0, 1.0, 2.0]}
    starts = oo.integrate_ensemble(system_of(2, 1), runs["Q"][:, 0], runs["R"][:, 0], **settings)
    alone = oo.integrate(system_of(2, 1), runs["Q"][0, 0], runs["R"][0, 0], **settings)
    for ode, expected, label in (
        (starts, np.median(starts["loss"].values, axis=0), "ODE from the same starts, median"),
        (alone, alone["loss"].values, "ODE from the same start"),
    ):
        line = oo.plot.simulation(runs, ode=ode, panels="loss").axes[0].lines[-1]
        assert line.get_label() == label
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)


# --- many curves -------------------------------------------------------------------------------


def wide(p, pstar, trained=False):
    """A made-up run of many students."""
    generator, alpha = np.random.default_rng(0), np.linspace(0.0, 10.0, 11)
    W = generator.standard_normal((11, p, 3))
    variables = {
        "loss": ("alpha", np.geomspace(1.0, 0.1, 11)),
        "Q": (("alpha", "i", "j"), W @ W.transpose(0, 2, 1)),
        "R": (("alpha", "i", "r"), generator.standard_normal((11, p, pstar))),
    }
    if trained:
        variables["v"] = (("alpha", "i"), generator.standard_normal((11, p)))
    attributes = {"p": p, "pstar": pstar, "constraint": "free", "flow": "sgd", "eta": 0.4}
    return xarray.Dataset(variables, {"alpha": alpha}, attributes)


def test_few_curves_are_drawn_one_by_one():
    _, R, Q = oo.plot.trajectory(wide(5, 8)).axes
    # Entries of R; norms and overlaps of pairs of students.
    assert len(R.lines) == 5 * 8 == MOST_CURVES
    assert len(Q.lines) == 5 * 6 // 2
    # Eight teachers are told apart by a bar of colours.
    assert len(R.child_axes) == 1
    assert len({line.get_color() for line in R.lines}) == 8


def test_many_curves_are_a_heat_map_and_quantiles():
    run = wide(16, 8, trained=True)
    _, R, Q, v = oo.plot.trajectory(run).axes
    (image,) = (artist for artist in R.collections if isinstance(artist, QuadMesh))
    # The rows are the students of the first teacher, then those of the second.
    np.testing.assert_array_equal(
        image.get_array().reshape(128, 11), np.abs(run["R"].values).transpose(2, 1, 0).reshape(128, 11)
    )
    assert [line.get_label() for line in Q.lines] == [
        "norms $Q_{ii}$: median",
        "$Q_{ij}$, $i$ ≠ $j$: median",
    ]
    norms = np.diagonal(run["Q"].values, axis1=1, axis2=2)
    np.testing.assert_allclose(Q.lines[0].get_ydata(), np.median(norms, axis=1), rtol=1e-12)
    assert len(v.lines) == 16


def test_very_many_pairs_are_the_largest_of_each_teacher():
    run = wide(60, 30)
    (axes,) = oo.plot.trajectory(run, panels="R", log_x=True).axes
    (image,) = (artist for artist in axes.collections if isinstance(artist, QuadMesh))
    np.testing.assert_array_equal(image.get_array().reshape(30, 11), np.abs(run["R"].values).max(axis=1).T)


def test_runs_without_a_line_have_a_point_and_no_warning(escape):
    lost = escape.copy(deep=True)
    for name in ("loss", "R", "Q"):
        lost[name].values[1:] = np.nan
    lost["status"], lost["alpha_end"] = "diverged", 0.1
    with warnings.catch_warnings(action="error"):
        loss, *_ = oo.plot.trajectory(lost).axes
        oo.plot.trajectory(lost, log_x=True)._repr_png_()
    assert loss.lines[0].get_marker() == "."
    assert loss.lines[1].get_label() == "diverged"
