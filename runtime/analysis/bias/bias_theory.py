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

**Noise.** From random weights R₀ has independent entries along the teachers, of variance q₀/N times the
eigenvalue of T, and Q₀ = q₀·1 up to 1/√N. The noise of one-pass SGD moves R by amounts of the same
order 1/√N: however large N is, the solution depends on both. `plateau_noise` has the noise over signal
σ² that is added on the plateau. If all non-zero eigenvalues of T are equal, so is σ² for all entries,
and R ends with the polar factor of G₁ + σG₂, two independent normal matrices (p, rank T); the alignment
is tr(polar(G₁ + σG₂)ᵀG₁)/‖G₁‖₁. As the rate of ln Γ is ∝ η and D ∝ η², σ² is of order η: the closest
solution is found at small learning rates. Teachers with unequal eigenvalues are learned one after
another, and noise goes on to add to the overlaps with the later ones when R is of order one; no theory
is known for them.

Derived here from the model of arXiv:2604.03068; tests hold these formulas to the generated drift, to
ensembles of the ODE and to simulations.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from derive.errors import InputError
from derive.model import require_quadratic
from runtime.analysis.equal_layers import equal_readouts
from runtime.analysis.plateau.plateau_noise import SmallOverlaps
from runtime.start.checked_arrays import Array, require_free_norms
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher

# Number of matrices in averages over starts and noise, for a standard error of about 0.002.
SAMPLES = 20_000
_SEED = 0
# Norms are equal if their spread is less than this part of their mean.
_EQUAL_NORMS = 1e-9
# Teachers' eigenvalues closer than this part of the largest are equal.
_EQUAL = 1e-9


def small_overlaps(parameters: RunParameters) -> SmallOverlaps:
    """The dynamics of small overlaps; InputError on the sphere, or if second-layer weights differ."""
    require_quadratic(parameters.model, "the theory of the bias is")
    require_free_norms(parameters.model, "the theory of the bias is")
    equal_readouts(parameters, "differ: the theory of the bias needs")
    return SmallOverlaps.of(parameters)


def equal_teachers(T: Array) -> bool:
    """Whether all eigenvalues of T that are not zero are equal, so that the noise is known."""
    tau = Teacher.from_overlaps(T).weights
    return bool(tau.size) and bool(np.ptp(tau) <= _EQUAL * np.max(tau))


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
    dynamics = small_overlaps(parameters)
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
        rates = q * dynamics.relative_drift(q), dynamics.own_rate(q)
        return np.concatenate([rate.ravel() for rate in rates])

    def unequal(state: Array) -> float:
        return spread(state[:size].reshape(q0.shape)) - _EQUAL_NORMS

    state = dynamics.followed(drift, np.concatenate([q0.ravel(), np.zeros(size)]), unequal, size)
    return state[size:].reshape(q0.shape)


def noise_to_signal(parameters: RunParameters, q0: float = 1.0) -> float:
    """σ² of the noise on the plateau over the initial overlaps, from random weights at N → ∞.

    Zero for gradient flow. The numbers are those that a `BiasStudy` allows, and are not checked again.

    Raises
    ------
    InputError
        As `escape_polar`; or eigenvalues of T differ, or η is so large that students do not leave the
        plateau.
    """
    dynamics = small_overlaps(parameters)
    if not equal_teachers(parameters.T):
        raise InputError("T", "has unequal eigenvalues: the theory of the noise is for equal ones")
    # All overlaps are alike, so one of them stands for all.
    one = np.zeros((len(dynamics.students), len(dynamics.teachers)), dtype=np.bool_)
    one[0, 0] = True
    return float(dynamics.noise_to_signal(q0, one)[0])


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

    The excess is 2 √(b/a) (‖R₀‖₁ − tr(polar(G₁ + σG₂)ᵀR₀)) with R₀ = √(q₀τ/N) G₁ along the teachers
    (`closest_solutions`), where τ is the eigenvalue of T.
    """
    dynamics = small_overlaps(parameters)
    generator = np.random.default_rng(_SEED)
    signal = generator.standard_normal((samples, len(dynamics.students), len(dynamics.teachers)))
    seen = signal + np.sqrt(noise) * generator.standard_normal(signal.shape)
    left, _, right = np.linalg.svd(seen, full_matrices=False)
    largest = np.sum(np.linalg.svd(signal, compute_uv=False), axis=1)
    found = np.sum(left @ right * signal, axis=(1, 2))
    alignment = found / largest
    # φ/d is the τ b/a of one teacher and one student.
    size = dynamics.teachers[0] / dynamics.students[0] * q0
    return ExpectedBias(
        float(np.mean(alignment)),
        float(np.std(alignment, ddof=1) / np.sqrt(samples)),
        float(2.0 * np.sqrt(size) * np.mean(largest - found)),
    )
