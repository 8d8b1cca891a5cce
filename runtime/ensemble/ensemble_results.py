"""What the ensemble engine leaves, as arrays and as a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.version import VERSION
from runtime.ensemble.kernels import lane_loop
from runtime.start.checked_arrays import Array
from runtime.system.compiled_system import System
from runtime.trajectory.solver import STATUS
from runtime.trajectory.stepper import FINISHED
from runtime.trajectory.trajectory_dataset import coordinates_of

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class Results:
    """What the driver wrote, per trajectory; `states` (k, output, n) or (k, 1, n) or empty."""

    times: Array
    states: Array
    losses: Array
    ends: Array
    counts: np.ndarray

    @property
    def status(self) -> np.ndarray:
        """ "ok", "diverged" or "step_too_small" """
        names = np.array([STATUS[code] for code in sorted(STATUS)])
        codes = np.array(sorted(STATUS))
        return names[np.searchsorted(codes, self.counts[:, lane_loop.STATUS])]

    def clear_missing(self, first: int, last: int, keep_events: bool) -> None:
        """NaN at the outputs that trajectories first … last − 1 did not reach.

        keep_events
            Whether the first row of states is that of the event where there was one.

        Why afterwards: filled before, all outputs would go through memory twice.
        """
        counts = self.counts[first:last]
        crossed = counts[:, lane_loop.CROSSED] != 0
        early = first + np.flatnonzero((counts[:, lane_loop.STATUS] != FINISHED) | crossed)
        written = np.searchsorted(self.times, self.ends[early], side="right")
        which, output = np.nonzero(np.arange(self.times.size) >= written[:, None])
        if self.losses.shape[1]:
            self.losses[early[which], output] = np.nan
        if keep_events:
            stays = crossed[early[which] - first]
            which, output = which[~stays], output[~stays]
        if self.states.shape[1]:
            self.states[early[which], output] = np.nan


def ensemble_dataset(
    system: System,
    results: Results,
    teacher: Array,
    rates: Array,
    noises: Array,
    settings: Mapping[str, Any],
) -> xarray.Dataset:
    """The dataset of an ensemble, ``trajectory`` in front; see `integrate_ensemble`."""
    import xarray

    model, count = system.model, len(results.ends)
    variables: dict[str, Any] = {}
    # Final states have no time axis: trajectories may have stopped at different times.
    final = settings["output"] == "final"
    front: tuple[str, ...] = ("trajectory",) if final else ("trajectory", "alpha")
    losses = results.losses[:, 0] if final else results.losses
    if results.states.shape[1]:
        Q, R = system.unpack(results.states[:, 0] if final else results.states)
        variables["Q"] = ((*front, "i", "j"), Q, {"long_name": "student-student overlap"})
        variables["R"] = ((*front, "i", "r"), R, {"long_name": "student-teacher overlap"})

    def each(values: Any, name: str) -> tuple[tuple[str, ...], Any, dict[str, str]]:
        return ("trajectory",), values, {"long_name": name}

    variables |= {
        "T": (("r", "s"), teacher, {"long_name": "teacher-teacher overlap"}),
        "loss": (front, losses, {"long_name": "generalisation error"}),
        "eta": each(np.broadcast_to(rates, count).copy(), "learning rate"),
        "label_noise": each(np.broadcast_to(noises, count).copy(), "variance of the label noise"),
        "status": each(results.status, "ok, diverged or step_too_small"),
        "alpha_end": each(results.ends, "time that was reached"),
        "steps": each(results.counts[:, 0], "accepted steps"),
        "rejected": each(results.counts[:, 1], "rejected steps"),
    }
    if "stop_loss" in settings:
        escaped = np.where(results.counts[:, 3] == 1, results.ends, np.nan)
        variables["escape_alpha"] = each(escaped, "time when the loss came down to stop_loss")
    attributes = {"title": f"overlap ensemble of {model.name}", **model.to_dict(), **settings}
    attributes["version"] = f"overlap-ode {VERSION}"
    coordinates = {"trajectory": np.arange(count), **coordinates_of(system, results.times)}
    if final:
        del coordinates["alpha"]
    return xarray.Dataset(variables, coordinates, attributes)
