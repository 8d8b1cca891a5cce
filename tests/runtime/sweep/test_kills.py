"""Kills at random times: nothing acknowledged is lost, and the end is that of an undisturbed sweep."""

from __future__ import annotations

import sys

import pytest
from kill_storm import storm_of
from matrix import matrix

# One of each kind; more of them by `-m matrix`, or by the script itself.
KILLS = [4, matrix(40)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("kills", KILLS)
def test_kills_at_random_times(tmp_path, kills):
    assert storm_of(tmp_path, kills).count >= kills
