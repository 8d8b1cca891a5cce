"""Makes random streams from a user's seed, so that no two seeds share a stream."""

from __future__ import annotations

import numpy as np

LARGEST_SEED = 2**63 - 1
_WORD = 2**32
# This key tells seeds of two words from those of one; no sequence is spawned this often.
_WIDE = 0x5EED


def seed_sequence(seed: int, *numbers: int) -> np.random.SeedSequence:
    """The source of a stream: `numbers` (from 0 to 2³² − 1) tell streams of one seed apart.

    Seeds below 2³² are one word in front of the numbers, and alone have the stream of the number 0.
    Larger seeds are two words that are marked as such: `SeedSequence` joins its words whatever number
    they come from, so that otherwise 2³² + 5 would be the seed 5 with the number 1.
    """
    if any(not 0 <= number < _WORD for number in numbers):
        raise ValueError(f"{numbers} are not all from 0 to 2³² − 1")
    if seed < _WORD:
        return np.random.SeedSequence([seed, *numbers])
    words = [seed % _WORD, seed // _WORD, *numbers]
    return np.random.SeedSequence(words, spawn_key=(_WIDE, len(numbers)))


def derived_seed(seed: int, number: int) -> int:
    """A seed (63 bits) for a part of the work that takes one, such as the runs at one N."""
    words = seed_sequence(seed, number).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
