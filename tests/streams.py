"""Streams that take the place of stderr: a terminal and a notebook, as the program sees them."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# The class of the stream that a notebook's kernel has in place of stderr.
Notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
