"""Memory that vector code can read and write."""

from __future__ import annotations

import numpy as np

from runtime.start.checked_arrays import Array
from runtime.vector.builder import ALIGNMENT, BYTES


def aligned(count: int) -> Array:
    """`count` zeros that start at a multiple of a cache line."""
    room = np.zeros(count + ALIGNMENT // BYTES)
    skip = (-room.ctypes.data % ALIGNMENT) // BYTES
    return room[skip : skip + count]
