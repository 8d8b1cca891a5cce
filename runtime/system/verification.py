"""Verifies generated folders: only code that the installed version would generate is ever run.

The texts are generated again from the model, which takes milliseconds, and must agree byte by byte. Only
the version that wrote them may differ, so that a folder outlives an update that changes no text. The
digests in the manifest are compared first, since they tell an edited file from one of another version.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any, cast

from derive.emit.header import derive_command
from derive.errors import InputError
from derive.generated_files import FORMAT, MANIFEST, AnyModel, GeneratedFiles, sha256
from derive.model import DerivableModel
from derive.version import VERSION
from runtime.system.load_error import LoadError

# Generated files are much smaller (bytes); a larger file is not read into memory.
_LARGEST_FILE = 64 * 2**20
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def remedy(model: DerivableModel | type[DerivableModel]) -> str:
    """The end of an error message: the command that generates the folder again."""
    return f"regenerate with `{derive_command(model)}`"


def exists(generated: Path) -> bool:
    """Whether a folder or file of this name exists; raises InputError if that cannot be found out."""
    try:
        generated.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError("generated", f"{generated} cannot be read: {error.strerror}") from None
    except ValueError:
        # The name has a null character, or one that the file system does not allow.
        raise InputError("generated", f"{str(generated)!a} cannot be the name of a folder") from None
    return True


def verified(folder: Path, files: type[GeneratedFiles[AnyModel]]) -> tuple[AnyModel, dict[str, Any]]:
    """Model and manifest of a folder, after all its files were verified; raises LoadError."""
    recorded, model = _read_manifest(folder, files)
    version = recorded["generator"]["version"]
    expected = files.of(model).texts(version)
    complete: dict[str, Any] = json.loads(expected.pop(MANIFEST))
    for name, text in expected.items():
        found = _read(folder / name, remedy(model))
        if sha256(found) != recorded["files"].get(name):
            raise LoadError(f"{folder / name} was edited or damaged; {remedy(model)}")
        if found != text.encode():
            writer = "" if version == VERSION else f": overlap-ode {version} wrote it"
            raise LoadError(
                f"{folder / name} is not what this version ({VERSION}) generates{writer}; {remedy(model)}"
            )
    if {**recorded, "generator": complete["generator"]} != complete:
        raise LoadError(f"{folder / MANIFEST} is damaged or was edited; {remedy(model)}")
    # The generated manifest is returned, since the recorded one may hold 1.0 or True in place of 1.
    return model, complete


def _read(path: Path, mend: str) -> bytes:
    """The contents of a regular file that others cannot change; raises LoadError, ending with `mend`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise LoadError(f"{path} is missing; {mend}") from None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path} is not a regular file; {mend}")
    if status.st_mode & stat.S_IWOTH:
        raise LoadError(f"{path} can be written by everyone; {mend}")
    if status.st_size > _LARGEST_FILE:
        raise LoadError(f"{path} is damaged: {status.st_size} bytes; {mend}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None


def _read_manifest(folder: Path, files: type[GeneratedFiles[AnyModel]]) -> tuple[dict[str, Any], AnyModel]:
    model_class = files.model_class
    mend = remedy(model_class)
    try:
        mode = folder.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise LoadError(f"{folder} does not exist; {mend}") from None
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error.strerror}") from None
    except ValueError:
        # The name has a null character, or one that the file system does not allow.
        raise LoadError(f"{str(folder)!a} does not exist; {mend}") from None
    if stat.S_ISLNK(mode):
        raise LoadError(f"{folder} is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(mode):
        raise LoadError(f"{folder} is not a folder")
    if mode & stat.S_IWOTH:
        raise LoadError(f"{folder} can be written by everyone; remove that permission (chmod o-w)")
    path = folder / MANIFEST
    try:
        content = json.loads(_read(path, mend))
        intact = _VERSION.fullmatch(content["generator"]["version"]) and isinstance(content["files"], dict)
        written_format = content["format"]
        # Anyone may have written this value, and it may be nested too deeply to be shown.
        kind = "".join(filter(str.isprintable, str(content.get("kind", "system"))[:40]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise LoadError(f"{path} is damaged; {mend}")
    if kind != model_class.kind:
        raise LoadError(f"{folder} holds a {kind}, not a {model_class.kind}; {mend}")
    try:
        model = cast(AnyModel, model_class.from_dict(content["model"]))
    except (KeyError, TypeError, AttributeError, InputError, RecursionError):
        raise LoadError(f"{path} is damaged or of another version; {mend}") from None
    if written_format != FORMAT:
        raise LoadError(f"{path} is not of format {FORMAT}, which this version uses; {remedy(model)}")
    return content, model
