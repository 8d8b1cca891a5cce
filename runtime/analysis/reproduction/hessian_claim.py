"""Claim: the plateau is a saddle of the population loss, the manifold of solutions marginal minima."""

from __future__ import annotations

import numpy as np

from runtime.analysis.claims import Claim
from runtime.analysis.landscape.critical_points import flat_directions
from runtime.analysis.landscape.hessian_figure import hessian_drawing
from runtime.analysis.landscape.hessian_spectra import hessian_spectrum, spectra_along
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.analysis.reproduction.studies import Reproduction, StudyResult
from runtime.start.initial_overlaps import random_overlaps
from runtime.trajectory.single_run import integrate

N = 1000
ETA = 0.4
_WIDTHS = ((1, 1), (2, 2), (4, 2), (7, 3))


def study(reproduction: Reproduction) -> StudyResult:
    """Counts of negative and flat directions at N = 1000, and the spectrum along a trajectory."""
    claims: list[Claim] = []
    for p, pstar in _WIDTHS:
        system = reproduction.system(p, pstar, flow="gradient")
        fixed = plateau(system, 1.0)
        there = hessian_spectrum(system.model, fixed.Q, fixed.R, N)
        a, b = 1.0 / p, 1.0 / pstar
        label = f"(p, p*) = ({p}, {pstar}), N = {N}"
        claims += [
            Claim(
                f"plateau_is_a_saddle_{p}_{pstar}",
                f"the plateau has p p* directions of negative curvature, {label}",
                p * pstar,
                there.negative,
                None,
                0.0,
            ),
            Claim(
                f"negative_eigenvalue_{p}_{pstar}",
                f"their curvature is -4ab, {label}",
                -4.0 * a * b,
                float(there.eigenvalues[0]),
                None,
                1e-9,
            ),
        ]
        Q, R = zero_loss_solution(system.model, seed=reproduction.seed)
        end = hessian_spectrum(system.model, Q, R, N)
        flat = flat_directions(system.model, N)
        claims += [
            Claim(
                f"solutions_have_no_negative_direction_{p}_{pstar}",
                f"a zero-loss solution has no direction of negative curvature, {label}",
                0,
                end.negative,
                None,
                0.0,
            ),
            Claim(
                f"solutions_are_marginal_{p}_{pstar}",
                f"flat directions: {flat.tangent} along the manifold (none for p = 1),"
                f" {flat.quartic} others, {label}",
                flat.count,
                end.flat,
                None,
                0.0,
            ),
        ]
    system = reproduction.system(4, 2)
    Q0, R0 = random_overlaps(4, 2, n=10**6, seed=reproduction.seed)
    run = integrate(system, Q0, R0, eta=ETA, alpha=np.linspace(0.0, 200.0, 101))
    spectra = spectra_along(run, N)
    return StudyResult(tuple(claims), hessian_drawing(spectra))
