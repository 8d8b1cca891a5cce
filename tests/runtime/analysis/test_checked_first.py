"""Analyses check what they are given before they derive a system."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

import derive
import runtime

STATE = np.eye(4), np.zeros((4, 2))
WRONG = {
    "eta": lambda system: runtime.plateau(system, 0.0),
    "label_noise": lambda system: runtime.plateau(system, 0.4, -1.0),
    "norms": lambda system: runtime.plateau(system, 0.4, norms=np.ones(4)),
    "tolerance": lambda system: runtime.solution_spectrum(system, *STATE, 0.4, tolerance=-1.0),
    "R0": lambda system: runtime.solution_spectrum(system, STATE[0], np.ones((4, 2)), 0.4),
    "where": lambda system: runtime.largest_stable_eta(system, "saddle"),
    "T": lambda system: runtime.largest_stable_eta(system, T=np.zeros((2, 2))),
    "R": lambda system: runtime.largest_stable_eta(system, "solution", Q=np.eye(4)),
    "fraction": lambda system: runtime.escape_times(system, fraction=2.0),
    "n": lambda system: runtime.escape_times(system, n=[100, 10]),
    "q0": lambda system: runtime.escape_times(system, q0=0.0),
    "threads": lambda system: runtime.escape_times(system, threads=0),
}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_arguments_derive_nothing(option, tmp_path):
    system = runtime.load(derive.Model(4, 2), tmp_path)
    with rejected(option):
        WRONG[option](system)
    assert not list(tmp_path.iterdir())
