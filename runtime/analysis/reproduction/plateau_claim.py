"""Claim: trajectories wait on a plateau of poor generalisation, and leave it exponentially."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.analysis.claims import Claim
from runtime.analysis.plateau.fixed_point import Plateau
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.output.figure_axes import COLOURS, TIME_LABEL, log_axis, loss_axis
from runtime.output.figures import Drawing, Panel
from runtime.start.seeds import seed_sequence
from runtime.trajectory.single_run import integrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ETA = 0.4
# Small enough for the norms to settle before R matters.
SMALLEST = 1e-12
_WIDTHS = (2, 4, 8)


def study(reproduction: Reproduction) -> StudyResult:
    """Loss on the plateau and rate of escape of long runs against the fixed point's."""
    claims: list[Claim] = []
    runs: list[tuple[int, Plateau, Any]] = []
    for p in _WIDTHS:
        for constraint in ("free", "sphere"):
            system = reproduction.system(p, 2, constraint=constraint)
            fixed = plateau(system, ETA)
            # R grows by 10⁶, then by e³.
            middle, end = np.log(1e6) / fixed.rate, (np.log(1e6) + 3.0) / fixed.rate
            start = SMALLEST * np.random.default_rng(seed_sequence(reproduction.seed)).standard_normal(
                (p, 2)
            )
            late = integrate(
                system, np.eye(p), start, eta=ETA, alpha=[0.0, middle, end], rtol=1e-11, atol=1e-20
            )
            size = np.linalg.norm(late["R"].values, axis=(1, 2))
            rate = float(np.log(size[2] / size[1])) / (end - middle)
            label = f"(p, p*) = ({p}, 2), {constraint}, eta = {ETA}"
            claims += [
                Claim(
                    f"plateau_loss_p{p}_{constraint}",
                    f"the loss on the plateau is that of the fixed point, {label}",
                    fixed.loss,
                    float(late["loss"].values[1]),
                    None,
                    1e-8,
                ),
                Claim(
                    f"escape_rate_p{p}_{constraint}",
                    f"R grows at the rate of the fixed point's Jacobian, {label}",
                    fixed.rate,
                    rate,
                    None,
                    1e-6 * fixed.rate,
                ),
            ]
            if constraint == "free":
                # Drawn from a start that leaves sooner, as random weights at N = 10⁸ do.
                shown = integrate(system, np.eye(p), start / SMALLEST * 1e-4, eta=ETA, alpha=200.0)
                runs.append((p, fixed, shown))
    settings = ("ODE of one-pass SGD", "$p^{*}=2$", f"$\\eta={ETA:g}$", "free norms")
    panels = (
        Panel("loss", lambda axes: _draw_losses(axes, runs)),
        Panel("R", lambda axes: _draw_overlaps(axes, runs)),
    )
    title = (*settings, f"seed {reproduction.seed}")
    return StudyResult(tuple(claims), Drawing(panels, (title,), size=(5.6, 2.4)))


def _draw_losses(axes: Axes, runs: list[tuple[int, Plateau, Any]]) -> None:
    for colour, (p, fixed, run) in zip(COLOURS, runs, strict=False):
        axes.plot(run["alpha"].values, run["loss"].values, color=colour, lw=1.4, label=f"$p = {p}$")
        axes.axhline(fixed.loss, color=colour, lw=0.8, ls="--")
    axes.plot([], [], color="0.3", lw=0.8, ls="--", label="fixed point")
    loss_axis(axes)
    axes.set_ylim(1e-3, 1.5)


def _draw_overlaps(axes: Axes, runs: list[tuple[int, Plateau, Any]]) -> None:
    for colour, (_, fixed, run) in zip(COLOURS, runs, strict=False):
        alpha, size = run["alpha"].values, np.linalg.norm(run["R"].values, axis=(1, 2))
        axes.plot(alpha, size, color=colour, lw=1.4)
        growing = size < 0.3
        theory = size[growing][-1] * np.exp(fixed.rate * (alpha[growing] - alpha[growing][-1]))
        axes.plot(alpha[growing], theory, color=colour, lw=0.8, ls="--")
    log_axis(axes, "y")
    axes.set_ylabel(r"$\Vert R\Vert$")
    axes.set_xlabel(TIME_LABEL)
