"""The compiled equations of an invariant sector, loaded from its generated folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.errors import InputError
from derive.parameters import VECTORS
from derive.sector.sector_model import SectorModel
from derive.sector.sector_pipeline import SectorPipeline
from runtime.run_options import GENERATED
from runtime.sector.aligned_starts import LARGEST_P
from runtime.start.checked_arrays import axis_count, real_array, real_number
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import GeneratedCode
from runtime.system.loading import load_code

Array = NDArray[np.float64]


class SectorSystem(GeneratedCode):
    """One generated sector; made by `load_sector`.

    model, folder, operations
        As for `GeneratedCode`; the equations hold for any number p of students.
    module
        The generated module: ``rhs``, ``loss``, ``pack``, ``unpack`` and ``pack_parameters``. The
        first two are raw compiled code, without any check of lengths.
    """

    model: SectorModel

    @takes_parameters(loss=True, without=("T",))
    def loss_of_states(self, states: ArrayLike, p: int, **parameters: Any) -> Array:
        """ε of packed states (times, 2p* + 1) for p students, shape (times,); NaN where a state has NaN."""
        width = whole_number("p", p, 1, LARGEST_P)
        # The loss does not depend on η, but the packed parameters hold one.
        numbers = numbers_of(self.model, width, {"eta": 1.0, **parameters})
        return self.packed_losses(states, self.module.pack_parameters(width, **numbers))


def numbers_of(model: SectorModel, p: int, given: Mapping[str, Any]) -> dict[str, float]:
    """The run-time parameters of a sector of p students, checked; all of them are numbers.

    Second-layer weights are given as numbers, or as vectors of equal ones. Raises InputError.
    """
    widths = {"p": p, "pstar": model.pstar}
    equal = {
        parameter.name: [_equal_weight(parameter.name, given[parameter.name], widths[parameter.shape[0]])]
        for parameter in VECTORS
        if given.get(parameter.name) is not None
    }
    # The parameters are those of any full model with the same options, also of the smallest.
    checked = RunParameters.of(model.with_widths(1, 1), {**given, **equal})
    return checked.attributes | {name: float(values[0, 0]) for name, values in checked.vectors.items()}


def _equal_weight(option: str, value: ArrayLike, width: int) -> float:
    """The one weight of all units of a layer; InputError if they differ."""
    if axis_count(option, value) == 0:
        return real_number(option, value)
    weights = real_array(option, value, (width,))
    if np.any(weights != weights[0]):
        raise InputError(option, "differ from unit to unit: the invariant sector needs equal weights")
    return float(weights[0])


def load_sector(source: str | Path | SectorModel, generated: str | Path = GENERATED) -> SectorSystem:
    """Load a generated sector, or that of a model, which is derived into `generated` if it is missing.

    Raises LoadError, InputError and OSError as `oo.load` does.
    """
    return load_code(source, generated, SectorPipeline, SectorSystem)
