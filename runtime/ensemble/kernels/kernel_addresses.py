"""The names of the vector kernels of a system, and the record of their addresses that the loop reads.

start      slopes and first steps of fresh lanes
advance    steps until a lane needs attention; returns these lanes as bits, or 0 for a pause
watch      as `advance`, and a loss that may have come down to the threshold needs attention too
commit     makes the attempted step the state, lane by lane where it was accepted
dense      slopes of the attempted step that only its interpolant needs
evaluate   the interpolant at θ
loss       the loss at what `evaluate` found
scatter    writes what `evaluate` found to an address of each lane's own
write      writes all outputs that the attempted steps have passed: states, losses or both, as `writer` says
"""

from __future__ import annotations

import numpy as np

KERNELS = ("start", "advance", "watch", "commit", "dense", "evaluate", "loss", "scatter", "write")
# The addresses of the kernels, by name.
KERNEL_ADDRESSES = np.dtype([(name, np.int64) for name in KERNELS])
