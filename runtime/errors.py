"""What can go wrong for a reason that the caller can mend."""

from __future__ import annotations

from derive.errors import InputError, shown

__all__ = ["InputError", "LoadError", "shown"]


class LoadError(RuntimeError):
    """A generated folder is missing, damaged, edited or of another version."""
