"""Draws results: a function for each kind, and `result` for any; in Python this is `overlap_ode.plot`.

    run = oo.integrate(system, *oo.random_overlaps(4, 2, n=10_000), eta=0.4)
    oo.plot.trajectory(run)                          # a new figure, which a notebook displays
    oo.plot.trajectory(run).savefig("run.pdf")
    fig, ax = plt.subplots()
    oo.plot.trajectory(run, ax=ax, log_x=True)       # the loss alone, in axes of your own
    oo.plot.trajectory(run, panels="R")              # a panel of your choice

All functions take these keywords:

ax
    None: a new figure with all panels, which is returned. It is a `matplotlib.figure.Figure` that pyplot
    does not know, so that nothing stays open; notebooks display it, and `savefig` writes it.
    Matplotlib axes: the first panel is drawn into them. Several axes, such as those of ``plt.subplots``:
    one panel is drawn into each. The axes are returned, and keep the style of the user.
panels
    The name of a panel or several, in the order in which they are drawn. None is all.
log_x
    Whether time, or for `plateau` the learning rate, has a logarithmic axis. What is at α = 0 is then
    beyond its left end.
title
    Whether what distinguishes the run is written above the figure or the first axes: all options that
    differ from the defaults, the start, and how many runs there were and diverged. A title of your own
    stays.

They raise InputError if the dataset is no result of this kind, for a panel that it does not have, or for
axes that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray

    from runtime.output.figures import Drawing

__all__ = [
    "bias",
    "comparison",
    "conservation",
    "ensemble",
    "escape",
    "exponent",
    "fluctuations",
    "hessian",
    "plateau",
    "result",
    "sector",
    "simulation",
    "trajectory",
]

Panels = str | Sequence[str] | None


def __dir__() -> list[str]:
    return __all__


def trajectory(
    run: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw a trajectory, from `integrate` or `gradient_flow`: panels ``loss``, ``R``, ``Q``, trained ``v``.

    Above some forty curves R is a heat map of |R|, and Q and v are quantiles over the students.
    """
    return _of_kind("trajectory", run, ax, panels, title, log_x=log_x)


def ensemble(
    runs: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw an ensemble, from `integrate_ensemble` or `ensemble_statistics`: quantiles over trajectories.

    Panels: ``loss``, over time or the distribution of the last one; ``R``, √⟨R²⟩, if all states are kept;
    ``escape``, the distribution of the times at which the loss came down to ``stop_loss``.
    """
    return _of_kind("ensemble", runs, ax, panels, title, log_x=log_x)


def simulation(
    runs: xarray.Dataset,
    ax: Any = None,
    *,
    ode: xarray.Dataset | None = None,
    panels: Panels = None,
    log_x: bool = False,
    title: bool = True,
) -> Any:
    """Draw SGD at finite N, from `simulate`: panels ``loss`` and ``R``, √⟨R²⟩, of single runs and of all.

    ode
        The ODE from the same start, drawn beside: a result of `integrate`; or of `integrate_ensemble` with
        ``output="all"`` from the start of each run, of which the median is drawn.
    """
    return _of_kind("simulation", runs, ax, panels, title, log_x=log_x, ode=ode)


def comparison(
    result: xarray.Dataset,
    ax: Any = None,
    *,
    panels: Panels = None,
    log_x: bool = False,
    title: bool = True,
) -> Any:
    """Draw SGD at several N beside the ODE, from `compare`: panels ``loss``, ``R``, ``bias``, ``spread``.

    The difference of mean loss and ODE is drawn times N, and the standard deviation of the loss times √N.
    """
    return _of_kind("comparison", result, ax, panels, title, log_x=log_x)


def escape(result: xarray.Dataset, ax: Any = None, *, panels: Panels = None, title: bool = True) -> Any:
    """Draw escape times, from `escape_times`: points are measured, lines are theory.

    Panels: ``N``, times against N; ``law``, their distribution; for several η instead ``rate``, against η.
    """
    return _of_kind("escape", result, ax, panels, title)


def plateau(
    curve: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw a plateau over learning rates, from `plateau`: panels ``norms``, ``loss``, ``rate``."""
    return _of_kind("plateau", curve, ax, panels, title, log_x=log_x)


def hessian(
    spectra: xarray.Dataset,
    ax: Any = None,
    *,
    panels: Panels = None,
    log_x: bool = False,
    title: bool = True,
) -> Any:
    """Draw spectra of the Hessian, from `spectra_along`: panels ``loss`` and ``spectrum``.

    The dataset of one spectrum, ``hessian_spectrum(…).to_dataset()``, has a panel ``spectrum``: eigenvalues
    with their multiplicities.
    """
    return _of_kind("hessian", spectra, ax, panels, title, log_x=log_x)


def bias(study: xarray.Dataset, ax: Any = None, *, panels: Panels = None, title: bool = True) -> Any:
    """Draw the implicit bias, from `cli bias`: panels ``excess``, ``N``, ``condition``.

    The result of `bias_of_run` has a panel ``distances``.
    """
    return _of_kind("bias", study, ax, panels, title)


def sector(
    run: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw a trajectory in the invariant sector, from `integrate_sector`: panels ``loss``, ``overlaps``."""
    return _of_kind("sector", run, ax, panels, title, log_x=log_x)


def exponent(result: xarray.Dataset, ax: Any = None, *, panels: Panels = None, title: bool = True) -> Any:
    """Draw times of the mediocre start against N, from `information_exponent`: a panel ``time``."""
    return _of_kind("exponent", result, ax, panels, title)


def fluctuations(
    run: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw the ODE with bands at one N, from `fluctuations`: panels ``loss``, ``R``, ``deviations``.

    The bands are one standard deviation wide on either side; a dotted line is where the linear theory ends.
    """
    return _of_kind("fluctuations", run, ax, panels, title, log_x=log_x)


def conservation(
    drift: xarray.Dataset, ax: Any = None, *, panels: Panels = None, log_x: bool = False, title: bool = True
) -> Any:
    """Draw what a run should conserve, from `cli invariants --monitor`: a panel ``drift``."""
    return _of_kind("conservation", drift, ax, panels, title, log_x=log_x)


def result(
    dataset: xarray.Dataset,
    ax: Any = None,
    *,
    panels: Panels = None,
    log_x: bool = False,
    title: bool = True,
) -> Any:
    """Draw any result of this program, also from a file, as the function of its kind does.

    A sweep, merged into one dataset, has a line for each value of its axes, and above some forty lines the
    median and quartiles over all axes but the first. Its panels are ``loss`` and, where states are kept,
    ``R``, which is √⟨R²⟩; of escape times ``escape``.
    """
    from runtime.plot.kinds_of_results import drawing_of

    return _drawn(drawing_of(dataset, log_x=log_x), ax, panels, title)


def _of_kind(
    kind: str, dataset: xarray.Dataset, ax: Any, panels: Panels, title: bool, **options: Any
) -> Any:
    from runtime.plot.kinds_of_results import drawing_of

    return _drawn(drawing_of(dataset, kind, **options), ax, panels, title)


def _drawn(drawing: Drawing, ax: Any, panels: Panels, title: bool) -> Any:
    """The new figure, or the axes that were given."""
    import dataclasses

    chosen = drawing.choose(panels)
    if ax is not None:
        chosen.on(ax, title=title)
        return ax
    return (chosen if title else dataclasses.replace(chosen, title=())).figure()
