"""Reads files of starts: overlaps with second layers and the time of an earlier run, or a teacher alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from derive.errors import InputError
from derive.model import MAX_WIDTH
from runtime.output.input_files import Shapes, read_array, read_arrays
from runtime.start.checked_arrays import Array

# What a file may hold, as results call it.
_NAMES = ("Q", "R", "T", "v", "student_weights", "teacher_weights", "alpha", "alpha_end")


@dataclasses.dataclass(frozen=True, eq=False)
class StoredStart:
    """What is in the file of a start; None where the file does not say.

    Q, R
        Overlaps (p, p) and (p, p*), perhaps with an axis of trajectories in front.
    T
        Teacher overlaps (p*, p*).
    v
        A trained second layer (p,), with the axis in front if Q and R have it.
    student_weights, teacher_weights
        Fixed second layers (p,) and (p*,), which may have that axis.
    alpha
        The time of the state; 0 where the file has none.
    """

    Q: Array
    R: Array
    T: Array | None
    v: Array | None
    student_weights: Array | None
    teacher_weights: Array | None
    alpha: float


def read_start(path: str | Path, check: Callable[[Shapes], None]) -> StoredStart:
    """The start in a ``.npz`` file, or the last state in a ``.nc`` file; `check` sees the shapes first.

    Raises
    ------
    InputError
        As `overlaps_from_file`; or the file has several times, or a time that is none.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npz", ".nc"):
        raise InputError("file", f"{path} is neither an .npz nor an .nc file")

    def there(shapes: Shapes) -> None:
        for name in ("Q", "R"):
            if name not in shapes:
                raise InputError("file", f"{path} has no array {name}")
        check(shapes)

    found = read_arrays(path, "file", _NAMES, there)
    # The last states of an ensemble have no common axis of times, but each has its end.
    end = found.pop("alpha_end", np.zeros(1))
    alpha = _time(path, np.ravel(found.pop("alpha", end)))
    return StoredStart(alpha=alpha, **{name: found.get(name) for name in _NAMES[:-2]})  # type: ignore[arg-type]


def _time(path: Path, times: Array) -> float:
    """The one time α of all states of a file."""
    wrong = times[~(np.isfinite(times) & (times >= 0.0))]
    if wrong.size:
        raise InputError("file", f"{path} has alpha = {wrong[0]:g}, which is not a time of at least 0")
    if not times.size or np.any(times != times[0]):
        which = f"from {times.min():g} to {times.max():g}" if times.size else "that is empty"
        raise InputError("file", f"{path} has alpha {which}: take the states of one time")
    return float(times[0])


def overlaps_from_file(path: str | Path) -> tuple[Array, Array, Array | None]:
    """Q, R and, if present, T from a ``.npz`` file, or the last state of a ``.nc`` run.

    The suffix may have capitals.

    Raises
    ------
    InputError
        The file cannot be read, is not a regular file, has another type, or lacks Q or R.
    """
    stored = read_start(path, lambda _: None)
    return stored.Q, stored.R, stored.T


def read_teacher(path: str | Path) -> Array:
    """The square matrix T of a file: the array T of ``.npz`` or ``.nc``, an ``.npy``, or a text of numbers.

    Raises InputError, which names T, if the file cannot be read or holds no square matrix.
    """
    path = Path(path)

    def check(shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[0] != shape[1] or not 1 <= shape[0] <= MAX_WIDTH:
            raise InputError("T", f"{path} has an array of the shape {shape}, not (p*, p*)")

    return read_array(path, "T", "T", check)
