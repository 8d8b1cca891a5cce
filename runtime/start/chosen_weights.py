"""Second-layer weights and teacher spectra as users choose them: numbers, a power law, or random ones."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from derive.arguments import whole_number
from derive.errors import InputError
from runtime.output.memory_limit import check_memory
from runtime.start.checked_arrays import Array, real_array
from runtime.start.parameter_values import POWER, power_law
from runtime.start.seeds import LARGEST_SEED, seed_sequence

# The word for independent standard normal weights.
RANDOM = "random"
# Streams of random weights, which no other random numbers of a seed come from; the first is the kind.
_STREAMS = {"student_weights": (0x5EC0, 1), "teacher_weights": (0x5EC0, 2)}
# float() alone would accept "１6", "1_6", " 16" and "nan".
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def chosen_weights(option: str, given: Any, width: int, seed: int, starts: int | None) -> Any:
    """What a user gave for second-layer weights, as `RunParameters` takes it.

    Text is ``"1,-0.5,0.2"``, ``"power:1"`` for the weights r^−1, or ``"random"`` for independent standard
    normal numbers. These are drawn from a stream of their own: one vector (width,), or one for each of the
    `starts` (starts, width), of which the first do not depend on how many there are.
    """
    if not isinstance(given, str):
        return given
    if given != RANDOM:
        return _numbers(option, given, width, f"1,-0.5, or {POWER}1 or {RANDOM}")
    seed = whole_number("seed", seed, 0, LARGEST_SEED)
    if starts is not None:
        check_memory(starts, width, f" for --{option.replace('_', '-')} {RANDOM}")
    generator = np.random.default_rng(seed_sequence(seed, *_STREAMS[option]))
    return generator.standard_normal(width if starts is None else (starts, width))


def spectrum_teacher(given: Any, pstar: int) -> Array:
    """T (p*, p*), the diagonal matrix of a chosen spectrum; InputError unless that is p* numbers ≥ 0."""
    option = "teacher_spectrum"
    values = _numbers(option, given, pstar, f"1,0.5, or {POWER}1") if isinstance(given, str) else given
    spectrum = real_array(option, values, (pstar,))
    if np.min(spectrum) < 0.0:
        raise InputError(option, f"{np.min(spectrum):g} is negative: norms |w*|²/N are at least 0")
    return np.diag(spectrum)


def _numbers(option: str, text: str, width: int, allowed: str) -> Array:
    """The numbers (width,) in a text; InputError for anything else, which says what is `allowed`."""
    if text.startswith(POWER):
        return power_law(option, text, width)
    found = []
    for part in text.split(","):
        number = float(part) if _REAL.fullmatch(part) else math.nan
        if not math.isfinite(number):
            raise InputError(option, f"{part!r} is not a finite number: give {width} such as {allowed}")
        found.append(number)
    if len(found) != width:
        raise InputError(option, f"{text!r} has {len(found)} numbers, not {width}")
    return np.array(found)
