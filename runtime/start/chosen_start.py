"""The start that a user chose: random weights, an ideal start or a file, with teacher and second layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive.errors import InputError, printable
from derive.model import Model
from derive.parameters import VECTORS
from runtime.output.input_files import Shapes
from runtime.run_options import Q0_NORM, RANDOM_N, SEED
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.chosen_weights import RANDOM, chosen_weights, spectrum_teacher
from runtime.start.initial_overlaps import OverlapSampler
from runtime.start.start_files import StoredStart, read_start, read_teacher
from runtime.start.starts import GivenStart, RandomStart, Start

# At most this many random numbers are drawn to see whether `ideal` is too large, in less than a second.
_CHECKED = 2**22
# A Gaussian matrix (p, p*) has a norm above √p + √p* + this with the probability exp(−50) or less.
_SAFE = 10.0
# Choices that only random starts need.
_FOR_RANDOM_STARTS = ("q0", "seed", "trajectories")
# T of a run from a file may differ from 1 by this much, since it carries rounding.
_EQUAL = 1e-8
# The choices of a teacher that is not orthonormal, of which one at most is made.
_TEACHERS = ("teacher_correlation", "teacher_spectrum", "T")
# Arguments that are no choice of their own, and the choice that they come from.
_CHOICES = {"Q0": "overlaps", "R0": "overlaps", "file": "overlaps", "scale": "ideal"}


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
        A file of Q, R and perhaps T, second layers and the time, or of a run, whose last state is taken.
    q0, seed
        Variance of the weights of random students, and their seed.
    teacher_correlation
        Off-diagonal entries of T, for a general teacher.
    teacher_spectrum
        Eigenvalues of T = diag(…): numbers, or text that `spectrum_teacher` reads.
    T
        The teacher overlaps (p*, p*) themselves, or the file of them.
    student_weights, teacher_weights
        Second layers: numbers, or text that `chosen_weights` reads; None is ones, or those of the file.
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
    teacher_spectrum: Any = None
    T: Any = None
    student_weights: Any = None
    teacher_weights: Any = None
    given: frozenset[str] = frozenset()

    def parameters(self, model: Model, starts: int | None = None) -> dict[str, Any]:
        """T (None if orthonormal) and the second layers (None if ones), as run-time parameters.

        With `starts`, random weights of students are drawn for each start.
        """
        return {"T": self.teacher(model), **self._weights(model, starts)}

    def teacher(self, model: Model) -> Array | None:
        """T (p*, p*) as chosen, by default the identity; None for an orthonormal teacher."""
        correlation = real_number("teacher_correlation", self.teacher_correlation)
        chosen = self._chosen_teachers
        if model.teacher != "general":
            for name in chosen:
                # A correlation of 0 is that of orthonormal teachers.
                if name != "teacher_correlation" or correlation:
                    raise InputError(name, "needs --teacher general")
            return None
        if len(chosen) > 1:
            first = chosen[0].replace("_", "-")
            raise InputError(chosen[1], f"does not go with --{first}: each of them says what T is")
        if self.teacher_spectrum is not None:
            return spectrum_teacher(self.teacher_spectrum, model.pstar)
        if isinstance(self.T, (str, Path)):
            return _checked_teacher(model, read_teacher(self.T), "T", f"{self.T} ")
        if self.T is not None:
            return _checked_teacher(model, self.T, "T")
        least = -1.0 / (model.pstar - 1) if model.pstar > 1 else -1.0
        if not least <= correlation <= 1.0:
            raise InputError(
                "teacher_correlation",
                f"{correlation:g} is not between {least:g} and 1 (p* = {model.pstar})",
            )
        ones = np.ones((model.pstar, model.pstar))
        return (1.0 - correlation) * np.eye(model.pstar) + correlation * ones

    @property
    def _chosen_teachers(self) -> list[str]:
        """The names of choices that say what T is."""
        chosen = {name for name in _TEACHERS[1:] if getattr(self, name) is not None}
        if self.teacher_correlation != 0.0:
            chosen.add("teacher_correlation")
        return [name for name in _TEACHERS if name in chosen | self.given]

    def _weights(self, model: Model, starts: int | None) -> dict[str, Any]:
        """The second layers as keywords; those of students may differ from start to start."""
        return {
            vector.name: chosen_weights(
                vector.name,
                getattr(self, vector.name),
                getattr(model, vector.shape[0]),
                self.seed,
                starts if vector.shape == ("p",) else None,
            )
            for vector in VECTORS
        }

    def times(self, alpha: ArrayLike, start: Start) -> ArrayLike:
        """Output times: those that were given, or else the default length `alpha` from the start on."""
        return alpha if "alpha" in self.given or not start.alpha else start.alpha + np.asarray(alpha)

    def sampler(self, model: Model, T: Array | None) -> OverlapSampler:
        """A new source of random starts."""
        if self.n is not None and self.ideal is not None:
            raise InputError("ideal", "does not go with --n")
        n = RANDOM_N if self.n is None and self.ideal is None else self.n
        return OverlapSampler(
            model.p,
            model.pstar,
            n,
            self.seed,
            constraint=model.constraint,
            T=T,
            q0=self.q0,
            scale=self.ideal,
        )

    def check_draws(self, model: Model, T: Array | None, count: int) -> None:
        """Raise InputError if `ideal` is too large for one of the first `count` random starts.

        Of very many starts only those at the front are drawn, and none if all of them are safe.
        """
        if self.ideal is None or count == 0:
            return
        # Along the teacher R0 is `ideal` times a Gaussian matrix, whose norm must be at most √q0.
        if self.ideal * (np.sqrt(model.p) + np.sqrt(model.pstar) + _SAFE) > np.sqrt(self.q0):
            few = max(1, _CHECKED // (model.p + model.pstar) ** 2)
            self.sampler(model, T).draw(min(count, few))

    def overlaps_of(self, model: Model, starts: int | None = None) -> tuple[dict[str, Any], GivenStart]:
        """T and second layers as run-time parameters, and a start with Q0 (p, p) and R0 (p, p*).

        A file may hold several starts, in front, where their number is given as `starts`.
        """
        if self.overlaps is not None:
            return self._from_file(model, self.overlaps, starts)
        given = self.parameters(model)
        sampler = self.sampler(model, given["T"])
        Q, R = sampler.draw(1)
        return given, GivenStart(Q[0], R[0], origin=sampler.origin)

    def starts_of(self, model: Model, trajectories: int | None = None) -> tuple[dict[str, Any], Start]:
        """Run-time parameters as `overlaps_of`, and the start of one trajectory, or of many random ones.

        The latter are not drawn yet, but each has its own random weights of students if these were chosen.
        """
        if trajectories is None:
            return self.overlaps_of(model)
        T = self.teacher(model)
        sampler = self.sampler(model, T)
        start = RandomStart(lambda: self.sampler(model, T), trajectories, drawing=naming_choices)
        # One start shows what is wrong with all, except where sizes of R0 are nearly too large.
        sampler.draw(1)
        self.check_draws(model, T, start.count)
        return {"T": T, **self._weights(model, start.count)}, start

    def _from_file(
        self, model: Model, path: str | Path, starts: int | None
    ) -> tuple[dict[str, Any], GivenStart]:
        for name in ("n", "ideal"):
            if getattr(self, name) is not None:
                raise InputError("overlaps", f"does not go with --{name}")
        drawn = any(
            isinstance(w, str) and w == RANDOM for w in (self.student_weights, self.teacher_weights)
        )
        needed = {"seed"} if drawn else set()
        superfluous = [name for name in _FOR_RANDOM_STARTS if name in self.given - needed]
        if superfluous:
            raise InputError(superfluous[0], "does not go with --overlaps: the start is that of the file")
        stored = read_start(path, lambda shapes: _check_shapes(model, path, starts, shapes))
        given = {"T": self._teacher_beside(stored, model), **self._weights_beside(stored, model)}
        # The name of a file need not be valid text, and a file of results holds only text.
        origin = {"overlaps": printable(str(path))}
        return given, GivenStart(stored.Q, stored.R, stored.Q.ndim != 2, origin, stored.alpha)

    def _teacher_beside(self, stored: StoredStart, model: Model) -> Array | None:
        """T of a file, or if it has none the one that was chosen."""
        if stored.T is None:
            return self.teacher(model)
        for name in self._chosen_teachers:
            raise InputError(name, "does not go with --overlaps: the file has a T")
        if model.teacher == "general":
            return _checked_teacher(model, stored.T, "overlaps", "T ")
        apart = checked_arrays.real_array("T", stored.T, (model.pstar, model.pstar)) - np.eye(model.pstar)
        if np.max(np.abs(apart)) > _EQUAL:
            raise InputError("overlaps", "the file has a T that is not 1: this needs --teacher general")
        return self.teacher(model)

    def _weights_beside(self, stored: StoredStart, model: Model) -> dict[str, Any]:
        """Second layers as they were chosen, or else those of a file, with a trained one first."""
        chosen = self._weights(model, None)
        v = stored.student_weights if stored.v is None else stored.v
        of_file = {"student_weights": v, "teacher_weights": stored.teacher_weights}
        if model.trained and stored.v is not None and chosen["student_weights"] is not None:
            raise InputError("student_weights", "does not go with --overlaps: the file has a trained v")
        for name, weights in of_file.items():
            if weights is None or chosen[name] is not None:
                continue
            whose = "v" if weights is stored.v else name
            if not np.isfinite(weights).all():
                raise InputError("overlaps", f"{whose} in the file has entries that are not finite")
            if model.weighted:
                chosen[name] = weights
            elif np.any(weights != 1.0):
                problem = f"{whose} in the file has entries that are not 1"
                raise InputError("overlaps", f"{problem}: this needs --second-layer fixed or trained")
        return chosen


def _checked_teacher(model: Model, T: ArrayLike, option: str, whose: str = "") -> Array:
    """T (p*, p*); InputError names the option, and then in the words `whose` matrix it is."""
    try:
        return checked_arrays.teacher_overlaps(model, T)
    except InputError as error:
        raise InputError(option, f"{whose}{error.problem}") from None


def _check_shapes(model: Model, path: str | Path, starts: int | None, shapes: Shapes) -> None:
    """Raise InputError unless the arrays of a file are of this model, and of so many starts or of one."""
    p, pstar = model.p, model.pstar
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
    allowed = {
        "Q": [(*leading, p, p)],
        "R": [(*leading, p, pstar)],
        "T": [(pstar, pstar)],
        "v": [(*leading, p)],
        "student_weights": [(p,), (*leading, p)],
        "teacher_weights": [(pstar,), (*leading, pstar)],
    }
    for name, right in allowed.items():
        if name in shapes and shapes[name] not in right:
            argument = f"{name}0" if name in "QR" else name
            raise InputError("overlaps", f"{argument} has the shape {shapes[name]}, not {right[-1]}")
