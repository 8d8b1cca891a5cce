"""Finds the linear dynamics around a state with R = 0 and Q diagonal, block by block, from tangents.

Flipping the sign of one student is a symmetry, and at Q diagonal, R = 0 it forbids all couplings but those
of a student's overlaps with the teachers among themselves, and of the norms among themselves. The overlap
of two students has a rate of its own.

The overlaps Rᵢ of student i change as Rᵢ (αᵢ 1 + βᵢ D_v* T). With T = F Fᵀ weights have R = A Fᵀ, and with
the eigenvectors y of Fᵀ D_v* F, whose eigenvalues are φ, the coordinate A y grows at the rate αᵢ + βᵢ φ. So
these rates are real. Those of norms are real where all norms are equal; elsewhere a pair may be complex.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.analysis.plateau.weighted_norms import NormDynamics
from runtime.output.value_ranges import span
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.vector.matrix_products import times_transpose

ComplexArray = NDArray[np.complex128]

# Rates that differ by less than this part of the largest are equal.
EQUAL = 1e-9
# Rates below this part of the largest are zero up to rounding, where symmetries make some of them zero.
_ZERO = 1e-13
# The derived equations of the norms and the generated tangents agree to this part of their terms.
_AGREE = 1e-11

NORM = "norm"
NORM_DIFFERENCES = "norm differences"
FIXED_NORMS = "fixed norms"
STUDENTS = "student overlaps"
ALIGNMENT = "alignment"


@dataclasses.dataclass(frozen=True)
class Mode:
    """An eigenvalue of the linear dynamics: small deviations grow as exp(rate · α).

    name
        ``"norm"`` (all norms together; with second-layer weights every mode of the norms),
        ``"norm differences"``, ``"student overlaps"`` (Q off the diagonal), ``"alignment"`` (R), or
        ``"fixed norms"`` (on the sphere, which do not move).
    multiplicity
        Number of directions of the packed state.
    frequency
        Imaginary part of the eigenvalue. It is zero but for norms of students with different second-layer
        weights, which may oscillate; then there is a mode for each sign.
    """

    name: str
    rate: float
    multiplicity: int
    frequency: float = 0.0

    def __repr__(self) -> str:
        turns = f", frequency {self.frequency:.4g}" if self.frequency else ""
        often = f"multiplicity {self.multiplicity}"
        return f"<{type(self).__name__} {self.name}: rate {self.rate:.6g}{turns}, {often}>"


@dataclasses.dataclass(frozen=True, eq=False)
class LeadingAlignment:
    """The overlaps with the teachers that grow fastest.

    directions, projector
        (p*, k): overlaps of weights are R = A directionsᵀ with A = R projector (p, k).
    mask
        Which entries of A (p, k) grow at the largest rate.
    weight
        The variance of the leading entries of A is q₀ weight/N for random weights of the norm q₀. For T = 1
        it is 1.
    """

    directions: Array
    projector: Array
    mask: NDArray[np.bool_]
    weight: float

    @property
    def count(self) -> int:
        """The number of leading entries."""
        return int(np.sum(self.mask))

    def size(self, R: Array) -> Array:
        """The norm (…) of the leading part of overlaps R (…, p, p*)."""
        A = times_transpose(R, self.projector.T)
        return np.asarray(np.linalg.norm(np.where(self.mask, A, 0.0), axis=(-2, -1)))

    def overlaps(self, A: Array) -> Array:
        """R (…, p, p*) of coordinates A (…, p, k)."""
        return times_transpose(A, self.directions)

    @property
    def one(self) -> Array:
        """Coordinates A (p, k) of norm 1, equal for all students that share the first leading direction."""
        direction = int(np.argmax(np.any(self.mask, axis=0)))
        leaders = self.mask[:, direction]
        A = np.zeros(self.mask.shape)
        A[leaders, direction] = 1.0 / np.sqrt(np.sum(leaders))
        return A


@dataclasses.dataclass(frozen=True, eq=False)
class LinearDynamics:
    """The linear dynamics at a packed state with R = 0 and Q diagonal.

    rates
        All eigenvalues, by the names of modes.
    norms
        The matrix (p, p) of the norms among themselves; zero on the sphere, where they do not move.
    pairs
        The rates (p, p) of the overlaps of two students, symmetric, zero on the diagonal.
    alignment
        The rates (p, k) of A = R projector; see `LeadingAlignment`, also for directions and projector.
    """

    rates: tuple[tuple[str, Array | ComplexArray], ...]
    norms: Array
    pairs: Array
    alignment: Array
    directions: Array
    projector: Array

    def __repr__(self) -> str:
        kinds = (f"{name} {span(np.real(values))}" for name, values in self.rates if np.size(values))
        return f"<{type(self).__name__} with the rates {', '.join(kinds)}>"

    @property
    def modes(self) -> tuple[Mode, ...]:
        """All rates, those of Q first, the largest of each kind first."""
        largest = max(float(np.max(np.abs(values), initial=0.0)) for _, values in self.rates)
        return tuple(
            mode for name, values in self.rates for mode in _collected(name, values, EQUAL * largest)
        )

    @property
    def leading(self) -> LeadingAlignment:
        """The overlaps with the teachers that grow fastest."""
        rates = self.alignment
        if not rates.size:
            none = np.zeros((len(self.pairs), 0), dtype=np.bool_)
            return LeadingAlignment(self.directions, self.projector, none, 0.0)
        mask = rates >= np.max(rates) - EQUAL * np.max(np.abs(rates))
        first = self.directions[:, int(np.argmax(np.any(mask, axis=0)))]
        length = float(np.sqrt(np.sum(first * first)))
        return LeadingAlignment(self.directions / length, self.projector * length, mask, length**2)


def linear_dynamics(system: System, y: Array, parameters: RunParameters) -> LinearDynamics:
    """The linear dynamics at a packed state y with R = 0 and Q diagonal, from p* + 2 tangents."""
    model = system.model
    p, pstar = model.p, model.pstar
    nothing, packed = np.zeros((p, pstar)), parameters.packed[0]

    def derivative(Q: Array, R: Array) -> tuple[Array, Array]:
        dQ, dR = system.unpack(system.tangent(y, packed, system.pack(Q, R)))[:2]
        return dQ, dR

    norms = np.zeros((p, p))
    found: list[tuple[str, Array | ComplexArray]] = []
    if model.constraint == "sphere":
        found.append((FIXED_NORMS, np.zeros(p)))
    elif model.weighted:
        norms = _weighted_norms(system, y, parameters, derivative)
        found.append((NORM, np.linalg.eigvals(norms).astype(np.complex128)))
    else:
        # Norms are coupled, and equal: their matrix is α 1 + β (1 1ᵀ).
        column = np.diagonal(derivative(np.diag(np.eye(p)[0]), nothing)[0])
        beta = column[1] if p > 1 else 0.0
        alpha = column[0] - beta
        norms = alpha * np.eye(p) + beta
        found.append((NORM, np.array([alpha + p * beta])))
        found.append((NORM_DIFFERENCES, np.full(p - 1, alpha)))
    # The overlap of two students is coupled to nothing else, so one tangent along all of them is enough.
    pairs = derivative(np.ones((p, p)) - np.eye(p), nothing)[0]
    np.fill_diagonal(pairs, 0.0)
    # A student's overlaps with the teachers are coupled: one tangent per teacher, along all students.
    blocks = np.empty((p, pstar, pstar))
    for r in range(pstar):
        R = nothing.copy()
        R[:, r] = 1.0
        blocks[:, :, r] = derivative(np.zeros((p, p)), R)[1]
    directions, projector = teacher_directions(parameters)
    along, unspanned = _along(blocks, directions, projector)
    if model.weighted:
        # In gradient flow the overlap of an active and an inactive student neither grows nor decays.
        pairs[np.abs(pairs) <= _ZERO * max(np.max(np.abs(pairs)), np.max(np.abs(along), initial=0.0))] = 0.0
    found.append((STUDENTS, pairs[np.triu_indices(p, 1)]))
    found.append((ALIGNMENT, np.hstack([along, unspanned]).ravel()))
    return LinearDynamics(tuple(found), norms, pairs, along, directions, projector)


def _weighted_norms(
    system: System,
    y: Array,
    parameters: RunParameters,
    derivative: Callable[[Array, Array], tuple[Array, Array]],
) -> Array:
    """The matrix (p, p) of the norms, from the derived equations; checked along one generated tangent."""
    Q, R = system.unpack(y)
    q, eta = np.diagonal(Q), parameters["eta"]
    equations, theta = NormDynamics.of(parameters), eta / parameters["batch"]
    norms = eta * equations.rates(q, theta)
    along = 1.0 + np.arange(float(q.size)) / q.size
    generated = np.diagonal(derivative(np.diag(along), np.zeros_like(R))[0])
    # Rates may vanish where the plateau ends, though their terms do not.
    size = eta * float(np.max(equations.growth(q, theta)[2])) * q.size
    if np.max(np.abs(generated - norms @ along)) > _AGREE * size:
        raise RuntimeError(
            "the tangents of the norms are not those of the equations: a defect of this program"
        )
    return norms


def teacher_directions(parameters: RunParameters) -> tuple[Array, Array]:
    """F y and its inverse from the left (p*, k), with T = F Fᵀ and the eigenvectors y of Fᵀ D_v* F."""
    T = parameters.T
    if np.array_equal(T, np.eye(len(T))) and not parameters.model.weighted:
        return np.eye(len(T)), np.eye(len(T))
    teacher = Teacher.from_overlaps(T)
    directions, projector = teacher.factor, teacher.factor / teacher.weights
    if parameters.model.weighted:
        vstar = parameters.weights()[1][0]
        y = np.linalg.eigh(directions.T @ (vstar[:, None] * directions))[1]
        directions, projector = directions @ y, projector @ y
    return directions, projector


def _along(blocks: Array, directions: Array, projector: Array) -> tuple[Array, Array]:
    """Eigenvalues (p, k) and (p, p* − k) of matrices (p, p*, p*): along the directions, and beyond them.

    The latter are all alike.
    """
    values = np.sum(times_transpose(blocks, directions.T) * projector, axis=1)
    without = blocks.shape[1] - directions.shape[1]
    rest = np.zeros((len(blocks), 0))
    if without:
        rest = (np.trace(blocks, axis1=1, axis2=2) - np.sum(values, axis=1)) / without
        rest = np.repeat(rest[:, None], without, axis=1)
    return np.asarray(values), np.asarray(rest)


def _collected(name: str, values: Array | ComplexArray, width: float) -> list[Mode]:
    """Modes of equal rates together, the largest rate first."""
    modes: list[Mode] = []
    imaginary = np.imag(values)
    for frequency in (0.0, *np.unique(imaginary[np.abs(imaginary) > width])):
        near = np.abs(imaginary - frequency) <= width if frequency == 0.0 else imaginary == frequency
        rest = np.sort(np.real(values[near]))[::-1]
        while rest.size:
            equal = rest >= rest[0] - width
            modes.append(Mode(name, float(np.mean(rest[equal])), int(np.sum(equal)), float(frequency)))
            rest = rest[~equal]
    return modes
