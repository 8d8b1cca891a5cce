"""The compiled equations of an invariant sector, loaded from its generated folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.sector.derived_sector import SECTOR_FILES, sector_odes
from derive.sector.sector_model import SectorModel
from runtime.sector.aligned_starts import LARGEST_P
from runtime.system.compiled_system import GeneratedCode
from runtime.system.loading import GENERATED, load_code

Array = NDArray[np.float64]


class SectorSystem(GeneratedCode):
    """One generated sector; made by `load_sector`.

    model
        What was derived; any number p of students.
    folder
        Where the generated files are.
    module
        The generated module: ``rhs``, ``loss``, ``pack``, ``unpack`` and ``pack_parameters``. The
        first two are raw compiled code, without any check of lengths.
    operations
        Floating-point operations of the right-hand side.
    """

    model: SectorModel

    def loss_of_states(self, states: ArrayLike, p: int) -> Array:
        """ε of packed states (times, 2p* + 1) for p students, NaN where the state is; shape (times,)."""
        parameters = self.module.pack_parameters(whole_number("p", p, 1, LARGEST_P), 0.0, 0.0)
        return self._losses(states, parameters)


def load_sector(source: str | Path | SectorModel, generated: str | Path = GENERATED) -> SectorSystem:
    """Load a generated sector, or a model, which is derived into `generated` if it is not there.

    Raises
    ------
    LoadError
        The folder is missing, incomplete, edited, not what this version generates, a symbolic link or
        writable by everyone; the message says how to regenerate it.
    InputError
        `generated` cannot be the name of a folder, or cannot be read or written; or `source` is
        neither a model nor a path.
    OSError
        A model could not be written.
    """
    return load_code(source, generated, SECTOR_FILES, sector_odes, SectorSystem)
