"""Finds the spectrum of the linear dynamics at a solution or other state, and the largest stable η.

A solution without loss has a WᵀW = b W*ᵀW*, that is W = √(b/a) O W* with orthonormal columns of O
in the space of students (arXiv:2604.03068; p ≥ k = rank T). Around it the state can change

- along the manifold of solutions, pk − k(k+1)/2 dimensions with free norms, where nothing drives it;
- by weight of students beyond both the teachers and O, (p−k)(p−k+1)/2 entries of Q − R T⁺Rᵀ: the
  loss is of second order in them, so their rate is zero too, and they decay as a power law;
- in other directions, whose rates are not zero. The η² noise drives the part of Q − R T⁺Rᵀ
  between learned directions, whose trace has for T = 1 the rate 8abη [2ab(p*+2)η − 1]: SGD is
  stable up to η = 1/(2ab(p*+2)).

Overlaps of weights form a cone (the joint Gram matrix is positive semi-definite) that the drift
never leaves, so the linear dynamics around a solution keep a cone of deviations, and the largest
real part of the spectrum belongs to a deviation that weights can have.

With fixed second layers a solution has a Wᵀ D_v W = b W*ᵀ D_v* W*: as many students of each sign as the
teacher has directions of that sign are enough. The solutions differ in their rates then, and for students
of both signs, which may cancel each other, the manifold is larger.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive import readout
from derive.arguments import one_of
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.landscape.local_hessian import require_fixed_weights
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.analysis.plateau.bisection import largest_where
from runtime.analysis.plateau.plateau_curve import LARGEST, largest_eta
from runtime.output.value_ranges import span
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System, as_system

WHERE = (*LARGEST, "solution")
ZERO = 1e-9
# Loss below which a state counts as a solution, relative to b² tr T².
_NO_LOSS = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class StabilitySpectrum:
    """Eigenvalues of the Jacobian at one state, from `solution_spectrum`.

    eigenvalues
        Complex (m,), largest real part first; m is the number of directions in which the state can
        move: all n of the packed state, on the sphere without the p norms, and for a singular T
        with p(p* − rank T) fewer of R.
    zero_modes
        How many eigenvalues are zero.
    null_directions
        Dimension of the null space; less than `zero_modes` where deviations grow linearly.
    manifold_modes, marginal_modes
        At a solution: null directions along the manifold of solutions, and the others, in which
        weights move away from the teachers' span and the loss is of second order. None elsewhere, and
        for activations other than λ², whose solutions form other manifolds.
    residual
        Largest entry of the drift: zero, up to rounding, at a fixed point.
    """

    eigenvalues: np.ndarray
    zero_modes: int
    null_directions: int
    manifold_modes: int | None
    marginal_modes: int | None
    residual: float
    tolerance: float

    def __repr__(self) -> str:
        modes = f"{self.zero_modes} zero"
        if self.manifold_modes is not None:
            modes += f" ({self.manifold_modes} along the solutions, {self.marginal_modes} marginal)"
        return (
            f"<{type(self).__name__}: {self.eigenvalues.size} eigenvalues, real parts"
            f" {span(self.eigenvalues.real)}, {modes}, {'stable' if self.stable else 'unstable'}>"
        )

    @property
    def stable(self) -> bool:
        """Whether no deviation grows exponentially."""
        return bool(np.all(self.eigenvalues.real <= self._width))

    @property
    def slowest(self) -> float:
        """The largest real part of the eigenvalues that are not zero; minus infinity if all are zero."""
        moving = np.abs(self.eigenvalues) > self._width
        return float(np.max(self.eigenvalues.real[moving], initial=-np.inf))

    @property
    def _width(self) -> float:
        return self.tolerance * float(np.max(np.abs(self.eigenvalues), initial=0.0))


@dataclasses.dataclass(frozen=True)
class ZeroModes:
    """Number of zero modes at a solution with free norms, as `StabilitySpectrum` counts them."""

    manifold: int
    marginal: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.manifold + self.marginal


def expected_zero_modes(model: Model, T: ArrayLike | None = None) -> ZeroModes | None:
    """The zero modes at a solution: pk − k(k+1)/2 along the manifold, (p−k)(p−k+1)/2 marginal.

    None where they are not known in general: on the sphere, with second-layer weights or another
    activation than λ², and for p < k = rank T, where there is no solution. Raises InputError if T is
    missing or not allowed.
    """
    model = checked_arrays.as_model(model)
    k = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T)).rank
    if model.constraint != "free" or model.weighted or not model.quadratic or model.p < k:
        return None
    beyond = model.p - k
    return ZeroModes(model.p * k - k * (k + 1) // 2, beyond * (beyond + 1) // 2)


@takes_parameters(positional=True)
def solution_spectrum(
    system: System, Q: ArrayLike, R: ArrayLike, *_: Any, tolerance: float = ZERO, **parameters: Any
) -> StabilitySpectrum:
    """Eigenvalues of the Jacobian at overlaps Q (p, p), R (p, p*), and its zero modes.

    It takes any activation: at the state where a run ends it tells whether that is stable, and at R = 0
    of an even activation, where R stays 0, how fast overlaps with the teachers grow.

    The Jacobian is that of the packed state, so of symmetric Q only, and restricted to directions in
    which the state can move: not the norms on the sphere, and not R along null vectors of T.

    Parameters
    ----------
    Q, R
        Usually a fixed point, such as a solution; see `StabilitySpectrum.residual`.
    eta, label_noise, T
        As for `oo.integrate`, and so all other run-time parameters.
    tolerance
        Eigenvalues and singular values below this part of the largest are zero. At a solution
        known to 1e-8 only, take 1e-6.

    Raises
    ------
    InputError
        An argument is not allowed.
    """
    model = as_system(system).model
    width = checked_arrays.real_number("tolerance", tolerance, least=0.0)
    checked = RunParameters.of(model, parameters)
    q, r = checked_arrays.overlaps(model, Q, R, checked.T)
    q = checked_arrays.symmetric_part("Q", q)
    y, packed = system.pack(q, r), checked.packed[0]
    directions = _directions(model, checked.T)
    # The directions are an invariant subspace, so this is the Jacobian on it.
    jacobian = directions.T @ system.jacobian_of_state(y, packed) @ directions
    eigenvalues = _eigenvalues(jacobian)
    eigenvalues = eigenvalues[np.lexsort((eigenvalues.imag, -eigenvalues.real))]
    largest = float(np.max(np.abs(eigenvalues), initial=0.0))
    singular, right = np.linalg.svd(jacobian)[1:]
    null = right[singular <= width * singular[0]] if singular.size else right[:0]
    along = beyond = None
    if _is_solution(system, y, checked):
        beyond = _leaving(model, null @ directions.T, r, checked.T)
        along = len(null) - beyond
    drift = np.empty_like(y)
    system.compiled_rhs(y, packed, drift)
    return StabilitySpectrum(
        eigenvalues=eigenvalues,
        zero_modes=int(np.sum(np.abs(eigenvalues) <= width * largest)),
        null_directions=len(null),
        manifold_modes=along,
        marginal_modes=beyond,
        residual=float(np.max(np.abs(drift))),
        tolerance=width,
    )


@takes_parameters(without=("eta",))
def largest_stable_eta(
    system: System,
    where: str = "plateau",
    *,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
    **parameters: Any,
) -> float:
    """The largest learning rate with which a fixed point exists and is stable; infinity if all are.

    Bisection down to rounding, with the spectra of the generated Jacobian: the error is below
    1e-10, relative. A loss of stability that is undone at a larger η would not be noticed.

    Parameters
    ----------
    where
        ``"plateau"``: it exists and attracts within R = 0 (norms of 1 on the sphere). With free
        norms it ends where it meets an unstable fixed point; on the sphere students align.
        ``"escape"``: it also repels in a direction of R. Above, SGD stays on it for ever.
        ``"solution"``: no small deviation from a zero-loss solution grows.
    label_noise, T
        As for `plateau`, and so all other run-time parameters but η.
    Q, R
        The solution, on the sphere or with second-layer weights, where solutions differ (see
        `zero_loss_solution`). Otherwise rotations of the students make them all alike.

    Raises
    ------
    InputError
        An argument is not allowed, or there is no zero-loss solution.
    """
    one_of("where", where, WHERE)
    model = as_system(system).model
    checked = RunParameters.of(model, {"eta": 1.0, **parameters})
    if where in LARGEST:
        if Q is not None or R is not None:
            raise InputError("Q" if Q is not None else "R", f"goes with where='solution', not {where!r}")
        return largest_eta(system, checked, where)
    require_fixed_weights(model)
    noise = checked["label_noise"]
    if noise > 0.0 and model.flow == "sgd":
        raise InputError("label_noise", f"{noise:g}: with label noise no zero-loss solution is stationary")
    decay = checked["weight_decay"]
    if decay > 0.0 and model.constraint == "free":
        raise InputError(
            "weight_decay", f"{decay:g}: with weight decay no zero-loss solution is stationary"
        )
    y = system.pack(*_solution(system, checked, Q, R))
    directions = _directions(model, checked.T)
    a, b = readout.weights(model)
    # The product of κ = 2aη and the teacher's mean output decides on stability.
    start = 1.0 / (2.0 * a * b * max(float(np.trace(checked.T)), np.finfo(np.float64).tiny))

    def stable(eta: float) -> bool:
        jacobian = system.jacobian_of_state(y, checked.replaced(eta=eta).packed[0])
        values = _eigenvalues(directions.T @ jacobian @ directions)
        # Zero modes are zero up to rounding.
        rounding = 4.0 * values.size * np.finfo(np.float64).eps * np.max(np.abs(values))
        return bool(np.max(values.real) <= rounding)

    return largest_where(stable, start)


def _solution(
    system: System, parameters: RunParameters, Q: ArrayLike | None, R: ArrayLike | None
) -> tuple[Array, Array]:
    """The given solution, checked; with free norms any solution if none is given."""
    model = system.model
    if (Q is None) != (R is None):
        raise InputError("Q" if Q is None else "R", "is missing: give both Q and R")
    if Q is not None and R is not None:
        q, r = checked_arrays.overlaps(model, Q, R, parameters.T)
        q = checked_arrays.symmetric_part("Q", q)
        if not _is_solution(system, system.pack(q, r), parameters):
            raise InputError("Q", "and R are not a zero-loss solution")
        return q, r
    if model.constraint == "sphere" or model.weighted:
        where = "on the sphere" if model.constraint == "sphere" else "with second-layer weights"
        raise InputError("Q", f"is required {where}, where solutions differ: see zero_loss_solution")
    # The Jacobian of the solution without rotations falls into many small blocks.
    return zero_loss_solution(model, parameters.T, seed=None)


def _directions(model: Model, teacher: Array) -> Array:
    """Orthonormal directions (n, m) of the packed state in which it can move.

    These are all directions, but on the sphere not the norms, and for a singular T only R = A Fᵀ with
    T = F Fᵀ.
    """
    size = model.p * (model.p + 1) // 2
    rows, columns = np.triu_indices(model.p)
    overlaps = np.eye(size)[:, rows != columns] if model.constraint == "sphere" else np.eye(size)
    factor = Teacher.from_overlaps(teacher).factor
    singular = factor.shape[1] < model.pstar
    span = np.linalg.qr(factor)[0] if singular else np.eye(model.pstar)
    alignment = np.kron(np.eye(model.p), span)
    directions = np.zeros((model.state_size, overlaps.shape[1] + alignment.shape[1]))
    directions[:size, : overlaps.shape[1]] = overlaps
    directions[size:, overlaps.shape[1] :] = alignment
    return directions


def _eigenvalues(matrix: Array) -> np.ndarray:
    """Complex eigenvalues (n,), found block by block where the matrix falls into blocks."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count, block = connected_components(csr_array(matrix != 0.0), directed=False)
    parts = [matrix[np.ix_(block == k, block == k)] for k in range(count)]
    return np.concatenate([np.linalg.eigvals(part).astype(np.complex128) for part in parts])


def _is_solution(system: System, y: Array, parameters: RunParameters) -> bool:
    """Whether a packed state of a quadratic model has no loss."""
    if not system.model.quadratic:
        return False
    _, b = readout.weights(system.model)
    loss = system.packed_losses(y[None], parameters.packed[0])[0]
    teachers = b * parameters.weights()[1][0][:, None] * parameters.T
    return bool(loss <= _NO_LOSS * np.sum(teachers**2))


def _leaving(model: Model, null: Array, R: Array, teacher: Array) -> int:
    """How many of the null directions (k, n) change Q − R T⁺Rᵀ to first order."""
    directions = Teacher.from_overlaps(teacher)
    inverse = directions.factor / directions.weights**2 @ directions.factor.T
    size = model.p * (model.p + 1) // 2
    rows, columns = np.triu_indices(model.p)
    changes = null[:, :size].copy()
    for change, dR in zip(changes, null[:, size:].reshape(-1, *R.shape), strict=True):
        shared = dR @ inverse @ R.T
        change -= (shared + shared.T)[rows, columns]
    if not changes.size:
        return 0
    return int(np.linalg.matrix_rank(changes, tol=float(np.sqrt(ZERO))))
