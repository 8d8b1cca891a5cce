"""Finds the plateau, the fixed point without alignment, and the rate at which trajectories leave it.

At R = 0 the drift of R vanishes, and with free norms Q = q 1 stays of this form. The norm q is
where the generated drift vanishes: d ln q / dα along Q = q 1 is a polynomial of second degree in
q (chains C(DC)ᵐ up to m = 2), so three values of the right-hand side define it. Its smaller root is
the plateau: q grows below it and shrinks above. The larger root is unstable, and beyond it the
norms run away; where the roots meet, at the largest η, the plateau ends.

The linear dynamics around the plateau follow from the generated tangents. Flipping the sign of
one student is a symmetry, and at Q diagonal, R = 0 it forbids all couplings but those of a
student's overlaps with the teachers among themselves, and of the norms among themselves.

The model is that of arXiv:2604.03068; its plateau in gradient flow: q = p/(p+2), ε = 1/(p+2) + 1/p*,
R ~ exp(4abηα), whatever p, for T = 1 and a mean readout.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.plateau.bisection import largest_where
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System, as_system
from runtime.vector.matrix_products import times_transpose

# At most this many Newton steps follow the closed root; rounding leaves nothing to do after two.
_POLISH = 5
# Rates that differ by less than this part of the largest are equal.
_EQUAL = 1e-9
# The drift at the fixed point is zero up to this part of its single terms.
_STATIONARY = 1e-11

NORM = "norm"
NORM_DIFFERENCES = "norm differences"
FIXED_NORMS = "fixed norms"
STUDENTS = "student overlaps"
ALIGNMENT = "alignment"


class NoPlateauError(InputError):
    """There is no plateau with these arguments; `reason` is a clause that says what happens instead."""

    def __init__(self, option: str, problem: str, reason: str) -> None:
        super().__init__(option, f"{problem}, {reason}")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Mode:
    """An eigenvalue of the linear dynamics: small deviations grow as exp(rate · α).

    name
        ``"norm"`` (all norms together), ``"norm differences"``, ``"student overlaps"`` (Q off the
        diagonal), ``"alignment"`` (R), or ``"fixed norms"`` (on the sphere, which do not move).
    multiplicity
        Number of directions of the packed state.
    """

    name: str
    rate: float
    multiplicity: int


@dataclasses.dataclass(frozen=True, eq=False)
class Plateau:
    """The fixed point with R = 0, from `plateau`.

    parameters
        The run-time parameters that it was computed for.
    Q, R
        Overlaps (p, p), diagonal, and (p, p*), zero.
    loss
        Generalisation error ε.
    rate
        Escape rate per unit of α: the largest of R; negative where the plateau is an attractor.
    multiplicity
        Number of directions of R that grow at this rate: p times the teacher's largest eigenvalue's.
    modes
        All rates, those of Q first.
    residual
        Largest entry of the drift, which is zero up to rounding.
    """

    parameters: RunParameters
    Q: Array
    R: Array
    loss: float
    rate: float
    multiplicity: int
    modes: tuple[Mode, ...]
    residual: float

    @property
    def model(self) -> Model:
        return self.parameters.model

    @property
    def eta(self) -> float:
        return self.parameters["eta"]

    @property
    def label_noise(self) -> float:
        return self.parameters["label_noise"]

    @property
    def T(self) -> Array:
        """Teacher overlaps (p*, p*), the identity for an orthonormal teacher."""
        return self.parameters.T

    @property
    def stable(self) -> bool:
        """Whether it attracts within R = 0."""
        return all(m.rate < 0.0 for m in self.modes if m.name not in (ALIGNMENT, FIXED_NORMS))

    @property
    def q(self) -> float:
        """Mean norm of a student, tr Q / p."""
        return float(np.trace(self.Q)) / self.model.p

    @cached_property
    def spectrum(self) -> Array:
        """All eigenvalues of the Jacobian of the packed state (n,), descending; all are real."""
        values = [np.full(mode.multiplicity, mode.rate) for mode in self.modes]
        return np.sort(np.concatenate(values))[::-1]

    def rate_of(self, name: str) -> float:
        """The largest rate of the modes of this name; minus infinity if there is none."""
        return max((mode.rate for mode in self.modes if mode.name == name), default=-np.inf)


@takes_parameters(positional=True)
def plateau(system: System, *_: Any, norms: ArrayLike | None = None, **parameters: Any) -> Plateau:
    """The plateau of a system: R = 0 and Q stationary, and its linear dynamics.

    Parameters
    ----------
    system
        From `oo.load`.
    eta, label_noise, T
        As for `oo.integrate`, and so all other run-time parameters.
    norms
        On the sphere: norms Q_ii (p,), which are kept; None is 1. With free norms they follow.

    Raises
    ------
    NoPlateauError
        (an InputError) η is too large and the norms run away; or T = 0 and they shrink to zero.
    InputError
        Another argument is not allowed.
    """
    model = as_system(system).model
    checked = RunParameters.of(model, parameters)
    return plateau_at(system, checked, None if norms is None else _checked_norms(model, norms))


def plateau_at(system: System, parameters: RunParameters, norms: Array | None = None) -> Plateau:
    """As `plateau`, for checked parameters and norms (p,)."""
    found = find_plateau(system, parameters, norms)
    if found is not None:
        return found
    if _plateau_norm(system, parameters) is not None:
        raise NoPlateauError(
            "T", "is zero: there is no plateau", "the norms of the students shrink to zero"
        )
    raise NoPlateauError(
        "eta",
        f"{parameters['eta']:g} has no plateau",
        "the norms of the students run away; the largest learning rate is"
        f" {_largest_plateau_eta(system, parameters):.6g}",
    )


def find_plateau(system: System, parameters: RunParameters, norms: Array | None = None) -> Plateau | None:
    """As `plateau_at`, but None where there is no plateau."""
    model = system.model
    if model.constraint == "sphere":
        Q = np.eye(model.p) if norms is None else np.diag(norms)
    else:
        q = _plateau_norm(system, parameters)
        if q is None or not q > _STATIONARY * _scale(parameters):
            return None
        Q = q * np.eye(model.p)
    R = np.zeros((model.p, model.pstar))
    y, packed = system.pack(Q, R), parameters.packed[0]
    modes = _modes(system, y, parameters)
    drift = np.empty_like(y)
    system.compiled_rhs(y, packed, drift)
    residual = float(np.max(np.abs(drift)))
    a, _ = readout.weights(model)
    # The size of a single term: κ tr(aQ) Q with κ = 2aη.
    if residual > _STATIONARY * 2.0 * a * parameters["eta"] * a * float(np.trace(Q)) * float(np.max(Q)):
        raise RuntimeError(
            f"the drift at the plateau is {residual:.3g}, not zero: a defect of this program"
        )
    alignment = [mode for mode in modes if mode.name == ALIGNMENT]
    escape = max(alignment, key=lambda mode: mode.rate)
    return Plateau(
        parameters=parameters,
        Q=Q,
        R=R,
        loss=float(system.packed_losses(y[None], packed)[0]),
        rate=escape.rate,
        multiplicity=escape.multiplicity,
        modes=modes,
        residual=residual,
    )


@takes_parameters(positional=True, without=("eta",))
def largest_plateau_eta(system: System, *_: Any, **parameters: Any) -> float:
    """The largest η with a plateau at free norms, by bisection to rounding; infinity in gradient flow.

    Whether there is one is decided by the sign of the discriminant of the polynomial above, which
    passes through zero linearly in η. The parameters are those of `plateau` but η.

    Raises InputError as `plateau`, and on the sphere, where there is a plateau at any η.
    """
    model = as_system(system).model
    if model.constraint != "free":
        raise InputError("constraint", f"{model.constraint!r}: the plateau exists at any η")
    return _largest_plateau_eta(system, RunParameters.of(model, {"eta": 1.0, **parameters}))


def _largest_plateau_eta(system: System, parameters: RunParameters) -> float:
    """As `largest_plateau_eta`; the η of the parameters does not matter."""
    a, _ = readout.weights(system.model)

    def exists(eta: float) -> bool:
        return _plateau_norm(system, parameters.replaced(eta=eta)) is not None

    return largest_where(exists, 1.0 / (a * a * system.model.p * _scale(parameters)))


def _scale(parameters: RunParameters) -> float:
    """A scale of q: the norm at which the student's mean output is that of the teacher, or the noise."""
    model = parameters.model
    a, b = readout.weights(model)
    output = b * float(np.trace(parameters.T))
    if model.flow == "sgd":
        output += float(np.sqrt(parameters["label_noise"]))
    # With T = 0 and without noise there is no scale; any will do.
    return output / (a * model.p) if output > 0.0 else 1.0


def _checked_norms(model: Model, norms: ArrayLike) -> Array:
    if model.constraint != "sphere":
        raise InputError("norms", "are given, but the norms are free")
    given = checked_arrays.real_array("norms", norms, (model.p,))
    if np.min(given) <= 0.0:
        raise InputError("norms", f"{np.min(given):g} is not greater than 0")
    return given


def _plateau_norm(system: System, parameters: RunParameters) -> float | None:
    """The smaller root q of d ln q / dα along Q = q 1, R = 0; None if there is none."""
    packed, scale = parameters.packed[0], _scale(parameters)
    y = np.zeros(system.model.state_size)
    diagonal = np.flatnonzero(
        system.pack(np.eye(system.model.p), np.zeros((system.model.p, system.model.pstar)))
    )
    drift = np.empty_like(y)

    def growth(q: float) -> float:
        y[diagonal] = q
        system.compiled_rhs(y, packed, drift)
        return float(drift[0]) / q

    # The polynomial c₂x² + c₁x + c₀ of x = q/scale through its values at 1/2, 1 and 3/2.
    low, middle, high = (growth(x * scale) for x in (0.5, 1.0, 1.5))
    c2 = 2.0 * (low - 2.0 * middle + high)
    c0 = 3.0 * low - 3.0 * middle + high
    c1 = middle - c2 - c0
    discriminant = c1 * c1 - 4.0 * c2 * c0
    if not (discriminant >= 0.0 and c1 < 0.0):
        return None
    # In this form nothing cancels, and c₂ may vanish, as it does in gradient flow.
    q = scale * 2.0 * c0 / (np.sqrt(discriminant) - c1)
    if not q > 0.0:
        return 0.0
    best = abs(growth(q))
    for _ in range(_POLISH):
        slope = (2.0 * c2 * q / scale + c1) / scale
        # Where the two roots meet the slope vanishes, and q is known to half the digits only.
        if slope >= 0.0:
            break
        better = q - growth(q) / slope
        remains = abs(growth(better)) if better > 0.0 else np.inf
        if not remains < best:
            break
        q, best = better, remains
    return float(q)


def _modes(system: System, y: Array, parameters: RunParameters) -> tuple[Mode, ...]:
    """All modes at Q diagonal, R = 0, from p* + 2 tangents."""
    model = system.model
    p, pstar = model.p, model.pstar
    nothing, packed = np.zeros((p, pstar)), parameters.packed[0]

    def derivative(Q: Array, R: Array) -> tuple[Array, ...]:
        return system.unpack(system.tangent(y, packed, system.pack(Q, R)))

    found: list[tuple[str, Array]] = []
    if model.constraint == "sphere":
        found.append((FIXED_NORMS, np.zeros(p)))
    else:
        # Norms are coupled, and equal: their matrix is α 1 + β (1 1ᵀ).
        column = np.diagonal(derivative(np.diag(np.eye(p)[0]), nothing)[0])
        beta = column[1] if p > 1 else 0.0
        alpha = column[0] - beta
        found.append((NORM, np.array([alpha + p * beta])))
        found.append((NORM_DIFFERENCES, np.full(p - 1, alpha)))
    # The overlap of two students is coupled to nothing else, so one tangent along all of them is enough.
    pairs = derivative(np.ones((p, p)) - np.eye(p), nothing)[0]
    found.append((STUDENTS, pairs[np.triu_indices(p, 1)]))
    # A student's overlaps with the teachers are coupled: one tangent per teacher, along all students.
    blocks = np.empty((p, pstar, pstar))
    for r in range(pstar):
        R = nothing.copy()
        R[:, r] = 1.0
        blocks[:, :, r] = derivative(np.zeros((p, p)), R)[1]
    found.append((ALIGNMENT, _along_teacher(blocks, Teacher.from_overlaps(parameters.T)).ravel()))
    largest = max(float(np.max(np.abs(values), initial=0.0)) for _, values in found)
    return tuple(mode for name, values in found for mode in _collected(name, values, _EQUAL * largest))


def _along_teacher(blocks: Array, teacher: Teacher) -> Array:
    """Eigenvalues (p, p*) of matrices (p, p*, p*) that are functions of T.

    They belong to the eigenvectors of T, and are all alike in its null space.
    """
    vectors = teacher.factor / np.sqrt(teacher.weights)
    values = np.sum(times_transpose(blocks, vectors.T) * vectors, axis=1)
    without = blocks.shape[1] - teacher.rank
    if without:
        rest = (np.trace(blocks, axis1=1, axis2=2) - np.sum(values, axis=1)) / without
        values = np.hstack([values, np.repeat(rest[:, None], without, axis=1)])
    return np.asarray(values)


def _collected(name: str, values: Array, width: float) -> list[Mode]:
    """Modes of equal rates together, the largest rate first."""
    modes: list[Mode] = []
    rest = np.sort(values)[::-1]
    while rest.size:
        equal = rest >= rest[0] - width
        modes.append(Mode(name, float(np.mean(rest[equal])), int(np.sum(equal))))
        rest = rest[~equal]
    return modes
