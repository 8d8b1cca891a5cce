"""Kills at random times: nothing acknowledged is lost, and the end is that of an undisturbed sweep."""

from __future__ import annotations

import os
import sys

import pytest
from kill_storm import storms

# More of them, and of Dask's scheduler: OVERLAP_ODE_KILLS=60, or the script itself.
KILLS = int(os.environ.get("OVERLAP_ODE_KILLS", "10"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_kills_at_random_times(tmp_path):
    for storm in storms(tmp_path, KILLS):
        assert storm.count >= KILLS
