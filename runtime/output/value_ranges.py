"""Says in a few words what numbers an array holds, for the reprs of values that users keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def span(values: ArrayLike) -> str:
    """One number, or the least and the largest, with four digits; "none" for an empty array.

    NaN is left out unless there is nothing else.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    known = numbers[~np.isnan(numbers)]
    if not known.size:
        return "nan" if numbers.size else "none"
    least, largest = (f"{number:.4g}" for number in (np.min(known), np.max(known)))
    return least if least == largest else f"{least} to {largest}"
