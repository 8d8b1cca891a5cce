"""A short simulation of SGD for tests: some runs of (4, 2) at small N."""

from __future__ import annotations

import numpy as np
import xarray

from derive import Model
from runtime import simulate

MODEL = Model(4, 2)
Q0, R0 = np.eye(4), np.full((4, 2), 0.1)
START = {"Q0": Q0, "R0": R0}
# As many runs as fill a vector, and some more.
SHORT = {"n": 60, "eta": 0.2, "alpha": [0.0, 0.5, 1.0], "trajectories": 11, "label_noise": 0.1, "seed": 5}
TEACHER = np.array([[1.0, 0.4], [0.4, 0.8]])


def short(model: Model = MODEL, **options) -> xarray.Dataset:
    return simulate(model, **{**SHORT, **options})
