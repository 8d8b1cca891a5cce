"""The memory of the lanes in vector code: which component of one array of doubles holds what.

L trajectories share an aligned array; component k of all lanes starts at double k · L. Control values
come first, then parameters, the state and its slopes, and what dense output needs.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from runtime.trajectory.tableaux.tableau import SCREENED


class DoubleComponents(NamedTuple):
    """Control values that are doubles, by the component where each is kept. A condition is 1 or 0."""

    # Times: of the state, of the end of the run, of the next output, and after the attempted step.
    time: int
    time_end: int
    next_output: int
    new_time: int
    # Sizes of steps: the next one to try, the attempted one, and the one to try after that.
    step: int
    attempted: int
    next_step: int
    # log₂ of the error of the attempted step if it is accepted, and of the last accepted one.
    log_error: int
    last_log_error: int
    # Whether the step before was rejected, and whether the attempted one is accepted.
    failed_before: int
    accepted: int
    # Whether the lane has a trajectory, and whether this one has not begun.
    live: int
    fresh: int
    # The size of an order parameter that counts as divergence, and the largest one now.
    bound: int
    largest: int
    rtol: int
    atol: int
    # Whether the error's scales need double precision.
    exact: int
    # A place in the attempted step, from 0 to 1, and the loss there.
    theta: int
    loss: int
    # The loss at which a trajectory ends, and the losses of the state and after the attempted step.
    threshold: int
    old_loss: int
    new_loss: int
    # Whether the loss came down to the threshold in the attempted step. The kernel sets it where that may
    # be, and the loop over lanes takes it back where it was not.
    crossed: int
    # Numbers of steps, of all and of the rejected ones.
    attempts: int
    rejections: int
    # Whether the step has become too small, and whether its error was not finite.
    stuck: int
    not_finite: int
    # Outputs up to this time are written; negative for none.
    limit: int


class WordComponents(NamedTuple):
    """Control values that are 64-bit integers, by the component where each is kept."""

    # Addresses: where the next state is written now, which is the lane's next row or `spare`; of the lane's
    # next row of states, loss and output time; and of memory that nobody reads.
    place: int
    row: int
    loss_row: int
    time_entry: int
    spare: int
    # What is written, in the first lane: one of the values below.
    writer: int


NOTHING, STATES, LOSSES, BOTH = range(4)

_DOUBLE_COUNT = len(DoubleComponents._fields)
CONTROL_COUNT = _DOUBLE_COUNT + len(WordComponents._fields)
double_at = DoubleComponents(*range(_DOUBLE_COUNT))
word_at = WordComponents(*range(_DOUBLE_COUNT, CONTROL_COUNT))


@dataclasses.dataclass(frozen=True)
class LaneLayout:
    """Where the components of a system start, for a tableau: offsets end in `_at`.

    size
        Number of order parameters.
    parameter_count
        Number of packed parameters.
    stage_count, slope_count
        Slopes that make a step, and all slopes: with the one at its end and those for dense output.
    estimate_count
        Estimates of the error, one or two.
    scratch_count
        Components that the programs need while they compute.
    scheduled
        Places among the parameters of the learning rates that a smooth schedule multiplies; none without
        one.
    """

    size: int
    parameter_count: int
    stage_count: int
    slope_count: int
    estimate_count: int
    scratch_count: int
    scheduled: tuple[int, ...] = ()

    @property
    def parameters_at(self) -> int:
        return CONTROL_COUNT

    @property
    def state_at(self) -> int:
        return self.parameters_at + self.parameter_count

    @property
    def new_state_at(self) -> int:
        return self.state_at + self.size

    @property
    def slopes_at(self) -> int:
        return self.new_state_at + self.size

    def slope_at(self, stage: int) -> int:
        return self.slopes_at + stage * self.size

    def estimate_at(self, number: int) -> int:
        """An estimate of the error, which waits there for the last slope."""
        return self.slope_at(self.slope_count) + number * self.size

    @property
    def output_at(self) -> int:
        """A state inside the step, from the interpolant."""
        return self.estimate_at(self.estimate_count)

    @property
    def scratch_at(self) -> int:
        return self.output_at + self.size

    def inner_at(self, number: int) -> int:
        """A state inside the step at which its loss is screened."""
        return self.scratch_at + self.scratch_count + number * self.size

    @property
    def scale_at(self) -> int:
        """τ of a smooth schedule; then come the time of an evaluation and the rates at g = 1."""
        return self.inner_at(len(SCREENED))

    @property
    def rate_time_at(self) -> int:
        return self.scale_at + 1

    def initial_rate_at(self, number: int) -> int:
        return self.rate_time_at + 1 + number

    @property
    def component_count(self) -> int:
        if not self.scheduled:
            return self.inner_at(len(SCREENED))
        return self.initial_rate_at(len(self.scheduled))
