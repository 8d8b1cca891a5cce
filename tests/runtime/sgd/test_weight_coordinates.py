"""Coordinates along the teacher and beyond: any T, any overlaps, also where C is singular."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

import runtime
from derive.errors import InputError
from derive.model import Model
from runtime.sgd.weight_coordinates import beyond, coordinates
from runtime.start.teacher_directions import Teacher

ROOM = 12


def random_T(pstar: int, rank: int, seed: int = 1) -> np.ndarray:
    weights = np.random.default_rng(seed).standard_normal((pstar, rank))
    return weights @ weights.T / max(rank, 1)


TEACHERS = {
    "orthonormal": np.eye(3),
    "scaled": 2.5 * np.eye(3),
    "diagonal": np.diag([0.3, 4.0, 1.0]),
    "general": random_T(3, 5),
    "correlated": 0.3 * np.eye(3) + 0.7,
    "singular": random_T(4, 2),
    "equal": np.ones((3, 3)),
    "with a zero": np.diag([1.0, 0.0, 2.0]),
    "zero": np.zeros((3, 3)),
    "one": np.array([[0.25]]),
    "large": 1e8 * random_T(4, 2),
    "small": 1e-8 * random_T(3, 5),
}


@pytest.mark.parametrize("T", TEACHERS.values(), ids=TEACHERS)
def test_the_factor_of_T(T):
    teacher = Teacher.from_overlaps(T)
    scale = max(np.abs(T).max(), 1e-300)
    assert teacher.rank == np.linalg.matrix_rank(T) == teacher.factor.shape[1]
    np.testing.assert_allclose(teacher.factor @ teacher.factor.T, T, atol=1e-14 * scale)
    square = teacher.factor.T @ teacher.factor
    np.testing.assert_allclose(square, np.diag(teacher.weights), atol=1e-14 * scale)
    assert (teacher.weights > 0.0).all()


def test_an_orthonormal_teacher_is_its_own_axes():
    teacher = Teacher.from_overlaps(np.eye(4))
    np.testing.assert_array_equal(teacher.factor, np.eye(4))
    np.testing.assert_array_equal(teacher.weights, 1.0)


def overlaps_of(T: np.ndarray, students: str, p: int = 4, runs: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Q and R of some weights; the teacher's are the rows of a square root of T."""
    rng = np.random.default_rng(2)
    eigenvalues, vectors = np.linalg.eigh(T)
    teacher = np.zeros((len(T), ROOM))
    # The root of an eigenvalue that is rounding would not be small.
    real = np.where(eigenvalues > 1e-12 * eigenvalues[-1], eigenvalues, 0.0)
    teacher[:, : len(T)] = vectors * np.sqrt(real)
    W = rng.standard_normal((runs, p, ROOM))
    if students == "parallel":
        W[:, 1:] = W[:, :1] * np.array([2.0, -1.0, 0.5])[:, None]
    elif students == "within the teacher":
        W = rng.standard_normal((runs, p, len(T))) @ teacher
    elif students == "zero":
        W[:, 1:3] = 0.0
    elif students == "all zero":
        W[:] = 0.0
    elif students == "orthogonal to it":
        W[:, :, : len(T)] = 0.0
    return W @ np.swapaxes(W, 1, 2), W @ teacher.T


@pytest.mark.parametrize(
    "students", ["any", "parallel", "within the teacher", "zero", "all zero", "orthogonal to it"]
)
@pytest.mark.parametrize("T", TEACHERS.values(), ids=TEACHERS)
def test_overlaps_come_back(T, students):
    teacher = Teacher.from_overlaps(T)
    Q, R = overlaps_of(T, students)
    A = teacher.along(R)
    S = beyond(Q, A, ROOM - teacher.rank)
    assert A.shape == (5, 4, teacher.rank)
    assert S.shape == (5, 4, 4)
    np.testing.assert_array_equal(S, np.tril(S))
    assert (np.diagonal(S, axis1=1, axis2=2) >= 0.0).all()
    found_Q, found_R = teacher.overlaps(A, S)
    scale = max(np.abs(Q).max(), 1e-300)
    np.testing.assert_allclose(found_Q, Q, atol=1e-13 * scale)
    np.testing.assert_allclose(found_R, R, atol=1e-13 * max(np.abs(R).max(), 1e-300))
    # And coordinates again, although those of rank-deficient students are not unique.
    if students == "any":
        again = beyond(found_Q, teacher.along(found_R), ROOM - teacher.rank)
        np.testing.assert_allclose(again, S, atol=1e-9 * np.sqrt(scale))


def test_overlaps_of_one_run_and_of_many():
    teacher = Teacher.from_overlaps(TEACHERS["general"])
    Q, R = overlaps_of(TEACHERS["general"], "any")
    A = teacher.along(R)
    S = beyond(Q, A, 8)
    for k in range(5):
        np.testing.assert_allclose(teacher.along(R[k]), A[k], rtol=1e-14)
        np.testing.assert_allclose(beyond(Q[k], A[k], 8), S[k], rtol=0, atol=1e-13)
        for one, all_of_them in zip(teacher.overlaps(A[k], S[k]), teacher.overlaps(A, S), strict=True):
            np.testing.assert_allclose(one, all_of_them[k], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3, 4, 9])
def test_as_many_columns_as_there_are_dimensions(dimensions):
    rng = np.random.default_rng(3)
    A, others = rng.standard_normal((6, 4, 2)), rng.standard_normal((6, 4, dimensions))
    Q = A @ np.swapaxes(A, 1, 2) + others @ np.swapaxes(others, 1, 2)
    S = beyond(Q, A, dimensions)
    assert (S[:, :, dimensions:] == 0.0).all()
    np.testing.assert_allclose(S @ np.swapaxes(S, 1, 2), Q - A @ np.swapaxes(A, 1, 2), atol=1e-12)


@pytest.mark.parametrize("dimensions", [0, 1, 3])
def test_weights_that_do_not_fit_are_rejected(dimensions):
    rng = np.random.default_rng(3)
    others = rng.standard_normal((6, 4, dimensions + 1))
    # One run is enough.
    others[:5, :, -1] = 0.0
    Q = others @ np.swapaxes(others, 1, 2)
    with rejected("n", f"{dimensions + 1} is less than {dimensions + 2}:"):
        beyond(Q, np.zeros((6, 4, 1)), dimensions)
    beyond(Q[:5], np.zeros((5, 4, 1)), dimensions)


def test_rounding_does_not_count_as_a_dimension():
    rng = np.random.default_rng(4)
    for scale in (1e-6, 1.0, 1e6):
        others = scale * rng.standard_normal((50, 4, 2))
        Q = others @ np.swapaxes(others, 1, 2)
        Q *= 1.0 + 1e-15 * rng.standard_normal(Q.shape)
        S = beyond(Q, np.zeros((50, 4, 1)), 2)
        np.testing.assert_allclose(S @ np.swapaxes(S, 1, 2), Q, atol=1e-13 * np.abs(Q).max())


@pytest.mark.parametrize("size", [1e-14, 1e-7, 1.0, 1e14])
@pytest.mark.parametrize("T", TEACHERS.values(), ids=TEACHERS)
def test_units_of_a_teacher_do_not_matter(T, size):
    """One of the teachers in other units: the same rank, and its own accuracy."""
    sizes = np.ones(len(T))
    sizes[0] = size
    usual, other = Teacher.from_overlaps(T), Teacher.from_overlaps(T * np.outer(sizes, sizes))
    assert other.rank == usual.rank
    norms = sizes * np.sqrt(np.where(np.diag(T) > 0.0, np.diag(T), 1.0))
    for part in (other.root, other.factor):
        apart = part @ part.T - T * np.outer(sizes, sizes)
        assert np.max(np.abs(apart) / np.outer(norms, norms), initial=0.0) < 1e-13


def test_the_root_of_a_teacher_is_continuous_in_it():
    """Where eigenvalues are equal or nearly so, their vectors are anything; the root is not."""
    rng = np.random.default_rng(7)
    for T in (np.eye(3), TEACHERS["correlated"], TEACHERS["general"]):
        noise = rng.standard_normal(T.shape)
        near = Teacher.from_overlaps(T + 1e-12 * (noise + noise.T))
        np.testing.assert_allclose(near.root, Teacher.from_overlaps(T).root, atol=1e-10)


@pytest.mark.parametrize("size", [1e-14, 1e-3, 1.0, 1e14])
def test_small_students_beside_large_ones(size):
    """Each entry of Q is right relative to its own two students."""
    sizes = np.array([1.0, size, 1.0, size])
    for students in ("any", "parallel", "within the teacher", "zero"):
        Q, R = overlaps_of(np.eye(3), students)
        Q, R = Q * np.outer(sizes, sizes), R * sizes[:, None]
        found = beyond(Q, R, ROOM - 3)
        apart = R @ np.swapaxes(R, 1, 2) + found @ np.swapaxes(found, 1, 2) - Q
        assert np.max(np.abs(apart) / np.outer(sizes, sizes)) < 1e-12


@pytest.mark.parametrize("size", [1e-14, 1.0, 1e14])
def test_what_weights_do_not_have_is_rejected(size):
    """Q − A Aᵀ may be negative by the error of a run at usual tolerances, not by more."""
    Q, A = size**2 * np.eye(2), size * np.eye(2, 1)
    for excess, fine in ((1e-12, True), (1e-9, True), (3e-8, False)):
        wrong = Q.copy()
        wrong[0, 0] *= 1.0 - excess
        if fine:
            found = A @ A.T + beyond(wrong, A, 5) @ beyond(wrong, A, 5).T
            np.testing.assert_allclose(found, wrong, atol=2.0 * excess * size**2)
            continue
        for many in (False, True):
            with rejected("R0", "misses their overlaps by 3e-08 of the norms") as caught:
                beyond(*((np.stack([x, y]) for x, y in ((Q, wrong), (A, A))) if many else (wrong, A)), 5)
            assert ("trajectory 1 " in str(caught.value)) == many
        # Where a trajectory is only looked at, it may miss more.
        assert np.isfinite(beyond(wrong, A, 5, tolerance=np.inf)).all()


@pytest.mark.parametrize("size", [1e-16, 1e-8, 1.0, 1e8, 1e16])
def test_small_teachers_beside_large_ones(size):
    """Each entry of R is right relative to the norms of its student and its teacher."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        V = rng.standard_normal((4, 6)) * np.array([1.0, size, 1.0, 1.0])[:, None]
        W = rng.standard_normal((3, 6))
        teacher = Teacher.from_overlaps(V @ V.T)
        R = W @ V.T
        apart = np.abs(R - teacher.along(R) @ teacher.factor.T)
        assert np.max(apart / np.linalg.norm(V, axis=1)) < 1e-13


@pytest.mark.parametrize(
    ("T", "R0", "option"),
    [
        # Two teachers are one, and a student cannot tell them apart.
        (np.ones((2, 2)), (0.1, 0.101), "R0"),
        (np.ones((2, 2)), (0.1, 0.10000003), "R0"),
        (np.array([[1.0, 1.0 - 1e-15], [1.0 - 1e-15, 1.0]]), (0.1, 0.1001), "R0"),
        # No teachers have these overlaps.
        (np.array([[1.0, 1.0 + 4e-7], [1.0 + 4e-7, 1.0]]), (0.1, 0.1), "T"),
    ],
)
def test_a_start_that_no_weights_have_is_rejected_and_not_changed(T, R0, option):
    model = Model(2, 2, teacher="general")
    starts = {"Q0": np.eye(2), "R0": np.array([R0, (0.0, 0.0)])}
    for start in (starts, {name: np.tile(value, (2, 1, 1)) for name, value in starts.items()}):
        with rejected(option, "belongs to no weights"):
            runtime.simulate(model, n=50, alpha=1.0, trajectories=2, T=T, **start)
    with pytest.raises(InputError, match="belongs to no weights"):
        runtime.gradient_flow(
            Model(2, 2, teacher="general", flow="gradient"), *starts.values(), eta=0.1, alpha=1.0, T=T
        )
    teacher = Teacher.from_overlaps(T)
    # Where a trajectory is only looked at, it may miss more; what weights have is taken.
    assert np.isfinite(coordinates(*starts.values(), teacher, 9, tolerance=np.inf)[0]).all()
    A, _ = coordinates(np.eye(2), np.full((2, 2), 0.1), Teacher.from_overlaps(np.ones((2, 2))), 9)
    np.testing.assert_allclose(A @ A.T, np.full((2, 2), 0.01), rtol=1e-14)
