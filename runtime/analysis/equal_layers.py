"""Second layers with one weight for all students and one for all teachers, which rescale the readout."""

from __future__ import annotations

import numpy as np

from derive import readout
from derive.errors import InputError
from runtime.start.parameter_values import RunParameters


def equal_readouts(parameters: RunParameters, needing: str) -> tuple[float, float]:
    """av and bv*, with which students and teachers enter f and y; a and b without a second layer.

    Raises InputError if weights of a layer differ; the message begins with what is `needing` equal ones.
    """
    scaled = []
    names = ("student_weights", "teacher_weights")
    for name, layers, weight in zip(
        names, parameters.weights(), readout.weights(parameters.model), strict=True
    ):
        if np.any(layers != layers[0, 0]):
            raise InputError(name, f"{needing} the same second-layer weight for all units of a layer")
        scaled.append(weight * float(layers[0, 0]))
    return scaled[0], scaled[1]
