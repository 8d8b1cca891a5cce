"""Random overlaps: the law of real weights, seeds, arguments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rejections import rejected
from scipy.stats import ks_2samp

from runtime import random_overlaps
from runtime.start.initial_overlaps import OverlapSampler

DRAWS = 8_000
# Probability that a correct sampler fails one case; seeds are fixed, so it fails always or never.
FALSE_ALARM = 1e-3


@dataclasses.dataclass(frozen=True)
class Law:
    """Weights whose overlaps are drawn; T = B Bᵀ for the given B, 1 if None."""

    p: int
    pstar: int
    n: int
    constraint: str = "free"
    B: tuple[tuple[float, ...], ...] | None = None
    q0: float = 1.0

    @property
    def factor(self):
        return np.eye(self.pstar) if self.B is None else np.array(self.B)

    @property
    def T(self):
        return None if self.B is None else self.factor @ self.factor.T


LAWS = {
    "free": Law(3, 2, 8),
    "sphere": Law(3, 2, 8, "sphere"),
    "many dimensions": Law(2, 2, 30),
    "variance": Law(2, 1, 10, q0=2.5),
    "variance on the sphere": Law(2, 1, 10, "sphere", q0=2.5),
    "general teacher": Law(2, 2, 8, B=((1.0, 0.0), (0.6, 0.5))),
    "singular teacher": Law(2, 3, 8, B=((1.0, 0.2), (0.3, -0.4), (1.3, -0.2))),
    "singular teacher, sphere": Law(2, 2, 6, "sphere", B=((1.0,), (0.7,))),
    "n < p + p*": Law(4, 2, 5),
    "n < p + p*, sphere": Law(4, 2, 5, "sphere"),
    "n = p + p*": Law(2, 2, 4),
    "n = p + p* + 1": Law(2, 2, 5),
    "n = p*": Law(3, 3, 3),
    "n = p* = 1": Law(2, 1, 1),
}


def overlaps_of_weights(law, seed):
    """Q and R of explicit weight vectors: the definition."""
    generator = np.random.default_rng(seed)
    students = np.sqrt(law.q0) * generator.normal(size=(DRAWS, law.p, law.n))
    teachers = np.zeros((law.pstar, law.n))
    teachers[:, : law.factor.shape[1]] = np.sqrt(law.n) * law.factor
    # The teachers are rotated, since nothing may depend on their direction.
    teachers = teachers @ np.linalg.qr(generator.normal(size=(law.n, law.n)))[0]
    if law.constraint == "sphere":
        students *= np.sqrt(law.q0 * law.n) / np.linalg.norm(students, axis=-1, keepdims=True)
    return students @ np.swapaxes(students, -1, -2) / law.n, students @ teachers.T / law.n


def drawn_overlaps(law, seed):
    return random_overlaps(
        law.p, law.pstar, law.n, seed, DRAWS, constraint=law.constraint, T=law.T, q0=law.q0
    )


def statistics(law, Q, R):
    """Entries, and functions of several of them, which see the joint law; columns by name."""
    upper = np.triu_indices(law.p)
    entries = np.concatenate([Q[:, *upper], R.reshape(len(R), -1)], axis=1)
    directions = np.random.default_rng(5).normal(size=(entries.shape[1], 6))
    T = np.broadcast_to(law.factor @ law.factor.T, (len(Q), law.pstar, law.pstar))
    joint = np.block([[Q, R], [np.swapaxes(R, -1, -2), T]])
    others = [
        (Q[:, 0, 0] - (R[:, 0] ** 2).sum(axis=-1)),
        np.linalg.eigvalsh(joint)[:, -1],
        np.linalg.eigvalsh(Q)[:, 0].round(12),
        np.einsum("kij,kir,kjr->k", Q, R, R),
    ]
    columns = np.concatenate([entries, entries @ directions, np.transpose(others)], axis=1)
    # Entries that are constant up to rounding must compare equal.
    return columns.round(10)


def smallest_p_value(one, other):
    """The smallest p-value of Kolmogorov-Smirnov tests of each column, with Bonferroni's correction."""
    p_values = [ks_2samp(x, y, method="asymp").pvalue for x, y in zip(one.T, other.T, strict=True)]
    return min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize("name", LAWS)
def test_overlaps_have_the_law_of_weights(name):
    law = LAWS[name]
    drawn = statistics(law, *drawn_overlaps(law, 1))
    assert smallest_p_value(drawn, statistics(law, *overlaps_of_weights(law, 2))) > FALSE_ALARM


def without_r_in_q(law):
    """The mistake of drawing Q and R independently."""
    return drawn_overlaps(law, 1)[0], drawn_overlaps(law, 3)[1]


def one_dimension_too_many(law):
    return drawn_overlaps(dataclasses.replace(law, n=law.n + 1), 1)


def normal_instead_of_chi(law):
    """Entries of Q with the right mean and variance, but normal."""
    Q, R = drawn_overlaps(law, 1)
    generator = np.random.default_rng(9)
    noise = generator.normal(size=Q.shape) / np.sqrt(law.n)
    return np.eye(law.p) + (noise + np.swapaxes(noise, -1, -2)) / np.sqrt(2.0), R


@pytest.mark.parametrize("wrong", [without_r_in_q, one_dimension_too_many, normal_instead_of_chi])
def test_a_wrong_sampler_fails_the_same_test(wrong):
    law = LAWS["free"]
    drawn = statistics(law, *wrong(law))
    assert smallest_p_value(drawn, statistics(law, *overlaps_of_weights(law, 2))) < FALSE_ALARM


def test_moments_at_large_n():
    p, pstar, n, q0, count = 3, 2, 1000, 2.5, 40_000
    T = np.array([[1.0, 0.3], [0.3, 2.0]])
    Q, R = random_overlaps(p, pstar, n, 4, count, T=T, q0=q0)

    def check(samples, mean, variance):
        # Five standard errors; the variance of a sample variance is about 2/count.
        assert np.mean(samples) == pytest.approx(mean, abs=5 * np.sqrt(variance / count))
        assert np.var(samples) == pytest.approx(variance, rel=5 * np.sqrt(2 / count))

    for i in range(p):
        for j in range(i, p):
            check(Q[:, i, j], q0 * (i == j), q0**2 * (1 + (i == j)) / n)
        for r in range(pstar):
            check(R[:, i, r], 0.0, q0 * T[r, r] / n)
        # Students see correlated teachers in a correlated way.
        assert np.mean(R[:, i, 0] * R[:, i, 1]) == pytest.approx(q0 * 0.3 / n, rel=0.1)


def test_huge_dimension_is_nearly_ideal():
    Q, R = random_overlaps(5, 3, 10**18, seed=2, trajectories=10)
    np.testing.assert_allclose(Q, np.broadcast_to(np.eye(5), Q.shape), atol=1e-8)
    assert 0.5e-9 < R.std() < 2e-9


KINDS = {
    "many dimensions": {"n": 100},
    "few dimensions": {"n": 4},
    "sphere": {"n": 100, "constraint": "sphere"},
    "teacher": {"n": 100, "T": [[1.0, 0.5], [0.5, 1.0]]},
    "ideal": {"n": None, "scale": 1e-3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_trajectories_do_not_depend_on_their_number(kind):
    many = random_overlaps(3, 2, seed=7, trajectories=50, **KINDS[kind])
    few = random_overlaps(3, 2, seed=7, trajectories=3, **KINDS[kind])
    single = random_overlaps(3, 2, seed=7, **KINDS[kind])
    for all_of_them, first, one in zip(many, few, single, strict=True):
        np.testing.assert_array_equal(first, all_of_them[:3])
        np.testing.assert_array_equal(one, all_of_them[0])
    assert not np.array_equal(many[1][0], many[1][1])


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_any_size_are_one_sequence(kind):
    sampler = OverlapSampler(3, 2, seed=7, **KINDS[kind])
    batches = [sampler.draw(count) for count in (1, 4, 2)]
    whole = random_overlaps(3, 2, seed=7, trajectories=7, **KINDS[kind])
    for parts, expected in zip(zip(*batches, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_decide_everything(kind):
    one, again = (random_overlaps(3, 2, seed=7, **KINDS[kind]) for _ in range(2))
    other = random_overlaps(3, 2, seed=8, **KINDS[kind])
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert not np.array_equal(one[1], other[1])


def test_values_of_a_seed_stay_what_they_are():
    # Published runs name their seed, and a NumPy that draws other numbers should be noticed too.
    Q, R = random_overlaps(2, 1, n=100, seed=0)
    np.testing.assert_allclose(R[:, 0], [0.14436909546981255, -0.08959459763857414], rtol=1e-12)
    np.testing.assert_allclose(
        Q[np.triu_indices(2)], [1.1214560743601594, 0.06427451755408309, 0.5758847379888148], rtol=1e-12
    )


@pytest.mark.parametrize("constraint", ["free", "sphere"])
@pytest.mark.parametrize("n", [2, 3, 10, 10**6])
def test_joint_overlaps_are_symmetric_and_positive(n, constraint):
    Q, R = random_overlaps(4, 2, n, 3, 100, constraint=constraint)
    np.testing.assert_allclose(Q, np.swapaxes(Q, -1, -2), rtol=0, atol=1e-15)
    joint = np.block([[Q, R], [np.swapaxes(R, -1, -2), np.broadcast_to(np.eye(2), (100, 2, 2))]])
    assert np.linalg.eigvalsh(joint).min() > -1e-12


def test_sphere_has_exact_norms():
    Q, _ = random_overlaps(4, 2, 50, 3, 100, constraint="sphere", q0=0.7)
    np.testing.assert_array_equal(np.diagonal(Q, axis1=1, axis2=2), 0.7)


def test_ideal_start_has_the_scale_asked_for():
    Q, R = random_overlaps(4, 2, None, 3, 5000, scale=1e-4, q0=0.5)
    np.testing.assert_array_equal(Q, np.broadcast_to(0.5 * np.eye(4), Q.shape))
    assert R.std() == pytest.approx(1e-4, rel=0.02)
    assert not random_overlaps(4, 2, None, scale=0.0)[1].any()


def test_ideal_start_of_a_correlated_teacher():
    T = np.array([[1.0, 0.8], [0.8, 1.0]])
    _, R = random_overlaps(4, 2, None, 3, 5000, scale=1e-4, T=T)
    covariance = np.cov(R.reshape(-1, 2).T)
    np.testing.assert_allclose(covariance, 1e-8 * T, rtol=0.05)


def test_ideal_start_of_a_singular_teacher():
    _, R = random_overlaps(3, 3, None, scale=1e-3, T=np.ones((3, 3)))
    np.testing.assert_allclose(R[:, 0], R[:, 1], rtol=1e-9)


# What counts as an integer or a number is tested with the functions that check them.
@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        *((name, {name: np.array([4, 5])}) for name in ("p", "pstar", "n", "seed", "trajectories")),
        *[("p", {"p": 0}), ("pstar", {"pstar": True}), ("trajectories", {"trajectories": 0})],
        *[("n", {"n": 1}), ("n", {"n": 10**18 + 1}), ("n", {"n": "100"})],
        *[("seed", {"seed": -1}), ("seed", {"seed": 2**63}), ("seed", {"seed": None})],
        *[("constraint", {"constraint": "cube"}), ("q0", {"q0": 0.0}), ("T", {"T": -np.eye(2)})],
        *[("scale", {"n": None, "scale": scale}) for scale in (None, -1e-3, 5.0)],
        ("scale", {"n": 100, "scale": 1e-3}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_arguments_are_named(option, arguments):
    with rejected(option):
        random_overlaps(**{"p": 3, "pstar": 2, **arguments})


def test_limits_of_seed_and_numpy_integers_are_accepted():
    random_overlaps(2, 1, seed=2**63 - 1)
    one = random_overlaps(np.int64(2), np.uint8(1), np.int32(100), np.int64(5))
    np.testing.assert_array_equal(one[0], random_overlaps(2, 1, 100, 5)[0])


@pytest.mark.parametrize("count", [-1, 2.5, True, None, "3", [3], np.array([3, 4]), 2**41], ids=repr)
def test_numbers_of_draws_are_checked(count):
    with rejected("count", r"is not an integer from 0 to 2\^40$"):
        OverlapSampler(2, 1, n=100).draw(count)


@pytest.mark.parametrize(("n", "scale"), [(1000, None), (None, 0.05)])
def test_starts_are_continuous_in_the_teacher(n, scale):
    """Where eigenvalues of T are equal, or nearly so, the same seed still gives nearly the same start."""
    Q, R = random_overlaps(3, 4, n, 1, T=np.eye(4), scale=scale)
    np.testing.assert_array_equal(R, random_overlaps(3, 4, n, 1, scale=scale)[1])
    for T in (np.eye(4), 0.7 * np.eye(4) + 0.3):
        Q, R = random_overlaps(3, 4, n, 1, T=T, scale=scale)
        noise = 1e-10 * np.cos(np.add.outer(np.arange(4), np.arange(4)))
        near = random_overlaps(3, 4, n, 1, T=T + noise, scale=scale)
        np.testing.assert_allclose(near[0], Q, atol=1e-9)
        np.testing.assert_allclose(near[1], R, atol=1e-9)


def test_starts_of_an_orthonormal_teacher_are_those_of_all_versions():
    Q, R = random_overlaps(2, 2, 1000, 3)
    np.testing.assert_array_equal(
        Q, [[0.9407349618281253, 0.04845958256963722], [0.04845958256963722, 1.012603092811413]]
    )
    np.testing.assert_array_equal(
        R, [[0.016568402925549973, 0.0015510819016488456], [-0.012257985380262909, 0.047542703152904174]]
    )
