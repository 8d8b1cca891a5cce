"""Follows small overlaps on the way to the plateau, and the noise that SGD adds to them.

While students hardly know the teachers, Q = diag(q). Let d = a v, let φ be the eigenvalues of b D_v* T
along the teachers (`linear_modes`), xᵢ = dᵢqᵢ, s = Σxᵢ − Σφ and t = Σxᵢ² + Σφ². Then norms and overlaps
obey

    d ln qᵢ/dα = −4dᵢη (s + 2xᵢ) − 2ηγ + (4dᵢ²η²/B) (s² + 2t + Δ + 4s xᵢ + 8xᵢ²),
    d ln Aᵢₖ/dα = rᵢₖ(q) = −2dᵢη (s + 2xᵢ − 2φₖ) − ηγ,

where A are the overlaps along the directions of the teachers, scaled such that random weights of the
norm q₀ have independent Aᵢₖ of variance q₀/N. On the sphere norms do not move, and half of what they
would grow is taken from r. In gradient flow the term with η² is absent.

**Noise.** One step of SGD moves Aᵢₖ by −2dᵢη e λᵢuₖ/N, with independent normal λᵢ and uₖ, of variance
qᵢ and 1, and e = Σxᵢ(λᵢ²/qᵢ) − Σφₖuₖ² − √Δ ξ. By the symmetries λᵢ → −λᵢ and uₖ → −uₖ these changes are
uncorrelated, and their variance per unit of α, times N, is

    Dᵢₖ = (4dᵢ²η²/B) E[e² λᵢ² uₖ²] = (4dᵢ²η²/B) qᵢ [(s + 2xᵢ − 2φₖ)² + 2 (t + 2xᵢ² + 2φₖ²) + Δ].

The factor λᵢ²uₖ² turns the two χ²₁ in e that belong to i and k into χ²₃, so that the bracket is the
square of the mean of e and its variance. In gradient flow it is 0.

Without noise A grows by a factor Γᵢₖ, with d ln Γ/dα = r. With noise N Var A =: V obeys V' = 2rV + D
from V(0) = q₀, so that V/Γ² tends to q₀(1 + σ²), with the noise over signal σ² = ∫ D/Γ² dα / q₀; on the
sphere this is D/(2r q₀). Noise and signal are of one order 1/√N, so SGD leaves the plateau as the ODE
does from overlaps that are larger by √(1 + σ²), however large N is. Later R is of order one, and noise
does not count.

Derived here from the model of arXiv:2604.03068; tests hold the drift to the generated equations, and D
to quadrature and simulations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from derive import readout
from derive.errors import InputError
from runtime.analysis.plateau.linear_modes import teacher_directions
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters

# ln Γ at which noise adds, as exp(−2 ln Γ), no more than rounding.
_LONGEST_GROWTH = 18.0
# Growth of the norms that counts as divergence.
_LOST = 1e3
# A time far beyond any plateau, in units of 1/(dη).
_LONGEST_TIME = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class SmallOverlaps:
    """The dynamics while R is small, at norms q (…, p); the letters are those above.

    students, teachers
        d (p,) and φ (k,).
    decay
        ηγ.
    share
        1/B, the part of the noise of single samples that a batch leaves; 0 in gradient flow.
    sphere
        Whether norms are kept.
    """

    students: Array
    teachers: Array
    eta: float
    decay: float
    share: float
    label_noise: float
    sphere: bool

    @classmethod
    def of(cls, parameters: RunParameters) -> SmallOverlaps:
        """With parameters that all trajectories share, of a model with λ² and without a trained layer."""
        model = parameters.model
        a, b = readout.weights(model)
        v, vstar = (weights[0] for weights in parameters.weights())
        directions, _ = teacher_directions(parameters)
        eta, gamma = parameters["eta"], parameters["weight_decay"]
        return cls(
            students=a * v,
            teachers=b * np.sum(vstar[:, None] * directions**2, axis=0),
            eta=eta,
            decay=eta * gamma,
            share=1.0 / parameters["batch"] if model.flow == "sgd" else 0.0,
            label_noise=parameters["label_noise"],
            sphere=model.constraint == "sphere",
        )

    def _loops(self, q: Array) -> tuple[Array, Array, Array]:
        """x (…, p), and s and t (…, 1)."""
        x = self.students * q
        s = np.sum(x, axis=-1, keepdims=True) - np.sum(self.teachers)
        return x, s, np.sum(x * x, axis=-1, keepdims=True) + np.sum(self.teachers**2)

    def relative_drift(self, q: Array) -> Array:
        """d ln qᵢ/dα (…, p) of free norms; on the sphere what each step takes back."""
        x, s, t = self._loops(q)
        drift = -(s + 2.0 * x)
        if self.share:
            noise = s * s + 2.0 * t + self.label_noise + 4.0 * s * x + 8.0 * x * x
            drift += self.students * self.eta * self.share * noise
        return np.asarray(4.0 * self.students * self.eta * drift - 2.0 * self.decay)

    def own_rate(self, q: Array) -> Array:
        """The part of r (…, p) that all teachers share."""
        x, s, _ = self._loops(q)
        rate = -2.0 * self.students * self.eta * (s + 2.0 * x) - self.decay
        return np.asarray(rate - 0.5 * self.relative_drift(q) if self.sphere else rate)

    def growth_rate(self, q: Array) -> Array:
        """r (…, p, k)."""
        learned = 4.0 * self.eta * np.outer(self.students, self.teachers)
        return np.asarray(self.own_rate(q)[..., None] + learned)

    def diffusion(self, q: Array) -> Array:
        """D (…, p, k)."""
        x, s, t = (part[..., None] for part in self._loops(q))
        mean = s + 2.0 * x - 2.0 * self.teachers
        variance = 2.0 * (t + 2.0 * x * x + 2.0 * self.teachers**2)
        step = 2.0 * self.students * self.eta
        return np.asarray(
            (step * step * self.share * q)[..., None] * (mean * mean + variance + self.label_noise)
        )

    def noise_to_signal(self, q0: float, leading: NDArray[np.bool_]) -> Array:
        """σ² (…) of the overlaps in the mask `leading` (p, k), from random weights as N → ∞.

        Raises InputError if norms run away, or if one of these overlaps does not grow.
        """
        count = int(np.sum(leading))
        if not self.share:
            return np.zeros(count)
        p = len(self.students)
        start = np.full(p, q0)
        if self.sphere:
            return np.asarray(
                self.diffusion(start)[leading] / (2.0 * self.growth_rate(start)[leading] * q0)
            )

        def drift(_: float, state: Array) -> Array:
            q, growth = state[:p], state[p : p + count]
            added = self.diffusion(q)[leading] * np.exp(-2.0 * growth)
            return np.concatenate([q * self.relative_drift(q), self.growth_rate(q)[leading], added])

        def left(state: Array) -> float:
            return _LONGEST_GROWTH - float(np.min(state[p : p + count]))

        end = self.followed(drift, np.concatenate([start, np.zeros(2 * count)]), left, p)
        return np.asarray(end[p + count :] / q0)

    def followed(
        self,
        drift: Callable[[float, Array], Array],
        state: Array,
        remaining: Callable[[Array], float],
        norms: int,
    ) -> Array:
        """The state when `remaining` has come down to zero; the first `norms` of its entries are norms.

        Raises InputError if norms run away or shrink to zero, or if that does not happen.
        """
        from scipy.integrate import solve_ivp

        if np.max(self.relative_drift(np.zeros(len(self.students)))) <= 0.0:
            gamma = self.decay / self.eta
            raise InputError(
                "weight_decay", f"{gamma:g} is too large: norms decay to 0, there is no plateau"
            )
        largest = float(np.max(np.abs(self.students)))
        natural = float(np.max(np.abs(self.teachers), initial=0.0)) / largest
        bound = _LOST * max(float(np.max(state[:norms])), natural)

        def done(_: float, now: Array) -> float:
            return remaining(now)

        def lost(_: float, now: Array) -> float:
            return bound - float(np.max(now[:norms]))

        for event in (done, lost):
            event.terminal = True  # type: ignore[attr-defined]
        end = _LONGEST_TIME / (largest * self.eta)
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(
                drift, (0.0, end), state, "DOP853", rtol=1e-10, atol=1e-13, events=(done, lost)
            )
        if not solution.t_events[0].size:
            what = (
                "norms grow without bound" if solution.t_events[1].size else "students stay on the plateau"
            )
            raise InputError("eta", f"{self.eta:g} is too large: {what}")
        return np.asarray(solution.y[:, -1])
