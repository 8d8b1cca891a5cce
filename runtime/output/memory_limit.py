"""Rejects results that would take more memory than this program allows."""

from __future__ import annotations

from derive.errors import InputError

# Bytes (16 GiB) that results, or arrays read from a file, may take.
LARGEST_ARRAYS = 2**34


def check_memory(trajectories: int, numbers: int, where: str = "", remedy: str = "") -> None:
    """Raise InputError if results of so many numbers per trajectory are too large.

    `where` and `remedy` are parts of the message: where the memory is needed, and what would help.
    """
    needed = 8 * trajectories * numbers
    if needed > LARGEST_ARRAYS:
        raise InputError(
            "trajectories",
            f"{trajectories} need {needed / 2**30:.0f} GiB{where}, more than the"
            f" {LARGEST_ARRAYS / 2**30:.0f} GiB that results may take{remedy}",
        )
