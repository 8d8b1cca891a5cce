"""The contract of all functions for bad input: an InputError of one line that names the option."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from runtime import InputError


@contextlib.contextmanager
def rejected(option: str, *patterns: str) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """``with rejected("eta", "greater than 0"):`` the call must be rejected in these words."""
    with pytest.raises(InputError) as caught:
        yield caught
    message = str(caught.value)
    assert caught.value.option == option
    assert message.startswith(f"{option}: ")
    assert "\n" not in message
    for pattern in patterns:
        assert re.search(pattern, message), message
