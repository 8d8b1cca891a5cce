"""Predicts which solution SGD finds, from what happens on the plateau, for R₀ → 0.

While students hardly know the teachers (R small, free norms) the overlaps obey, with the eigenvalues
qᵢ of Q, s = aΣqᵢ − b tr T and t = a²Σqᵢ² + b² tr T²,

    dqᵢ/dα = −4aη qᵢ (s + 2aqᵢ) − 2ηγ qᵢ + (4a²η²/B) qᵢ (s² + 2t + Δ + 4saqᵢ + 8a²qᵢ²),
    dR/dα  = −2aη (s R + 2a Q R − 2b R T) − ηγ R,

(in gradient flow without the η² term). Q keeps its eigenvectors, so R leaves the plateau as
Γ R₀ exp(4abηα T), where Γ has the eigenvalues exp −∫(2aη(s + 2aqᵢ) + ηγ)dα and is a function of Q₀. In
gradient flow d ln qᵢ/dα is twice the exponent's rate: then Γ(Q₀) ∝ Q₀^(−1/2), exactly. If all students have
the second-layer weight v and all teachers v*, a and b stand for av and bv*.

Once all qᵢ are equal and if T = 1, the polar factor of R is conserved (`closest_solutions`): for R₀ → 0 the
solution found has the polar factor of Γ(Q₀) R₀, which is the closest one only if Q₀ ∝ 1. Unequal
teachers are learned one after another, the largest eigenvalue τ of T first. What R knows of the next
one along the students' directions in use decays, what is orthogonal to them grows: for R₀ → 0 the
isometry O comes from the columns of Γ(Q₀) R₀ along the eigenvectors of T by orthogonalisation in
the order of τ (Gram and Schmidt; polar factors among equal τ).

**Noise.** From random weights R₀ has independent entries of variance q₀/N, and Q₀ = q₀·1 up to 1/√N.
The noise of one-pass SGD moves R by amounts of the same order 1/√N: however large N is, the solution
depends on both. One step moves Rᵢᵣ by −2aη e λᵢλ*ᵣ/N; at Q = q·1, R = 0, T = 1 this noise is white in α,
independent for different entries, with the variance D/N per unit of α,

    D = (4a²η²/B) E[e² λ₁² λ*₁²]
      = (4a²η²/B) [a² q³ (p+2)(p+4) − 2ab q² (p+2)(p*+2) + b² q (p*+2)(p*+4) + Δq],

from the moments p(p+2) and p(p+2)(p+4) of χ²_p. R leaves the plateau as Γ (R₀ + ξ), with ξ Gaussian of
variance (1/N) ∫ D/Γ² dα for each entry: noise over signal is σ² = ∫ D/Γ² dα / q₀, whatever N. Later R is of
order one, and noise of order 1/√N does not count. So R ends with the polar factor of G₁ + σG₂, two
independent normal matrices, and the alignment is tr(polar(G₁ + σG₂)ᵀG₁)/‖G₁‖₁. As the rate of ln Γ
is ∝ η and D ∝ η², σ² is of order η: the closest solution is found at small learning rates.

Derived here from the model of arXiv:2604.03068; tests hold these formulas to the generated drift, to
ensembles of the ODE and to simulations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from derive.errors import InputError
from derive.model import require_quadratic
from runtime.analysis.equal_layers import equal_readouts
from runtime.start.checked_arrays import Array, require_free_norms
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher

# Number of matrices in averages over starts and noise, for a standard error of about 0.002.
SAMPLES = 20_000
_SEED = 0
# ln Γ at which noise adds, as exp(−2 ln Γ), no more than rounding.
_LONGEST_GROWTH = 18.0
# Norms are equal if their spread is less than this part of their mean.
_EQUAL_NORMS = 1e-9
# Teachers' eigenvalues closer than this part of the largest are equal.
_EQUAL = 1e-9
# Growth of the norms that counts as divergence.
_LOST = 1e3
# A time far beyond any plateau, in units of 1/(aη).
_LONGEST_TIME = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class SmallOverlaps:
    """The dynamics while R is small, at eigenvalues q (…, p) of Q; the letters are those above.

    share
        1/B, the part of the noise of single samples that a batch leaves; 0 in gradient flow.
    """

    p: int
    T: Array
    a: float
    b: float
    eta: float
    decay: float
    share: float
    label_noise: float

    @classmethod
    def of(cls, parameters: RunParameters) -> SmallOverlaps:
        """That of a model with free norms; InputError otherwise, or if second-layer weights differ."""
        model = parameters.model
        require_quadratic(model, "the theory of the bias is")
        require_free_norms(model, "the theory of the bias is")
        a, b = equal_readouts(parameters, "differ: the theory of the bias needs")
        eta, gamma, noise = (parameters[name] for name in ("eta", "weight_decay", "label_noise"))
        share = 1.0 / parameters["batch"] if model.flow == "sgd" else 0.0
        return cls(model.p, parameters.T, a, b, eta, eta * gamma, share, noise)

    def relative_drift(self, q: Array) -> Array:
        """d ln qᵢ/dα (…, p)."""
        aq, T = self.a * q, self.T
        s = np.sum(aq, axis=-1, keepdims=True) - self.b * np.trace(T)
        drift = -(s + 2.0 * aq)
        if self.share:
            t = np.sum(aq * aq, axis=-1, keepdims=True) + self.b * self.b * np.sum(T * T)
            noise = s * s + 2.0 * t + self.label_noise + 4.0 * s * aq + 8.0 * aq * aq
            drift += self.a * self.eta * self.share * noise
        return np.asarray(4.0 * self.a * self.eta * drift - 2.0 * self.decay)

    def growth_rate(self, q: Array, tau: float = 1.0) -> Array:
        """−2aη (s + 2aqᵢ − 2bτ) − ηγ (…, p), the rate of R along eigenvectors of Q and T."""
        s = self.a * np.sum(q, axis=-1, keepdims=True) - self.b * np.trace(self.T)
        rate = -2.0 * self.a * self.eta * (s + 2.0 * self.a * q - 2.0 * self.b * tau)
        return np.asarray(rate - self.decay)

    def diffusion(self, q: float) -> float:
        """D: variance of the noise of an entry of √N R per unit of α, at Q = q·1, R = 0 and T = 1."""
        a, b, p, pstar = self.a, self.b, self.p, len(self.T)
        moment = (
            (a * q) ** 2 * (p + 2) * (p + 4)
            - 2.0 * a * b * q * (p + 2) * (pstar + 2)
            + b * b * (pstar + 2) * (pstar + 4)
            + self.label_noise
        )
        return 4.0 * (a * self.eta) ** 2 * self.share * q * moment


def escape_polar(parameters: RunParameters, Q0: Array, R0: Array) -> Array:
    """Isometries O (k, p, p*) of the solutions √(b/a) O W* that the ODEs find from small R0.

    Takes Q0 (k, p, p) and R0 (k, p, p*). Exact as R₀ → 0; with unequal teachers the corrections are of
    order |R₀|^(1 − τ'/τ). Values are those that a `BiasStudy` allows, and are not checked again.

    Raises
    ------
    InputError
        The model has the sphere, or second-layer weights that differ; η is so large that norms grow
        without bound, or γ is so large that they decay to 0.
    """
    dynamics = SmallOverlaps.of(parameters)
    teacher = Teacher.from_overlaps(parameters.T)
    eigenvalues, vectors = np.linalg.eigh(Q0)
    growth = _growth(dynamics, eigenvalues)
    # Only ratios matter, so the largest is subtracted, lest exp overflows.
    factors = np.exp(growth - np.max(growth, axis=-1, keepdims=True))
    grown = vectors @ (factors[..., None] * (np.swapaxes(vectors, -1, -2) @ R0))
    axes = teacher.factor / np.sqrt(teacher.weights)
    isometry = _learned_in_turn(grown @ axes, teacher.weights)
    return np.asarray(isometry @ axes.T)


def _learned_in_turn(R: Array, tau: Array) -> Array:
    """Orthonormal columns (k, p, m) from those of R along teachers τ (m,), the largest first."""
    result = np.zeros_like(R)
    order = np.argsort(-tau, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(tau[order]) < -_EQUAL * np.max(tau, initial=0.0)) + 1)
    for group in groups:
        left = R[..., group] - result @ (np.swapaxes(result, -1, -2) @ R[..., group])
        u, _, v = np.linalg.svd(left, full_matrices=False)
        result[..., group] = u @ v
    return result


def _growth(dynamics: SmallOverlaps, q0: Array) -> Array:
    """ln Γᵢ (k, p) along the eigenvectors of Q₀, up to a constant, when all norms have become equal."""

    def spread(q: Array) -> float:
        return float(np.max((np.max(q, axis=-1) - np.min(q, axis=-1)) / np.mean(q, axis=-1)))

    if spread(q0) <= _EQUAL_NORMS:
        return np.zeros_like(q0)
    size = q0.size

    def drift(_: float, state: Array) -> Array:
        q = state[:size].reshape(q0.shape)
        rates = q * dynamics.relative_drift(q), dynamics.growth_rate(q)
        return np.concatenate([rate.ravel() for rate in rates])

    def unequal(state: Array) -> float:
        return spread(state[:size].reshape(q0.shape)) - _EQUAL_NORMS

    state = _integrate_until(dynamics, drift, np.concatenate([q0.ravel(), np.zeros(size)]), unequal, size)
    return state[size:].reshape(q0.shape)


def noise_to_signal(parameters: RunParameters, q0: float = 1.0) -> float:
    """σ² of the noise on the plateau over the initial overlaps, from random weights at N → ∞.

    Zero for gradient flow. The numbers are those that a `BiasStudy` allows, and are not checked again.

    Raises
    ------
    InputError
        As `escape_polar`; or the model has a general teacher, or η is so large that students do not leave
        the plateau.
    """
    dynamics, model = SmallOverlaps.of(parameters), parameters.model
    if model.teacher != "orthonormal":
        raise InputError("teacher", f"{model.teacher!r}: the theory of the noise is for T = 1")
    if model.flow == "gradient":
        return 0.0

    def drift(_: float, state: Array) -> Array:
        q = np.full(model.p, state[0])
        added = dynamics.diffusion(state[0]) * np.exp(-2.0 * state[1])
        norm = state[0] * dynamics.relative_drift(q)[0]
        return np.array([norm, dynamics.growth_rate(q)[0], added])

    def left(state: Array) -> float:
        return _LONGEST_GROWTH - float(state[1])

    return float(_integrate_until(dynamics, drift, np.array([q0, 0.0, 0.0]), left, 1)[2]) / q0


def _integrate_until(
    dynamics: SmallOverlaps,
    drift: Callable[[float, Array], Array],
    state: Array,
    remaining: Callable[[Array], float],
    norms: int,
) -> Array:
    """The state when `remaining` has come down to zero; the first `norms` of its entries are norms."""
    from scipy.integrate import solve_ivp

    if dynamics.relative_drift(np.zeros(dynamics.p))[0] <= 0.0:
        gamma = dynamics.decay / dynamics.eta
        raise InputError("weight_decay", f"{gamma:g} is too large: norms decay to 0, there is no plateau")
    bound = _LOST * max(float(np.max(state[:norms])), dynamics.b / dynamics.a)

    def done(_: float, now: Array) -> float:
        return remaining(now)

    def lost(_: float, now: Array) -> float:
        return bound - float(np.max(now[:norms]))

    for event in (done, lost):
        event.terminal = True  # type: ignore[attr-defined]
    end = _LONGEST_TIME / abs(dynamics.a * dynamics.eta)
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve_ivp(
            drift, (0.0, end), state, "DOP853", rtol=1e-10, atol=1e-13, events=(done, lost)
        )
    if not solution.t_events[0].size:
        what = "norms grow without bound" if solution.t_events[1].size else "students stay on the plateau"
        raise InputError("eta", f"{dynamics.eta:g} is too large: {what}")
    return np.asarray(solution.y[:, -1])


@dataclasses.dataclass(frozen=True)
class ExpectedBias:
    """Theory for SGD from random weights as N → ∞: means over starts and noise.

    alignment, error
        Mean alignment, and its standard error from the finite number of samples.
    excess
        √N times the mean excess of the squared distance per N over that of the closest solution.
    """

    alignment: float
    error: float
    excess: float


def expected_bias(
    parameters: RunParameters, noise: float, q0: float = 1.0, samples: int = SAMPLES
) -> ExpectedBias:
    """Means where R ends with polar(G₁ + σG₂), at σ² = `noise`, over pairs from a fixed seed.

    The excess is 2 √(b/a) (‖R₀‖₁ − tr(polar(G₁ + σG₂)ᵀR₀)) with R₀ = √(q₀/N) G₁ (`closest_solutions`).
    """
    dynamics, model = SmallOverlaps.of(parameters), parameters.model
    generator = np.random.default_rng(_SEED)
    signal = generator.standard_normal((samples, model.p, model.pstar))
    seen = signal + np.sqrt(noise) * generator.standard_normal(signal.shape)
    left, _, right = np.linalg.svd(seen, full_matrices=False)
    largest = np.sum(np.linalg.svd(signal, compute_uv=False), axis=1)
    found = np.sum(left @ right * signal, axis=(1, 2))
    alignment = found / largest
    return ExpectedBias(
        float(np.mean(alignment)),
        float(np.std(alignment, ddof=1) / np.sqrt(samples)),
        float(2.0 * np.sqrt(dynamics.b / dynamics.a * q0) * np.mean(largest - found)),
    )
