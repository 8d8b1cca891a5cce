"""Claim: the loss ends as a power law with more students than teachers, else exponentially."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.analysis.claims import Claim
from runtime.analysis.landscape.solution_stability import solution_spectrum
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.output.figure_axes import COLOURS, TIME_LABEL, log_axis, loss_axis
from runtime.output.figures import Drawing, Panel
from runtime.start.initial_overlaps import random_overlaps
from runtime.trajectory.single_run import integrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ETA = 0.4
_EXPONENT = -2.0
# The power law is fitted, and its line drawn, from this part of the time on.
_LATE = 0.25
# Losses below this are rounding.
_FLOOR = 1e-13


def study(reproduction: Reproduction) -> StudyResult:
    """Gradient flow and SGD at (4, 2), and gradient flow at (2, 2)."""
    end = 2000.0 if reproduction.quick else 20_000.0
    alpha = np.concatenate([[0.0], np.geomspace(1.0, end, 120)])
    drawn = {}
    claims: list[Claim] = []
    for flow in ("gradient", "sgd"):
        system = reproduction.system(4, 2, flow=flow)
        Q0, R0 = random_overlaps(4, 2, n=None, scale=0.1, seed=reproduction.seed)
        run = integrate(system, Q0, R0, eta=ETA, alpha=alpha, rtol=1e-10, atol=1e-13)
        drawn[f"$p = 4$, {'gradient flow' if flow == 'gradient' else 'ODE of SGD'}"] = run
        late = alpha >= _LATE * end
        # ε ~ (α + c)⁻², so the local exponent approaches −2 as 1/α: extrapolated in 1/α.
        loss = run["loss"].values
        middle = np.sqrt(alpha[1:] * alpha[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            local = np.diff(np.log(loss)) / np.diff(np.log(alpha))
        exponent = float(np.polyfit(1.0 / middle[late[1:]], local[late[1:]], 1)[1])
        claims.append(
            Claim(
                f"power_law_{flow}",
                f"with p = 4 > p* = 2 the loss decays as alpha^-2, flow = {flow} (exponent for alpha to"
                " infinity)",
                _EXPONENT,
                exponent,
                None,
                0.02,
            )
        )
    system = reproduction.system(2, 2, flow="gradient")
    Q0, R0 = random_overlaps(2, 2, n=None, scale=0.3, seed=reproduction.seed)
    times = np.linspace(0.0, 160.0, 161)
    run = integrate(system, Q0, R0, eta=ETA, alpha=times, rtol=1e-12, atol=1e-15)
    drawn["$p = 2$, gradient flow"] = run
    loss = run["loss"].values
    # In this window the slowest mode is alone, and the loss not yet rounding.
    window = (loss < 1e-8) & (loss > _FLOOR)
    rate = float(np.polyfit(times[window], np.log(loss[window]), 1)[0])
    spectrum = solution_spectrum(system, run["Q"].values[-1], run["R"].values[-1], ETA)
    claims.append(
        Claim(
            "exponential",
            "with p = p* = 2 the loss decays exponentially, at the slowest rate of the Jacobian on the"
            " manifold of solutions (that of Q beyond the teachers, in which the loss is linear)",
            spectrum.slowest,
            rate,
            None,
            0.01 * abs(rate),
        )
    )
    title = ("$p^{*}=2$", f"$\\eta={ETA:g}$", "$Q_0=1$", f"seed {reproduction.seed}")
    panel = Panel("loss", lambda axes: _draw(axes, drawn))
    return StudyResult(tuple(claims), Drawing((panel,), (title,), size=(5.6, 3.2)))


def _draw(axes: Axes, drawn: dict[str, Any]) -> None:
    for colour, (label, run) in zip(COLOURS, drawn.items(), strict=False):
        alpha, loss = run["alpha"].values, run["loss"].values
        there = (alpha > 0.0) & (loss > _FLOOR)
        axes.plot(alpha[there], loss[there], color=colour, lw=1.4, label=label)
    run = next(iter(drawn.values()))
    alpha, loss = run["alpha"].values, run["loss"].values
    late = alpha >= _LATE * alpha[-1]
    guide = 3.0 * loss[-1] * (alpha[late] / alpha[-1]) ** _EXPONENT
    axes.plot(alpha[late], guide, color="black", lw=0.8, ls="--", label=r"$\alpha^{-2}$")
    axes.set_ylim(_FLOOR, 2.0)
    log_axis(axes, "x")
    axes.set_xlabel(TIME_LABEL)
    loss_axis(axes)
