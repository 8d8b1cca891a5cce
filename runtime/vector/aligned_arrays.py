"""Allocates arrays that are aligned for vector code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.vector.builder import ALIGNMENT, BYTES

Array = NDArray[np.float64]


def aligned(count: int) -> Array:
    """`count` zeros that start at a multiple of a cache line."""
    room = np.zeros(count + ALIGNMENT // BYTES)
    skip = (-room.ctypes.data % ALIGNMENT) // BYTES
    return room[skip : skip + count]
