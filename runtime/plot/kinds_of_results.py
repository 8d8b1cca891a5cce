"""Finds out of which kind a result is by its variables, and makes its drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from derive.errors import InputError

if TYPE_CHECKING:
    import xarray

    from runtime.output.figures import Drawing

_RUN = ("alpha",)
_OF_R, _OF_Q = ("alpha", "i", "r"), ("alpha", "i", "j")

_OF_RUNS = (
    {"loss": ("trajectory", "alpha"), "R": ("trajectory", *_OF_R), "runs": _RUN, "loss_mean": _RUN},
)
_OF_STARTS = (
    {"loss_quantile": ("quantile", "alpha")},
    {"loss": ("trajectory", "alpha"), "rejected": ("trajectory",)},
    {"loss": ("trajectory",), "rejected": ("trajectory",)},
)


@dataclasses.dataclass(frozen=True)
class KindOfResult:
    """One kind of result.

    name
        The name of the function of `runtime.plot`.
    drawing
        The module and the function that make its drawing.
    forms
        The variables by which it is recognised, each with its last dimensions: a mapping for each form.
    command
        The command that makes it.
    log_x
        Whether its axis below can be made logarithmic.
    swept
        The same variables in merged sweeps, whose axes are in front; None if no sweep makes such results.
    """

    name: str
    drawing: tuple[str, str]
    forms: tuple[Mapping[str, tuple[str, ...]], ...]
    command: str
    log_x: bool = True
    swept: tuple[Mapping[str, tuple[str, ...]], ...] = ()

    def recognises(self, dataset: xarray.Dataset, *, merged: bool) -> bool:
        """Whether the dataset has the variables of one of the forms, and numbers in them."""
        return any(
            all(_is_like(dataset, name, dims) for name, dims in form.items())
            for form in (self.swept if merged else self.forms)
        )

    def draw(self, dataset: xarray.Dataset, **options: Any) -> Drawing:
        """The drawing of a dataset of this kind."""
        module, function = self.drawing
        drawing: Drawing = getattr(import_module(f"runtime.{module}"), function)(dataset, **options)
        return drawing


# Each kind is recognised if none before it is.
KINDS = (
    KindOfResult(
        "comparison",
        ("sgd.comparison_figure", "comparison_drawing"),
        (
            {
                "loss": _RUN,
                "R": _OF_R,
                "loss_mean": ("n", "alpha"),
                "loss_error": ("n", "alpha"),
                "loss_spread": ("n", "alpha"),
                "R_mean": ("n", *_OF_R),
                "R_error": ("n", *_OF_R),
            },
        ),
        "compare",
    ),
    KindOfResult(
        "escape",
        ("analysis.escape.escape_figure", "escape_drawing"),
        (
            {
                "escape_alpha": ("eta", "n", "trajectory"),
                "alpha_quantile": ("eta", "n", "quantile"),
                "theory_quantile": ("eta", "n", "quantile"),
                "median_error": ("eta", "n"),
            },
        ),
        "escape",
        log_x=False,
        swept=(
            {
                "alpha_quantile": ("quantile",),
                "theory_quantile": ("quantile",),
                "escape_alpha": ("trajectory",),
            },
        ),
    ),
    KindOfResult(
        "plateau",
        ("analysis.plateau.plateau_figure", "plateau_drawing"),
        ({"norm": ("eta", "i"), "loss": ("eta",), "rate": ("eta",)},),
        "plateau",
    ),
    KindOfResult(
        "hessian",
        ("analysis.landscape.hessian_figure", "hessian_drawing"),
        (
            {
                "inside": ("alpha", "mode"),
                "outside": ("alpha", "i"),
                "loss": _RUN,
                "outside_multiplicity": (),
            },
            {"eigenvalue": ("mode",), "multiplicity": ("mode",)},
        ),
        "hessian",
    ),
    KindOfResult(
        "bias",
        ("analysis.bias.bias_figure", "bias_drawing"),
        (
            {
                "ode_excess": ("n", "trajectory"),
                "ode_alignment": ("n", "trajectory"),
                "norms_alignment": ("condition", "trajectory"),
                "norms_theory": ("condition", "trajectory"),
            },
            {"closest": (), "reached": ()},
        ),
        "bias",
        log_x=False,
    ),
    KindOfResult(
        "exponent",
        ("analysis.exponent.exponent_figure", "exponent_drawing"),
        ({"scaled_time": ("activation", "n"), "exponent": ("activation",)},),
        "exponent",
        log_x=False,
    ),
    KindOfResult(
        "conservation",
        ("analysis.conservation.conservation_figure", "conservation_drawing"),
        ({"right_vectors": _RUN, "rank": _RUN},),
        "invariants",
    ),
    KindOfResult(
        "fluctuations",
        ("covariance.fluctuation_figure", "fluctuation_drawing"),
        ({"loss": _RUN, "loss_std": _RUN, "R": _OF_R, "R_std": _OF_R},),
        "fluctuations",
    ),
    KindOfResult(
        "sector",
        ("sector.sector_figure", "sector_drawing"),
        ({"q": ("alpha", "k"), "m": ("alpha", "k"), "loss": _RUN},),
        "sector",
    ),
    KindOfResult(
        "simulation",
        ("sgd.simulation_figure", "simulation_drawing"),
        _OF_RUNS,
        "simulate",
        swept=_OF_RUNS,
    ),
    KindOfResult(
        "ensemble",
        ("ensemble.ensemble_figure", "ensemble_drawing"),
        _OF_STARTS,
        "ensemble",
        swept=_OF_STARTS,
    ),
    KindOfResult(
        "trajectory",
        ("trajectory.trajectory_figure", "trajectory_drawing"),
        ({"loss": _RUN, "R": _OF_R, "Q": _OF_Q},),
        "integrate",
        swept=({"loss": _RUN, "R": _OF_R, "Q": _OF_Q},),
    ),
)


def drawing_of(dataset: xarray.Dataset, kind: str | None = None, **options: Any) -> Drawing:
    """The drawing of a result of ours.

    Parameters
    ----------
    dataset
        A result, or a merged sweep.
    kind
        The kind that it has to be; None is any.
    options
        ``log_x``, and other keywords of the drawing of this kind.

    Raises
    ------
    InputError
        The dataset is no result of ours, or of another kind; or log_x is asked for without such an axis.
    """
    import xarray

    if not isinstance(dataset, xarray.Dataset):
        raise InputError("dataset", f"is of the type {type(dataset).__name__}, not an xarray.Dataset")
    merged = "job" in dataset.attrs
    found = next((known for known in KINDS if known.recognises(dataset, merged=merged)), None)
    if found is None:
        raise InputError("dataset", "holds no result of overlap-ode that can be drawn")
    if kind is not None and (merged or found.name != kind):
        what = "merged sweep" if merged else f"result of `cli {found.command}`"
        raise InputError("dataset", f"is a {what}: plot.{'result' if merged else found.name} draws it")
    log_x = options.pop("log_x", False)
    if log_x and not found.log_x:
        raise InputError(
            "log_x", f"does not go with results of `cli {found.command}`, which have no axis of time"
        )
    if found.log_x:
        options["log_x"] = log_x
    if merged:
        from runtime.plot.swept_figure import swept_drawing

        return swept_drawing(dataset, found.name, found.command, log_x=log_x)
    return found.draw(dataset, **options)


def _is_like(dataset: xarray.Dataset, name: str, dims: tuple[str, ...]) -> bool:
    """Whether a dataset has a variable of numbers with these last dimensions."""
    if name not in dataset.data_vars or dataset[name].dtype.kind not in "fiu":
        return False
    # In merged sweeps times that differ between tasks are counted.
    own = tuple(str(dim).removesuffix("_index") for dim in dataset[name].dims)
    return own[len(own) - len(dims) :] == dims
