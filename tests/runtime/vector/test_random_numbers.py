"""The vector code's random numbers: against plain Python to the last bits, and their laws."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from lane_code import Draws, Xoshiro, elementwise
from scipy import stats

from runtime.vector import jit
from runtime.vector.random_numbers import WORDS, streams

KINDS = jit.RESTRICTIONS
EPSILON = np.finfo(np.float64).eps
# Chance that a right sampler fails one statistical test; seeds are fixed.
LEVEL = 1e-6
# Degrees of freedom of χ²; 2 is the fewest that the sampler is asked for.
DEGREES = (2, 3, 4, 7, 50, 10**4, 10**9)


def shape_of(degrees: float) -> float:
    """The sampler's d of Γ(d + ⅓) = χ²/2."""
    return 0.5 * degrees - 1.0 / 3.0


@functools.cache
def normal_draws(kind: str | None = None) -> Draws:
    return Draws(jit.target(kind), 2, lambda random, _: list(random.normals()))


@functools.cache
def gamma_draws(kind: str | None = None) -> Draws:
    """χ²/2 and the normal number that went into it."""

    def emit(random, parameter):
        normal, _ = random.normals()
        return [random.gamma(parameter(0), normal), normal]

    return Draws(jit.target(kind), 2, emit)


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    """(turn, 2, lane), half a million pairs."""
    draws = normal_draws()
    return draws(streams(11, 0, 0, draws.lanes), 2**19 // draws.lanes)[0]


def chi_squares(degrees: float, count: int, seed: int = 5) -> np.ndarray:
    draws = gamma_draws()
    words = streams(seed, 0, 0, draws.lanes)
    shapes = np.full((1, draws.lanes), shape_of(degrees))
    return 2.0 * draws(words, count // draws.lanes, shapes)[0][:, 0]


# Bits.


def test_the_reference_gives_the_published_numbers():
    # These follow the state 1, 2, 3, 4 in the test of rand_xoshiro, which was made with the authors' C
    # code.
    generator = Xoshiro([1, 2, 3, 4])
    expected = [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]
    assert [generator.bits() for _ in expected] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_those_of_xoshiro(kind):
    target = jit.target(kind)
    draws = Draws(target, 1, lambda random, _: [random.bits()])
    words = streams(3, 0, 0, target.lanes)
    # A few states with long runs of equal bits.
    words[0] = [1, 2, 3, 4]
    words[1] = [2**64 - 1, 0, 0, 0]
    words[2] = [0, 2**63, 1, 2**64 - 1]
    found, after = draws(words, 300)
    for lane in range(target.lanes):
        reference = Xoshiro(words[lane])
        assert [reference.bits() for _ in range(300)] == found[:, 0, lane].view(np.uint64).tolist()
        assert reference.state == after[lane].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_numbers_are_midpoints(kind):
    target = jit.target(kind)
    draws = Draws(target, 1, lambda random, _: [random.uniform()])
    words = streams(4, 0, 0, target.lanes)
    # The first bits of these states are all zeros and all ones: the smallest and largest number.
    words[0] = [0, 5, 7, 0]
    words[1] = [2**64 - 1, 5, 7, 1]
    found = draws(words, 200)[0][:, 0]
    for lane in range(target.lanes):
        reference = Xoshiro(words[lane])
        # Both sums are exact in double precision.
        assert [reference.uniform() for _ in range(200)] == found[:, lane].tolist()
    assert found[0, 0] == 2.0**-53
    assert found[0, 1] == 1.0 - 2.0**-53
    assert 0.0 < found.min() < found.max() < 1.0


# Streams.


@pytest.mark.parametrize("words", [WORDS, 8 * WORDS])
def test_streams_are_the_same_wherever_they_are_asked_for(words):
    every = streams(7, 1, 0, 50, words)
    assert every.shape == (50, words)
    assert every.dtype == np.uint64
    for first, count in [(0, 1), (1, 1), (8, 8), (13, 37), (49, 1)]:
        np.testing.assert_array_equal(streams(7, 1, first, count, words), every[first : first + count])
    far = streams(7, 1, 2**40 - 3, 3, words)
    np.testing.assert_array_equal(streams(7, 1, 2**40 - 1, 1, words)[0], far[2])
    # No two words are equal, nowhere.
    assert np.unique(np.concatenate([every, far])).size == 53 * words


def test_streams_of_other_seeds_and_kinds_are_others():
    sets = [streams(seed, kind, 0, 100) for seed in (0, 1, 2, 2**63 - 1) for kind in (0, 1, 2)]
    # Not (seed, kind) taken for (kind, seed) either.
    assert np.unique(np.concatenate(sets)).size == len(sets) * 100 * WORDS


def test_streams_are_random_bits():
    words = streams(0, 1, 0, 10_000)
    ones = np.array([np.sum(words >> np.uint64(bit) & np.uint64(1)) for bit in range(64)])
    deviation = (ones - 0.5 * words.size) / np.sqrt(0.25 * words.size)
    assert np.abs(deviation).max() < stats.norm.isf(0.5 * LEVEL / 64)
    # Neighbours differ in half of their bits.
    flipped = np.unpackbits((words[1:] ^ words[:-1]).view(np.uint8)).mean()
    assert abs(flipped - 0.5) < 5 * 0.5 / np.sqrt(64 * words.size)


# Logarithm, sine and cosine.


@pytest.mark.parametrize("kind", KINDS)
def test_logarithm(kind):
    generator = np.random.default_rng(1)
    root = math.sqrt(0.5)
    x = np.concatenate(
        [
            generator.uniform(size=50_000),
            (np.arange(1000) + 0.5) / 2**52,
            1.0 - (np.arange(1000) + 0.5) / 2**52,
            1.0 + np.arange(1000) * EPSILON,
            [root, np.nextafter(root, 0), np.nextafter(root, 1), 1.0, math.sqrt(2), 0.5, 2.0, math.e],
            2.0 ** generator.uniform(-1000, 1000, 10_000),
            [np.finfo(np.float64).tiny, np.finfo(np.float64).max],
            1.0 + generator.standard_normal(10_000) * 1e-3,
        ]
    )
    found = elementwise(jit.target(kind), lambda random, x: random.logarithm(x), x)
    exact = np.log(x.astype(np.longdouble))
    # Relative, also where the logarithm is small.
    error = np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)
    assert error.max() < 2.0 * EPSILON
    assert found[x == 1.0].tolist() == [0.0] * np.sum(x == 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_box_and_muller_to_rounding(kind):
    """Hence sine and cosine are right in all quadrants."""
    draws = normal_draws(kind)
    words = streams(8, 0, 0, draws.lanes)
    words[0] = [0, 5, 7, 0]
    found, after = draws(words, 2000)
    for lane in range(draws.lanes):
        reference = Xoshiro(words[lane])
        expected = np.array([reference.normals() for _ in range(2000)])
        radius = np.hypot(*expected.T)
        assert (np.abs(found[:, :, lane] - expected) / radius[:, None]).max() < 4 * EPSILON
        np.testing.assert_allclose(np.hypot(*found[:, :, lane].T), radius, rtol=4 * EPSILON)
        assert reference.state == after[lane].tolist()
    # The smallest uniform number gives the largest normal one.
    assert np.hypot(*found[0, :, 0]) == pytest.approx(math.sqrt(2 * 53 * math.log(2)), rel=1e-15)


# Normal numbers.


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_normal_numbers_are_normal(normals, which):
    x = normals[:, which].ravel()
    assert stats.kstest(x, "norm").pvalue > LEVEL
    assert stats.kstest(x**2, "chi2", args=(1,)).pvalue > LEVEL
    # Even moments of the normal law are double factorials.
    for power, mean, square in [(1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105), (6, 15, 10395)]:
        error = math.sqrt((square - mean**2) / x.size)
        assert abs(np.mean(x**power) - mean) < 5 * error
    for edge in (2.0, 3.0, 4.0, 4.5):
        for count in (np.sum(x > edge), np.sum(x < -edge)):
            assert stats.binomtest(int(count), x.size, stats.norm.sf(edge)).pvalue > LEVEL
    assert 4.0 < np.abs(x).max() < 8.6


def test_pairs_turns_and_lanes_are_independent(normals):
    functions = {
        "x": normals,
        "x²": normals**2 - 1.0,
        "|x|": np.abs(normals) - math.sqrt(2 / math.pi),
        "x³": normals**3,
    }
    everything, later, earlier = slice(None), slice(1, None), slice(-1)
    neighbours = {
        "pair": ((everything, 0), (everything, 1)),
        "turns": ((later, 0), (earlier, 0)),
        "turns across": ((later, 0), (earlier, 1)),
        "lanes": ((everything, 0, later), (everything, 0, earlier)),
        "lanes across": ((everything, 0, later), (everything, 1, earlier)),
    }
    for name, (one, other) in neighbours.items():
        for (first, f), (second, g) in itertools.product(functions.items(), repeat=2):
            products = f[one] * g[other]
            deviation = products.mean() / (products.std() / math.sqrt(products.size))
            assert abs(deviation) < 5.5, (name, first, second)
    # All directions of the pair are alike, whatever its length.
    x, y = normals[:, 0], normals[:, 1]
    angle = np.arctan2(y, x).ravel() / (2 * np.pi) + 0.5
    long = np.hypot(x, y).ravel() > 2.0
    for part in (angle, angle[long], angle[~long], 4 * angle % 1):
        assert stats.kstest(part, "uniform").pvalue > LEVEL


# Gamma.


@pytest.mark.parametrize("degrees", DEGREES)
def test_chi_square(degrees):
    count = 200_000
    x = chi_squares(degrees, count).ravel()
    assert stats.kstest(x, "chi2", args=(degrees,)).pvalue > LEVEL
    law = stats.chi2(degrees)
    spread = math.sqrt(2.0 * degrees)
    assert abs(x.mean() - degrees) < 5 * spread / math.sqrt(count)
    z = (x - degrees) / spread
    # The fourth moment of χ² is 3 + 12/k.
    assert abs(np.mean(z**2) - 1.0) < 5 * math.sqrt((2.0 + 12.0 / degrees) / count)
    for edge in (1e-4, 1e-3):
        for tail in (np.sum(x < law.ppf(edge)), np.sum(x > law.isf(edge))):
            assert stats.binomtest(int(tail), count, edge).pvalue > LEVEL


@pytest.mark.parametrize("degrees", DEGREES)
def test_the_quick_test_accepts_what_the_exact_one_does(degrees):
    draws = gamma_draws()
    words = streams(6, 0, 0, draws.lanes)
    shape = shape_of(degrees)
    found, after = draws(words, 3000, np.full((1, draws.lanes), shape))
    for lane in range(draws.lanes):
        reference = Xoshiro(words[lane])
        expected = [reference.gamma(shape, reference.normals()[0]) for _ in range(3000)]
        np.testing.assert_allclose(found[:, 0, lane], expected, rtol=1e-13)
        # As many numbers were used: not one draw more or less was rejected.
        assert reference.state == after[lane].tolist()


def test_chi_squares_in_turn_are_independent():
    x = chi_squares(2, 400_000) - 2.0
    for one, other in [(x[1:], x[:-1]), (x[:, 1:], x[:, :-1])]:
        for f in (lambda x: x, lambda x: x**2 - 4.0, lambda x: np.where(x > -1.9, 0.0, 1.0) - 0.04877):
            products = (f(one) * f(other)).ravel()
            assert abs(products.mean()) < 5.5 * products.std() / math.sqrt(products.size)


def test_lanes_know_nothing_of_each_other():
    """With 2 degrees of freedom some draws are repeated, in their own lane alone."""
    draws = gamma_draws()
    lanes, turns = draws.lanes, 500
    words = streams(9, 0, 0, lanes)
    shapes = np.full((1, lanes), shape_of(2))
    together, after = draws(words, turns, shapes)
    for word in words:
        reference = Xoshiro(word)
        for _ in range(turns):
            reference.gamma(shape_of(2), reference.normals()[0])
        assert reference.drawn > 3 * turns + 5
    others = streams(10, 0, 0, lanes)
    for lane in range(lanes):
        changed = others.copy()
        changed[lane] = words[lane]
        # Neighbours that repeat more often, or nearly never.
        for degrees in (2, 10**6):
            neighbours = np.full((1, lanes), shape_of(degrees))
            neighbours[0, lane] = shapes[0, lane]
            alone, alone_after = draws(changed, turns, neighbours)
            assert alone[:, :, lane].tobytes() == together[:, :, lane].tobytes()
            assert alone_after[lane].tolist() == after[lane].tolist()


# Kinds of vectors.


@pytest.mark.parametrize("draws_of", [normal_draws, gamma_draws], ids=["normal", "gamma"])
def test_every_kind_of_vectors_gives_the_same_numbers(draws_of):
    found = {}
    words = streams(12, 0, 0, 8)
    for kind in KINDS:
        draws = draws_of(kind)
        shapes = np.full((1, draws.lanes), shape_of(3))
        parts = [
            draws(words[first : first + draws.lanes], 1000, shapes) for first in range(0, 8, draws.lanes)
        ]
        values = np.concatenate([values for values, _ in parts], axis=2)
        found[kind] = (values, np.concatenate([after for _, after in parts]))
    assert found["avx512"][0].tobytes() == found["avx2"][0].tobytes()
    for kind in KINDS:
        np.testing.assert_allclose(found[kind][0], found["avx512"][0], rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(found[kind][1], found["avx512"][1])
