"""The memory that results, and arrays read from files, may take."""

from __future__ import annotations

from derive.errors import InputError

# Bytes: 16 GiB.
LARGEST_ARRAYS = 2**34


def check_memory(trajectories: int, numbers: int, where: str = "", remedy: str = "") -> None:
    """Raise InputError, with a remedy, if results of so many numbers per trajectory are too large."""
    needed = 8 * trajectories * numbers
    if needed > LARGEST_ARRAYS:
        raise InputError(
            "trajectories",
            f"{trajectories} need {needed / 2**30:.0f} GiB{where}, more than"
            f" {LARGEST_ARRAYS / 2**30:.0f}{remedy}",
        )
