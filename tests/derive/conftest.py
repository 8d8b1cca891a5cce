"""Fixtures of the tests of the derivation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from closed_form import OPTION_SETS

from derive import generated_files


@pytest.fixture(params=OPTION_SETS, ids="-".join)
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Combinations of constraint, flow, teacher, readout and second layer."""
    return request.param


@pytest.fixture
def no_stages() -> Iterator[None]:
    """No stage of any model is kept from before this test, or after it."""
    generated_files.pipeline_of.cache_clear()
    yield
    generated_files.pipeline_of.cache_clear()
