"""The errors of `runtime`: that of a folder that cannot be loaded, and derive's of bad input."""

from derive.errors import InputError

__all__ = ["InputError", "LoadError"]


class LoadError(RuntimeError):
    """A generated folder is missing, damaged, edited, or not what this version generates."""
