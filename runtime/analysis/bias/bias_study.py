"""Measures how much of the implicit bias is left at finite N, and from starts with unequal norms."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.analysis.bias.bias_theory import escape_polar, expected_bias, noise_to_signal
from runtime.analysis.bias.closest_solutions import closest_solution, implicit_bias
from runtime.ensemble.ensemble_run import integrate_ensemble
from runtime.output.progress import Progress, part_of
from runtime.output.result_attributes import result_attributes
from runtime.sgd.simulation import LARGEST_SIMULATED_N, recorded_steps, simulate
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.initial_overlaps import random_overlaps
from runtime.start.readout_weights import readout
from runtime.start.seeds import LARGEST_SEED, seed_sequence
from runtime.start.teacher_directions import Teacher
from runtime.system.compiled_system import System
from runtime.vector.matrix_products import times_transpose

if TYPE_CHECKING:
    import xarray

DEFAULT_SIZES = (100, 1000, 10_000)
DEFAULT_CONDITIONS = (1.0, 3.0, 10.0, 30.0, 100.0)
DEFAULT_RUNS = 128
DEFAULT_SCALE = 1e-6
LARGEST_STUDY = 10**6
# Beyond this the smallest eigenvalue of Q0 is lost in the rounding of the largest.
LARGEST_CONDITION = 1e12
# A run has found a solution if its squared distance from the manifold is at most this part of the
# solutions' squared norm; with p > p* the rest decays as 1/α only.
SOLVED = 0.1
_STUDIED = ("closest", "reached", "excess", "alignment", "remaining")
# Tolerances of the ODE, atol relative to the size of R0: the polar factor of R must be exact long before R
# is of order one.
_RTOL, _ATOL = 1e-10, 1e-9


def bias_at_finite_n(
    system: System,
    sizes: Sequence[int] = DEFAULT_SIZES,
    *,
    eta: float = 0.4,
    alpha: float = 200.0,
    trajectories: int = DEFAULT_RUNS,
    label_noise: float = 0.0,
    T: Array | None = None,
    q0: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Implicit bias from random weights at several N: of the ODE and of SGD from the same starts.

    Parameters
    ----------
    sizes
        Input dimensions N, ascending.
    eta, label_noise, T, threads
        As for `integrate_ensemble`; T (p*, p*).
    alpha
        End of the runs, in samples/N.
    trajectories
        Starts at each N.
    q0
        Expected norm |w|²/N of the students at the start.
    seed
        Seed of starts and inputs.
    progress
        Called with (done, all), in units of N · trajectories.

    Returns
    -------
    Dataset over ``n`` and ``trajectory``: for each of the distances and the alignment of `ImplicitBias`
        ``ode_…`` and (not in gradient flow) ``sgd_…``; ``ode_solved`` and ``sgd_solved``, whether the
        end is close to the manifold of solutions. If T = 1 the attributes ``noise_to_signal``,
        ``expected_alignment`` (with its standard error) and ``expected_excess`` (times √N) are the
        theory for N → ∞.

    Raises
    ------
    InputError
        A value is not allowed, or there is no zero-loss solution (`closest_solution`).
    """
    model = system.model
    check_study(model, eta=eta, alpha=alpha, trajectories=trajectories, label_noise=label_noise, q0=q0, T=T)
    check_sizes(model, sizes, alpha)
    whole_number("seed", seed, 0, LARGEST_SEED)
    total, done = sum(n * trajectories for n in sizes), 0
    study = _Study(system, eta, alpha, label_noise, T, threads)
    for k, n in enumerate(sizes):
        # Runs at different N have seeds of their own, since they must not share random numbers.
        starts, inputs = (int(word) for word in seed_sequence(seed, k).generate_state(2))
        Q0, R0 = random_overlaps(model.p, model.pstar, n, starts, trajectories, T=T, q0=q0)
        study.add("ode", Q0, R0, *study.ends_of_ode(Q0, R0))
        if model.flow == "sgd":
            run = simulate(
                model,
                n=n,
                eta=eta,
                alpha=[0.0, alpha],
                seed=inputs,
                label_noise=label_noise,
                T=T,
                Q0=Q0,
                R0=R0,
                threads=threads,
                progress=part_of(progress, done, n * trajectories, total),
            )
            study.add("sgd", Q0, R0, run["Q"].values[:, -1], run["R"].values[:, -1])
        done += n * trajectories
    result = study.dataset("n", list(sizes), q0=q0, seed=seed, trajectories=trajectories)
    if model.teacher == "orthonormal":
        ratio = noise_to_signal(model, eta, label_noise, q0)
        expected = expected_bias(model, ratio, q0)
        result.attrs |= {
            "noise_to_signal": ratio,
            "expected_alignment": expected.alignment,
            "expected_alignment_error": expected.error,
            "expected_excess": expected.excess,
        }
    return result


def bias_of_norms(
    system: System,
    conditions: Sequence[float] = DEFAULT_CONDITIONS,
    *,
    eta: float = 0.4,
    alpha: float = 200.0,
    trajectories: int = DEFAULT_RUNS,
    label_noise: float = 0.0,
    T: Array | None = None,
    q0: float = 1.0,
    scale: float = DEFAULT_SCALE,
    seed: int = 0,
    threads: int | None = None,
) -> xarray.Dataset:
    """Implicit bias of the ODE from Q₀ that is not ∝ 1, with R₀ small.

    Q₀ has the eigenvalues q₀, …, q₀/condition, evenly spaced in their logarithm, and random
    eigenvectors; R₀ has independent normal entries of standard deviation `scale` (times the factor of
    T). Only the eigenvalues depend on the condition.

    Parameters
    ----------
    conditions
        Largest over smallest eigenvalue of Q₀, from 1 to 10¹², ascending.
    eta, label_noise, T, threads
        As for `integrate_ensemble`; T (p*, p*).
    alpha
        End of the runs, in samples/N.
    trajectories
        Starts at each condition.
    q0
        Largest eigenvalue of Q₀.
    scale
        Standard deviation of the entries of R₀.
    seed
        Seed of eigenvectors and R₀.

    Returns
    -------
    Dataset over ``condition`` and ``trajectory``: ``norms_…`` for each of the distances and the
        alignment of `ImplicitBias`, ``norms_solved``, and ``norms_theory``, the alignment that theory
        predicts for scale → 0 (`escape_polar`).

    Raises
    ------
    InputError
        A value is not allowed, or there is no zero-loss solution (`closest_solution`).
    """
    model = system.model
    check_study(model, eta=eta, alpha=alpha, trajectories=trajectories, label_noise=label_noise, q0=q0, T=T)
    check_norms(model, conditions, scale=scale, trajectories=trajectories, q0=q0, seed=seed, T=T)
    vectors, R0 = _directions(model, scale, trajectories, seed, T)
    largest = np.sum(np.linalg.svd(R0, compute_uv=False), axis=-1)
    study = _Study(system, eta, alpha, label_noise, T, threads)
    for condition in conditions:
        Q0 = _unequal(vectors, q0, condition)
        study.add("norms", Q0, R0, *study.ends_of_ode(Q0, R0))
        isometry = escape_polar(model, Q0, R0, eta, label_noise, T)
        study.rows["norms_theory"].append(np.sum(isometry * R0, axis=(-1, -2)) / largest)
    values = [float(condition) for condition in conditions]
    result = study.dataset("condition", values, q0=q0, seed=seed, trajectories=trajectories)
    result.attrs["scale"] = scale
    return result


def check_study(
    model: Model,
    *,
    eta: float,
    alpha: float,
    trajectories: int,
    label_noise: float,
    q0: float,
    T: Array | None,
) -> None:
    """Raise InputError for values that the studies do not allow."""
    closest_solution(model, np.eye(model.p), np.zeros((model.p, model.pstar)), T)
    checked_arrays.real_number("eta", eta, least=0.0, strict=True)
    checked_arrays.real_number("alpha", alpha, least=0.0, strict=True)
    whole_number("trajectories", trajectories, 1, LARGEST_STUDY)
    checked_arrays.real_number("label_noise", label_noise, least=0.0)
    checked_arrays.real_number("q0", q0, least=0.0, strict=True)


def check_sizes(model: Model, sizes: Sequence[int], alpha: float) -> None:
    """Raise InputError for input dimensions, or ends of SGD there, that `bias_at_finite_n` rejects."""
    if not sizes:
        raise InputError("n", "has no numbers")
    for n in sizes:
        whole_number("n", n, model.pstar, LARGEST_SIMULATED_N)
        if model.flow == "sgd":
            recorded_steps(np.array([0.0, alpha]), n)
    if np.any(np.diff(sizes) <= 0):
        raise InputError("n", "needs ascending dimensions, such as 100,1000,10000")


def check_norms(
    model: Model,
    conditions: Sequence[float],
    *,
    scale: float,
    trajectories: int,
    q0: float,
    seed: int,
    T: Array | None,
) -> None:
    """Raise InputError for starts that `bias_of_norms` does not allow."""
    if not conditions:
        raise InputError("conditions", "has no numbers")
    for condition in conditions:
        if checked_arrays.real_number("conditions", condition) < 1.0:
            raise InputError("conditions", f"{condition:g} is less than 1, the least condition number")
        if condition > LARGEST_CONDITION:
            raise InputError("conditions", f"{condition:g} is more than {LARGEST_CONDITION:g}")
    if np.any(np.diff(conditions) <= 0.0):
        raise InputError("conditions", "needs ascending condition numbers, such as 1,10,100")
    checked_arrays.real_number("scale", scale, least=0.0, strict=True)
    vectors, R0 = _directions(model, scale, trajectories, seed, T)
    # The Q0 of the largest condition number has the least room for R0.
    Q0 = _unequal(vectors, q0, conditions[-1])
    try:
        checked_arrays.ensemble_overlaps(model, Q0, R0, checked_arrays.teacher_overlaps(model, T))
    except InputError:
        raise InputError(
            "scale",
            f"{scale:g} is too large: no weights have this R0 and a Q0 with the eigenvalue"
            f" {q0 / conditions[-1]:g}",
        ) from None


def _directions(
    model: Model, scale: float, trajectories: int, seed: int, T: Array | None
) -> tuple[Array, Array]:
    """Eigenvectors of Q0 (trajectories, p, p), and R0 (trajectories, p, p*), for all conditions."""
    generator = np.random.default_rng(seed_sequence(whole_number("seed", seed, 0, LARGEST_SEED), 1))
    root = Teacher.from_overlaps(checked_arrays.teacher_overlaps(model, T)).root
    R0 = times_transpose(scale * generator.standard_normal((trajectories, model.p, root.shape[1])), root)
    return np.linalg.qr(generator.standard_normal((trajectories, model.p, model.p)))[0], R0


def _unequal(vectors: Array, q0: float, condition: float) -> Array:
    """Q0 (trajectories, p, p) with the eigenvalues q0, …, q0/condition."""
    norms = q0 * np.geomspace(1.0, 1.0 / condition, vectors.shape[-1])
    return np.asarray((vectors * norms) @ np.swapaxes(vectors, -1, -2))


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
class _Study:
    """What the runs of a study have in common, and by name what was measured: a row for each N or Q0."""

    system: System
    eta: float
    alpha: float
    label_noise: float
    T: Array | None
    threads: int | None
    rows: dict[str, list[NDArray[Any]]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def ends_of_ode(self, Q0: Array, R0: Array) -> tuple[Array, Array]:
        """Q and R at the end of the ODE from these starts, NaN where it was not reached."""
        runs = integrate_ensemble(
            self.system,
            Q0,
            R0,
            eta=self.eta,
            alpha=[self.alpha],
            label_noise=self.label_noise,
            T=self.T,
            output="final",
            rtol=_RTOL,
            atol=_ATOL * float(np.min(np.max(np.abs(R0), axis=(-1, -2)))),
            threads=self.threads,
        )
        lost = runs["status"].values != "ok"
        Q, R = np.array(runs["Q"].values), np.array(runs["R"].values)
        Q[lost], R[lost] = np.nan, np.nan
        return Q, R

    def add(self, prefix: str, Q0: Array, R0: Array, Q: Array, R: Array) -> None:
        """Add the rows of runs from Q0, R0 that ended at Q, R; `prefix` begins their names."""
        model = self.system.model
        bias = implicit_bias(model, Q0, R0, Q, R, self.T)
        for name in _STUDIED:
            self.rows[f"{prefix}_{name}"].append(getattr(bias, name))
        a, b = readout(model)
        size = b / a * float(np.trace(checked_arrays.teacher_overlaps(model, self.T)))
        self.rows[f"{prefix}_solved"].append(np.asarray(bias.remaining <= SOLVED * size))

    def dataset(self, axis: str, values: Sequence[float], **chosen: Any) -> xarray.Dataset:
        """All rows over `axis`, which has these values, and trajectories."""
        import xarray

        variables = {name: ((axis, "trajectory"), np.array(row)) for name, row in self.rows.items()}
        settings = {"eta": self.eta, "label_noise": self.label_noise, "alpha_end": self.alpha, **chosen}
        model = self.system.model
        attributes = result_attributes(f"implicit bias of {model.name}", model, settings)
        return xarray.Dataset(variables, {axis: values}, attributes)
