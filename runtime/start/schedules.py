"""Learning-rate schedules: how the factor g(α) of the learning rates changes during training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from derive.errors import InputError, shown
from runtime.start.checked_arrays import Array, real_number
from runtime.start.schedule_kinds import CONSTANT, EXPONENTIAL, INVERSE, INVERSE_SQRT, SMOOTH

_FORMS = "exponential:50, inverse:50, inverse-sqrt:50, or times and factors such as 0:1,50:0.5"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A factor g(α) of η and of η_v, with g(0) = 1; made by `Schedule.of`.

    kind
        CONSTANT, which includes piecewise constant schedules, or a smooth kind: EXPONENTIAL e^(−α/τ),
        INVERSE 1/(1 + α/τ), INVERSE_SQRT 1/√(1 + α/τ).
    scale
        τ of a smooth schedule, in α; infinity of others.
    jumps
        Pairs (time, factor from then on), ascending from (0, 1).
    text
        The schedule as users write it.
    """

    kind: int = CONSTANT
    scale: float = np.inf
    jumps: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    text: str = "constant"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.of({self.text!r})"

    @classmethod
    def of(cls, given: Any) -> Schedule:
        """The schedule that a user means.

        None or ``"constant"``; ``"exponential:50"``, ``"inverse:50"`` or ``"inverse-sqrt:50"``, with τ
        after the colon; or piecewise constant: ``"0:1,50:0.5"``, pairs (time, factor), or a mapping of
        times to factors. InputError names what is wrong.
        """
        if isinstance(given, Schedule):
            return given
        if given is None:
            return cls()
        if not isinstance(given, str):
            return cls._piecewise(_pairs_of(given), given)
        word, colon, rest = given.strip().partition(":")
        if word == "constant" and not colon:
            return cls()
        if word in SMOOTH and colon:
            scale = _number(rest, given)
            if not scale > 0.0:
                raise InputError("schedule", f"{given!r}: the time {scale:g} is not greater than 0")
            return cls(kind=SMOOTH[word], scale=scale, text=f"{word}:{_digits(scale)}")
        pairs = []
        for part in given.split(","):
            time, separator, factor = part.partition(":")
            if not separator or time.strip()[:1].isalpha():
                raise InputError("schedule", f"{given!r} is not one of constant, {_FORMS}")
            pairs.append((_number(time, given), _number(factor, given)))
        return cls._piecewise(pairs, given)

    @classmethod
    def _piecewise(cls, pairs: Sequence[tuple[float, float]], given: Any) -> Schedule:
        if not pairs or pairs[0] != (0.0, 1.0):
            raise InputError(
                "schedule", f"{shown(given)} does not begin with time 0 and factor 1, as 0:1,50:0.5 does"
            )
        for (before, _), (time, factor) in itertools.pairwise(pairs):
            if not time > before:
                raise InputError("schedule", f"time {time:g} does not come after {before:g}")
            if factor < 0.0:
                raise InputError("schedule", f"the factor {factor:g} from {time:g} on is negative")
        text = ",".join(f"{_digits(time)}:{_digits(factor)}" for time, factor in pairs)
        return cls(jumps=tuple(pairs), text=text) if len(pairs) > 1 else cls()

    @property
    def constant(self) -> bool:
        """Whether the factor is 1 at all times."""
        return self.kind == CONSTANT and len(self.jumps) == 1

    @property
    def attributes(self) -> dict[str, str]:
        """The schedule, if it is not constant, for the attributes of results."""
        return {} if self.constant else {"schedule": self.text}

    def stretched(self, factor: float) -> Schedule:
        """The same factors at `factor` times the times, as where time has another unit."""
        if self.kind == CONSTANT:
            return Schedule.of([(factor * time, g) for time, g in self.jumps])
        word = next(word for word, kind in SMOOTH.items() if kind == self.kind)
        return Schedule.of(f"{word}:{_digits(factor * self.scale)}")

    def segments(self, start: float, end: float) -> Iterator[tuple[float, float, float]]:
        """(from, to, factor) of the stretches without jumps between two times, in order; one at least.

        The factor of a smooth schedule is 1: it is on top of g(α).
        """
        for number, (time, factor) in enumerate(self.jumps):
            later = self.jumps[number + 1][0] if number + 1 < len(self.jumps) else np.inf
            if (time < end and later > start) or time <= start == end < later:
                yield max(time, start), min(later, end), factor

    def factors(self, times: Array) -> Array:
        """g at times α ≥ 0, an array of any shape; at a jump it is the factor after it."""
        times = np.asarray(times, dtype=np.float64)
        if self.kind == EXPONENTIAL:
            return np.asarray(np.exp(-times / self.scale))
        if self.kind == INVERSE:
            return np.asarray(1.0 / (1.0 + times / self.scale))
        if self.kind == INVERSE_SQRT:
            return np.asarray(1.0 / np.sqrt(1.0 + times / self.scale))
        starts, factors = np.array(self.jumps).T
        return np.asarray(factors[np.searchsorted(starts, times, side="right") - 1])

    def integral(self, times: Array) -> Array:
        """∫₀^α g at times α ≥ 0, an array of any shape: the time that passes for gradient flow."""
        times = np.asarray(times, dtype=np.float64)
        if self.kind == EXPONENTIAL:
            return np.asarray(-self.scale * np.expm1(-times / self.scale))
        if self.kind == INVERSE:
            return np.asarray(self.scale * np.log1p(times / self.scale))
        if self.kind == INVERSE_SQRT:
            # This is 2τ (√(1 + α/τ) − 1), which would cancel at small times.
            return np.asarray(2.0 * times / (1.0 + np.sqrt(1.0 + times / self.scale)))
        starts, factors = np.array(self.jumps).T
        passed = np.concatenate([[0.0], np.cumsum(factors[:-1] * np.diff(starts))])
        stretch = np.searchsorted(starts, times, side="right") - 1
        return np.asarray(passed[stretch] + factors[stretch] * (times - starts[stretch]))


def _digits(number: float) -> str:
    """A number as text that is read again as the same number."""
    short = f"{number:.15g}"
    return short if float(short) == number else repr(number)


def _number(text: str, whole: str) -> float:
    try:
        return real_number("schedule", float(text))
    except (ValueError, InputError):
        raise InputError("schedule", f"{text.strip()!r} in {whole!r} is not a finite number") from None


def _pairs_of(given: Any) -> list[tuple[float, float]]:
    """Pairs of numbers from a mapping or a sequence of pairs."""
    items = given.items() if isinstance(given, Mapping) else given
    try:
        pairs = [tuple(item) for item in items]
    except TypeError:
        raise InputError("schedule", f"{shown(given)} is not one of constant, {_FORMS}") from None
    if any(len(pair) != 2 for pair in pairs):
        raise InputError("schedule", "is not made of pairs (time, factor)")
    return [(real_number("schedule", time), real_number("schedule", factor)) for time, factor in pairs]
