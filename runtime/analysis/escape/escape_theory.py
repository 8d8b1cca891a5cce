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

With fixed second layers the same holds for the overlaps that grow fastest (`LeadingAlignment`): those of
the students with the largest vᵢφ, where φ are the eigenvalues of D_v* T along the teachers. m p becomes
their number. Other overlaps grow more slowly, with other rates, so that at finite N they are smaller by a
power of N only; and where the leading ones alone do not bring the loss down to the threshold the law has
no finite time.

One-pass SGD adds noise to R on the plateau, of the same order 1/√N as R₀. It behaves as the ODE from
overlaps whose variance is 1 + σ² times as large (`plateau_noise`). So its law is that of the ODE, earlier
by ln(1 + σ²)/(2r).

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
from runtime.analysis.plateau.linear_modes import NORM
from runtime.analysis.plateau.plateau_noise import SmallOverlaps
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.start.checked_arrays import Array
from runtime.start.matrix_factors import logarithm
from runtime.start.seeds import seed_sequence
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
# The number of times at which the loss is looked at while norms relax.
_TIMES = 1000
# Noise of the leading overlaps that differs by less than this part of 1 + σ² is the same.
_SAME_NOISE = 1e-6


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
    noise
        σ² of the noise of SGD over the overlaps of random weights; 0 in gradient flow.
    delays
        Delays of sampled shapes (k,), infinite where the leading overlaps alone do not bring the loss down
        to the threshold.
    """

    plateau: Plateau
    threshold: float
    gain: float
    curvature: float
    weight: float
    directions: int
    noise: float
    delays: Array

    @property
    def shift(self) -> float:
        """By how much, in α, SGD escapes earlier than the ODE."""
        return math.log1p(self.noise) / (2.0 * self.plateau.rate)

    def leading(self, squared_norm: ArrayLike) -> Array:
        """α at which the linear dynamics from ρ₀² (…) reach the threshold, without the delay."""
        growth = (self.plateau.loss - self.threshold) / (self.curvature * self.gain**2)
        return logarithm(growth / np.asarray(squared_norm)) / (2.0 * self.plateau.rate)

    def quantiles(self, n: float, probabilities: ArrayLike) -> Array:
        """Escape times α of the ODE at these probabilities, at N = n; infinite if there is no escape.

        Those of SGD are earlier by `shift`.
        """
        from scipy import stats

        centres = (np.arange(_STEPS) + 0.5) / _STEPS
        times = self.leading(self.weight / n * stats.chi2.ppf(centres, self.directions))
        sums = np.sort((times[:, None] + self.delays).ravel())
        index = np.ceil(np.asarray(probabilities) * sums.size).astype(int) - 1
        return np.asarray(sums[np.clip(index, 0, sums.size - 1)])


def escape_theory(system: System, study: EscapeStudy, eta: float, shapes: int = SHAPES) -> EscapeTheory:
    """The law of escape times of a study at one η, as N → ∞; `shapes` of R₀ are sampled.

    The tolerances are those of the integration of the delays. There R₀ is of the size 10⁻⁶, and atol is
    lowered with it.

    Raises
    ------
    InputError
        There is no plateau, or it does not repel; students of norm q0 do not relax to it; or the loss
        passes the threshold before it is there; or overlaps that grow equally fast have different noise.
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
    leading = point.dynamics.leading
    free = study.model.constraint == "free"
    theory = EscapeTheory(
        plateau=point,
        threshold=threshold,
        gain=_gain(system, point, study.q0) if free else 1.0,
        curvature=_curvature(system, point),
        weight=study.q0 * leading.weight,
        directions=leading.count,
        noise=_noise(point, study.q0),
        delays=np.zeros(1),
    )
    return dataclasses.replace(theory, delays=_delays(system, study, theory, shapes))


def _noise(point: Plateau, norm: float) -> float:
    """σ² of the leading overlaps, from norms q₀."""
    noise = SmallOverlaps.of(point.parameters).noise_to_signal(norm, point.dynamics.leading.mask)
    low, high = float(np.min(noise)), float(np.max(noise))
    if high - low > _SAME_NOISE * (1.0 + high):
        raise InputError(
            "student_weights",
            f"have overlaps that grow equally fast with different noise over signal, {low:.4g} and"
            f" {high:.4g}: no law of SGD is known",
        )
    return high


def _delays(system: System, study: EscapeStudy, theory: EscapeTheory, shapes: int) -> Array:
    """The delays (shapes,) of random shapes of the leading overlaps of R₀."""
    p, leading = study.model.p, theory.plateau.dynamics.leading
    rng = np.random.default_rng(seed_sequence(study.seed, shapes))
    A = np.zeros((shapes, *leading.mask.shape))
    A[:, leading.mask] = rng.standard_normal((shapes, leading.count))
    squared = _SEED_SIZE * theory.weight
    A *= np.sqrt(squared) / np.linalg.norm(A, axis=(1, 2), keepdims=True)
    start = theory.leading(squared)
    runs = integrate_ensemble(
        system,
        np.broadcast_to(study.q0 * np.eye(p), (shapes, p, p)),
        leading.overlaps(A),
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
    lowest = _lowest_between(system, point, norm)
    if system.model.weighted and system.model.constraint == "free":
        lowest = _lowest_on_the_way(system, point, norm)
    if threshold >= lowest * (1.0 - _SMALL):
        raise InputError(
            "fraction",
            f"{threshold / point.loss:g}: the loss falls to {lowest / point.loss:.4g} of the plateau's"
            " before the escape; take less",
        )


def _lowest_on_the_way(system: System, point: Plateau, norm: float) -> float:
    """The lowest loss on the way from Q = q₀ 1 to the plateau, or InputError if it ends elsewhere."""
    end = _RELAXED / abs(point.rate_of(NORM))
    start = norm * np.eye(system.model.p)
    times = np.linspace(0.0, end, _TIMES)
    run = integrate(system, start, point.R, alpha=times, **point.parameters.keywords)
    if run["status"].item() != "ok" or np.max(np.abs(run["Q"].values[-1] - point.Q)) > _SMALL * point.q:
        raise _elsewhere(point, norm, run["status"].item())
    return float(np.min(run["loss"].values))


def _elsewhere(point: Plateau, norm: float, status: str) -> InputError:
    """The error of students that do not relax to the plateau."""
    return InputError(
        "q0",
        f"{norm:g}: students of this norm do not relax to the plateau, whose norm is {point.q:.4g}"
        f" (status {status}); take a norm closer to it, or a smaller eta",
    )


def _lowest_between(system: System, point: Plateau, norm: float) -> float:
    """The lowest loss along R = 0, Q = q 1 between q₀ and the plateau."""

    def loss(q: float) -> float:
        return _loss(system, point, q * np.eye(system.model.p), point.R)

    q = point.q
    # Along R = 0, Q = q 1 the loss is a parabola in q; its lowest point on the way is wanted.
    first, middle, last = loss(norm), loss(0.5 * (norm + q)), loss(q)
    lowest = min(first, last)
    bend, slope = 2.0 * (first - 2.0 * middle + last), 4.0 * middle - 3.0 * first - last
    if bend > 0.0 and 0.0 < -slope < 2.0 * bend:
        lowest = min(lowest, first - slope * slope / (4.0 * bend))
    return lowest


def _loss(system: System, point: Plateau, Q: Array, R: Array) -> float:
    """The loss at overlaps of our own, with the parameters of the plateau."""
    return float(system.packed_losses(system.pack(Q, R)[None], point.parameters.packed[0])[0])


def _gain(system: System, point: Plateau, norm: float) -> float:
    """G, by integrating an infinitesimal R beside Q from q₀ 1 to the plateau; InputError if it diverges."""
    leading = point.dynamics.leading
    Q, shape = norm * np.eye(system.model.p), leading.overlaps(leading.one)
    left, growth = _RELAXED / abs(point.rate_of(NORM)), 1.0
    while left > 0.0:
        # R is made infinitesimal again before it matters.
        end = min(left, _STILL_SMALL / point.rate)
        run = integrate(
            system,
            Q,
            _INFINITESIMAL * shape,
            alpha=np.array([end]),
            rtol=1e-12,
            atol=_INFINITESIMAL * 1e-20,
            **point.parameters.keywords,
        )
        if run["status"].item() != "ok":
            raise _elsewhere(point, norm, run["status"].item())
        Q, R = run["Q"].values[0], run["R"].values[0].reshape(1, -1) / _INFINITESIMAL
        size = np.sqrt(times_transpose(R, R).item())
        growth *= size * math.exp(-point.rate * end)
        shape = R.reshape(shape.shape) / size
        left -= end
    return float(growth)


def _curvature(system: System, point: Plateau) -> float:
    """K, from the unstable manifold to second order.

    Q follows R as the solution of (2r − Λ) δQ = the part of dQ/dα that is quadratic in R, where Λ is the
    linear dynamics of Q.
    """
    leading, dynamics = point.dynamics.leading, point.dynamics
    R = _SMALL * leading.overlaps(leading.one)
    drive = system.rhs(point.Q, R, **point.parameters.keywords)[0]
    dQ = drive / (2.0 * point.rate - dynamics.pairs)
    # On the sphere the diagonal does not change.
    np.fill_diagonal(dQ, 0.0)
    if system.model.constraint == "free":
        p, diagonal = system.model.p, np.diagonal(drive)
        if system.model.weighted:
            norms = np.linalg.solve(2.0 * point.rate * np.eye(p) - dynamics.norms, diagonal)
        else:
            # With this R all students are alike.
            norms = np.full(p, np.mean(diagonal) / (2.0 * point.rate - point.rate_of(NORM)))
        np.fill_diagonal(dQ, norms)
    fall = (point.loss - _loss(system, point, point.Q + dQ, R)) / _SMALL**2
    if not fall > 0.0:
        raise InputError("eta", f"{point.eta:g}: the loss does not fall where the plateau is left")
    return float(fall)
