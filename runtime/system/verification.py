"""Verifies generated folders: nothing that the installed generator would not write is ever run.

The texts are regenerated from the model, which takes milliseconds, and must agree byte by byte, except
for the version that wrote them: it is information, and a folder outlives an update that changes no text.
The manifest's digests say first, and in clearer words, what happened to a file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import linecache
import re
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from derive.emit.manifest import FILE_NAME as MANIFEST
from derive.emit.manifest import FORMAT
from derive.errors import InputError
from derive.odes import DOCUMENT, MODULE
from derive.version import VERSION, written_by
from runtime.system.compile_cache import cache_folder, caching_in
from runtime.system.load_error import LoadError

# No generated file comes near; a larger one is not read into memory.
_LARGEST_FILE = 64 * 2**20
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")

AnyModel = TypeVar("AnyModel")


@dataclasses.dataclass(frozen=True)
class Kind(Generic[AnyModel]):
    """What is generated into a folder, and how the installed generator would write it.

    name, another
        As the manifest says; and what a folder of another kind is not.
    command
        The command line that derives a model; of any model without one.
    from_dict
        The model of a manifest's entry; raises InputError, KeyError or TypeError.
    module, document
        Texts of the files of a model.
    manifest
        The manifest from model and texts by name.
    """

    name: str
    another: str
    command: Callable[[AnyModel | None], str]
    from_dict: Callable[[Any], AnyModel]
    module: Callable[[AnyModel], str]
    document: Callable[[AnyModel], str]
    manifest: Callable[[AnyModel, Mapping[str, str]], str]

    def remedy(self, model: AnyModel | None) -> str:
        return f"regenerate with `{self.command(model)}`"


def verified(folder: Path, kind: Kind[AnyModel]) -> tuple[AnyModel, dict[str, Any]]:
    """Model and manifest of a generated folder, everything verified; raises LoadError."""
    recorded, model = _read_manifest(folder, kind)
    remedy = kind.remedy(model)
    version = recorded["generator"]["version"]
    files = {}
    for name, text in {MODULE: kind.module(model), DOCUMENT: kind.document(model)}.items():
        files[name] = text.replace(written_by(), written_by(version))
        found = _read(folder / name, remedy)
        if hashlib.sha256(found).hexdigest() != recorded["files"].get(name):
            raise LoadError(f"{folder / name} was edited or damaged; {remedy}")
        if found != files[name].encode():
            writer = "" if version == VERSION else f": overlap-ode {version} wrote it"
            raise LoadError(
                f"{folder / name} is not what this version ({VERSION}) generates{writer}; {remedy}"
            )
    complete: dict[str, Any] = json.loads(kind.manifest(model, files))
    complete["generator"]["version"] = version
    if {**recorded, "generator": complete["generator"]} != complete:
        raise LoadError(f"{folder / MANIFEST} is damaged or was edited; {remedy}")
    # The recorded one may hold 1.0 or True, which are equal to 1.
    return model, complete


def module_of(model: AnyModel, name: str, kind: Kind[AnyModel]) -> ModuleType:
    """The module of a verified model; the same text is imported once a process."""
    # The text is the generator's and not the file's: what runs is exactly what was verified.
    text = kind.module(model)
    cache = cache_folder(text)
    name = f"{name}_{cache.name}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = f"<{name}>"
    # Tracebacks show lines of a text that no file holds.
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    with caching_in(cache):
        exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102
    # Numba looks the globals of cached functions up there.
    sys.modules[name] = module
    return module


def _read(path: Path, remedy: str) -> bytes:
    """The contents of a regular file that others cannot change; raises LoadError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise LoadError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path} is not a regular file; {remedy}")
    if status.st_mode & stat.S_IWOTH:
        raise LoadError(f"{path} can be written by everyone; {remedy}")
    if status.st_size > _LARGEST_FILE:
        raise LoadError(f"{path} is damaged: {status.st_size} bytes; {remedy}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None


def _printable(text: str) -> str:
    """Text of a file that anyone may have written, as part of a message."""
    return "".join(character for character in text[:40] if character.isprintable())


def _read_manifest(folder: Path, kind: Kind[AnyModel]) -> tuple[dict[str, Any], AnyModel]:
    anyhow = kind.remedy(None)
    try:
        mode = folder.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise LoadError(f"{folder} does not exist; {anyhow}") from None
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error.strerror}") from None
    except ValueError:
        # A null character, or a character that the file system cannot have.
        raise LoadError(f"{str(folder)!a} does not exist; {anyhow}") from None
    if stat.S_ISLNK(mode):
        raise LoadError(f"{folder} is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(mode):
        raise LoadError(f"{folder} is not a folder")
    if mode & stat.S_IWOTH:
        raise LoadError(f"{folder} can be written by everyone; remove that permission (chmod o-w)")
    path = folder / MANIFEST
    try:
        content = json.loads(_read(path, anyhow))
        intact = _VERSION.fullmatch(content["generator"]["version"]) and isinstance(content["files"], dict)
        format_number = content["format"]
        found = _printable(str(content.get("kind", "system")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LoadError(f"{path} is damaged; {anyhow}") from None
    if not intact:
        raise LoadError(f"{path} is damaged; {anyhow}")
    if found != kind.name:
        raise LoadError(f"{folder} holds {kind.another} but a {found}; {anyhow}")
    try:
        model = kind.from_dict(content["model"])
    except (KeyError, TypeError, AttributeError, InputError, RecursionError):
        raise LoadError(f"{path} is damaged or of another version; {anyhow}") from None
    remedy = kind.remedy(model)
    if format_number != FORMAT:
        raise LoadError(f"{path} is not of the format {FORMAT}, that of this version; {remedy}")
    return content, model
