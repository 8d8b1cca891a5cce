"""Which program computes: its version and its source, so that no dataset mixes the results of two."""

from pathlib import Path

import derive
import runtime
from derive.version import VERSION, source_digest

_SHOWN = 12


def _digest(package: str | None) -> str:
    assert package is not None
    return source_digest(Path(package).parent)[:_SHOWN]


PROGRAM = f"overlap-ode {VERSION} (source {_digest(derive.__file__)} {_digest(runtime.__file__)})"
