"""Loads a generated sector: verified as `runtime.load` does, imported, its machine code cached."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.generated_folder import check_target
from derive.sector.derived_sector import sector_odes
from derive.sector.manifest import KIND, sector_manifest
from derive.sector.sector_document import sector_document
from derive.sector.sector_model import SectorModel
from derive.sector.sector_module import sector_command, sector_module
from derive.sector.sector_proof import record_of
from runtime.sector.aligned_starts import LARGEST_P
from runtime.system.compiled_system import GeneratedCode, losses
from runtime.system.load_error import LoadError
from runtime.system.loading import GENERATED, exists
from runtime.system.verification import Kind, module_of, verified

Array = NDArray[np.float64]
SECTOR = Kind(
    name=KIND,
    another="no sector",
    command=lambda model: sector_command(model) if model else "cli derive --sector",
    from_dict=SectorModel.from_dict,
    module=sector_module,
    document=sector_document,
    manifest=lambda model, files: sector_manifest(model, files, record_of(model)),
)


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

    @cached_property
    def _compiled_loss(self) -> Any:
        return self.first_call("loss")

    def loss_of_states(self, states: ArrayLike, p: int) -> Array:
        """ε of packed states (times, 2p* + 1) for p students, NaN where the state is; shape (times,)."""
        parameters = self.module.pack_parameters(whole_number("p", p, 1, LARGEST_P), 0.0, 0.0)
        return losses(self._compiled_loss, states, self.model.state_size, parameters)


def load_sector(source: str | Path | SectorModel, generated: str | Path = GENERATED) -> SectorSystem:
    """Load a generated sector, or a model, which is derived into `generated` if it is not there.

    Raises
    ------
    LoadError
        The folder is missing, incomplete, edited, of another version, a symbolic link or
        writable by everyone; the message says how to regenerate it.
    InputError
        `generated` cannot be the name of a folder, or cannot be read or written.
    OSError
        A model could not be written.
    """
    if not isinstance(source, SectorModel):
        return _load_folder(Path(source))
    folder = Path(generated) / source.name
    if not exists(folder):
        check_target(folder)
        sector_odes(source).write(generated)
    system = _load_folder(folder)
    if system.model != source:
        raise LoadError(f"{folder} holds {system.model.name}; {SECTOR.remedy(source)}")
    return system


def describe_sector(folder: Path) -> tuple[SectorModel, dict[str, Any]]:
    """Model and manifest of a sector's folder, everything verified; raises LoadError."""
    return verified(folder, SECTOR)


def _load_folder(folder: Path) -> SectorSystem:
    model, recorded = describe_sector(folder)
    module = module_of(model, model.name, SECTOR)
    return SectorSystem(model, folder, module, int(recorded["operations"]["rhs"]))
