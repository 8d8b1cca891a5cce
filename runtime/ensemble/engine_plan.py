"""What an engine is to compute of the trajectories of an ensemble."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.start.checked_arrays import Array

# A thread takes this many trajectories together, so that lanes which are idle at the end cost little.
CHUNK_SIZE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class EnginePlan:
    """What an engine is to compute of each trajectory.

    times
        Output times; the end alone if `output` is "final".
    output
        ``"all"``: states at every time; ``"final"``: the last one; ``"loss"``: no states.
    losses
        Whether losses at the times are written too.
    stop_loss
        A trajectory ends where its loss comes down to this.
    threads, chunk
        Number of threads, and of trajectories that one of them takes together.
    start
        The time of the initial states.
    """

    times: Array
    rtol: float
    atol: float
    output: str = "all"
    losses: bool = True
    stop_loss: float | None = None
    threads: int = 1
    chunk: int = CHUNK_SIZE
    start: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of states per trajectory."""
        return {"all": self.times.size, "final": 1, "loss": 0}[self.output]

    @property
    def keep_events(self) -> bool:
        """Whether the row of a final state is that of the event where there was one."""
        return self.stop_loss is not None and self.output == "final"
