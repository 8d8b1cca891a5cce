"""Finds the norms of the students on the plateau where their second-layer weights are fixed and differ.

Along Q = diag(q), R = 0 a chain C(DC)ᵐ of the derived equations is the diagonal matrix qᵢ (dᵢqᵢ)ᵐ, with
d = a v. So with f = b v* the norms obey d ln qᵢ/dα = η gᵢ(q),

    gᵢ = Σₘ [ −4dᵢ meanₘ + 4ϑ dᵢ² noiseₘ ] (dᵢqᵢ)ᵐ − 2γ,    ϑ = η/B,
    s = Σᵢ dᵢqᵢ − tr(D_f T),    t = Σᵢ dᵢ²qᵢ² + tr(D_f T D_f T),

where meanₘ and noiseₘ are the coefficients of `derive.equations`. The state that attracts has q ≥ 0, g ≤ 0
and qᵢgᵢ = 0: some students are active, and the others shrink to zero.

Gradient flow (ϑ = 0) minimises a convex function of q, ½s² + t + (γ/2) Σ qᵢ, so its plateau is unique. At
γ = 0 the n students whose v has the sign of tr(D_f T) are active, with dᵢqᵢ = tr(D_f T)/(n + 2). The
plateau of SGD is followed from there to the wanted ϑ, by Newton's method with the set of active students.
It ends where the state meets an unstable one: then the norms run away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache, cached_property

import numpy as np

from derive import readout
from derive.equations import NOISE, OverlapEquations, overlap_equations
from derive.scalar_polynomials import ScalarPolynomial
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters

# The wanted noise is reached in steps of this part of it, or of less where Newton's method fails; a step
# below the smallest one, relative to the noise, means that the plateau has ended.
_FIRST_STEP, _SMALLEST_STEP = 1 / 16, 1e-15
# Newton steps of one solution, and the growth of norms that is rounding, relative to its single terms.
_NEWTON_STEPS, _ROUNDING = 30, 1e-13
# Noise is increased up to this part of the inverse of the teacher's output before it counts as unlimited.
_UNLIMITED = 1e12

# A polynomial as pairs of a coefficient and the names of its factors.
_Terms = tuple[tuple[float, tuple[str, ...]], ...]

# The same equations are asked for at each learning rate.
_equations = cache(overlap_equations)


@dataclasses.dataclass(frozen=True, eq=False)
class NormDynamics:
    """How the norms q (p,) of students change at R = 0, divided by the learning rate.

    students, teachers
        d = a v (p,) and f = b v* (p*,).
    output, square
        tr(D_f T) and tr(D_f T D_f T).
    scale
        A scale of dᵢqᵢ: the mean output of the teacher, all weights taken as positive, and its noise.
    """

    students: Array
    output: float
    square: float
    scale: float
    weight_decay: float
    label_noise: float
    equations: OverlapEquations

    @classmethod
    def of(cls, parameters: RunParameters) -> NormDynamics:
        """With parameters that all trajectories share."""
        model, T = parameters.model, parameters.T
        a, b = readout.weights(model)
        v, vstar = (weights[0] for weights in parameters.weights())
        weighted = b * vstar[:, None] * T
        scale = float(np.sum(np.abs(np.diag(weighted))))
        noise = parameters["label_noise"] if model.flow == "sgd" else 0.0
        return cls(
            students=a * v,
            output=float(np.trace(weighted)),
            square=float(np.sum(weighted * weighted.T)),
            scale=scale + float(np.sqrt(noise)),
            weight_decay=parameters["weight_decay"],
            label_noise=noise,
            equations=_equations(model.flow),
        )

    @property
    def norm_scale(self) -> float:
        """A scale of norms: with it students have the output of the teacher."""
        total = float(np.sum(np.abs(self.students)))
        return self.scale / total if total > 0.0 and self.scale > 0.0 else 1.0

    @cached_property
    def _chains(self) -> tuple[tuple[int, int, _Terms, _Terms, _Terms], ...]:
        """Of each chain: 0 for the mean or 1 for noise, m, the coefficient, its derivatives by s and t."""
        parts = enumerate((self.equations.mean, self.equations.noise))
        return tuple(
            (part, chain, _terms(value), _terms(value.derivative("s")), _terms(value.derivative("t")))
            for part, chains in parts
            for chain, value in chains.items()
        )

    def growth(self, q: Array, theta: float) -> tuple[Array, Array, Array]:
        """g (p,), its derivatives ∂gᵢ/∂qⱼ (p, p), and the size of the terms of g (p,)."""
        d = self.students
        x = d * q
        values = {
            "s": float(np.sum(x)) - self.output,
            "t": float(np.sum(x * x)) + self.square,
            NOISE: self.label_noise,
        }
        size = 2.0 * self.weight_decay + np.zeros_like(q)
        total, own, by_s, by_t = -size, np.zeros_like(q), np.zeros_like(q), np.zeros_like(q)
        factors = (-4.0 * d, 4.0 * theta * d * d)
        for part, chain, polynomial, along_s, along_t in self._chains:
            factor = factors[part]
            power = factor * x**chain
            coefficient = _value(polynomial, values)
            total = total + coefficient * power
            size = size + np.abs(coefficient * power)
            if chain:
                own += coefficient * factor * chain * x ** (chain - 1) * d
            by_s += _value(along_s, values) * power
            by_t += _value(along_t, values) * power
        slopes = np.diag(own) + np.outer(by_s, d) + np.outer(by_t, 2.0 * d * x)
        return total, slopes, size

    def rates(self, q: Array, theta: float) -> Array:
        """The matrix (p, p) of the linear dynamics of the norms around q, divided by η."""
        growth, slopes, _ = self.growth(q, theta)
        return np.asarray(np.diag(growth) + q[:, None] * slopes)

    @cached_property
    def flow_norms(self) -> Array:
        """The norms (p,) on the plateau of gradient flow, which may be zero.

        Σᵢ dᵢqᵢ(s) − tr(D_f T) − s, with the qᵢ at which gᵢ ≤ 0 for this s, is piecewise linear in s and
        falls with a slope of at most −1. It has corners where a student becomes active.
        """
        d, decay = self.students, self.weight_decay
        learning = d != 0.0
        d = d[learning]

        def norms(s: float) -> Array:
            return np.asarray(np.maximum(-(s + decay / (2.0 * d)) / (2.0 * d), 0.0))

        def rest(s: float) -> float:
            return float(np.sum(d * norms(s))) - self.output - s

        corners = np.sort(-decay / (2.0 * d))
        # The root lies between two corners; `active` are the students there.
        below = [c for c in corners if rest(c) > 0.0]
        above = [c for c in corners if rest(c) <= 0.0]
        low = max(below, default=min(above, default=0.0) - 1.0)
        high = min(above, default=low + 1.0)
        inside = norms(0.5 * (low + high)) > 0.0
        # s (1 + n/2) = −tr(D_f T) − Σ decay/(4 dᵢ) over the active students.
        constant = -self.output - decay * float(np.sum(0.25 / d[inside]))
        s = constant / (1.0 + 0.5 * int(np.sum(inside)))
        q = np.zeros_like(self.students)
        q[learning] = np.where(inside, norms(s), 0.0)
        return q

    def norms(self, theta: float) -> Array | None:
        """The norms (p,) on the plateau at ϑ = η/B, zero for inactive students; None if they run away."""
        q = self.flow_norms
        if not self.equations.noise:
            return q
        reached, q = self._followed(q, theta)
        return q if reached == theta else None

    @cached_property
    def largest_noise(self) -> float:
        """The largest ϑ with a plateau, where students may be inactive; infinity if there is no limit."""
        largest = float(np.max(np.abs(self.students), initial=0.0))
        if not self.equations.noise or not largest * self.scale > 0.0:
            return np.inf
        end = _UNLIMITED / (largest * self.scale)
        reached, _ = self._followed(self.flow_norms, end, 1e-3 / _UNLIMITED)
        return np.inf if reached == end else reached

    def _followed(self, q: Array, end: float, step: float = _FIRST_STEP) -> tuple[float, Array]:
        """The largest ϑ up to `end` that is reached from 0, and the norms there."""
        theta, step = 0.0, step * end
        while theta < end:
            further = end if theta + step >= end * (1.0 - _SMALLEST_STEP) else theta + step
            found = self._solved(q, further)
            if found is not None:
                theta, q = further, found
                step *= 1.5
            else:
                step *= 0.5
                if step <= _SMALLEST_STEP * max(theta, step) or theta + step == theta:
                    break
        return theta, q

    def _solved(self, q: Array, theta: float) -> Array | None:
        """The attracting norms at ϑ near q; None if Newton's method finds none."""
        best, result = np.inf, None
        for _ in range(_NEWTON_STEPS):
            growth, slopes, size = self.growth(q, theta)
            active = (q > 0.0) | (growth > _ROUNDING * size)
            remains = float(np.max(np.abs(growth[active]) / size[active], initial=0.0))
            if remains <= _ROUNDING:
                if not remains < best:
                    break
                best, result = remains, q
                if remains == 0.0:
                    break
            step = np.zeros_like(q)
            try:
                step[active] = np.linalg.solve(slopes[np.ix_(active, active)], -growth[active])
            except np.linalg.LinAlgError:
                break
            if not np.all(np.isfinite(step)):
                break
            q = np.maximum(q + step, 0.0)
        if result is None:
            return None
        # Where a student becomes active its rate is zero, up to rounding.
        rounding = _ROUNDING * float(np.max(self.growth(result, theta)[2]))
        stable = np.max(np.linalg.eigvals(self.rates(result, theta)).real) <= rounding
        return result if stable else None


def _terms(polynomial: ScalarPolynomial) -> _Terms:
    return tuple((float(coefficient), names) for names, coefficient in polynomial.terms.items())


def _value(terms: _Terms, values: Mapping[str, float]) -> float:
    return sum(coefficient * math.prod(values[name] for name in names) for coefficient, names in terms)
