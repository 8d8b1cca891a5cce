"""Figures of a trajectory: the loss leaving its plateau, the overlaps with the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.results import check_output, replacing

if TYPE_CHECKING:
    import xarray

SUFFIXES = (".png", ".pdf", ".svg")
# Okabe and Ito's palette: distinct with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "mathtext.fontset": "cm",
    "legend.frameon": False,
    # Why: the same run gives the same bytes.
    "svg.hashsalt": "overlap-ode",
    "svg.fonttype": "path",
}
_NO_DATES = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}


def plot_trajectory(run: xarray.Dataset, path: str | Path) -> Path:
    """Draw generalisation error and student-teacher overlaps against α.

    Raises
    ------
    InputError
        The name does not end in .png, .pdf or .svg, or cannot be written.
    """
    target = check_output(path, SUFFIXES, option="plot")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 1, sharex=True)
        alpha, loss = run["alpha"].values, run["loss"].values
        # Why: near zero loss is a difference of rounded numbers and may be negative.
        positive = np.where(loss > 0.0, loss, np.nan)
        top.semilogy(alpha, positive, color=COLOURS[0], lw=1.6)
        top.set_ylabel(r"generalisation error $\varepsilon$")
        top.set_title(_title(run), fontsize=9)
        R = run["R"].values
        for r in range(R.shape[2]):
            for i in range(R.shape[1]):
                bottom.plot(
                    alpha,
                    R[:, i, r],
                    color=COLOURS[r % len(COLOURS)],
                    lw=1.0,
                    label=rf"$R_{{i{r + 1}}}$" if i == 0 and r < len(COLOURS) else None,
                )
        bottom.set_ylabel(r"student-teacher overlaps $R_{ir}$")
        bottom.set_xlabel(r"time $\alpha$ = samples / $N$")
        # Why outside: inside, some trajectory always runs below it.
        bottom.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=160, metadata=_NO_DATES[target.suffix.lower()])
    return target


def _title(run: xarray.Dataset) -> str:
    attributes = run.attrs
    parts = [
        rf"$p={attributes['p']}$, $p^*={attributes['pstar']}$, $\eta={attributes['eta']:g}$",
        f"{attributes['constraint']} norms" if attributes["constraint"] == "free" else "sphere",
        "one-pass SGD" if attributes["flow"] == "sgd" else "gradient flow",
    ]
    if attributes["flow"] == "sgd" and attributes["label_noise"] > 0.0:
        parts.append(rf"$\Delta={attributes['label_noise']:g}$")
    if str(run["status"].values) != "ok":
        parts.append(f"stopped: {run['status'].values}".replace("_", " "))
    return ", ".join(parts)
