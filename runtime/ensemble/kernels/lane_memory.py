"""Where everything of L trajectories lies in one aligned array of doubles.

Component k of all lanes is at double k · L. Control values come first, then parameters, the
state and its slopes, and what dense output needs.
"""

from __future__ import annotations

import dataclasses

# Control values, one vector each.
(
    TIME,
    STEP,
    ATTEMPTED,
    TIME_END,
    NEXT_OUTPUT,
    NEW_TIME,
    FACTOR,
    # log₂ of the error of the attempted step if it is accepted, of the last accepted one.
    LOG_ERROR,
    LAST_LOG_ERROR,
    FAILED_BEFORE,
    ACCEPTED,
    LIVE,
    FRESH,
    BOUND,
    RTOL,
    ATOL,
    THETA,
    LOSS,
    THRESHOLD,
    ATTEMPTS,
    REJECTIONS,
    STUCK,
    NOT_FINITE,
    LARGEST,
    NEW_LOSS,
    CROSSED,
    LIMIT,
    EXACT,
    # Bits of integers: addresses of a lane's outputs, of its next time, of memory nobody reads.
    PLACE,
    ROW,
    LOSS_ROW,
    POSITION,
    DUMMY,
    # Bits of one of the integers below, in the first lane: what is written.
    WRITER,
) = range(34)
CONTROLS = 34
# Values of WRITER.
NOTHING, STATES, LOSSES, BOTH = range(4)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Component numbers for a system of `size` order parameters and a tableau.

    stages, slopes
        Slopes that make a step, and all: with that at its end and those for dense output.
    estimates
        Estimates of the error, one or two.
    """

    size: int
    parameters: int
    stages: int
    slopes: int
    estimates: int
    scratch: int

    @property
    def parameter(self) -> int:
        return CONTROLS

    @property
    def state(self) -> int:
        return self.parameter + self.parameters

    @property
    def new_state(self) -> int:
        return self.state + self.size

    @property
    def slope(self) -> int:
        return self.new_state + self.size

    def slope_of(self, stage: int) -> int:
        return self.slope + stage * self.size

    @property
    def estimate(self) -> int:
        """Estimates of the error while their last slope is computed."""
        return self.slope_of(self.slopes)

    def estimate_of(self, number: int) -> int:
        return self.estimate + number * self.size

    @property
    def output(self) -> int:
        return self.estimate_of(self.estimates)

    @property
    def scratch_start(self) -> int:
        return self.output + self.size

    @property
    def components(self) -> int:
        return self.scratch_start + self.scratch
