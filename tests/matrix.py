"""Cases that a change of the physics is tried on, too slow for each run: `python -m pytest -m matrix`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[Any], *kept: int) -> list[Any]:
    """Cases for `parametrize`: the suite runs those at the places `kept`, the matrix all others."""
    cases = list(cases)
    assert set(kept) < set(range(len(cases)))
    return [case if place in kept else matrix(case) for place, case in enumerate(cases)]


def matrix(case: Any) -> Any:
    """A case, of one or several values, that the suite does not run."""
    if hasattr(case, "marks"):
        return case._replace(marks=(*case.marks, pytest.mark.matrix))
    return pytest.param(*case if isinstance(case, tuple) else (case,), marks=pytest.mark.matrix)
