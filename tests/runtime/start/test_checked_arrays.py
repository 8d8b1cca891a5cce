"""Checks of single values: what is accepted, what is rejected, and how the error reads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rejections import rejected

from derive import Model
from derive.arguments import whole_number
from runtime import InputError
from runtime.start.checked_arrays import (
    ensemble_overlaps,
    output_times,
    overlaps,
    per_trajectory,
    real_array,
    real_number,
    teacher_overlaps,
)
from runtime.start.paper_conventions import saad_solla


def message(option, function, *arguments, **options):
    """What the InputError says with which the call must be rejected."""
    with rejected(option) as caught:
        function(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0)], ids=repr)
def test_real_number_accepts_numbers(value):
    number = real_number("eta", value)
    assert number == 2.0
    assert type(number) is float


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        "0.4",
        b"0.4",
        True,
        [1.0],
        [1.0, [2.0]],
        np.array([1.0]),
        np.array([0.5, 1.0]),
        {1.0},
        range(1),
        1j,
        {},
        10**400,
        math.nan,
        math.inf,
        -math.inf,
        np.ma.masked,
        np.ma.array(3.0, mask=True),
        np.complex128(1 + 1j),
        np.True_,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_real_number_rejects_others(value):
    message("eta", real_number, "eta", value)


def test_real_number_bounds():
    assert real_number("eta", 0, least=0.0) == 0.0
    assert "of at least 0" in message("eta", real_number, "eta", -1e-300, least=0.0)
    assert "greater than 0" in message("eta", real_number, "eta", 0.0, least=0.0, strict=True)
    assert real_number("eta", 5e-324, least=0.0, strict=True) == 5e-324


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [["1", "2"]],
        [[1.0, 2.0], [3.0]],
        [[True, False]],
        [[1j, 2.0]],
        np.array([[1.0, None]]),
        np.array([["2020-01-01", "2020-01-02"]], dtype="datetime64[D]"),
        [[math.nan, 1.0]],
        [[1.0, -math.inf]],
        np.zeros((2, 1)),
        np.zeros((1, 1, 2)),
        7.0,
        np.ma.array([[1.0, 2.0]], mask=[[False, True]]),
        [np.ma.array([1.0, 2.0], mask=[False, True])],
        [[1.0, np.ma.masked]],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_real_array_rejects(value):
    message("Q0", real_array, "Q0", value, (1, 2))


def test_masked_entries_have_no_value():
    """NumPy would read what the mask hides, also in lists, and warn of some."""
    times = np.ma.array([0.0, 1.0, 2.0], mask=[False, True, False])
    assert "masked entries" in message("alpha", output_times, times)
    assert "masked entries" in message("eta", per_trajectory, "eta", times + 1.0, 3, 0.0, True)
    assert "masked entries" in message("T", teacher_overlaps, GENERAL, np.ma.masked_equal(np.eye(2), 0.0))
    assert "masked entries" in message("time", saad_solla(Model(2, 1)).to, time=times)
    message("seed", whole_number, "seed", np.ma.array(3, mask=True), 0, 10)
    nothing = np.ma.array([0.0, 1.0], mask=False)
    np.testing.assert_array_equal(output_times(nothing), [0.0, 1.0])
    endless: list = [0.0]
    endless.append(endless)
    message("alpha", output_times, endless)


def test_entries_that_are_not_finite_are_named():
    Q = np.zeros((3, 2, 2))
    Q[2, 0, 1] = np.nan
    assert message("Q0", real_array, "Q0", Q, Q.shape).endswith("the first at [2, 0, 1]")
    assert "trajectory 1: nan" in message("eta", per_trajectory, "eta", [0.1, np.nan], 2, 0.0, True)
    assert "trajectory 1: -2 is not" in message("eta", per_trajectory, "eta", [0, -2, -3], 3, 0.0, False)


def test_real_array_is_a_new_float_array():
    given = np.array([[1.0, 2.0]])
    array = real_array("Q0", given, (1, 2))
    array[0, 0] = 5.0
    assert given[0, 0] == 1.0


def test_output_times_of_a_number_are_201_even_ones():
    times = output_times(200.0)
    assert times.shape == (201,)
    assert (times[0], times[-1]) == (0.0, 200.0)
    np.testing.assert_array_equal(np.diff(times), 1.0)


def test_output_times_of_an_array_are_kept():
    np.testing.assert_array_equal(output_times([0, 1, 10]), [0.0, 1.0, 10.0])
    np.testing.assert_array_equal(output_times(np.array([3.5])), [3.5])
    np.testing.assert_array_equal(output_times([0.0]), [0.0])


@pytest.mark.parametrize(
    "alpha",
    [
        0.0,
        -1.0,
        math.nan,
        math.inf,
        None,
        "soon",
        [],
        [[1.0, 2.0]],
        [1.0, 1.0],
        [2.0, 1.0],
        [-1.0, 1.0],
        [0.0, math.nan],
        [0.0, math.inf],
        ["0", "1"],
        [1j],
        np.array([0.0, 1.0], dtype=object),
        [1.0, [2.0, 3.0]],
    ],
    ids=lambda value: repr(value)[:25],
)
def test_output_times_rejects(alpha):
    message("alpha", output_times, alpha)


GENERAL = Model(3, 2, teacher="general")


def test_orthonormal_teacher_is_the_identity():
    np.testing.assert_array_equal(teacher_overlaps(Model(3, 2), None), np.eye(2))
    np.testing.assert_array_equal(teacher_overlaps(Model(3, 2), [[1, 0], [0, 1]]), np.eye(2))
    assert "orthonormal" in message("T", teacher_overlaps, Model(3, 2), 2 * np.eye(2))


@pytest.mark.parametrize(
    ("T", "words"),
    [
        (None, "required"),
        (np.eye(3), "shape"),
        ([[1.0, 0.5], [0.4, 1.0]], "not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "not positive semi-definite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "not positive semi-definite"),
        ([[math.nan, 0.0], [0.0, 1.0]], "not finite"),
    ],
)
def test_wrong_teachers_are_rejected(T, words):
    assert words in message("T", teacher_overlaps, GENERAL, T)


@pytest.mark.parametrize("T", [np.ones((2, 2)), np.zeros((2, 2)), [[1, 0], [0, 0]], 100 * np.eye(2)])
def test_singular_and_large_teachers_are_accepted(T):
    np.testing.assert_array_equal(teacher_overlaps(GENERAL, T), T)


MODEL = Model(2, 1)
ORTHONORMAL = np.eye(1)


@pytest.mark.parametrize(
    ("option", "Q", "R", "words"),
    [
        ("Q0", np.eye(3), [[0.0], [0.0]], "shape"),
        ("R0", np.eye(2), [0.0, 0.0], "shape"),
        ("Q0", [[1.0, 0.2], [0.1, 1.0]], [[0.0], [0.0]], "not symmetric"),
        ("Q0", [[1.0, 2.0], [2.0, 1.0]], [[0.0], [0.0]], "not positive semi-definite"),
        ("Q0", [[-0.1, 0.0], [0.0, 1.0]], [[0.0], [0.0]], "not positive semi-definite"),
        # Cauchy-Schwarz: |R| can be 1 at most here.
        ("R0", np.eye(2), [[1.01], [0.0]], "not positive semi-definite"),
        ("R0", np.eye(2), [[0.8], [0.8]], "not positive semi-definite"),
        ("Q0", [[math.inf, 0.0], [0.0, 1.0]], [[0.0], [0.0]], "not finite"),
    ],
)
def test_overlaps_that_no_weights_have_are_message(option, Q, R, words):
    assert words in message(option, overlaps, MODEL, Q, R, ORTHONORMAL)


@pytest.mark.parametrize(
    ("Q", "R"),
    [
        (np.eye(2), [[1.0], [0.0]]),
        (np.ones((2, 2)), [[1.0], [1.0]]),
        (np.zeros((2, 2)), [[0.0], [0.0]]),
        # Rounding of earlier computations is forgiven.
        ([[1.0, 1.0 + 1e-9], [1.0 - 1e-9, 1.0]], [[1.0], [1.0]]),
        (1e6 * np.eye(2), [[900.0], [0.0]]),
    ],
)
def test_overlaps_at_the_edge_are_accepted(Q, R):
    q, r = overlaps(MODEL, Q, R, ORTHONORMAL)
    np.testing.assert_array_equal(q, Q)
    np.testing.assert_array_equal(r, R)


def test_student_of_norm_zero_is_rejected_on_the_sphere_only():
    Q, R = np.diag([1.0, 0.0]), np.zeros((2, 1))
    overlaps(MODEL, Q, R, ORTHONORMAL)
    sphere = Model(2, 1, constraint="sphere")
    assert "norm zero" in message("Q0", overlaps, sphere, Q, R, ORTHONORMAL)


@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, lambda x: x[::-1, ::-1], lambda x: np.broadcast_to(x[0], (3, 2)), np.float32],
)
def test_arrays_are_in_c_order_and_new(change):
    given = change(np.arange(6.0).reshape(3, 2))
    array = real_array("Q", given, (3, 2))
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.dtype == np.float64
    assert not np.shares_memory(array, given)
    np.testing.assert_array_equal(array, given)


# Overlaps at sizes of order one; whether weights have them.
CORRELATED = np.array([[1.0, 0.5], [0.5, 1.0]])
SCALED = {
    "regular": (np.eye(2), [[0.5, 0.1], [0.2, 0.3]], CORRELATED, True),
    "singular": (np.ones((2, 2)), [[1.0, 0.5], [1.0, 0.5]], CORRELATED, True),
    "the error of a run": (np.eye(2), [[1.0 + 3e-8, 0.5], [0.0, 0.0]], CORRELATED, True),
    "equal teachers": (np.eye(2), [[0.5, 0.5], [0.2, 0.2]], np.ones((2, 2)), True),
    "a student of norm zero": (np.diag([1.0, 0.0]), [[0.5, 0.1], [0.0, 0.0]], CORRELATED, True),
    "too parallel": (np.eye(2), [[1.0 + 3e-5, 0.5], [0.0, 0.0]], CORRELATED, False),
    "more than the norm": (np.eye(2), [[2.8, 0.0], [0.0, 0.0]], np.eye(2), False),
    "students apart": ([[1.0, 1.1], [1.1, 1.0]], np.zeros((2, 2)), np.eye(2), False),
    "teachers apart": (np.eye(2), np.zeros((2, 2)), [[1.0, 1.1], [1.1, 1.0]], False),
    "a negative norm": (np.diag([1.0, -1e-5]), np.zeros((2, 2)), np.eye(2), False),
    "an overlap with nothing": (np.diag([1.0, 0.0]), [[0.0, 0.0], [1e-4, 0.0]], np.eye(2), False),
    "asymmetric students": ([[1.0, 0.1], [0.1001, 1.0]], np.zeros((2, 2)), np.eye(2), False),
    "asymmetric teachers": (np.eye(2), np.zeros((2, 2)), [[1.0, 0.1], [0.1001, 1.0]], False),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize(
    "sizes", [(1.0,) * 4, (1e-14,) * 4, (1e14,) * 4, (1e-14, 1e14, 1e7, 1e-7), (1e-7, 1.0, 1.0, 1.0)]
)
def test_units_of_the_weights_do_not_matter(name, sizes):
    """The same weights in other units: of all, of one student or of one teacher."""
    Q, R, T, fine = SCALED[name]
    students, teachers = np.array(sizes[:2]), np.array(sizes[2:])
    Q = np.asarray(Q) * np.outer(students, students)
    R, T = np.asarray(R) * np.outer(students, teachers), np.asarray(T) * np.outer(teachers, teachers)
    model = Model(2, 2, teacher="general")

    def checked():
        teacher = teacher_overlaps(model, T)
        one = overlaps(model, Q, R, teacher)
        many = ensemble_overlaps(model, np.stack([Q, Q]), np.stack([R, R]), teacher)
        return one, [part[1] for part in many]

    if fine:
        for q, r in checked():
            np.testing.assert_array_equal(q, Q)
            np.testing.assert_array_equal(r, R)
        return
    with pytest.raises(InputError):
        checked()
    try:
        teacher = teacher_overlaps(model, T)
    except InputError:
        return
    # The wrong one among many is named, by the same error.
    with pytest.raises(InputError) as single:
        overlaps(model, Q, R, teacher)
    regular = np.diag(students**2), np.zeros((2, 2))
    with rejected(single.value.option) as several:
        ensemble_overlaps(model, np.stack([regular[0], Q]), np.stack([regular[1], R]), teacher)
    assert str(several.value) == str(single.value).replace(": ", ": trajectory 1 ", 1)


def test_small_students_have_no_more_overlap_than_their_norms():
    """Students of norm 1e-7 beside a teacher of norm 1, not less strict than others."""
    words = message("R0", overlaps, Model(2, 1), 1e-7 * np.eye(2), [[9e-4], [0.0]], ORTHONORMAL)
    assert "belongs to no weights" in words
    overlaps(Model(2, 1), 1e-7 * np.eye(2), [[3e-4], [0.0]], ORTHONORMAL)
