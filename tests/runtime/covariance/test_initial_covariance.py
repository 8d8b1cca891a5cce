"""The covariance of starts: that of random weights against draws, and what is not one."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

from derive import Model
from runtime import OverlapSampler
from runtime.covariance.initial_covariance import RANDOM_WEIGHTS, initial_covariance

Q0_NORM, N, DRAWS = 1.5, 50, 40_000
# The largest of up to 45 deviations in standard errors.
ALLOWED = 4.5
T = np.array([[1.0, 0.4], [0.4, 0.5]])


def states(model, Q, R):
    rows, columns = np.triu_indices(model.p)
    return np.concatenate([Q[:, rows, columns], R.reshape(len(R), -1)], axis=1)


def largest_deviation(predicted, sample, n):
    """The largest difference of predicted from sampled entries of N Cov, in standard errors."""
    centred = sample - sample.mean(axis=0)
    products = n * centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(sample))
    apart = np.abs(products.mean(axis=0) - predicted)
    # Entries that do not vary at all have no error.
    fixed = np.where(apart < 1e-9, 0.0, np.inf)
    return float(np.max(np.divide(apart, error, out=fixed, where=error > 1e-12)))


@pytest.mark.parametrize(
    ("constraint", "teacher"), [("free", T), ("sphere", T), ("free", None), ("sphere", None)]
)
def test_random_weights_are_those_of_the_sampler(constraint, teacher):
    """The formulas hold at any N, even at 50."""
    model = Model(3, 2, constraint=constraint, teacher="orthonormal" if teacher is None else "general")
    Q, R = OverlapSampler(3, 2, N, 5, constraint=constraint, T=teacher, q0=Q0_NORM).draw(DRAWS)
    start = Q0_NORM * np.eye(3), np.zeros((3, 2)), np.eye(2) if teacher is None else teacher
    found = initial_covariance(model, RANDOM_WEIGHTS, *start)
    sample = states(model, Q, R)
    assert largest_deviation(found, sample, N) < ALLOWED
    # Each wrong variant must fail: norms as overlaps, norms of the other constraint, overlaps of one
    # student that do not know T, and a variance that is linear in q0.
    norms, pairs = [0, 3, 5], [1, 2, 4]
    for rows, value in ((norms, Q0_NORM**2), (pairs, Q0_NORM), (range(6, 12), Q0_NORM**2)):
        wrong = found.copy()
        wrong[rows, rows] = value
        assert largest_deviation(wrong, sample, N) > 2 * ALLOWED
    if teacher is not None:
        wrong = found.copy()
        wrong[6:, 6:] = np.diag(np.diag(found)[6:])
        assert largest_deviation(wrong, sample, N) > 2 * ALLOWED


def test_a_trained_second_layer_is_given():
    model = Model(2, 1, second_layer="trained")
    found = initial_covariance(model, RANDOM_WEIGHTS, np.eye(2), np.zeros((2, 1)), np.eye(1))
    assert np.diag(found).tolist() == [2.0, 1.0, 2.0, 1.0, 1.0, 0.0, 0.0]


START = np.eye(2), np.zeros((2, 1)), np.eye(1)


def test_a_matrix_is_taken_as_it_is_up_to_rounding():
    model, sphere = Model(2, 1), Model(2, 1, constraint="sphere")
    factor = np.arange(15.0).reshape(5, 3)
    given = factor @ factor.T
    given[0, 1] += 1e-9
    found = initial_covariance(model, given, *START)
    np.testing.assert_allclose(found, given, rtol=0, atol=1e-9)
    assert np.array_equal(found, found.T)
    factor[[0, 2]] = 0.0
    given = factor @ factor.T
    given[0, 0] = 1e-7
    found = initial_covariance(sphere, given, *START)
    assert not found[[0, 2]].any()
    assert not found[:, [0, 2]].any()


@pytest.mark.parametrize(
    ("constraint", "covariance", "words"),
    [
        ("free", "random", "'random' is neither None, 'random weights' nor a matrix"),
        ("free", np.eye(4), r"has the shape \(4, 4\), not \(5, 5\)"),
        ("free", np.eye(5) + np.eye(5, k=1), "is not symmetric"),
        (
            "free",
            np.diag([1.0, 1, 1, 1, -1e-3]),
            "not positive semi-definite: it has the eigenvalue -0.001",
        ),
        ("sphere", np.eye(5), "a row of some Q_ii that is not 0"),
        ("free", np.diag([1.0, 1, 1, 1, np.nan]), "not finite"),
    ],
)
def test_what_is_no_covariance_is_rejected(constraint, covariance, words):
    with rejected("covariance", words):
        initial_covariance(Model(2, 1, constraint=constraint), covariance, *START)


@pytest.mark.parametrize(
    ("Q", "R"), [(np.diag([1.0, 2.0]), np.zeros((2, 1))), (np.eye(2), np.full((2, 1), 1e-9))]
)
def test_random_weights_have_one_mean(Q, R):
    with rejected("covariance", "has the mean Q0 = q0·1 and R0 = 0"):
        initial_covariance(Model(2, 1), RANDOM_WEIGHTS, Q, R, np.eye(1))
