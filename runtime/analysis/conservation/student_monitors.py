"""Monitors of one and of two students, which have a further first integral, and of second layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from derive import readout
from runtime.analysis.conservation.measured_states import RESOLVED, MeasuredStates, schur_complement
from runtime.start.checked_arrays import Array


def first_integral(states: MeasuredStates) -> Array:
    """ln of the first integral of one or two students over its first value (derive.invariants)."""
    S, known = schur_complement(states)
    find = _integral_of_one if states.model.p == 1 else _integral_of_two
    with np.errstate(invalid="ignore", divide="ignore"):
        logs, determined = find(states, S, known)
    logs = np.where(determined, logs, np.nan)
    return np.asarray(logs - logs[:, :1])


def _integral_of_one(
    states: MeasuredStates, S: Array, known: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """ln of |R₁|^(2c) |f|^(2v₁) S^(−c−2v₁), divided by v₁, and where it is determined.

    f and c are those of `derive.invariants.singular_vector_laws`, and R₁ is the overlap with all teachers
    whose weight v₁ is that of the teacher with the largest overlap at the start.
    """
    a, b = readout.weights(states.model)
    R, vstar, av = states.R[..., 0, :], states.vstar[:, None], a * states.v[..., 0]
    decay = states.weight_decay[:, None] / (2.0 * b * av)
    c = np.sum(states.vstar, axis=1)[:, None] - decay
    first = np.argmax(np.abs(R[:, 0]), axis=1)
    own = np.take_along_axis(np.broadcast_to(states.vstar, R[:, 0].shape), first[:, None], axis=1)
    square = np.sum(np.where(vstar == own[..., None], R * R, 0.0), axis=2)
    shares = (c + 2.0 * own)[..., None] / (c[..., None] + 2.0 * vstar)
    f = (c + 2.0 * own) * (b * c - 3.0 * av * states.Q[..., 0, 0]) + 6.0 * av * np.sum(
        vstar * R * R * shares, axis=2
    )
    known = known & (np.abs(f) > RESOLVED * states.error) & (square > 0.0)
    logs = c * np.log(square) + 2.0 * own * np.log(np.abs(f)) - (c + 2.0 * own) * np.log(S[..., 0, 0])
    return logs / own, known


def _integral_of_two(
    states: MeasuredStates, S: Array, known: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """ln of w⁴ det(S)⁻⁵ (tr K)^(p*−4) over exp(4ηγ∫g dα), and where it is determined."""
    M, Q, R = states.M, states.Q, states.R
    w = (Q @ M - M @ Q)[..., 0, 1]
    largest_q, largest_m = (np.max(np.abs(A), axis=(2, 3)) for A in (Q, M))
    # The error of w that errors of Q and of R make.
    blur = states.error * (largest_m + largest_q * np.sqrt(largest_m))
    known = known & (np.abs(w) > RESOLVED * blur)
    K = np.full(known.shape, np.nan)
    solved = np.linalg.solve(S[known], R[known])
    K[known] = np.sum(R[known] * solved, axis=(1, 2))
    logs = 4.0 * np.log(np.abs(w)) - 5.0 * np.log(np.linalg.det(S)) + (states.model.pstar - 4) * np.log(K)
    return logs - 4.0 * (states.eta * states.weight_decay)[:, None] * states.time, known


# --- second layers --------------------------------------------------------------------------------


def second_layers(states: MeasuredStates, flow: bool) -> Iterator[tuple[str, Array, str, bool]]:
    """The balance of a trained second layer, and the overlaps of students of opposite weights."""
    model, decays = states.model, states.eta * states.weight_decay
    if model.trained:
        ratio = np.divide(states.eta, states.eta_second, where=states.eta_second > 0.0, out=decays * np.nan)
        diagonal = np.diagonal(states.Q, axis1=2, axis2=3)
        balance = diagonal - 2.0 * ratio[:, None, None] * states.v**2
        change = np.max(np.abs(balance - balance[:, :1]), axis=2)
        meaning = "largest change of a Q_ii - 2 (eta/eta_v) v_i^2"
        yield "balance", change, meaning, flow and not np.any(decays)
        return
    opposite = (states.v[..., :, None] == -states.v[..., None, :]) & (states.v[..., None] != 0.0)
    if opposite.any():
        grown = states.Q * np.exp(2.0 * decays[:, None] * states.time)[..., None, None]
        change = np.where(opposite, np.abs(grown - grown[:, :1]), 0.0).max(axis=(2, 3))
        yield "opposite_students", change, "largest change of a Q_ij of opposite weights", flow
