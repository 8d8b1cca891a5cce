"""Claim: conserved quantities of the ODEs make the dynamics remember its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from derive.invariants import laws
from runtime.analysis.claims import Claim
from runtime.analysis.conservation.monitors import drift_monitors
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.output.figure_axes import COLOURS, TIME_LABEL, log_axis
from runtime.output.figures import Drawing, Panel
from runtime.start.initial_overlaps import random_overlaps
from runtime.trajectory.single_run import integrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ETA = 0.4
_END = 60.0
_ALLOWED = 1e-8
# Laws from which it follows that the solution found is the one closest to the start.
_PROVED = {
    "gradient": ("growth of K", "polar factor", "singular vectors", "solutions"),
    "sgd": ("polar factor", "singular vectors", "solutions"),
}
# Curves below this are rounding of double precision.
_FLOOR = 1e-16


def study(reproduction: Reproduction) -> StudyResult:
    """Exact proofs at small widths; drift along runs of (4, 2) from Q0 = 1, and from random norms."""
    claims: list[Claim] = []
    for flow, names in _PROVED.items():
        model = reproduction.system(2, 2, flow=flow).model
        proved = {law.name for law in laws(model) if law.verdict.status == "proved"}
        claims.append(
            Claim(
                f"conservation_is_proved_{flow}",
                f"exact proofs at (2, 2), flow = {flow}: {', '.join(names)} (how many hold)",
                len(names),
                len(proved & set(names)),
                None,
                0.0,
            )
        )
    equal = random_overlaps(4, 2, n=None, scale=0.1, seed=reproduction.seed)
    general = random_overlaps(4, 2, n=20, seed=reproduction.seed)
    drawn = []
    # K needs the inverse of a matrix that decays: its error grows until nothing is determined.
    for flow, start, name, label, end in (
        ("sgd", equal, "polar_factor", "polar factor of R, SGD, from Q0 = 1", _END),
        ("gradient", general, "K_shape", "K / tr K, gradient flow, from random norms", 0.5 * _END),
    ):
        run = integrate(
            reproduction.system(4, 2, flow=flow),
            *start,
            eta=ETA,
            alpha=np.linspace(0.0, _END, 241),
            rtol=1e-12,
            atol=1e-15,
        )
        drift = drift_monitors(run)[name].values
        # The same times are drawn and measured.
        shown = np.isfinite(drift) & (run["alpha"].values <= end)
        drawn.append((label, run["alpha"].values[shown], drift[shown]))
        claims.append(
            Claim(
                f"{name}_is_conserved",
                f"along a run of the ODE nothing changes: {label} (largest change, alpha to {end:g})",
                0.0,
                float(np.max(drift[shown])),
                None,
                _ALLOWED,
            )
        )
    title = ("runs of the ODE", "$p=4$", "$p^{*}=2$", f"$\\eta={ETA:g}$", f"seed {reproduction.seed}")
    panel = Panel("drift", lambda axes: _draw(axes, drawn))
    return StudyResult(tuple(claims), Drawing((panel,), (title,), size=(5.6, 3.2), legend_below=True))


def _draw(axes: Axes, drawn: list[tuple[str, Any, Any]]) -> None:
    for colour, (label, alpha, drift) in zip(COLOURS, drawn, strict=False):
        axes.plot(alpha, np.maximum(drift, _FLOOR), color=colour, lw=1.4, label=label)
    axes.axhline(_ALLOWED, color="black", lw=0.8, ls="--", label="allowed")
    axes.set_xlabel(TIME_LABEL)
    log_axis(axes, "y")
    axes.set_ylim(_FLOOR, 1e-4)
    axes.set_ylabel("largest change since the start")
