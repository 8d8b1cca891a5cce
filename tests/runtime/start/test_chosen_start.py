"""Starts that are chosen by an input dimension, a size or a file."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

from derive import Model
from runtime import InputError, random_overlaps
from runtime.start.chosen_start import ChosenStart

GENERAL = Model(3, 2, teacher="general")


def test_start_is_random_by_default():
    Q, R, teacher, origin = ChosenStart(seed=3).overlaps_of(Model(3, 2))
    expected = random_overlaps(3, 2, 10**6, 3)
    np.testing.assert_array_equal(Q, expected[0])
    np.testing.assert_array_equal(R, expected[1])
    assert teacher is None
    assert origin == {"seed": 3, "q0": 1.0, "n": 10**6}


def test_ideal_start():
    Q, R, _, origin = ChosenStart(seed=3, ideal=1e-3).overlaps_of(Model(3, 2))
    expected = random_overlaps(3, 2, None, 3, scale=1e-3)
    np.testing.assert_array_equal(Q, expected[0])
    np.testing.assert_array_equal(R, expected[1])
    assert origin == {"seed": 3, "q0": 1.0, "ideal": 1e-3}


def test_start_from_a_file(tmp_path):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    read = ChosenStart(seed=3, overlaps=path).overlaps_of(Model(3, 2))
    np.testing.assert_array_equal(read[0], Q)
    assert read[2] is None
    assert read[3] == {"overlaps": str(path)}
    np.testing.assert_array_equal(ChosenStart(seed=3, overlaps=path).overlaps_of(GENERAL)[2], np.eye(2))
    np.savez(path, Q=Q, R=R, T=0.9 * np.eye(2))
    with pytest.raises(InputError, match="--teacher general"):
        ChosenStart(seed=3, overlaps=path).overlaps_of(Model(3, 2))
    np.savez(path, Q=Q, R=R, T=np.eye(2) + 1e-12)
    assert ChosenStart(seed=3, overlaps=path).overlaps_of(Model(3, 2))[2] is None


def test_a_file_of_other_widths_says_its_own(tmp_path):
    Q, R = random_overlaps(4, 1, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(1))
    words = r"holds p = 4 and p\* = 1, not 4 and 2: say --p 4 --pstar 1"
    for model in (Model(4, 2), Model(4, 2, teacher="general")):
        with pytest.raises(InputError, match=words) as caught:
            ChosenStart(seed=3, overlaps=path).overlaps_of(model)
        assert caught.value.option == "overlaps"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with pytest.raises(InputError, match=r"^T: has the shape \(2, 2\), not \(1, 1\)"):
        ChosenStart(seed=3, overlaps=path).overlaps_of(Model(4, 1))


@pytest.mark.parametrize("name", ["q0", "seed", "trajectories", "teacher_correlation"])
def test_a_file_needs_no_other_start(tmp_path, name):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with rejected(name, "does not go with --overlaps"):
        ChosenStart(overlaps=path, given=frozenset({"eta", name})).overlaps_of(GENERAL)


def test_a_correlation_goes_with_a_file_without_teacher(tmp_path):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R)
    start = ChosenStart(overlaps=path, teacher_correlation=0.3, given=frozenset({"teacher_correlation"}))
    teacher = start.overlaps_of(GENERAL)[2]
    np.testing.assert_allclose(teacher, [[1.0, 0.3], [0.3, 1.0]])


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.3, 1.0])
def test_correlated_teachers(correlation):
    *_, teacher, _ = ChosenStart(seed=3, teacher_correlation=correlation).overlaps_of(GENERAL)
    np.testing.assert_allclose(teacher, [[1.0, correlation], [correlation, 1.0]])


@pytest.mark.parametrize(
    ("model", "options", "option"),
    [
        (GENERAL, {"teacher_correlation": -1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": 1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": float("nan")}, "teacher_correlation"),
        (Model(3, 2), {"teacher_correlation": 0.1}, "teacher_correlation"),
        (Model(3, 2), {"n": 100, "ideal": 0.1}, "ideal"),
        (Model(3, 2), {"ideal": 0.1, "overlaps": "a.npz"}, "overlaps"),
        (Model(3, 2), {"n": 1}, "n"),
    ],
)
def test_options_that_do_not_go_together(model, options, option):
    with rejected(option):
        ChosenStart(**options).overlaps_of(model)
