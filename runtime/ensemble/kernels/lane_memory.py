"""The memory of the lanes in vector code: which component of one array of doubles holds what.

L trajectories share an aligned array; component k of all lanes starts at double k · L. Control values
come first, then parameters, the state and its slopes, and what dense output needs.
"""

from __future__ import annotations

import dataclasses

# Control values: one component each. A condition is 1 or 0.
(
    # Times: of the state, of the end of the run, of the next output, and after the attempted step.
    TIME,
    TIME_END,
    NEXT_OUTPUT,
    NEW_TIME,
    # Sizes of steps: the next one to try, the attempted one, and the one to try after that.
    STEP,
    ATTEMPTED,
    NEXT_STEP,
    # log₂ of the error of the attempted step if it is accepted, and of the last accepted one.
    LOG_ERROR,
    LAST_LOG_ERROR,
    # Whether the step before was rejected, and whether the attempted one is accepted.
    FAILED_BEFORE,
    ACCEPTED,
    # Whether the lane has a trajectory, and whether this one has not begun.
    LIVE,
    FRESH,
    # The size of an order parameter that counts as divergence, and the largest one now.
    BOUND,
    LARGEST,
    RTOL,
    ATOL,
    # Whether the error's scales need double precision.
    EXACT,
    # A place in the attempted step, from 0 to 1, and the loss there.
    THETA,
    LOSS,
    # The loss at which a trajectory ends, the loss after the attempted step, whether it came down.
    THRESHOLD,
    NEW_LOSS,
    CROSSED,
    # Numbers of steps, of all and of the rejected ones.
    ATTEMPTS,
    REJECTIONS,
    # Whether the step has become too small, and whether its error was not finite.
    STUCK,
    NOT_FINITE,
    # Outputs up to this time are written; negative for none.
    LIMIT,
    # Bits of integers: where the next row is written, addresses of a lane's next state, loss and output
    # time, and of memory that nobody reads.
    PLACE,
    ROW,
    LOSS_ROW,
    POSITION,
    SPARE,
    # Bits of one of the integers below, in the first lane: what is written.
    WRITER,
) = range(34)
CONTROL_COUNT = 34
# Values of WRITER.
NOTHING, STATES, LOSSES, BOTH = range(4)


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
    """

    size: int
    parameter_count: int
    stage_count: int
    slope_count: int
    estimate_count: int
    scratch_count: int

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

    @property
    def component_count(self) -> int:
        return self.scratch_at + self.scratch_count
