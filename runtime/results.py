"""Results as xarray datasets, and netCDF files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive.version import VERSION
from runtime.errors import InputError

if TYPE_CHECKING:
    import xarray

    from runtime.solver import Solution
    from runtime.system import System

Array = NDArray[np.float64]


def trajectory_dataset(
    system: System, solution: Solution, teacher: Array, settings: Mapping[str, Any]
) -> xarray.Dataset:
    """The dataset of one trajectory; `settings` become attributes beside model and version."""
    import xarray

    model = system.model
    Q, R = system.unpack(solution.states)
    general = teacher if model.teacher == "general" else None
    variables: dict[str, Any] = {
        "Q": (("alpha", "i", "j"), Q, {"long_name": "student-student overlap"}),
        "R": (("alpha", "i", "r"), R, {"long_name": "student-teacher overlap"}),
        "T": (("r", "s"), teacher, {"long_name": "teacher-teacher overlap"}),
        "loss": (
            ("alpha",),
            system.loss_of_states(solution.states, general),
            {"long_name": "generalisation error"},
        ),
        "status": ((), solution.status, {"long_name": "ok, diverged or step_too_small"}),
        "alpha_end": ((), solution.end, {"long_name": "time that was reached"}),
        "steps": ((), solution.accepted, {"long_name": "accepted steps"}),
        "rejected": ((), solution.rejected, {"long_name": "rejected steps"}),
        "evaluations": ((), solution.evaluations, {"long_name": "evaluations of the right-hand side"}),
    }
    attributes = {"title": f"overlap trajectory of {model.name}", **model.to_dict(), **settings}
    attributes["version"] = f"overlap-ode {VERSION}"
    return xarray.Dataset(variables, coordinates_of(system, solution.times), attributes)


def coordinates_of(system: System, times: Array) -> dict[str, Any]:
    """Times, students and teachers, counted from 1."""
    students = np.arange(1, system.model.p + 1)
    teachers = np.arange(1, system.model.pstar + 1)
    return {
        "alpha": ("alpha", times, {"long_name": "time, samples / N"}),
        "i": students,
        "j": students,
        "r": teachers,
        "s": teachers,
    }


def check_output(path: str | Path, suffixes: tuple[str, ...], option: str = "out") -> Path:
    """The path, if a file of one of these types can be written there; else InputError."""
    target = Path(path)
    if "\0" in str(target):
        raise InputError(option, f"{str(target)!r} has a NUL character in its name")
    if target.suffix.lower() not in suffixes:
        raise InputError(option, f"{str(target)!r} does not end in {' or '.join(suffixes)}")
    try:
        target.resolve()
    except (OSError, RuntimeError):
        raise InputError(option, f"{target} is a symbolic link that leads nowhere") from None
    try:
        problem = _unwritable(target)
    except OSError as error:
        problem = f"{target}: {error.strerror}"
    if problem:
        raise InputError(option, problem)
    return target


def _unwritable(target: Path) -> str | None:
    """Why no file can be written there; None if one can. Raises OSError, as for names too long."""
    folder = target.parent
    if not folder.is_dir():
        return f"{str(folder)!r} is not an existing folder: make it first"
    if target.is_dir():
        return f"{target} is a folder"
    if target.exists() and not target.is_file():
        return f"{target} is not a regular file"
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        return f"{target} cannot be written"
    return None


@contextlib.contextmanager
def replacing(target: Path) -> Any:
    """A temporary path of the same type beside `target`, renamed to it if all went well."""
    # Why through a link: its file is replaced, the link stays.
    target = target.resolve()
    handle, name = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give this one the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def save_netcdf(dataset: xarray.Dataset, path: str | Path) -> Path:
    """Write a netCDF-4 file; it appears whole or not at all.

    Raises
    ------
    InputError
        The name does not end in .nc or the folder cannot be written.
    OSError
        Writing failed.
    """
    target = check_output(path, (".nc",))
    try:
        with replacing(target) as temporary:
            dataset.to_netcdf(temporary, engine="netcdf4")
    except RuntimeError as error:
        # Why: of a full disk the netCDF library says nothing but that HDF5 failed.
        raise OSError(f"{target} could not be written ({error}): is the disk full?") from error
    return target
