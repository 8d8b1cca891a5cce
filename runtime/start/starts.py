"""Where trajectories start: overlaps that are given, or random ones that are drawn in batches."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.initial_overlaps import LARGEST_COUNT, OverlapSampler


class Start(abc.ABC):
    """The starts of one or many trajectories.

    count
        The number of trajectories; None for a single one without an axis of trajectories.
    origin
        Attributes of results that say where the starts come from.
    alpha
        The time α ≥ 0 at which they are: not 0 where an earlier run is continued.
    """

    count: int | None
    origin: Mapping[str, Any]
    alpha: float

    @abc.abstractmethod
    def checked(self, model: Model, T: Array) -> Start:
        """The starts, after a check that they are of `model` and T; raises InputError."""

    @abc.abstractmethod
    def batches(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Q (k, p, p), symmetric, and R (k, p, p*) of all trajectories in order, at most `size` at once."""

    def all(self) -> tuple[Array, Array]:
        """Q and R of all trajectories at once."""
        return next(self.batches(1 if self.count is None else self.count))


@dataclasses.dataclass(frozen=True, eq=False)
class GivenStart(Start):
    """Overlaps Q0 (p, p) and R0 (p, p*), or with an axis of trajectories in front where there are many."""

    Q0: ArrayLike
    R0: ArrayLike
    many: bool = False
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alpha: float = 0.0

    @property
    def count(self) -> int | None:  # type: ignore[override]
        return len(np.asarray(self.Q0)) if self.many else None

    def checked(self, model: Model, T: Array) -> GivenStart:
        if self.many:
            Q, R = checked_arrays.ensemble_overlaps(model, self.Q0, self.R0, T)
        else:
            Q, R = checked_arrays.overlaps(model, self.Q0, self.R0, T)
        alpha = checked_arrays.real_number("start_alpha", self.alpha, least=0.0)
        return dataclasses.replace(self, Q0=checked_arrays.symmetrised(Q), R0=R, alpha=alpha)

    def batches(self, size: int) -> Iterator[tuple[Array, Array]]:
        Q, R = np.asarray(self.Q0), np.asarray(self.R0)
        if not self.many:
            Q, R = Q[None], R[None]
        for first in range(0, len(Q), size):
            yield Q[first : first + size], R[first : first + size]


@dataclasses.dataclass(frozen=True, eq=False)
class RandomStart(Start):
    """Random overlaps of `count` trajectories, drawn when they are needed.

    sampler
        Makes the source of the draws; it is called at each check and each run.
    count
        The number of trajectories; InputError unless it is one.
    drawing
        Makes a context in which starts are drawn, such as `naming_choices`, which renames errors.
    """

    sampler: Callable[[], OverlapSampler]
    count: int
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alpha: float = 0.0
    drawing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", whole_number("trajectories", self.count, 1, LARGEST_COUNT))
        alpha = checked_arrays.real_number("start_alpha", self.alpha, least=0.0)
        object.__setattr__(self, "alpha", alpha)

    def checked(self, model: Model, T: Array) -> RandomStart:
        sampler = self.sampler()
        if not isinstance(sampler, OverlapSampler):
            raise InputError("sampler", f"is of the type {type(sampler).__name__}, not an OverlapSampler")
        sampler.check(model, T)
        return dataclasses.replace(self, origin=sampler.origin)

    def batches(self, size: int) -> Iterator[tuple[Array, Array]]:
        sampler = self.sampler()
        for first in range(0, self.count, size):
            with self.drawing():
                batch = sampler.draw(min(size, self.count - first))
            yield batch
