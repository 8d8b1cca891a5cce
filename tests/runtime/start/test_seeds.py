"""Seeds: small ones keep their streams, and no two pairs of a seed and numbers share one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import runtime
from derive import Model
from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution
from runtime.sector import SectorStart
from runtime.start.seeds import LARGEST_SEED, derived_seed, seed_sequence

SEEDS = [0, 1, 5, 7, 2**32 - 1, 2**32, 2**32 + 5, 2**33 + 5, 7 * 2**32 + 5, 5 + 2**62, LARGEST_SEED]
NUMBERS = [0, 1, 2, 7, 1 << 30, 2**32 - 1]


def test_no_two_pairs_share_a_stream():
    pairs = list(itertools.product(SEEDS, NUMBERS))
    words = {tuple(seed_sequence(seed, number).generate_state(4)) for seed, number in pairs}
    derived = {derived_seed(seed, number) for seed, number in pairs}
    assert len(words) == len(derived) == len(pairs)
    # A large seed alone is no small seed with a number either; a small one alone has the number 0.
    alone = {tuple(seed_sequence(seed).generate_state(4)) for seed in SEEDS if seed >= 2**32}
    assert len(alone) == sum(seed >= 2**32 for seed in SEEDS)
    assert not alone & words
    # Starts spawn theirs of the seed.
    spawned = {
        tuple(stream.generate_state(4))
        for seed in SEEDS
        for stream in np.random.SeedSequence(seed).spawn(2)
    }
    assert len(spawned) == 2 * len(SEEDS)
    assert not spawned & (words | alone)


def test_streams_of_small_seeds_are_those_of_all_versions():
    assert derived_seed(0, 0) == 7896617691693857887
    assert derived_seed(5, 1) == 8998383282213416150
    assert derived_seed(2**32 - 1, 3) == 7399697132033760080
    assert derived_seed(2**32 - 1, 2**32 - 1) == 6295558014972089990
    np.testing.assert_array_equal(
        np.random.default_rng(seed_sequence(7)).standard_normal(2),
        [0.0012301533574825742, 0.2987455375084699],
    )
    assert np.random.default_rng(seed_sequence(7, 1)).standard_normal() == 0.34736176866043106


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_are_words(number):
    with pytest.raises(ValueError, match="2³²"):
        seed_sequence(0, number)


def test_every_source_of_random_numbers_is_of_this_kind():
    """Streams come from `seed_sequence`; a sampler's two are spawned of its seed alone."""
    found = []
    for path in sorted(Path(runtime.__file__).parent.rglob("*.py")):
        for call in re.findall(r"(?:default_rng|SeedSequence)\(.*", path.read_text(encoding="utf-8")):
            if not call.startswith(
                ("default_rng(seed_sequence(", "default_rng(stream)", "default_rng(_SEED)")
            ):
                found.append((path.name, call.split("(")[0]))
    assert sorted(found) == [("initial_overlaps.py", "SeedSequence")] + [("seeds.py", "SeedSequence")] * 2


MODEL = Model(3, 2)
STARTS = {
    "random overlaps": lambda seed: runtime.random_overlaps(3, 2, 50, seed),
    "sector": lambda seed: (SectorStart.random(3, 2, 0.1, seed).m,),
    "zero loss": lambda seed: zero_loss_solution(MODEL, seed=seed),
    "simulate": lambda seed: (
        runtime.simulate(
            MODEL, n=20, alpha=[0.5], trajectories=1, seed=seed, Q0=np.eye(3), R0=np.zeros((3, 2))
        )["Q"].values,
    ),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_large_seeds_are_seeds_of_their_own(start):
    drawn = {b"".join(np.ascontiguousarray(x).tobytes() for x in start(seed)) for seed in SEEDS}
    assert len(drawn) == len(SEEDS)
