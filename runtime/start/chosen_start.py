"""The start that a user chose: random weights in N dimensions, an ideal start, or overlaps in a file."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from derive.errors import InputError, printable
from derive.model import Model
from runtime.output.input_files import Shapes
from runtime.run_options import Q0_NORM, RANDOM_N, SEED
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.initial_overlaps import OverlapSampler, checked_overlaps
from runtime.start.starts import GivenStart, RandomStart, Start

# At most this many random numbers are drawn to see whether `ideal` is too large, in less than a second.
_CHECKED = 2**22
# A Gaussian matrix (p, p*) has a norm above √p + √p* + this with the probability exp(−50) or less.
_SAFE = 10.0
# Choices that only random starts need.
_FOR_RANDOM_STARTS = ("q0", "seed", "trajectories")
# T of a run from a file may differ from 1 by this much, since it carries rounding.
_EQUAL = 1e-8
# Arguments that are no choice of their own, and the choice that they come from.
_CHOICES = {"Q0": "overlaps", "R0": "overlaps", "T": "overlaps", "file": "overlaps", "scale": "ideal"}


@contextlib.contextmanager
def naming_choices() -> Iterator[None]:
    """Let errors name the choice that a value comes from, such as `ideal`, and not the argument `scale`."""
    try:
        yield
    except InputError as error:
        if error.option not in _CHOICES:
            raise
        problem = error.problem if error.option in ("file", "scale") else f"{error.option} {error.problem}"
        raise InputError(_CHOICES[error.option], problem) from None


@dataclasses.dataclass(frozen=True)
class ChosenStart:
    """How a run starts, whatever its model; `starts_of` and `overlaps_of` make the start of a model.

    n
        Input dimension N of random weights; `RANDOM_N` where neither `ideal` nor `overlaps` is given.
    ideal
        Start at Q0 = q0·1 with R0 of this size.
    overlaps
        A file of Q, R and perhaps T, or of a run, whose last state is taken.
    q0, seed
        Variance of the weights of random students, and their seed.
    teacher_correlation
        Off-diagonal entries of T, for a general teacher.
    given
        Names of choices that the user made explicitly. Those that only random starts need are rejected
        beside a file.
    """

    n: int | None = None
    ideal: float | None = None
    overlaps: str | Path | None = None
    q0: float = Q0_NORM
    seed: int = SEED
    teacher_correlation: float = 0.0
    given: frozenset[str] = frozenset()

    def teacher(self, model: Model) -> Array | None:
        """T (p*, p*) with unit diagonal and equal correlations; None for an orthonormal teacher."""
        correlation = real_number("teacher_correlation", self.teacher_correlation)
        if model.teacher != "general":
            if correlation:
                raise InputError("teacher_correlation", "needs --teacher general")
            return None
        least = -1.0 / (model.pstar - 1) if model.pstar > 1 else -1.0
        if not least <= correlation <= 1.0:
            raise InputError(
                "teacher_correlation",
                f"{correlation:g} is not between {least:g} and 1 (p* = {model.pstar})",
            )
        ones = np.ones((model.pstar, model.pstar))
        return (1.0 - correlation) * np.eye(model.pstar) + correlation * ones

    def sampler(self, model: Model, T: Array | None) -> tuple[OverlapSampler, dict[str, Any]]:
        """A new source of random starts, and the attributes of results that name it."""
        if self.n is not None and self.ideal is not None:
            raise InputError("ideal", "does not go with --n")
        n = RANDOM_N if self.n is None and self.ideal is None else self.n
        sampler = OverlapSampler(
            model.p,
            model.pstar,
            n,
            self.seed,
            constraint=model.constraint,
            T=T,
            q0=self.q0,
            scale=self.ideal,
        )
        origin = {"seed": self.seed, "q0": self.q0}
        return sampler, origin | ({"ideal": self.ideal} if n is None else {"n": n})

    def check_draws(self, model: Model, T: Array | None, count: int) -> None:
        """Raise InputError if `ideal` is too large for one of the first `count` random starts.

        Of very many starts only those at the front are drawn, and none if all of them are safe.
        """
        if self.ideal is None or count == 0:
            return
        # Along the teacher R0 is `ideal` times a Gaussian matrix, whose norm must be at most √q0.
        if self.ideal * (np.sqrt(model.p) + np.sqrt(model.pstar) + _SAFE) > np.sqrt(self.q0):
            few = max(1, _CHECKED // (model.p + model.pstar) ** 2)
            self.sampler(model, T)[0].draw(min(count, few))

    def overlaps_of(
        self, model: Model, starts: int | None = None
    ) -> tuple[Array, Array, Array | None, dict[str, Any]]:
        """Q0 (p, p), R0 (p, p*), T (None if orthonormal) and the attributes that name the start.

        A file may hold several starts, in front, where their number is given as `starts`.
        """
        if self.overlaps is not None:
            return self._from_file(model, self.overlaps, starts)
        T = self.teacher(model)
        sampler, origin = self.sampler(model, T)
        Q, R = sampler.draw(1)
        return Q[0], R[0], T, origin

    def starts_of(self, model: Model, trajectories: int | None = None) -> tuple[Array | None, Start]:
        """T, and the start of one trajectory, or of as many random ones; the latter are not drawn yet."""
        if trajectories is None:
            Q0, R0, T, origin = self.overlaps_of(model)
            return T, GivenStart(Q0, R0, origin=origin)
        T = self.teacher(model)
        sampler, origin = self.sampler(model, T)
        start = RandomStart(lambda: self.sampler(model, T)[0], trajectories, origin, drawing=naming_choices)
        # One start shows what is wrong with all, except where sizes of R0 are nearly too large.
        sampler.draw(1)
        self.check_draws(model, T, start.count)
        return T, start

    def _from_file(
        self, model: Model, path: str | Path, starts: int | None
    ) -> tuple[Array, Array, Array | None, dict[str, Any]]:
        for name in ("n", "ideal"):
            if getattr(self, name) is not None:
                raise InputError("overlaps", f"does not go with --{name}")
        superfluous = [name for name in _FOR_RANDOM_STARTS if name in self.given]
        if superfluous:
            raise InputError(superfluous[0], "does not go with --overlaps: the start is that of the file")
        p, pstar = model.p, model.pstar

        def check(shapes: Shapes) -> None:
            leading, widths = shapes["R"][:-2], shapes["R"][-2:]
            if len(widths) == 2 and widths != (p, pstar):
                raise InputError(
                    "overlaps",
                    f"{path} holds p = {widths[0]} and p* = {widths[1]}, not {p} and {pstar}:"
                    f" say --p {widths[0]} --pstar {widths[1]}",
                )
            if len(leading) != 1 or starts is None:
                leading = ()
            elif leading[0] != starts:
                raise InputError("trajectories", f"{starts} is not the number of starts, {leading[0]}")
            wanted = {"Q": (*leading, p, p), "R": (*leading, p, pstar), "T": (pstar, pstar)}
            for name, shape in wanted.items():
                if shapes.get(name, shape) != shape:
                    option = name if name == "T" else f"{name}0"
                    raise InputError(option, f"has the shape {shapes[name]}, not {shape}")

        Q0, R0, T = checked_overlaps(path, check)
        # The name of a file need not be valid text, and a file of results holds only text.
        origin = {"overlaps": printable(str(path))}
        if T is None:
            return Q0, R0, self.teacher(model), origin
        if "teacher_correlation" in self.given:
            raise InputError("teacher_correlation", "does not go with --overlaps: the file has a T")
        if model.teacher == "general":
            return Q0, R0, T, origin
        apart = checked_arrays.real_array("T", T, (pstar, pstar)) - np.eye(pstar)
        if np.max(np.abs(apart)) > _EQUAL:
            raise InputError("overlaps", "the file has a T that is not 1: this needs --teacher general")
        return Q0, R0, self.teacher(model), origin
