"""What a measurement of escape times is given: the model, the starts and the solver, checked once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from derive.arguments import true_or_false, whole_number
from derive.errors import InputError
from derive.model import Model, require_quadratic
from derive.parameters import PARAMETERS
from runtime.analysis.plateau.fixed_point import require_plateau
from runtime.concurrency.thread_pool import thread_count
from runtime.run_options import ATOL, Q0_NORM, RTOL, SEED, default
from runtime.sgd.simulation import Simulation
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.chosen_start import ChosenStart
from runtime.start.chosen_weights import RANDOM
from runtime.start.initial_overlaps import LARGEST_START_N, OverlapSampler
from runtime.start.parameter_values import RunParameters
from runtime.start.seeds import LARGEST_SEED, derived_seed
from runtime.start.starts import RandomStart

LARGEST_COUNT = 10**9
# The number of the seed of the inputs of SGD, beside that of its starts.
_INPUTS = 1
# The fields of a study that its result names, beside the run-time parameters.
_RECORDED = ("fraction", "q0", "trajectories", "seed", "rtol", "atol")
# What the user can do with a model that has no such theory.
_ANY_MODEL = "an ensemble with stop_loss measures the time to a loss of your choice"


@dataclasses.dataclass(frozen=True, eq=False)
class EscapeStudy:
    """The arguments of `escape_times`, which says what they mean; `measure_escapes` takes them whole.

    All is checked here that can be checked without the system. Whether there is a plateau at each η and
    an escape from it is seen only by `escape_theory`.

    given
        The run-time parameters as keywords; η is a number or several.
    rates, single
        The learning rates, ascending, and whether η was one number.
    sizes
        The N of `n`, ascending.
    parameters
        The run-time parameters at the first learning rate.
    simulate
        Whether SGD itself is simulated, from the same starts.
    """

    model: Model
    given: dataclasses.InitVar[Mapping[str, Any]]
    n: int | Sequence[int] = default("n", "escape")
    trajectories: int = default("trajectories", "escape")
    fraction: float = default("fraction", "escape")
    q0: float = Q0_NORM
    seed: int = SEED
    rtol: float = RTOL
    atol: float = ATOL
    threads: int | None = None
    simulate: bool = default("simulate", "escape")
    sizes: tuple[int, ...] = dataclasses.field(init=False)
    rates: tuple[float, ...] = dataclasses.field(init=False)
    single: bool = dataclasses.field(init=False)
    parameters: RunParameters = dataclasses.field(init=False)

    def __post_init__(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for the first value that is not allowed."""
        try:
            require_quadratic(self.model, "escape times are compared with theory")
            require_plateau(self.model)
        except InputError as error:
            raise InputError(error.option, f"{error.problem}; {_ANY_MODEL}") from None
        listed, eta = checked_arrays.listed, PARAMETERS["eta"]
        sizes = [whole_number("n", n, self.model.pstar, LARGEST_START_N) for n in listed("n", self.n)]
        if not sizes or np.any(np.diff(sizes) <= 0):
            raise InputError("n", "needs ascending dimensions, such as 1000,10000,100000")
        rates = [
            real_number("eta", rate, least=eta.least, strict=eta.strict)
            for rate in listed("eta", given["eta"])
        ]
        if not rates or np.any(np.diff(rates) <= 0.0):
            raise InputError("eta", "needs ascending learning rates: 0.1,0.2,0.4")
        checked: dict[str, Any] = {"sizes": tuple(sizes), "rates": tuple(rates)}
        checked["single"] = checked_arrays.axis_count("eta", given["eta"]) == 0
        checked["trajectories"] = whole_number("trajectories", self.trajectories, 1, LARGEST_COUNT)
        checked["seed"] = whole_number("seed", self.seed, 0, LARGEST_SEED)
        checked["parameters"] = RunParameters.of(self.model, {**given, "eta": rates[0]})
        checked["q0"] = real_number("q0", self.q0, least=0.0, strict=True)
        checked["rtol"], checked["atol"] = checked_arrays.tolerances(self.rtol, self.atol)
        thread_count(self.threads)
        checked["fraction"] = real_number("fraction", self.fraction, least=0.0, strict=True)
        if checked["fraction"] >= 1.0:
            raise InputError("fraction", f"{checked['fraction']:g} is not less than 1")
        checked["simulate"] = true_or_false("simulate", self.simulate)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.simulate:
            # Their end is known only with the theory, and any will do for the checks.
            for n, rate in itertools.product(self.sizes, self.rates):
                self.simulation(self.parameters.replaced(eta=rate), n, 1.0, self.seed)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the attributes of its result say, beside the model; η only if it was one number."""
        numbers = {
            name: value
            for name, value in self.parameters.attributes.items()
            if name != "eta" or self.single
        }
        return numbers | {name: getattr(self, name) for name in _RECORDED}

    @property
    def norms(self) -> Array | None:
        """The norms (p,) that students keep on the sphere; None where norms are free."""
        return np.full(self.model.p, self.q0) if self.model.constraint == "sphere" else None

    @property
    def solver(self) -> dict[str, Any]:
        """The keywords of `integrate_ensemble` that say how it integrates."""
        return {"rtol": self.rtol, "atol": self.atol, "threads": self.threads}

    def sampler(self, n: int, seed: int) -> OverlapSampler:
        """The source of random starts at one N."""
        model, T = self.model, self.parameters.T
        return OverlapSampler(model.p, model.pstar, n, seed, constraint=model.constraint, T=T, q0=self.q0)

    def simulation(self, parameters: RunParameters, n: int, end: float, seed: int) -> Simulation:
        """SGD up to the time `end`, from the starts of `sampler`; InputError if that is not allowed."""
        start = RandomStart(lambda: self.sampler(n, seed), self.trajectories)
        inputs = derived_seed(seed, _INPUTS)
        return Simulation(self.model, start, parameters, n, [0.0, end], seed=inputs, threads=self.threads)


def chosen_study(model: Model, start: ChosenStart, **options: Any) -> EscapeStudy:
    """The study from random starts; the options are run-time parameters and fields of `EscapeStudy`."""
    given = {name: options.pop(name) for name in PARAMETERS if name in options}
    if start.student_weights == RANDOM:
        raise InputError(
            "student_weights", f"{RANDOM!r} differs from start to start, but all escape from one plateau"
        )
    given |= start.parameters(model)
    return EscapeStudy(model, given, q0=start.q0, seed=start.seed, **options)
