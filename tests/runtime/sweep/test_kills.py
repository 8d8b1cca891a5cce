"""Kills at random times: nothing acknowledged is lost, and the end is that of an undisturbed sweep."""

from __future__ import annotations

import sys

import pytest
from kill_storm import SEEDS, storm_of
from matrix import matrix

# One kill of each kind on a short sweep; more of them by `-m matrix`, or by the script itself.
SEEDS_OF = {4: 8, 40: SEEDS}


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("kills", [4, matrix(40)])
def test_kills_at_random_times(tmp_path, kills):
    assert storm_of(tmp_path, kills, seeds=SEEDS_OF[kills]).count >= kills
