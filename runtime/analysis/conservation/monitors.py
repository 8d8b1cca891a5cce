"""Measures, against α, how well a run keeps what its equations conserve: the drift monitors.

The laws are those of `derive.invariants` (model of arXiv:2604.03068). In gradient flow with students of
equal second-layer weight v, K = Rᵀ S⁻¹ R with S = Q − R T⁻¹ Rᵀ obeys dK/dα = 4abηv (TFK + KFT) with
F = diag(v*), so that K̃ = E K Eᵀ with E = exp(−4abηvα TF) is constant. For T = 1 and teachers of equal
weight the row space of R is conserved in every model, and with free norms and students of equal weight the
singular vectors and the polar factor R(RᵀR)^(−1/2) are wherever Q0 and R0R0ᵀ commute. For one and for two
students gradient flow has one more first integral. A trained second layer keeps Q_ii − 2 (η/η_v) v_i².

Where a learning-rate schedule g(α) multiplies the rates, ∫g dα takes the place of α. A monitor is measured
whether or not the model conserves it; its attribute ``conserved`` says what theory expects.

Nothing is divided by a number that is no larger than rounding and the integrator's tolerance: there a
monitor is NaN. So K ends where S, which decays, comes down to the size of the errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from runtime.analysis.conservation.measured_states import (
    MeasuredStates,
    measured_states,
    schur_complement,
    transposed,
)
from runtime.analysis.conservation.student_monitors import first_integral, second_layers
from runtime.analysis.recorded_runs import settings_of_run
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import made_attributes
from runtime.start.checked_arrays import Array

if TYPE_CHECKING:
    import xarray

# Commutators below this part of their factors count as zero.
COMMUTES = 1e-8


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

        If students have equal weights that are not trained ``K_shape``: largest change of an entry of
        K̃ / tr K̃; ``K_growth``: ln of tr K̃ over its first value; for T = 1 and teachers of equal weight
        ``K_rate``: mean slope of ln tr K against ∫g dα since the first output, 8abηvv* in theory (attribute
        ``expected``);
        ``polar_factor``: largest change of an entry; ``left_vectors``, ``right_vectors``: largest
        entry of RRᵀ, RᵀR that is off-diagonal in the first singular vectors, over the largest;
        ``commutator``: largest entry of QRRᵀ − RRᵀQ over those of its factors;
        ``row_space``: part of R outside its first row space; ``rank`` of R;
        ``norms``: largest change of a Q_ii;
        ``first_integral`` (one student, or two of equal weight, not trained, T = 1): ln of it over its
        first value;
        ``balance`` (trained): largest change of a Q_ii − 2 (η/η_v) v_i²;
        ``opposite_students`` (students of weights v_j = −v_i): largest change of their Q_ij, its weight
        decay taken out.

        NaN where nothing is determined. The attribute ``conserved`` of each is 1 if the equations
        keep it for all trajectories here, else 0.

    Raises
    ------
    InputError
        The dataset is no result of ours, or has no states over time.
    """
    states = measured_states(run)
    front = run["Q"].dims[:-2]
    variables: dict[str, Any] = {}
    for name, values, meaning, conserved in _monitors(states):
        data = values if len(front) > 1 else values[0]
        variables[name] = (front, data, {"long_name": meaning, "conserved": int(conserved)})
    if "K_rate" in variables:
        a, b = readout.weights(states.model)
        expected = 8.0 * a * b * states.eta * states.v[:, 0, 0] * states.vstar[:, 0]
        variables["K_rate"][2]["expected"] = expected if len(front) > 1 else float(expected[0])
    coordinates = {str(name): run[name].values for name in front if name in run.coords}
    attributes = {
        **settings_of_run(run),
        "title": f"drift of conserved quantities of {states.model.name}",
        **made_attributes("drift_monitors", run.attrs),
    }
    return PlainResult(variables, coordinates, attributes).dataset()


def _monitors(states: MeasuredStates) -> Iterator[tuple[str, Array, str, bool]]:
    """For each monitor its name, values (trajectory, output), meaning, and whether it is conserved."""
    model, exact = states.model, not states.stochastic
    students, teachers, free = states.equal_students, states.equal_teachers, model.constraint == "free"
    flow = exact and model.flow == "gradient"
    # The R of a single student keeps its direction among teachers of equal weight, in every model.
    alone = exact and teachers and model.p == 1
    if students:
        shape, growth, rate = _growth_of_K(states)
        yield (
            "K_shape",
            shape,
            "largest change of an entry of K / tr K, its growth taken out",
            flow or alone,
        )
        yield "K_growth", growth, "ln of tr K over its expected value", flow
        if teachers:
            yield "K_rate", rate, "mean slope of ln tr K", flow
    commutator = _commutator(states)
    rotating = alone or (exact and students and teachers and free)
    aligned = rotating and bool(np.all(commutator[:, 0] <= COMMUTES))
    yield "polar_factor", _polar_factor(states), "largest change of an entry of R (R'R)^(-1/2)", aligned
    left, right = _vectors(states)
    yield "left_vectors", left, "RR' off the diagonal in its first eigenvectors", aligned
    yield "right_vectors", right, "R'R off the diagonal in its first eigenvectors", aligned
    yield "commutator", commutator, "QRR' - RR'Q over its factors", aligned
    yield "row_space", _row_space(states), "part of R outside its first row space", exact and teachers
    kept = students or teachers or min(model.p, model.pstar) == 1
    yield "rank", _rank(states), "rank of R", exact and kept
    diagonal = np.diagonal(states.Q, axis1=2, axis2=3)
    change = np.max(np.abs(diagonal - diagonal[:, :1]), axis=2)
    yield "norms", change, "largest change of a Q_ii", not free
    if model.teacher == "orthonormal" and students and (model.p == 1 or (model.p == 2 and teachers)):
        meaning = "ln of the first integral over its first value"
        yield "first_integral", first_integral(states), meaning, flow and free
    yield from second_layers(states, flow and free)


# --- K -----------------------------------------------------------------------------------------


def _growth_of_K(states: MeasuredStates) -> tuple[Array, Array, Array]:
    """Change of K̃ / tr K̃, ln of tr K̃ over its first value, and the mean slope of ln tr K."""
    S, known = schur_complement(states)
    a, b = readout.weights(states.model)
    values, frame = _growth_of_teachers(states)
    R = states.R @ frame[:, None]
    K = np.full((*known.shape, *frame.shape[1:]), np.nan)
    K[known] = transposed(R[known]) @ np.linalg.solve(S[known], R[known])
    # Relative to the smallest eigenvalue, the exponentials are at most 1.
    exponent = 4.0 * a * b * states.eta[:, None] * states.time
    least = values.min(axis=1)[:, None]
    lag = values[:, :, None] + values[:, None, :] - 2.0 * least[..., None]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        K = K * np.exp(-exponent[..., None, None] * lag[:, None])
        trace = np.trace(K, axis1=2, axis2=3)
        shape = K / trace[..., None, None]
        change = np.max(np.abs(shape - shape[:, :1]), axis=(2, 3))
        log = np.log(np.where(trace > 0.0, trace, np.nan))
        growth = log - log[:, :1]
        elapsed = states.time - states.time[0]
        rate = np.where(elapsed > 0.0, growth / np.where(elapsed > 0.0, elapsed, 1.0), np.nan)
    return change, growth - 2.0 * least * (exponent - exponent[:, :1]), rate


def _growth_of_teachers(states: MeasuredStates) -> tuple[Array, Array]:
    """The eigenvalues of vFT, (trajectory or 1, p*), and the frame in which K grows as their sums do."""
    spectrum, axes = np.linalg.eigh(states.T)
    if not states.model.weighted:
        return spectrum[None], axes[None]
    # With L = √T the frame L⁻¹U turns K into U'L⁻¹K L⁻¹U, and LFL = U diag(…) U'.
    scale = np.sqrt(np.where(spectrum > 0.0, spectrum, np.nan))
    scale = scale if np.isfinite(scale).all() else np.ones_like(scale)
    root, inverse = (axes * scale) @ axes.T, (axes / scale) @ axes.T
    values, vectors = np.linalg.eigh(root @ (states.vstar[:, :, None] * root))
    return values * states.v[:, 0, :1], inverse @ vectors


# --- singular vectors ---------------------------------------------------------------------------


def _polar_factor(states: MeasuredStates) -> Array:
    left, values, right = states.svd
    polar = left @ right
    with np.errstate(invalid="ignore"):
        polar[~(values[..., -1] > states.error)] = np.nan
    return np.asarray(np.max(np.abs(polar - polar[:, :1]), axis=(2, 3)))


def _vectors(states: MeasuredStates) -> tuple[Array, Array]:
    """How far RRᵀ and RᵀR are from diagonal in the singular vectors of the first R."""
    left, values, right = states.svd
    inner = transposed(states.R) @ states.R
    with np.errstate(invalid="ignore"):
        known = (values[..., 0] > states.error) & (values[:, :1, -1] > states.error[:, :1])
    changes = []
    for product, vectors in ((states.M, left[:, :1]), (inner, transposed(right)[:, :1])):
        turned = transposed(vectors) @ product @ vectors
        size = turned.shape[-1]
        off = np.abs(turned * (1.0 - np.eye(size)))
        outside = np.abs(product @ vectors - vectors @ turned)
        largest = np.max(np.abs(product), axis=(2, 3))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.maximum(off.max(axis=(2, 3)), outside.max(axis=(2, 3))) / largest
        changes.append(np.where(known, change, np.nan))
    return changes[0], changes[1]


def _commutator(states: MeasuredStates) -> Array:
    M = states.M
    product = states.Q @ M
    factors = np.max(np.abs(states.Q), axis=(2, 3)) * np.max(np.abs(M), axis=(2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.max(np.abs(product - transposed(product)), axis=(2, 3)) / factors
    return np.asarray(np.where(factors > 0.0, relative, np.nan))


def _row_space(states: MeasuredStates) -> Array:
    """The part of R outside the row space of the first R, over the largest singular value."""
    _, values, right = states.svd
    known = values[:, 0] > states.error[:, :1]
    basis = np.where(known[..., None], right[:, 0], 0.0)[:, None]
    outside = states.R - (states.R @ transposed(basis)) @ basis
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.max(np.abs(outside), axis=(2, 3)) / values[..., 0]
        there = np.any(known, axis=1, keepdims=True) & (values[..., 0] > states.error)
        return np.asarray(np.where(there, relative, np.nan))


def _rank(states: MeasuredStates) -> Array:
    values = states.svd[1]
    with np.errstate(invalid="ignore"):
        count = np.sum(values > states.error[..., None], axis=2).astype(np.float64)
    return np.where(states.there, count, np.nan)
