"""Fixtures of the tests of the derivation."""

from __future__ import annotations

import pytest
from closed_form import OPTION_SETS


@pytest.fixture(params=OPTION_SETS, ids="-".join)
def options(request: pytest.FixtureRequest) -> tuple[str, str, str, str]:
    """Every combination of constraint, flow, teacher and readout."""
    return request.param
