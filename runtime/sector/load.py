"""Loads a generated sector: verified as `runtime.load` does, imported, its machine code cached.

Nothing that the installed generator would not write is ever run: the text is regenerated from
the model and must agree byte by byte, and what is imported is that text.
"""

from __future__ import annotations

import hashlib
import json
import stat
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.emit.manifest import FILE_NAME as MANIFEST
from derive.emit.manifest import FORMAT
from derive.errors import InputError
from derive.sector.document import sector_document
from derive.sector.manifest import KIND, sector_manifest
from derive.sector.model import SectorModel
from derive.sector.module import sector_command, sector_module
from derive.sector.odes import DOCUMENT, MODULE, sector_odes
from derive.sector.proof import SectorProof
from derive.version import VERSION, generator_digest
from runtime.compile_cache import cache_folder, with_repair
from runtime.errors import LoadError
from runtime.load import GENERATED, _import, _read, exists
from runtime.stepper import RIGHT_HAND_SIDE

Array = NDArray[np.float64]


class SectorSystem:
    """One generated sector; made by `load_sector`.

    model
        What was derived; any number p of students.
    folder
        Where the generated files are.
    module
        The generated module: ``rhs``, ``loss``, ``pack``, ``unpack`` and ``pack_parameters``.
    operations
        Floating-point operations of the right-hand side.
    """

    def __init__(
        self, model: SectorModel, folder: Path, module: ModuleType, operations: int, cache: Path
    ) -> None:
        self.model = model
        self.folder = folder
        self.module = module
        self.operations = operations
        self._cache = cache

    def __repr__(self) -> str:
        return f"<SectorSystem {self.model.name} from {self.folder}>"

    @cached_property
    def compiled_rhs(self) -> Any:
        """The generated ``rhs(state, parameters, drift)``, compiled for float64 vectors."""

        def compile_all() -> Any:
            self.module.rhs.compile(RIGHT_HAND_SIDE)
            return self.module.rhs

        return with_repair(self._cache, compile_all)

    @cached_property
    def _compiled_loss(self) -> Any:
        def compile_all() -> Any:
            self.module.loss(np.ones(self.model.state_size), np.ones(len(self.model.parameters)))
            return self.module.loss

        return with_repair(self._cache, compile_all)

    def loss_of_states(self, states: Array, p: int) -> Array:
        """ε of packed states (times, 2p* + 1) for p students, NaN where the state is; shape (times,)."""
        parameters = self.module.pack_parameters(p, 0.0, 0.0)
        return np.array([self._compiled_loss(y, parameters) for y in np.ascontiguousarray(states)])


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
        A model or the cache could not be written.
    """
    if not isinstance(source, SectorModel):
        return _load_folder(Path(source))
    folder = Path(generated) / source.name
    if not exists(folder):
        sector_odes(source).write(generated)
    system = _load_folder(folder)
    if system.model != source:
        raise LoadError(f"{folder} holds {system.model.name}; {_remedy(source)}")
    return system


def describe_sector(folder: Path) -> tuple[SectorModel, dict[str, Any]]:
    """Model and manifest of a sector's folder, everything verified; raises LoadError."""
    recorded, model = _read_manifest(folder)
    expected = {MODULE: sector_module(model), DOCUMENT: sector_document(model)}
    for name, text in expected.items():
        found = _read(folder / name, None)
        if hashlib.sha256(found).hexdigest() != recorded["files"].get(name):
            raise LoadError(f"{folder / name} was edited or damaged; {_remedy(model)}")
        if found != text.encode():
            raise LoadError(f"{folder / name} is not what this version generates; {_remedy(model)}")
    try:
        proof = SectorProof(**recorded["proof"])
        complete = json.loads(sector_manifest(model, expected, proof))
    except (KeyError, TypeError, ValueError):
        complete = None
    if recorded != complete:
        raise LoadError(f"{folder / MANIFEST} is damaged or was edited; {_remedy(model)}")
    return model, recorded


def _load_folder(folder: Path) -> SectorSystem:
    model, recorded = describe_sector(folder)
    # Why from the generator and not from the file: what runs is exactly what was verified.
    text = sector_module(model)
    cache = cache_folder(text)
    module = _import(text, f"{model.name}_{cache.name}", cache)
    return SectorSystem(model, folder, module, int(recorded["operations"]["rhs"]), cache)


def _remedy(model: SectorModel) -> str:
    return f"regenerate with `{sector_command(model)}`"


def _read_manifest(folder: Path) -> tuple[dict[str, Any], SectorModel]:
    try:
        mode = folder.lstat().st_mode
    except (OSError, ValueError):
        raise LoadError(f"{str(folder)!a} does not exist or cannot be read") from None
    if stat.S_ISLNK(mode):
        raise LoadError(f"{folder} is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(mode):
        raise LoadError(f"{folder} is not a folder")
    if mode & stat.S_IWOTH:
        raise LoadError(f"{folder} can be written by everyone; remove that permission (chmod o-w)")
    path = folder / MANIFEST
    try:
        content = json.loads(_read(path, None))
        kind = content.get("kind")
        current = (content["format"], content["generator"]["version"]) == (FORMAT, VERSION)
        digest = content["generator"]["sha256"]
        options = content["model"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LoadError(f"{path} is damaged; regenerate with `cli derive --sector`") from None
    if kind != KIND:
        raise LoadError(f"{folder} holds no sector; `cli derive --sector` makes one")
    try:
        model = SectorModel.from_dict(options)
    except (KeyError, TypeError, AttributeError, InputError):
        raise LoadError(f"{path} is damaged; regenerate with `cli derive --sector`") from None
    if not current or digest != generator_digest():
        raise LoadError(f"{folder} was written by another version; {_remedy(model)}")
    if not isinstance(content.get("files"), dict):
        raise LoadError(f"{path} is damaged; {_remedy(model)}")
    return content, model
