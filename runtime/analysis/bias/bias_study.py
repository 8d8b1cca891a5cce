"""Measures how much of the implicit bias is left at finite N, and from starts with unequal norms."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from derive.parameters import PARAMETERS
from runtime.analysis.bias.bias_theory import equal_teachers, escape_polar, expected_bias, noise_to_signal
from runtime.analysis.bias.closest_solutions import MEASURED, implicit_bias, solvable
from runtime.concurrency.thread_pool import thread_count
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.output.plain_result import WORDS, PlainResult
from runtime.output.progress import Progress, part_of
from runtime.output.result_attributes import result_attributes
from runtime.run_options import Q0_NORM, SEED, default
from runtime.sgd.simulation import LARGEST_SIMULATED_N, recorded_steps, simulate
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array, real_number
from runtime.start.initial_overlaps import random_overlaps
from runtime.start.parameter_values import RunParameters
from runtime.start.seeds import LARGEST_SEED, seed_sequence
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.trajectory.trajectory_dataset import layer_variables
from runtime.vector.matrix_products import times_transpose

if TYPE_CHECKING:
    import xarray

LARGEST_STUDY = 10**6
# Beyond this the smallest eigenvalue of Q0 is lost in the rounding of the largest.
LARGEST_CONDITION = 1e12
# A run has found a solution if its squared distance from the manifold is at most this part of the
# solutions' squared norm; with p > p* the rest decays as 1/α only.
SOLVED = 0.1
_STUDIED = ("closest", "reached", "excess", "alignment", "remaining")
# What is found out besides, in words.
_JUDGED = {
    "solved": "whether the end is close to a solution",
    "theory": "the alignment that theory predicts for small R0",
}
# The runs that the beginnings of names stand for.
_RUNS = {
    "ode": "ODE from random weights",
    "sgd": "SGD from the same starts",
    "norms": "ODE from unequal norms",
}
# The axes of both studies, in words, and the functions that make the studies.
_AXES = {"n": WORDS["n"], "condition": "condition number of Q0"}
_MADE_BY = {"n": "bias_at_finite_n", "condition": "bias_of_norms"}
# The parameters that say where solutions are.
_PLACING = [name for name, parameter in PARAMETERS.items() if parameter.in_loss]
# Tolerances of the ODE, atol relative to the size of R0: the polar factor of R must be exact long before R
# is of order one.
_RTOL, _ATOL = 1e-10, 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class BiasStudy:
    """What the studies from both kinds of starts are given; checked here, before a system is needed.

    given
        The run-time parameters as keywords of `integrate_ensemble`.
    alpha
        End of the runs, in steps/N.
    trajectories
        Starts at each N, or at each condition number.
    q0
        Expected norm |w|²/N of random weights, or the largest eigenvalue of Q₀.
    seed
        Seed of starts and inputs.
    threads
        As for `integrate_ensemble`.
    parameters
        The run-time parameters.
    solved
        A run has found a solution if its squared distance from the manifold is at most this.

    Raises InputError for a value that is not allowed, or if there is no zero-loss solution
    (`closest_solution`).
    """

    model: Model
    given: dataclasses.InitVar[Mapping[str, Any]]
    alpha: float = default("alpha", "bias")
    trajectories: int = default("trajectories", "bias")
    q0: float = Q0_NORM
    seed: int = SEED
    threads: int | None = None
    parameters: RunParameters = dataclasses.field(init=False)
    solved: float = dataclasses.field(init=False)

    def __post_init__(self, given: Mapping[str, Any]) -> None:
        parameters, ratio = solvable(self.model, given)
        checked = {
            "parameters": parameters,
            "alpha": real_number("alpha", self.alpha, least=0.0, strict=True),
            "trajectories": whole_number("trajectories", self.trajectories, 1, LARGEST_STUDY),
            "q0": real_number("q0", self.q0, least=0.0, strict=True),
            "seed": whole_number("seed", self.seed, 0, LARGEST_SEED),
            "solved": SOLVED * (ratio * float(np.trace(parameters.T))),
        }
        thread_count(self.threads)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the attributes of its result say, beside the model."""
        own = {"alpha_end": self.alpha, "q0": self.q0, "seed": self.seed}
        return self.parameters.attributes | own | {"trajectories": self.trajectories}


@dataclasses.dataclass(frozen=True, eq=False)
class RandomWeights:
    """A study from random weights in several dimensions N, `sizes`, which ascend.

    Raises InputError for an N that is not allowed, or at which SGD would end before its first step.
    """

    study: BiasStudy
    sizes: Sequence[int] = default("n", "bias")

    def __post_init__(self) -> None:
        if not self.sizes:
            raise InputError("n", "has no numbers")
        model = self.study.model
        for n in self.sizes:
            whole_number("n", n, model.pstar, LARGEST_SIMULATED_N)
            if model.flow == "sgd":
                recorded_steps(np.array([0.0, self.study.alpha]), n)
        if np.any(np.diff(self.sizes) <= 0):
            raise InputError("n", "needs ascending dimensions, such as 100,1000,10000")


@dataclasses.dataclass(frozen=True, eq=False)
class UnequalNorms:
    """A study from Q₀ that is not ∝ 1, with R₀ small.

    Q₀ has the eigenvalues q₀, …, q₀/condition, evenly spaced in their logarithm, and random
    eigenvectors; R₀ has independent normal entries of standard deviation `scale` (times the factor of
    T). Only the eigenvalues depend on the condition.

    conditions
        Largest over smallest eigenvalue of Q₀, from 1 to 10¹², ascending.
    vectors, R0
        Eigenvectors of Q₀ (trajectories, p, p), and R₀ (trajectories, p, p*), for all conditions.

    Raises InputError for a value that is not allowed, or if no weights have such overlaps.
    """

    study: BiasStudy
    conditions: Sequence[float] = default("conditions", "bias")
    scale: float = default("scale", "bias")
    vectors: Array = dataclasses.field(init=False)
    R0: Array = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if not self.conditions:
            raise InputError("conditions", "has no numbers")
        conditions = [real_number("conditions", condition) for condition in self.conditions]
        for condition in conditions:
            if condition < 1.0:
                raise InputError("conditions", f"{condition:g} is less than 1, the least condition number")
            if condition > LARGEST_CONDITION:
                raise InputError("conditions", f"{condition:g} is more than {LARGEST_CONDITION:g}")
        if np.any(np.diff(conditions) <= 0.0):
            raise InputError("conditions", "needs ascending condition numbers, such as 1,10,100")
        object.__setattr__(self, "conditions", conditions)
        object.__setattr__(self, "scale", real_number("scale", self.scale, least=0.0, strict=True))
        self._draw()
        # The Q0 of the largest condition number has the least room for R0.
        Q0 = self.Q0(conditions[-1])
        try:
            checked_arrays.ensemble_overlaps(self.study.model, Q0, self.R0, self.study.parameters.T)
        except InputError:
            raise InputError(
                "scale",
                f"{self.scale:g} is too large: no weights have this R0 and a Q0 with the eigenvalue"
                f" {self.study.q0 / conditions[-1]:g}",
            ) from None

    def _draw(self) -> None:
        count, p = self.study.trajectories, self.study.model.p
        generator = np.random.default_rng(seed_sequence(self.study.seed, 1))
        root = Teacher.from_overlaps(self.study.parameters.T).root
        R0 = times_transpose(self.scale * generator.standard_normal((count, p, root.shape[1])), root)
        vectors = np.linalg.qr(generator.standard_normal((count, p, p)))[0]
        object.__setattr__(self, "R0", R0)
        object.__setattr__(self, "vectors", vectors)

    def Q0(self, condition: float) -> Array:
        """Q₀ (trajectories, p, p) with the eigenvalues q₀, …, q₀/condition."""
        norms = self.study.q0 * np.geomspace(1.0, 1.0 / condition, self.vectors.shape[-1])
        return np.asarray((self.vectors * norms) @ np.swapaxes(self.vectors, -1, -2))


def bias_at_finite_n(
    system: System, starts: RandomWeights, progress: Progress | None = None
) -> xarray.Dataset:
    """Implicit bias from random weights at several N: of the ODE and of SGD from the same starts.

    Parameters
    ----------
    system
        That of the study's model, from `oo.load`.
    progress
        Called with (done, all), in units of N · trajectories.

    Returns
    -------
    Dataset over ``n`` and ``trajectory``: for each of the distances and the alignment of `ImplicitBias`
        ``ode_…`` and (not in gradient flow) ``sgd_…``; ``ode_solved`` and ``sgd_solved``, whether the
        end is close to the manifold of solutions. If T ∝ 1 the attributes ``noise_to_signal``,
        ``expected_alignment`` (with its standard error) and ``expected_excess`` (times √N) are the
        theory for N → ∞.

    Raises InputError if the learning rate is too large for the theory (`noise_to_signal`).
    """
    study, model = starts.study, starts.study.model
    parameters, count = study.parameters, study.trajectories
    total, done = sum(n * count for n in starts.sizes), 0
    rows = _Rows(system, study)
    known = {name: value for name, value in parameters.keywords.items() if PARAMETERS[name].at_finite_n}
    for k, n in enumerate(starts.sizes):
        # Runs at different N have seeds of their own, since they must not share random numbers.
        weights, inputs = (int(word) for word in seed_sequence(study.seed, k).generate_state(2))
        Q0, R0 = random_overlaps(model.p, model.pstar, n, weights, count, T=parameters.T, q0=study.q0)
        rows.add("ode", Q0, R0, *rows.ends_of_ode(Q0, R0))
        if model.flow == "sgd":
            run = simulate(
                model,
                n=n,
                alpha=[0.0, study.alpha],
                seed=inputs,
                Q0=Q0,
                R0=R0,
                threads=study.threads,
                progress=part_of(progress, done, n * count, total),
                **known,
            )
            rows.add("sgd", Q0, R0, run["Q"].values[:, -1], run["R"].values[:, -1])
        done += n * count
    result = rows.dataset("n", list(starts.sizes))
    if equal_teachers(parameters.T):
        ratio = noise_to_signal(parameters, study.q0)
        expected = expected_bias(parameters, ratio, study.q0)
        result.attrs |= {
            "noise_to_signal": ratio,
            "expected_alignment": expected.alignment,
            "expected_alignment_error": expected.error,
            "expected_excess": expected.excess,
        }
    return result


def bias_of_norms(system: System, starts: UnequalNorms) -> xarray.Dataset:
    """Implicit bias of the ODE from starts with unequal norms; `system` is that of the study's model.

    Returns
    -------
    Dataset over ``condition`` and ``trajectory``: ``norms_…`` for each of the distances and the
        alignment of `ImplicitBias`, ``norms_solved``, and ``norms_theory``, the alignment that theory
        predicts for scale → 0 (`escape_polar`).

    Raises InputError if the learning rate is too large for the theory (`escape_polar`).
    """
    study, R0, parameters = starts.study, starts.R0, starts.study.parameters
    largest = np.sum(np.linalg.svd(R0, compute_uv=False), axis=-1)
    rows = _Rows(system, study)
    for condition in starts.conditions:
        Q0 = starts.Q0(condition)
        rows.add("norms", Q0, R0, *rows.ends_of_ode(Q0, R0))
        isometry = escape_polar(parameters, Q0, R0)
        rows.named["norms_theory"].append(np.sum(isometry * R0, axis=(-1, -2)) / largest)
    result = rows.dataset("condition", starts.conditions)
    result.attrs["scale"] = starts.scale
    return result


@dataclasses.dataclass(frozen=True)
class MeanOfSolved:
    """Mean over the runs that found a solution, its standard error, and the number of these runs."""

    value: float
    error: float
    count: int


def mean_of(values: Array, solved: NDArray[np.bool_]) -> MeanOfSolved:
    """The mean of `values` over solved runs; NaN where there are too few."""
    chosen = values[solved]
    count = chosen.size
    return MeanOfSolved(
        float(np.mean(chosen)) if count else np.nan,
        float(np.std(chosen, ddof=1) / np.sqrt(count)) if count > 1 else np.nan,
        count,
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What was measured in a study, by name: a row for each N or condition number."""

    system: System
    study: BiasStudy
    named: dict[str, list[NDArray[Any]]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def ends_of_ode(self, Q0: Array, R0: Array) -> tuple[Array, Array]:
        """Q and R at the end of the ODE from these starts, NaN where it was not reached."""
        runs = integrate_ensemble(
            self.system,
            Q0,
            R0,
            alpha=[self.study.alpha],
            output="final",
            rtol=_RTOL,
            atol=_ATOL * float(np.min(np.max(np.abs(R0), axis=(-1, -2)))),
            threads=self.study.threads,
            **self.study.parameters.keywords,
        )
        lost = runs["status"].values != "ok"
        Q, R = np.array(runs["Q"].values), np.array(runs["R"].values)
        Q[lost], R[lost] = np.nan, np.nan
        return Q, R

    def add(self, prefix: str, Q0: Array, R0: Array, Q: Array, R: Array) -> None:
        """Add the rows of runs from Q0, R0 that ended at Q, R; `prefix` begins their names."""
        own = {name: self.study.parameters.keywords.get(name) for name in _PLACING}
        bias = implicit_bias(self.study.model, Q0, R0, Q, R, **own)
        for name in _STUDIED:
            self.named[f"{prefix}_{name}"].append(getattr(bias, name))
        self.named[f"{prefix}_solved"].append(np.asarray(bias.remaining <= self.study.solved))

    def dataset(self, axis: str, values: Sequence[float]) -> xarray.Dataset:
        """All rows over `axis`, which has these values, and trajectories."""
        variables: dict[str, Any] = {
            name: ((axis, "trajectory"), np.array(row), _words(name)) for name, row in self.named.items()
        }
        variables |= layer_variables(self.study.parameters)
        model = self.study.model
        title, made_by = f"implicit bias of {model.name}", _MADE_BY[axis]
        attributes = result_attributes(title, model, self.study.attributes, made_by)
        return PlainResult(variables, {axis: (axis, values, _AXES[axis])}, attributes).dataset()


def _words(name: str) -> str:
    """What a variable is, by its name: of which runs, and what."""
    prefix, _, measured = name.partition("_")
    return f"{_RUNS[prefix]}: {(MEASURED | _JUDGED)[measured]}"
