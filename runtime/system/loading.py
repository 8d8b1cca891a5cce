"""Loads a generated system: verified, imported, its machine code cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derive.emit.header import derive_command
from derive.emit.latex_document import odes_document
from derive.emit.manifest import manifest
from derive.emit.numba_module import numba_module
from derive.errors import InputError
from derive.generated_folder import check_target
from derive.model import Model
from derive.odes import overlap_odes
from derive.proof import record_of
from runtime.system.compiled_system import System
from runtime.system.load_error import LoadError
from runtime.system.verification import Kind, module_of, verified

GENERATED = "generated"
SYSTEM = Kind(
    name="system",
    another="no full system",
    command=lambda model: derive_command(model) if model else "cli derive",
    from_dict=Model.from_dict,
    module=numba_module,
    document=odes_document,
    manifest=lambda model, files: manifest(model, files, record_of(model)),
)


def load(source: str | Path | Model, generated: str | Path = GENERATED) -> System:
    """Load a generated folder, or a model, which is derived into `generated` if it is not there.

    Raises
    ------
    LoadError
        The folder is missing, incomplete, edited, of another version, a symbolic link or
        writable by everyone; the message says how to regenerate it.
    InputError
        `generated` cannot be the name of a folder, or cannot be read or written; or `source` is
        neither a model nor a path.
    OSError
        A model could not be written.
    """
    if isinstance(source, Model):
        folder = Path(generated) / source.name
        if not exists(folder):
            check_target(folder)
            overlap_odes(source).write(generated)
        system = _load_folder(folder)
        if system.model != source:
            raise LoadError(f"{folder} holds {system.model.name}; {SYSTEM.remedy(source)}")
        return system
    if not isinstance(source, (str, Path)):
        raise InputError(
            "source", f"is of the type {type(source).__name__}, not a Model or a folder's path"
        )
    return _load_folder(Path(source))


def exists(generated: Path) -> bool:
    """Whether there is a folder (or a file) of this name; raises InputError if it cannot be told."""
    try:
        generated.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError("generated", f"{generated} cannot be read: {error.strerror}") from None
    except ValueError:
        # A null character, or a character that the file system cannot have.
        raise InputError("generated", f"{str(generated)!a} cannot be the name of a folder") from None
    return True


def describe(folder: Path) -> tuple[Model, dict[str, Any]]:
    """Model and manifest of a generated folder, everything verified; raises LoadError."""
    return verified(folder, SYSTEM)


def _load_folder(folder: Path) -> System:
    model, recorded = describe(folder)
    module = module_of(model, model.name, SYSTEM)
    return System(model, folder, module, int(recorded["operations"]["rhs"]))
