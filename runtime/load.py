"""Loads a generated system: verified, imported, its machine code cached.

Nothing that the installed generator would not write is ever run: the module's text is
regenerated from the model, which takes milliseconds, and must agree byte by byte. The
manifest's digests say first, and in clearer words, what happened to a file.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from derive.emit.document import odes_document
from derive.emit.header import derive_command
from derive.emit.manifest import FILE_NAME as MANIFEST
from derive.emit.manifest import FORMAT, manifest
from derive.emit.numba_module import numba_module
from derive.errors import InputError
from derive.model import Model
from derive.odes import DOCUMENT, MODULE, overlap_odes
from derive.proof import Proof
from derive.version import VERSION, generator_digest
from runtime.compile_cache import cache_folder, caching_in, kept_source
from runtime.errors import LoadError
from runtime.system import System

GENERATED = "generated"
# No generated file comes near; a larger one is not read into memory.
_LARGEST_FILE = 64 * 2**20


def load(source: str | Path | Model, generated: str | Path = GENERATED) -> System:
    """Load a generated folder, or a model, which is derived into `generated` if it is not there.

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
    if isinstance(source, Model):
        folder = Path(generated) / source.name
        if not exists(folder):
            overlap_odes(source).write(generated)
        system = _load_folder(folder)
        if system.model != source:
            raise LoadError(f"{folder} holds {system.model.name}; {_remedy(source)}")
        return system
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
    recorded, model = _read_manifest(folder)
    expected = {MODULE: numba_module(model), DOCUMENT: odes_document(model)}
    for name, text in expected.items():
        found = _read(folder / name, model)
        if hashlib.sha256(found).hexdigest() != recorded["files"].get(name):
            raise LoadError(f"{folder / name} was edited or damaged; {_remedy(model)}")
        if found != text.encode():
            raise LoadError(f"{folder / name} is not what this version generates; {_remedy(model)}")
    try:
        proof = Proof(**recorded["proof"])
        complete = json.loads(manifest(model, expected, proof))
    except (KeyError, TypeError, ValueError):
        complete = None
    if recorded != complete:
        raise LoadError(f"{folder / MANIFEST} is damaged or was edited; {_remedy(model)}")
    return model, recorded


def _load_folder(folder: Path) -> System:
    model, recorded = describe(folder)
    # Why from the generator and not from the file: what runs is exactly what was verified.
    text = numba_module(model)
    cache = cache_folder(text)
    module = _import(text, f"{model.name}_{cache.name}", cache)
    return System(model, folder, module, int(recorded["operations"]["rhs"]), cache)


def _import(text: str, name: str, cache: Path) -> ModuleType:
    """The module with this text; the same text is imported once a process."""
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    # Why not the file in the generated folder: Numba's key holds its path, and each copy of the
    # folder would be compiled anew.
    module.__file__ = str(kept_source(cache, MODULE, text))
    with caching_in(cache):
        # The text comes from the installed generator, not from any file.
        exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102
    # Why in sys.modules: Numba looks the globals of cached functions up there.
    sys.modules[name] = module
    return module


def _remedy(model: Model | None) -> str:
    command = derive_command(model) if model else "cli derive"
    return f"regenerate with `{command}`"


def _read(path: Path, model: Model | None) -> bytes:
    """The contents of a regular file that others cannot change; raises LoadError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise LoadError(f"{path} is missing; {_remedy(model)}") from None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path} is not a regular file; {_remedy(model)}")
    if status.st_mode & stat.S_IWOTH:
        raise LoadError(f"{path} can be written by everyone; {_remedy(model)}")
    if status.st_size > _LARGEST_FILE:
        raise LoadError(f"{path} is damaged: {status.st_size} bytes; {_remedy(model)}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None


def _printable(text: str) -> str:
    """Text of a file that anyone may have written, as part of a message."""
    return "".join(character for character in text[:40] if character.isprintable())


def _read_manifest(folder: Path) -> tuple[dict[str, Any], Model]:
    try:
        mode = folder.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise LoadError(f"{folder} does not exist; {_remedy(None)}") from None
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error.strerror}") from None
    except ValueError:
        # A null character, or a character that the file system cannot have.
        raise LoadError(f"{str(folder)!a} does not exist; {_remedy(None)}") from None
    if stat.S_ISLNK(mode):
        raise LoadError(f"{folder} is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(mode):
        raise LoadError(f"{folder} is not a folder")
    if mode & stat.S_IWOTH:
        raise LoadError(f"{folder} can be written by everyone; remove that permission (chmod o-w)")
    path = folder / MANIFEST
    try:
        content = json.loads(_read(path, None))
        generator = content["generator"]
        version, digest = _printable(str(generator["version"])), str(generator["sha256"])
        format_number = content["format"]
        kind = content.get("kind", "system")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LoadError(f"{path} is damaged; {_remedy(None)}") from None
    if kind != "system":
        raise LoadError(f"{folder} holds no full system but a {_printable(str(kind))}")
    try:
        model = Model.from_dict(content["model"])
    except (KeyError, TypeError, InputError):
        raise LoadError(f"{path} is damaged or of another version; {_remedy(None)}") from None
    if format_number != FORMAT or version != VERSION:
        raise LoadError(f"{folder} was written by overlap-ode {version}, not {VERSION}; {_remedy(model)}")
    if digest != generator_digest():
        raise LoadError(f"{folder} was written by another generator of version {version}; {_remedy(model)}")
    if not isinstance(content.get("files"), dict):
        raise LoadError(f"{path} is damaged; {_remedy(model)}")
    return content, model
