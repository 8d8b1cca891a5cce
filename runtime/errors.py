"""What can go wrong for a reason that the caller can mend."""

from __future__ import annotations


class InputError(ValueError):
    """An argument has a value that is not allowed; `option` names the argument."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")
        self.option = option


class LoadError(RuntimeError):
    """A generated folder is missing, damaged, edited or of another version."""
