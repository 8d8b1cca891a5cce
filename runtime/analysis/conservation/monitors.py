"""Measures, against α, how well a run keeps what its equations conserve: the drift monitors.

The laws are those of `derive.invariants` (model of arXiv:2604.03068): in gradient flow K = Rᵀ S⁻¹ R
with S = Q − R T⁻¹ Rᵀ obeys dK/dα = 4abη (TK + KT), so that K̃ = E K E with E = exp(−4abηα T) is
constant; for T = 1 the row space of R is conserved in every model, and with free norms the
singular vectors and the polar factor R(RᵀR)^(−1/2) wherever Q0 and R0R0ᵀ commute. For one and for
two students gradient flow has one more first integral. A monitor is measured whether or not the
model conserves it; its attribute ``conserved`` says what theory expects.

Nothing is divided by a number that is no larger than rounding and the integrator's tolerance: there a
monitor is NaN. So K ends where S, which decays, comes down to the size of the errors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive import readout
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.recorded_runs import states_of_run
from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher

if TYPE_CHECKING:
    import xarray

# Errors of Q of this many times the tolerance of a step are common.
_ERRORS = 10.0
# S⁻¹ is taken where S is at least this many times its error, so that K is right to a percent.
_RESOLVED = 100.0
# Commutators below this part of their factors count as zero.
COMMUTES = 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class _States:
    """All states of a run as (trajectory, output, …), with what belongs to them.

    error
        Errors of the entries of Q and R: (trajectory, output).
    there
        Where the run got to: (trajectory, output).
    """

    model: Model
    Q: Array
    R: Array
    T: Array
    alpha: Array
    eta: Array
    error: Array
    there: NDArray[np.bool_]
    stochastic: bool

    @cached_property
    def svd(self) -> tuple[Array, Array, Array]:
        """U, singular values and Vᵀ of R; NaN where there is no state."""
        shape = self.R.shape
        size = min(shape[2:])
        left = np.full((*shape[:3], size), np.nan)
        values = np.full((*shape[:2], size), np.nan)
        right = np.full((*shape[:2], size, shape[3]), np.nan)
        there = self.there
        left[there], values[there], right[there] = np.linalg.svd(self.R[there], full_matrices=False)
        return left, values, right

    @property
    def M(self) -> Array:
        """RRᵀ."""
        return np.asarray(self.R @ _transposed(self.R))


def drift_monitors(run: xarray.Dataset) -> xarray.Dataset:
    """What a run should conserve, against α: largest changes since the first output.

    Parameters
    ----------
    run
        A result of `integrate`, of an ensemble with all states, or of `simulate`, also from a file:
        ``Q`` and ``R`` over ``alpha``, perhaps over ``trajectory``.

    Returns
    -------
    xarray.Dataset
        Over (trajectory,) alpha, dimensionless but for the rate:

        ``K_shape``: largest change of an entry of K̃ / tr K̃; ``K_growth``: ln of tr K̃ over its first
        value; for T = 1 ``K_rate``: mean slope of ln tr K since the first output, 8abη in theory
        (attribute ``expected``);
        ``polar_factor``: largest change of an entry; ``left_vectors``, ``right_vectors``: largest
        entry of RRᵀ, RᵀR that is off-diagonal in the first singular vectors, over the largest;
        ``commutator``: largest entry of QRRᵀ − RRᵀQ over those of its factors;
        ``row_space``: part of R outside its first row space; ``rank`` of R;
        ``norms``: largest change of a Q_ii;
        ``first_integral`` (one or two students, T = 1): ln of it over its first value.

        NaN where nothing is determined. The attribute ``conserved`` of each is 1 if the equations
        keep it for all trajectories here, else 0.

    Raises
    ------
    InputError
        The dataset is no result of ours, or has no states over time.
    """
    import xarray

    states = _states_of(run)
    front = run["Q"].dims[:-2]
    variables: dict[str, Any] = {}
    for name, values, meaning, conserved in _monitors(states):
        data = values if len(front) > 1 else values[0]
        variables[name] = (front, data, {"long_name": meaning, "conserved": int(conserved)})
    if "K_rate" in variables:
        a, b = readout.weights(states.model)
        expected = 8.0 * a * b * states.eta
        variables["K_rate"][2]["expected"] = expected if len(front) > 1 else float(expected[0])
    coordinates = {name: run[name] for name in front if name in run.coords}
    attributes = {
        "title": f"drift of conserved quantities of {states.model.name}",
        **states.model.to_dict(),
    }
    return xarray.Dataset(variables, coordinates, attributes)


def _states_of(run: xarray.Dataset) -> _States:
    found = states_of_run(run)
    if len(found.front) > 1:
        raise InputError("run", f"has the axes {', '.join(found.front)}: select all but one")
    Q, R = (values if found.front else values[None] for values in (found.Q, found.R))
    relative = max(float(run.attrs.get("rtol", 0.0)), float(np.finfo(np.float64).eps))
    with np.errstate(invalid="ignore"):
        size = np.max(np.abs(Q), axis=(2, 3))
    return _States(
        model=found.model,
        Q=Q,
        R=R,
        T=found.T,
        alpha=found.alpha,
        eta=np.array(np.broadcast_to(found.parameters.get("eta", np.nan), len(Q))),
        error=_ERRORS * (relative * size + float(run.attrs.get("atol", 0.0))),
        there=found.there if found.front else found.there[None],
        stochastic=run.attrs.get("method") in ("chain", "weights"),
    )


def _monitors(states: _States) -> Iterator[tuple[str, Array, str, bool]]:
    """For each monitor its name, values (trajectory, output), meaning, and whether it is conserved."""
    model, exact = states.model, not states.stochastic
    orthonormal, free = model.teacher == "orthonormal", model.constraint == "free"
    flow = exact and model.flow == "gradient"
    # The R of a single student keeps its direction, in every model.
    alone = exact and orthonormal and model.p == 1
    shape, growth, rate = _growth_of_K(states)
    yield "K_shape", shape, "largest change of an entry of K / tr K, its growth taken out", flow or alone
    yield "K_growth", growth, "ln of tr K over its expected value", flow
    if orthonormal:
        yield "K_rate", rate, "mean slope of ln tr K", flow
    commutator = _commutator(states)
    aligned = exact and orthonormal and (free or alone) and bool(np.all(commutator[:, 0] <= COMMUTES))
    yield "polar_factor", _polar_factor(states), "largest change of an entry of R (R'R)^(-1/2)", aligned
    left, right = _vectors(states)
    yield "left_vectors", left, "RR' off the diagonal in its first eigenvectors", aligned
    yield "right_vectors", right, "R'R off the diagonal in its first eigenvectors", aligned
    yield "commutator", commutator, "QRR' - RR'Q over its factors", aligned
    yield "row_space", _row_space(states), "part of R outside its first row space", exact and orthonormal
    yield "rank", _rank(states), "rank of R", exact
    diagonal = np.diagonal(states.Q, axis1=2, axis2=3)
    change = np.max(np.abs(diagonal - diagonal[:, :1]), axis=2)
    yield "norms", change, "largest change of a Q_ii", not free
    if orthonormal and model.p <= 2:
        conserved = flow and free
        yield (
            "first_integral",
            _first_integral(states),
            "ln of the first integral over its first value",
            conserved,
        )


# --- K -----------------------------------------------------------------------------------------


def _schur_complement(states: _States) -> tuple[Array, np.ndarray]:
    """S = Q − R T⁻¹ Rᵀ, and where it is known well enough to be inverted."""
    if Teacher.from_overlaps(states.T).rank < len(states.T):
        return states.Q, np.zeros(states.there.shape, dtype=bool)
    values, vectors = np.linalg.eigh(states.T)
    turned = states.R @ vectors
    S = states.Q - (turned / values) @ _transposed(turned)
    known = states.there.copy()
    smallest = np.linalg.eigvalsh(S[known])[:, 0]
    known[known] = smallest > _RESOLVED * states.error[known]
    return S, known


def _growth_of_K(states: _States) -> tuple[Array, Array, Array]:
    """Change of K̃ / tr K̃, ln of tr K̃ over its first value, and the mean slope of ln tr K."""
    S, known = _schur_complement(states)
    a, b = readout.weights(states.model)
    values, vectors = np.linalg.eigh(states.T)
    R = states.R @ vectors
    K = np.full((*known.shape, len(values), len(values)), np.nan)
    K[known] = _transposed(R[known]) @ np.linalg.solve(S[known], R[known])
    # Relative to the smallest eigenvalue, the exponentials are at most 1.
    exponent = 4.0 * a * b * states.eta[:, None] * states.alpha
    lag = values[:, None] + values[None, :] - 2.0 * values[0]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        K = K * np.exp(-exponent[..., None, None] * lag)
        trace = np.trace(K, axis1=2, axis2=3)
        shape = K / trace[..., None, None]
        change = np.max(np.abs(shape - shape[:, :1]), axis=(2, 3))
        log = np.log(np.where(trace > 0.0, trace, np.nan))
        growth = log - log[:, :1]
        elapsed = states.alpha - states.alpha[0]
        rate = np.where(elapsed > 0.0, growth / np.where(elapsed > 0.0, elapsed, 1.0), np.nan)
    return change, growth - 2.0 * values[0] * (exponent - exponent[:, :1]), rate


# --- singular vectors ---------------------------------------------------------------------------


def _polar_factor(states: _States) -> Array:
    left, values, right = states.svd
    polar = left @ right
    with np.errstate(invalid="ignore"):
        polar[~(values[..., -1] > states.error)] = np.nan
    return np.asarray(np.max(np.abs(polar - polar[:, :1]), axis=(2, 3)))


def _vectors(states: _States) -> tuple[Array, Array]:
    """How far RRᵀ and RᵀR are from diagonal in the singular vectors of the first R."""
    left, values, right = states.svd
    inner = _transposed(states.R) @ states.R
    with np.errstate(invalid="ignore"):
        known = (values[..., 0] > states.error) & (values[:, :1, -1] > states.error[:, :1])
    changes = []
    for product, vectors in ((states.M, left[:, :1]), (inner, _transposed(right)[:, :1])):
        turned = _transposed(vectors) @ product @ vectors
        size = turned.shape[-1]
        off = np.abs(turned * (1.0 - np.eye(size)))
        outside = np.abs(product @ vectors - vectors @ turned)
        largest = np.max(np.abs(product), axis=(2, 3))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.maximum(off.max(axis=(2, 3)), outside.max(axis=(2, 3))) / largest
        changes.append(np.where(known, change, np.nan))
    return changes[0], changes[1]


def _commutator(states: _States) -> Array:
    M = states.M
    product = states.Q @ M
    factors = np.max(np.abs(states.Q), axis=(2, 3)) * np.max(np.abs(M), axis=(2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.max(np.abs(product - _transposed(product)), axis=(2, 3)) / factors
    return np.asarray(np.where(factors > 0.0, relative, np.nan))


def _row_space(states: _States) -> Array:
    """The part of R outside the row space of the first R, over the largest singular value."""
    _, values, right = states.svd
    known = values[:, 0] > states.error[:, :1]
    basis = np.where(known[..., None], right[:, 0], 0.0)[:, None]
    outside = states.R - (states.R @ _transposed(basis)) @ basis
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.max(np.abs(outside), axis=(2, 3)) / values[..., 0]
        there = np.any(known, axis=1, keepdims=True) & (values[..., 0] > states.error)
        return np.asarray(np.where(there, relative, np.nan))


def _rank(states: _States) -> Array:
    values = states.svd[1]
    with np.errstate(invalid="ignore"):
        count = np.sum(values > states.error[..., None], axis=2).astype(np.float64)
    return np.where(states.there, count, np.nan)


# --- one or two students --------------------------------------------------------------------------


def _first_integral(states: _States) -> Array:
    """ln of |R|^(2p*) f² S^(−p*−2) for one, of w⁴ det(S)⁻⁵ (tr K)^(p*−4) for two students."""
    S, known = _schur_complement(states)
    pstar = states.model.pstar
    a, b = readout.weights(states.model)
    Q, R = states.Q, states.R
    square = np.sum(R * R, axis=(2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        if states.model.p == 1:
            f = (pstar + 2) * (b * pstar - 3.0 * a * Q[..., 0, 0]) + 6.0 * a * square
            known &= (np.abs(f) > _RESOLVED * states.error) & (square > 0.0)
            logs = pstar * np.log(square) + 2.0 * np.log(np.abs(f)) - (pstar + 2) * np.log(S[..., 0, 0])
        else:
            M = states.M
            w = (Q @ M - M @ Q)[..., 0, 1]
            largest_q, largest_m = (np.max(np.abs(A), axis=(2, 3)) for A in (Q, M))
            # The error of w that errors of Q and of R make.
            blur = states.error * (largest_m + largest_q * np.sqrt(largest_m))
            known &= np.abs(w) > _RESOLVED * blur
            K = np.full(known.shape, np.nan)
            solved = np.linalg.solve(S[known], R[known])
            K[known] = np.sum(R[known] * solved, axis=(1, 2))
            logs = 4.0 * np.log(np.abs(w)) - 5.0 * np.log(np.linalg.det(S)) + (pstar - 4) * np.log(K)
    logs = np.where(known, logs, np.nan)
    return np.asarray(logs - logs[:, :1])


def _transposed(A: Array) -> Array:
    return np.swapaxes(A, -1, -2)
