"""The exceptions that end a whole sweep early."""

from __future__ import annotations


class SweepError(OSError):
    """The sweep cannot continue; the message says why. Finished tasks stay finished."""


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was stopped; the message says how far it got and how to resume it."""
