"""Predicts escape times from the linear dynamics at the plateau and the delay that saturation adds.

From random weights R₀ has entries of variance q₀τ/N along an eigenvector of T with eigenvalue τ,
and Q₀ = q₀ 1 up to 1/√N. While Q relaxes to the plateau R grows by a factor G (the gain) more
than exp(rα), with the escape rate r; then exponentially. To second order in ρ, the norm of R along
the teacher's largest eigenvalue (of multiplicity m), the loss falls by K ρ². So it comes down from
the plateau's ε to a threshold ε_t at about

    α = ln[ (ε − ε_t) / (K G² ρ₀²) ] / (2r),      ρ₀² = q₀τ χ²_{pm} / N,

which is ln N / (2r) and a random number that does not depend on N. Saturation adds a delay which
depends on the shape R₀/ρ₀ alone, and vanishes as ε_t → ε. Norm and shape of a Gaussian matrix are
independent, so the law of the escape time as N → ∞ is that of a sum: χ² is known, and the delay
is sampled by trajectories of the ODE from the unstable manifold.

In gradient flow from Q₀ ∝ 1 the conservation of Rᵀ(Q − RRᵀ)⁻¹R exp(−8abηα) gives G = √(q/q₀), so widths
change the prefactor and not the rate (arXiv:2604.03068).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from derive.errors import InputError
from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.plateau.fixed_point import Plateau, plateau_at
from runtime.analysis.plateau.linear_modes import NORM, STUDENTS
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.start.checked_arrays import Array
from runtime.start.matrix_factors import logarithm
from runtime.start.seeds import seed_sequence
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.trajectory.single_run import integrate
from runtime.vector.matrix_products import times_transpose

# Number of shapes of R₀ whose delay is computed; its median is then known to a few hundredths of its
# spread.
SHAPES = 256
# Number of steps of the probability of χ² that are combined with each delay.
_STEPS = 1000
# Amplitudes of R at which only the linear dynamics matter, and at which the second order is measured.
_INFINITESIMAL, _SMALL = 1e-100, 1e-4
# ρ₀²/(q₀τ) at the start of the delays; Q has long relaxed when it has grown to order one.
_SEED_SIZE = 1e-12
# Times, in units of one over a rate, after which a deviation is gone, and R is still infinitesimal.
_RELAXED, _STILL_SMALL = 40.0, 150.0
# Later than this, in the same units, a trajectory is taken never to escape.
PATIENCE = 60.0
# Eigenvalues of T closer than this part of the largest are equal.
_EQUAL = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class EscapeTheory:
    """The law of escape times as N → ∞, from `escape_theory`.

    plateau
        With ``plateau.rate`` the escape rate r.
    threshold
        Loss ε_t at which a trajectory has escaped.
    gain
        G: R grows by this factor more than exp(rα) while Q relaxes from q₀ 1.
    curvature
        K: the loss falls by K ρ².
    weight
        q₀τ, so that ρ₀² = q₀τ χ²/N.
    directions
        p m, the degrees of freedom of χ².
    delays
        Delays of sampled shapes (k,), infinite where the growth along the largest eigenvalue alone
        does not bring the loss down to the threshold.
    """

    plateau: Plateau
    threshold: float
    gain: float
    curvature: float
    weight: float
    directions: int
    delays: Array

    def leading(self, squared_norm: ArrayLike) -> Array:
        """α at which the linear dynamics from ρ₀² (…) reach the threshold, without the delay."""
        growth = (self.plateau.loss - self.threshold) / (self.curvature * self.gain**2)
        return logarithm(growth / np.asarray(squared_norm)) / (2.0 * self.plateau.rate)

    def quantiles(self, n: float, probabilities: ArrayLike) -> Array:
        """Escape times α at these probabilities, at N = n; infinite if there is no escape."""
        from scipy import stats

        centres = (np.arange(_STEPS) + 0.5) / _STEPS
        times = self.leading(self.weight / n * stats.chi2.ppf(centres, self.directions))
        sums = np.sort((times[:, None] + self.delays).ravel())
        index = np.ceil(np.asarray(probabilities) * sums.size).astype(int) - 1
        return np.asarray(sums[np.clip(index, 0, sums.size - 1)])


def leading_eigenvectors(T: Array) -> tuple[float, Array]:
    """The largest eigenvalue of T and orthonormal eigenvectors (p*, m)."""
    if np.array_equal(T, np.eye(len(T))):
        return 1.0, np.eye(len(T))
    teacher = Teacher.from_overlaps(T)
    if not teacher.rank:
        return 0.0, np.eye(len(T))
    leading = teacher.weights >= teacher.weights[-1] * (1.0 - _EQUAL)
    vectors = teacher.factor[:, leading] / np.sqrt(teacher.weights[leading])
    return float(teacher.weights[-1]), vectors


def escape_theory(system: System, study: EscapeStudy, eta: float, shapes: int = SHAPES) -> EscapeTheory:
    """The law of escape times of a study at one η, as N → ∞; `shapes` of R₀ are sampled.

    The tolerances are those of the integration of the delays. There R₀ is of the size 10⁻⁶, and atol is
    lowered with it.

    Raises
    ------
    InputError
        There is no plateau, or it does not repel; students of norm q0 do not relax to it; or the loss
        passes the threshold before it is there.
    """
    point = plateau_at(system, study.parameters.replaced(eta=eta), study.norms)
    if not point.rate > 0.0:
        raise InputError(
            "eta", f"{eta:g}: there is no escape, the plateau attracts (rate {point.rate:.3g})"
        )
    if not point.stable:
        raise InputError("eta", f"{eta:g}: the plateau is not stable within R = 0, students align on it")
    threshold = study.fraction * point.loss
    _check_approach(system, point, study.q0, threshold)
    tau, vectors = leading_eigenvectors(point.T)
    free = study.model.constraint == "free"
    theory = EscapeTheory(
        plateau=point,
        threshold=threshold,
        gain=_gain(system, point, study.q0, vectors[:, 0]) if free else 1.0,
        curvature=_curvature(system, point, vectors[:, 0]),
        weight=study.q0 * tau,
        directions=study.model.p * vectors.shape[1],
        delays=np.zeros(1),
    )
    return dataclasses.replace(theory, delays=_delays(system, study, theory, vectors, shapes))


def _delays(system: System, study: EscapeStudy, theory: EscapeTheory, vectors: Array, shapes: int) -> Array:
    """The delays (shapes,) of random shapes of R₀ along these eigenvectors of T."""
    p = study.model.p
    rng = np.random.default_rng(seed_sequence(study.seed, shapes))
    R = rng.standard_normal((shapes, p, vectors.shape[1]))
    squared = _SEED_SIZE * theory.weight
    R *= np.sqrt(squared) / np.linalg.norm(R, axis=(1, 2), keepdims=True)
    start = theory.leading(squared)
    runs = integrate_ensemble(
        system,
        np.broadcast_to(study.q0 * np.eye(p), (shapes, p, p)),
        times_transpose(R, vectors),
        alpha=float(start) + PATIENCE / theory.plateau.rate,
        output="final",
        stop_loss=theory.threshold,
        **(study.solver | {"atol": study.atol * np.sqrt(_SEED_SIZE)}),
        **theory.plateau.parameters.keywords,
    )
    times = runs["escape_alpha"].values
    return np.where(np.isfinite(times), times - start, np.inf)


def _check_approach(system: System, point: Plateau, norm: float, threshold: float) -> None:
    """Reject a threshold that the loss passes at R = 0, on the way from Q = q₀ 1 to the plateau."""

    def loss(q: float) -> float:
        return _loss(system, point, q * np.eye(system.model.p), point.R)

    q = point.q
    # Along R = 0, Q = q 1 the loss is a parabola in q; its lowest point on the way is wanted.
    first, middle, last = loss(norm), loss(0.5 * (norm + q)), loss(q)
    lowest = min(first, last)
    bend, slope = 2.0 * (first - 2.0 * middle + last), 4.0 * middle - 3.0 * first - last
    if bend > 0.0 and 0.0 < -slope < 2.0 * bend:
        lowest = min(lowest, first - slope * slope / (4.0 * bend))
    if threshold >= lowest * (1.0 - _SMALL):
        raise InputError(
            "fraction",
            f"{threshold / point.loss:g}: the loss falls to {lowest / point.loss:.4g} of the plateau's"
            " before the escape; take less",
        )


def _loss(system: System, point: Plateau, Q: Array, R: Array) -> float:
    """The loss at overlaps of our own, with the parameters of the plateau."""
    return float(system.packed_losses(system.pack(Q, R)[None], point.parameters.packed[0])[0])


def _gain(system: System, point: Plateau, norm: float, vector: Array) -> float:
    """G, by integrating an infinitesimal R beside Q from q₀ 1 to the plateau; InputError if it diverges."""
    p = system.model.p
    R0 = _INFINITESIMAL * np.outer(np.ones(p), vector)
    end = min(_RELAXED / abs(point.rate_of(NORM)), _STILL_SMALL / point.rate)
    run = integrate(
        system,
        norm * np.eye(p),
        R0,
        alpha=np.array([end]),
        rtol=1e-12,
        atol=_INFINITESIMAL * 1e-20,
        **point.parameters.keywords,
    )
    if run["status"].item() != "ok":
        raise InputError(
            "q0",
            f"{norm:g}: students of this norm do not relax to the plateau, whose norm is {point.q:.4g}"
            f" (status {run['status'].item()}); take a norm closer to it, or a smaller eta",
        )
    R = run["R"].values[0].reshape(1, -1) / _INFINITESIMAL
    growth = np.sqrt(times_transpose(R, R).item()) / np.sqrt(p)
    return float(growth * math.exp(-point.rate * end))


def _curvature(system: System, point: Plateau, vector: Array) -> float:
    """K, from the unstable manifold to second order.

    Q follows R as the solution of (2r − λ) δQ = the part of dQ/dα that is quadratic in R, where λ are the
    rates of Q.
    """
    p = system.model.p
    R = _SMALL * np.outer(np.full(p, 1.0 / np.sqrt(p)), vector)
    drive = system.rhs(point.Q, R, **point.parameters.keywords)[0]
    dQ = np.zeros((p, p))
    if p > 1:
        dQ = drive / (2.0 * point.rate - point.rate_of(STUDENTS))
    # With this R all students are alike: the diagonal changes as a whole, on the sphere not at all.
    np.fill_diagonal(dQ, 0.0)
    if system.model.constraint == "free":
        np.fill_diagonal(dQ, np.mean(np.diag(drive)) / (2.0 * point.rate - point.rate_of(NORM)))
    fall = (point.loss - _loss(system, point, point.Q + dQ, R)) / _SMALL**2
    if not fall > 0.0:
        raise InputError("eta", f"{point.eta:g}: the loss does not fall where the plateau is left")
    return float(fall)
