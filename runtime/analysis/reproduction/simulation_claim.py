"""Claim: as N grows, one-pass SGD follows the ODEs of the overlaps."""

from __future__ import annotations

from runtime.analysis.claims import Claim
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.sgd.comparison import compare
from runtime.sgd.comparison_figure import comparison_drawing
from runtime.start.initial_overlaps import random_overlaps


def study(reproduction: Reproduction) -> StudyResult:
    """The means of SGD at (4, 2), η = 0.4, from a given start at three N, against the ODE."""
    system = reproduction.system(4, 2)
    Q0, R0 = random_overlaps(4, 2, n=None, scale=0.1, seed=reproduction.seed)
    sizes, runs = ((200, 400, 800), 128) if reproduction.quick else ((500, 1000, 2000), 512)
    result = compare(
        system,
        Q0,
        R0,
        n=sizes,
        eta=0.4,
        alpha=20.0,
        trajectories=runs,
        seed=reproduction.seed,
        weights=None,
    )
    attributes = result.attrs
    claims = [
        Claim(
            "sgd_follows_the_ode",
            f"extrapolated to N = infinity, SGD deviates from the ODE by no more than chance allows in"
            f" {attributes['comparisons']} comparisons (largest, in standard errors)",
            0.0,
            attributes.get("deviation", float("nan")),
            1.0,
            attributes["allowed"],
        )
    ]
    if "weights_deviation" in attributes:
        claims.append(
            Claim(
                "chain_equals_weights",
                "the chain of the overlaps has the means of SGD on weights (largest difference, in"
                " standard errors)",
                0.0,
                attributes["weights_deviation"],
                1.0,
                attributes["weights_allowed"],
            )
        )
    return StudyResult(tuple(claims), comparison_drawing(result))
