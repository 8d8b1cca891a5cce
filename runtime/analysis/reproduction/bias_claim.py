"""Claim: among all solutions the dynamics selects the one closest to the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.analysis.bias.bias_study import BiasStudy, RandomWeights, bias_at_finite_n, mean_of
from runtime.analysis.bias.closest_solutions import bias_of_run
from runtime.analysis.claims import Claim
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.output.figure_axes import COLOURS, log_axis
from runtime.output.figures import Drawing, Panel
from runtime.start.initial_overlaps import random_overlaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ETA = 0.4


def study(reproduction: Reproduction) -> StudyResult:
    """The ODE from equal norms, exactly; SGD at finite N against the theory of its noise."""
    claims: list[Claim] = []
    count = 50 if reproduction.quick else 500
    for p in (2, 4):
        system = reproduction.system(p, 2)
        Q0, R0 = random_overlaps(p, 2, n=None, scale=0.05, seed=reproduction.seed, trajectories=count)
        runs = integrate_ensemble(system, Q0, R0, eta=ETA, alpha=[0.0, 300.0], rtol=1e-10, atol=1e-12)
        bias = bias_of_run(runs)
        # A start with a singular R0 has several closest solutions.
        singular = np.linalg.svd(R0, compute_uv=False)[:, -1]
        clear = singular > 1e-3
        claims.append(
            Claim(
                f"closest_solution_p{p}",
                f"from Q0 = 1 the ODE reaches the zero-loss solution closest to its start, p = {p},"
                f" {int(clear.sum())} random starts (the least alignment)",
                1.0,
                float(np.min(bias["alignment"].values[clear])),
                None,
                1e-6,
            )
        )
    sizes = (100, 1000) if reproduction.quick else (100, 1000, 10_000)
    system = reproduction.system(4, 2)
    runs_each = 64 if reproduction.quick else 256
    bias_study = BiasStudy(
        system.model, {"eta": ETA}, alpha=150.0, trajectories=runs_each, seed=reproduction.seed
    )
    result = bias_at_finite_n(system, RandomWeights(bias_study, sizes))
    mean = mean_of(result["sgd_alignment"].values[-1], result["sgd_solved"].values[-1])
    error = float(np.hypot(mean.error, result.attrs["expected_alignment_error"]))
    claims.append(
        Claim(
            "noise_of_sgd_competes_with_the_start",
            f"from random weights SGD at N = {sizes[-1]} finds a solution aligned with the closest as the"
            " noise on the plateau allows (mean alignment)",
            result.attrs["expected_alignment"],
            mean.value,
            error,
            4.0 * error + 1.0 / np.sqrt(sizes[-1]),
        )
    )
    settings = ("$p=4$", "$p^{*}=2$", f"$\\eta={ETA:g}$", f"{runs_each} runs at each $N$")
    panel = Panel("alignment", lambda axes: _draw(axes, result))
    title = (*settings, f"seed {reproduction.seed}")
    return StudyResult(tuple(claims), Drawing((panel,), (title,), size=(5.6, 3.2)))


def _draw(axes: Axes, result: Any) -> None:
    sizes = result["n"].values
    for colour, marker, kind, label in ((COLOURS[0], "o", "ode", "ODE"), (COLOURS[1], "s", "sgd", "SGD")):
        means = [
            mean_of(result[f"{kind}_alignment"].values[k], result[f"{kind}_solved"].values[k])
            for k in range(sizes.size)
        ]
        values, errors = [m.value for m in means], [m.error for m in means]
        axes.errorbar(sizes, values, errors, fmt=marker, color=colour, ms=5, lw=0.8, label=label)
    axes.axhline(1.0, color=COLOURS[0], lw=1.0)
    axes.axhline(
        result.attrs["expected_alignment"], color=COLOURS[1], lw=1.0, label=r"theory, $N\to\infty$"
    )
    log_axis(axes, "x")
    axes.set_xlabel("input dimension $N$")
    axes.set_ylabel("alignment with the closest solution")
