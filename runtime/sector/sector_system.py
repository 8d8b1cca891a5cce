"""The compiled equations of an invariant sector, loaded from its generated folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.sector.sector_model import SectorModel
from derive.sector.sector_pipeline import SectorPipeline
from runtime.sector.aligned_starts import LARGEST_P
from runtime.system.compiled_system import GeneratedCode
from runtime.system.loading import GENERATED, load_code

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

    def loss_of_states(self, states: ArrayLike, p: int) -> Array:
        """ε of packed states (times, 2p* + 1) for p students, shape (times,); NaN where a state has NaN."""
        parameters = self.module.pack_parameters(whole_number("p", p, 1, LARGEST_P), 0.0, 0.0)
        return self.packed_losses(states, parameters)


def load_sector(source: str | Path | SectorModel, generated: str | Path = GENERATED) -> SectorSystem:
    """Load a generated sector, or that of a model, which is derived into `generated` if it is missing.

    Raises LoadError, InputError and OSError as `runtime.load` does.
    """
    return load_code(source, generated, SectorPipeline, SectorSystem)
