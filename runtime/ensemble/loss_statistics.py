"""Running mean and quantiles of the loss, which forget each trajectory once it is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numpy.typing import NDArray

from runtime.output.quantiles import QUANTILES
from runtime.system.compilation import kernel

if TYPE_CHECKING:
    from runtime.start.checked_arrays import Array


# Bins of equal width in log10 of the loss. Losses below them (rounding, which may be negative) or above
# them are counted in the outermost bins.
SMALLEST_LOG, LARGEST_LOG = -20, 12
BINS_PER_DECADE = 500
BINS = (LARGEST_LOG - SMALLEST_LOG) * BINS_PER_DECADE
_BIN_RATIO = 10.0 ** (1.0 / BINS_PER_DECADE)
# Relative error of a quantile: half a bin.
QUANTILE_ERROR = _BIN_RATIO**0.5 - 1.0

_smallest_log, _per_decade, _last_bin = float(SMALLEST_LOG), float(BINS_PER_DECADE), BINS - 1


@kernel(
    types.void(
        types.float64[:, ::1],
        types.boolean[::1],
        types.float64[::1],
        types.float64[:, ::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
    )
)
def _accumulate(losses, stopped, sums, moments, counts, histogram):
    """Add the rows of `losses` (trajectory, output), in order.

    `counts` are, at each output, the losses that are there, those missing (NaN) because the trajectory
    is one of the `stopped`, and those missing because it failed.

    `moments` are, at each output, the first loss, the mean of what is beyond it, and the sum of squared
    deviations from the mean (B. P. Welford, Technometrics 4, 419 (1962)). Sums of squares would cancel
    where losses are nearly equal; their differences from the first are then exact.
    """
    there, below, above = counts
    first, means, squares = moments
    for k in range(losses.shape[0]):
        for m in range(losses.shape[1]):
            x = losses[k, m]
            if np.isnan(x):
                missing = below if stopped[k] else above
                missing[m] += 1
                continue
            if there[m] == 0:
                first[m] = x
            there[m] += 1
            sums[m] += x
            beyond = x - first[m]
            change = beyond - means[m]
            means[m] += change / there[m]
            squares[m] += change * (beyond - means[m])
            bin_ = 0
            if x > 0.0:
                position = (np.log10(x) - _smallest_log) * _per_decade
                bin_ = int(min(max(position, 0.0), float(_last_bin)))
            histogram[m, bin_] += 1


class LossStatistics:
    """Running statistics at each output time; trajectories are added in order."""

    def __init__(self, outputs: int) -> None:
        self._sums = np.zeros(outputs)
        self._moments = np.zeros((3, outputs))
        self._counts = np.zeros((3, outputs), dtype=np.int64)
        self._histogram = np.zeros((outputs, BINS), dtype=np.int64)

    def add(self, losses: Array, stopped: NDArray[np.bool_]) -> None:
        """Losses (trajectory, output), NaN after the end of a trajectory that was `stopped` or failed."""
        _accumulate(losses, stopped, self._sums, self._moments, self._counts, self._histogram)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many trajectories reached each time."""
        reached: NDArray[np.int64] = self._counts[0]
        return reached

    def mean(self) -> Array:
        """Mean over the trajectories that reached each time; NaN where none did."""
        with np.errstate(invalid="ignore"):
            result: Array = self._sums / self.counts
        return result

    def standard_error(self) -> Array:
        """Standard error of the mean; NaN for fewer than two trajectories."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Array = np.sqrt(self._moments[2] / (self.counts - 1) / self.counts)
        result[self.counts < 2] = np.nan
        return result

    def quantiles(self) -> Array:
        """(QUANTILES, output), each within a factor 1 ± QUANTILE_ERROR of a sample.

        They are over all trajectories, as those of `exact_quantiles`.
        """
        cumulated = np.cumsum(self._histogram, axis=1)
        result = np.full((len(QUANTILES), len(self.counts)), np.nan)
        there, below, _ = self._counts
        total = np.sum(self._counts, axis=0)
        for row, quantile in enumerate(QUANTILES):
            for m in np.flatnonzero(there):
                rank = max(1, int(np.ceil(quantile * total[m]))) - below[m]
                if 1 <= rank <= there[m]:
                    bin_ = int(np.searchsorted(cumulated[m], rank))
                    result[row, m] = 10.0 ** (SMALLEST_LOG + (bin_ + 0.5) / BINS_PER_DECADE)
        return result
