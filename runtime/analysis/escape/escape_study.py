"""What a measurement of escape times is given: the model, the starts and the solver, checked once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.concurrency.thread_pool import thread_count
from runtime.run_options import ATOL, Q0_NORM, RTOL, SEED, default
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.initial_overlaps import LARGEST_START_N, OverlapSampler
from runtime.start.seeds import LARGEST_SEED

LARGEST_COUNT = 10**9


@dataclasses.dataclass(frozen=True, eq=False)
class EscapeStudy:
    """The arguments of `escape_times`, which says what they mean; `measure_escapes` takes them whole.

    All is checked here that can be checked without the system. Whether there is a plateau at each η and
    an escape from it is seen only by `escape_theory`.

    sizes, rates
        The N of `n` and the learning rates of `eta`, ascending.
    """

    model: Model
    n: int | Sequence[int] = default("n", "escape")
    eta: ArrayLike = 0.4
    trajectories: int = default("trajectories", "escape")
    fraction: float = default("fraction", "escape")
    label_noise: float = 0.0
    T: ArrayLike | None = None
    q0: float = Q0_NORM
    seed: int = SEED
    rtol: float = RTOL
    atol: float = ATOL
    threads: int | None = None
    sizes: tuple[int, ...] = dataclasses.field(init=False)
    rates: tuple[float, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Raise InputError for the first value that is not allowed; T becomes a matrix (p*, p*)."""
        listed = checked_arrays.listed
        sizes = [whole_number("n", n, self.model.pstar, LARGEST_START_N) for n in listed("n", self.n)]
        if not sizes or np.any(np.diff(sizes) <= 0):
            raise InputError("n", "needs ascending dimensions, such as 1000,10000,100000")
        rates = [real_number("eta", eta, least=0.0, strict=True) for eta in listed("eta", self.eta)]
        if not rates or np.any(np.diff(rates) <= 0.0):
            raise InputError("eta", "needs ascending learning rates: 0.1,0.2,0.4")
        checked: dict[str, Any] = {"sizes": tuple(sizes), "rates": tuple(rates)}
        checked["trajectories"] = whole_number("trajectories", self.trajectories, 1, LARGEST_COUNT)
        checked["seed"] = whole_number("seed", self.seed, 0, LARGEST_SEED)
        checked["label_noise"] = real_number("label_noise", self.label_noise, least=0.0)
        checked["q0"] = real_number("q0", self.q0, least=0.0, strict=True)
        checked["rtol"], checked["atol"] = checked_arrays.tolerances(self.rtol, self.atol)
        thread_count(self.threads)
        checked["fraction"] = real_number("fraction", self.fraction, least=0.0, strict=True)
        if checked["fraction"] >= 1.0:
            raise InputError("fraction", f"{checked['fraction']:g} is not less than 1")
        checked["T"] = checked_arrays.teacher_overlaps(self.model, self.T)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def norms(self) -> Array | None:
        """The norms (p,) that students keep on the sphere; None where norms are free."""
        return np.full(self.model.p, self.q0) if self.model.constraint == "sphere" else None

    @property
    def integration(self) -> dict[str, Any]:
        """The arguments of `integrate_ensemble` that are the same for all runs."""
        return {name: getattr(self, name) for name in ("label_noise", "T", "rtol", "atol", "threads")}

    def sampler(self, n: int, seed: int) -> OverlapSampler:
        """The source of random starts at one N."""
        model = self.model
        return OverlapSampler(
            model.p, model.pstar, n, seed, constraint=model.constraint, T=self.T, q0=self.q0
        )
