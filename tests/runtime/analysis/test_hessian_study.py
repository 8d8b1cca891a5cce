"""Chosen states of a Hessian: what is checked, and that the spectrum is that of the state."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

from derive import Model
from runtime.analysis.landscape.hessian_spectra import hessian_spectrum
from runtime.analysis.landscape.hessian_study import HessianStudy, hessian_of_study
from runtime.analysis.plateau.plateau_curve import plateau
from runtime.start.chosen_start import ChosenStart


def test_the_plateau_of_sgd_comes_from_the_system(interpreted):
    """With the label noise and the T that were chosen."""
    system, start = interpreted(3, 2, teacher="general"), ChosenStart(teacher_correlation=0.3)
    study = HessianStudy(system.model, {"eta": 0.2, "label_noise": 0.1}, start, n=50)
    assert study.state is None
    spectrum, result = hessian_of_study(study, system)
    T = start.teacher(system.model)
    point = plateau(system, 0.2, 0.1, T)
    expected = hessian_spectrum(system.model, point.Q, point.R, 50, T)
    np.testing.assert_array_equal(spectrum.eigenvalues, expected.eigenvalues)
    assert result.attrs["at"] == "plateau"


@pytest.mark.parametrize(
    ("options", "place"),
    [({"flow": "gradient"}, None), ({"constraint": "sphere"}, "plateau"), ({}, "solution"), ({}, "start")],
)
def test_other_states_are_known_without_a_system(options, place):
    study = HessianStudy(Model(3, 3, **options), {"eta": 0.2}, ChosenStart(), place, n=50)
    spectrum, result = hessian_of_study(study, None)
    assert result.attrs["at"] == (place or "plateau")
    assert spectrum.size == 3 * (49 if options.get("constraint") == "sphere" else 50)


@pytest.mark.parametrize(
    ("option", "given", "start", "others"),
    [
        ("n", {}, {}, {"n": 0}),
        ("eta", {"eta": 0.0}, {}, {}),
        ("label_noise", {"label_noise": -1.0}, {}, {}),
        ("q0", {}, {"q0": 0.0}, {}),
        ("seed", {}, {"seed": -1}, {}),
        ("teacher_correlation", {}, {"teacher_correlation": 2.0}, {}),
        ("tolerance", {}, {}, {"tolerance": 1.0}),
        ("at", {}, {}, {"place": "nowhere"}),
        ("at", {}, {"overlaps": "run.nc"}, {"place": "start"}),
    ],
)
def test_wrong_choices_are_named(option, given, start, others):
    with rejected(option):
        HessianStudy(Model(3, 2, teacher="general"), {"eta": 0.2} | given, ChosenStart(**start), **others)
