"""Memory that vector code can read and write."""

from __future__ import annotations

import numpy as np

from runtime.simd.vector import ALIGNMENT, BYTES
from runtime.states import Array


def aligned(count: int) -> Array:
    """`count` zeros that start at a multiple of a cache line."""
    room = np.zeros(count + ALIGNMENT // BYTES)
    skip = (-room.ctypes.data % ALIGNMENT) // BYTES
    return room[skip : skip + count]
