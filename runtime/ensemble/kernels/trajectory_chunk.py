"""What the loop over lanes is asked to do: a chunk of trajectories, where they start, how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba import types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.start.checked_arrays import Array

# What `run_chunk` is asked to do.
CHUNK = np.dtype(
    [
        # Trajectories `first` … `last` − 1 in the order are integrated. `following` is the next one to
        # start, and `active` the number of those that run.
        ("first", np.int64),
        ("last", np.int64),
        ("following", np.int64),
        ("active", np.int64),
        # Components of the lanes' memory where parameters and state start.
        ("parameters_at", np.int64),
        ("state_at", np.int64),
        # The time at which all trajectories start, and the factor of their learning rates.
        ("start", np.float64),
        ("factor", np.float64),
        # The component of the scale τ of a smooth schedule, or −1 if there is none, and its value.
        ("scale_at", np.int64),
        ("scale", np.float64),
        ("rtol", np.float64),
        ("atol", np.float64),
        # Growth of the largest order parameter that counts as divergence.
        ("growth", np.float64),
        # The part of it from which on a solution whose steps vanish has diverged.
        ("blow_up", np.float64),
        # With `watched`, a trajectory ends where its loss comes down to the threshold, and with
        # `keep_events` its state there is written to its first row.
        ("watched", np.int64),
        ("keep_events", np.int64),
        ("threshold", np.float64),
        # Which outputs are written: one of NOTHING, STATES, LOSSES and BOTH in `lane_memory`.
        ("writer", np.int64),
        # Rows of states and losses per trajectory.
        ("rows", np.int64),
        ("loss_rows", np.int64),
        # Addresses of the states (trajectory, rows, n), the losses (trajectory, output), the output
        # times, and n doubles that nobody reads.
        ("states_address", np.int64),
        ("losses_address", np.int64),
        ("times_address", np.int64),
        ("spare_address", np.int64),
    ]
)
# How a trajectory ended.
OUTCOME = np.dtype(
    [
        # The time it reached: that of the event, if it ended in one.
        ("end", np.float64),
        ("accepted", np.int64),
        ("rejected", np.int64),
        ("status", np.int64),
        # 1 if its loss came down to the threshold.
        ("crossed", np.int64),
    ]
)


class Trajectories(NamedTuple):
    """What the trajectories of an ensemble start from, and what they leave.

    order
        The numbers of those that are integrated, in order.
    initial, parameters
        Packed states (trajectory, n); packed parameters, one row for all or one per trajectory.
    rates
        Which of the parameters are learning rates.
    sizes
        The size of an order parameter (trajectory,) whose growth is measured from there.
    times
        Output times, followed by one that is never reached.
    outcomes
        Receives how each trajectory ended, see OUTCOME; numbers of steps are added.
    ends
        Receives the state after the last step of each trajectory (trajectory, n); none if it has no rows.
    cancel
        The loop stops within a step when cancel[0] is set.
    """

    order: NDArray[np.int64]
    initial: Array
    parameters: Array
    rates: NDArray[np.int64]
    sizes: Array
    times: Array
    outcomes: Any
    ends: Array
    cancel: Any


_vector, _matrix, _words = types.float64[::1], types.float64[:, ::1], types.int64[::1]
_outcomes = types.Array(numba.from_dtype(OUTCOME), 1, "C")
_named_tuple: Any = types.NamedTuple
# The types for which compiled code takes them.
CHUNK_TYPE = numba.from_dtype(CHUNK)
TRAJECTORIES = _named_tuple(
    (_words, _matrix, _matrix, _words, _vector, _vector, _outcomes, _matrix, _words), Trajectories
)
