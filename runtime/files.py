"""Reads files that users name; what is wrong with one is said in one line, in our own words."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: what it is called, and the bytes that one begins with."""

    name: str
    signatures: tuple[bytes, ...]


NETCDF = Kind("a netCDF file", (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05"))
NPZ = Kind("an .npz file", (b"PK\x03\x04", b"PK\x05\x06"))
_LONGEST = max(len(signature) for kind in (NETCDF, NPZ) for signature in kind.signatures)


def read_file(path: str | Path, option: str, kind: Kind, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a regular file of this kind; InputError, naming the option, otherwise."""
    path = Path(path)
    try:
        _check(path, kind)
        return read(path)
    except FileNotFoundError:
        raise InputError(option, f"{path} does not exist") from None
    except _UnreadableError as error:
        problem = str(error)
    except OSError as error:
        # The libraries of netCDF have numbers below zero of their own, without words for users.
        known = error.errno is not None and error.errno > 0
        problem = str(error.strerror) if known else _DAMAGED
    except Exception:  # noqa: BLE001 (readers of damaged files raise anything)
        problem = "its name has a NUL character" if "\0" in str(path) else _DAMAGED
    raise InputError(option, f"{path} cannot be read: {problem}")


_DAMAGED = "it is damaged, or holds other things than arrays of numbers"


class _UnreadableError(Exception):
    """A file that need not be opened; the message says why."""


def is_unicode(path: Path) -> bool:
    """Whether a name is text: file systems take any bytes, which Python shows as surrogates."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(path: Path, kind: Kind) -> None:
    # Asked first because to open a FIFO is to wait for its writer, perhaps for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise _UnreadableError("it is not a regular file")
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    # This is not left to the library, which would tell users of engines that they might install.
    if not start.startswith(kind.signatures):
        raise _UnreadableError(f"it is not {kind.name}")
    if kind is NETCDF and not is_unicode(path):
        raise _UnreadableError("the netCDF library needs names in UTF-8")
