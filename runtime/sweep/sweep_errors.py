"""The exceptions that end a whole sweep early."""

from __future__ import annotations


class SweepError(OSError):
    """The sweep cannot go on; the text says why, and what is done stays done."""


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was stopped; the text says how far it got and how to go on."""
