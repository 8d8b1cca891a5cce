"""Loads a generated folder: verifies it, imports its code and caches what is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from derive.errors import InputError
from derive.generated_files import AnyModel, GeneratedFiles
from derive.generated_folder import check_target
from derive.model import Model
from derive.pipeline import Pipeline
from runtime.run_options import GENERATED
from runtime.system.compiled_system import System, VerifiedCode
from runtime.system.generated_module import module_of
from runtime.system.load_error import LoadError
from runtime.system.verification import exists, remedy, verified

AnyCode = TypeVar("AnyCode")


def load(source: str | Path | Model, generated: str | Path = GENERATED) -> System:
    """The system of a model, or that in a generated folder.

    The folder of a model lies in `generated`. When the system first computes something, the folder is
    derived if it is missing, verified and compiled. A folder that is named is verified at once.

    Raises
    ------
    LoadError
        The folder is missing, incomplete, edited, not what this version generates, a symbolic link or
        writable by everyone; the message says how to regenerate it.
    InputError
        `generated` cannot be the name of a folder, or cannot be read or written; or `source` is
        neither a model nor a path.
    OSError
        The files of a model could not be written.
    """
    return load_code(source, generated, Pipeline, System)


def load_code(
    source: Any,
    generated: str | Path,
    files: type[GeneratedFiles[AnyModel]],
    code: Callable[[AnyModel, Path, Callable[[], VerifiedCode]], AnyCode],
) -> AnyCode:
    """As `load`, for any kind of generated `files`; `code` makes the result."""
    if isinstance(source, files.model_class):
        if not isinstance(generated, (str, Path)):
            raise InputError("generated", f"is of the type {type(generated).__name__}, not a folder's path")
        folder = Path(generated) / source.name
        if not exists(folder):
            check_target(folder)
        model = cast(AnyModel, source)
        return code(model, folder, partial(_derived, model, folder, Path.cwd(), files))
    if not isinstance(source, (str, Path)):
        wanted = f"a {files.model_class.__name__} or a folder's path"
        raise InputError("source", f"is of the type {type(source).__name__}, not {wanted}")
    folder = Path(source)
    model, recorded = verified(folder, files)
    return code(model, folder, partial(_code_of, recorded, model, files))


def _derived(
    model: AnyModel,
    folder: Path,
    working_folder: Path,
    files: type[GeneratedFiles[AnyModel]],
) -> VerifiedCode:
    """The code in the folder of a model, which is derived and written first if it is missing.

    A relative folder is relative to `working_folder`, that of the process when the system was made.
    """
    # Messages show the folder as the user named it, unless that would now be another one.
    if Path.cwd() != working_folder:
        folder = working_folder / folder
    if not exists(folder):
        check_target(folder)
        files.of(model).write(folder.parent)
    found, recorded = verified(folder, files)
    if found != model:
        raise LoadError(f"{folder} holds {found.name}; {remedy(model)}")
    return _code_of(recorded, model, files)


def _code_of(
    recorded: Mapping[str, Any], model: AnyModel, files: type[GeneratedFiles[AnyModel]]
) -> VerifiedCode:
    return VerifiedCode(module_of(files.of(model)), int(recorded["operations"]["rhs"]))


def model_and_manifest(folder: Path) -> tuple[Model, dict[str, Any]]:
    """Model and manifest of the folder of a system, which is verified; raises LoadError."""
    return verified(folder, Pipeline)
