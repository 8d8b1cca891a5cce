"""Measures how long gradient flow takes from the mediocre start R0 = 1/√N, for one student and one teacher.

On the sphere, with σ = Σ c_k He_k for student and teacher alike, the loss is Σ c_k² k! (1 − R^k), and

    dR/d(ηα) = (1 − R²) Σ_k c_k² k k! R^(k−1).

The information exponent k* of G. Ben Arous, R. Gheissari and A. Jagannath, JMLR 22 (2021), is the first
k ≥ 1 with c_k ≠ 0. Near R = 0 it decides: from R0 = 1/√N a given R is reached at an ηα of order 1 for
k* = 1, ln N for k* = 2, and N^(k*/2 − 1) beyond.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derive.activation import Activation
from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.problem import Problem
from runtime.run_options import GENERATED, MEDIOCRE, default
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.initial_overlaps import LARGEST_START_N
from runtime.start.starts import GivenStart
from runtime.system.loading import load
from runtime.trajectory.single_run import integrate_problem

if TYPE_CHECKING:
    import xarray

_RTOL, _ATOL = 1e-10, 1e-13
# A run that has not arrived after so many times the predicted time does not arrive.
_PATIENCE = 2.0


@dataclasses.dataclass(frozen=True)
class MediocreStudy:
    """The arguments of `information_exponent`, checked.

    models
        The model of each activation.
    sizes
        Input dimensions N, ascending.
    overlap
        The R that counts as arrival.
    """

    models: tuple[Model, ...]
    sizes: tuple[int, ...]
    overlap: float

    @classmethod
    def of(cls, activation: str | Sequence[str], n: int | Sequence[int], overlap: float) -> MediocreStudy:
        """Raise InputError for the first value that is not allowed."""
        given = [activation] if isinstance(activation, (str, Activation)) else list(activation)
        models = [Model(1, 1, constraint="sphere", flow="gradient", activation=sigma) for sigma in given]
        if not models:
            raise InputError("activation", "names no polynomial")
        for k, model in enumerate(models):
            if model in models[:k]:
                raise InputError("activation", f"{model.activation!r} is given twice")
        sizes = [whole_number("n", size, 2, LARGEST_START_N) for size in checked_arrays.listed("n", n)]
        if not sizes or np.any(np.diff(sizes) <= 0):
            raise InputError("n", "needs ascending dimensions, such as 1000,10000,100000")
        target = checked_arrays.real_number("overlap", overlap, least=0.0, strict=True)
        if target >= 1.0:
            raise InputError("overlap", f"{target:g} is not less than 1")
        if sizes[0] * target**2 <= 1.0:
            raise InputError("n", f"{sizes[0]}: the start 1/√N is not below the overlap {target:g}")
        return cls(tuple(models), tuple(sizes), target)


def information_exponent(
    activation: str | Sequence[str] = MEDIOCRE,
    *,
    n: int | Sequence[int] = default("n", "exponent"),
    overlap: float = default("overlap", "exponent"),
    generated: str | Path = GENERATED,
) -> xarray.Dataset:
    """The time of gradient flow from R0 = 1/√N to a given R, on the sphere, for p = p* = 1.

    Parameters
    ----------
    activation
        An activation or several, as for `oo.Model`; the teacher has the same.
    n
        Input dimensions N, ascending.
    overlap
        The R that is waited for, between 1/√N and 1.
    generated
        Folder of the derived systems.

    Returns
    -------
    xarray.Dataset
        Over ``activation`` and ``n``: ``scaled_time``, the ηα at which the generated equations come to the
        overlap, NaN where they do not; ``theory``, the same by quadrature of dR/d(ηα) in the Hermite
        coefficients (see the module). Per activation its ``exponent`` k* and the ``law`` in words.

    Raises
    ------
    InputError
        A value is not allowed.
    """
    return measure_exponents(MediocreStudy.of(activation, n, overlap), generated)


def measure_exponents(study: MediocreStudy, generated: str | Path = GENERATED) -> xarray.Dataset:
    """The result of `information_exponent` for a checked study."""
    theory = np.array([[predicted_time(m, n, study.overlap) for n in study.sizes] for m in study.models])
    measured = np.array(
        [
            [
                _time(model, n, study.overlap, end, generated)
                for n, end in zip(study.sizes, row, strict=True)
            ]
            for model, row in zip(study.models, _PATIENCE * theory, strict=True)
        ]
    )
    exponents = [exponent_of(model) for model in study.models]
    variables = {
        "scaled_time": (("activation", "n"), measured, "eta alpha at the overlap"),
        "theory": (("activation", "n"), theory, "eta alpha at the overlap, by quadrature"),
        "exponent": (("activation",), np.array(exponents), "information exponent"),
        "law": (("activation",), [law_of(k) for k in exponents], "order of eta alpha in N"),
    }
    coordinates = {
        "activation": (
            "activation",
            [str(model.activation) for model in study.models],
            "activation of student and teacher",
        ),
        "n": np.array(study.sizes),
    }
    common = result_attributes(
        "time of the mediocre start",
        study.models[0],
        {"overlap": study.overlap, "rtol": _RTOL, "atol": _ATOL},
        "information_exponent",
    )
    del common["activation"]
    return PlainResult(variables, coordinates, common).dataset()


def exponent_of(model: Model) -> int:
    """The information exponent k* of the student's activation, at norms of 1."""
    coefficients = model.activations[0].hermite_coefficients
    return next(k for k, c in enumerate(coefficients) if k and c)


def law_of(exponent: int) -> str:
    """The order of ηα in N."""
    if exponent < 3:
        return ("1", "ln N")[exponent - 1]
    power = Fraction(exponent, 2) - 1
    return "N" if power == 1 else f"N^{power}" if power.denominator == 1 else f"N^({power})"


def growth(model: Model, R: Array) -> Array:
    """dR/d(ηα) / (1 − R²) = Σ_k c_k² k k! R^(k−1) at overlaps R."""
    terms = enumerate(model.activations[0].hermite_coefficients)
    return np.asarray(sum(float(c * c) * k * factorial(k) * R ** (k - 1) for k, c in terms if k and c))


def predicted_time(model: Model, n: int, overlap: float) -> float:
    """ηα from R = 1/√N to the overlap, the integral of dR / [(1 − R²) growth(R)], in ln R."""
    from scipy.integrate import quad

    def slowness(logarithm: float) -> float:
        R = np.exp(logarithm)
        return float(R / ((1.0 - R * R) * growth(model, R)))

    # Half of ln N at most is passed, over which the integrand changes by powers of R.
    ends = np.linspace(-0.5 * np.log(n), np.log(overlap), 9)
    pieces = [quad(slowness, a, b, epsrel=1e-12)[0] for a, b in itertools.pairwise(ends)]
    return float(np.sum(pieces))


def _time(model: Model, n: int, overlap: float, end: float, generated: str | Path) -> float:
    """ηα at which the generated equations come to the overlap; NaN if that is not before the end."""
    system = load(model, generated)
    one = np.ones((1, 1))
    # The loss falls with R ≥ 0, so that its level tells R. In gradient flow only ηα counts.
    level = float(system.loss(one, overlap * one))
    problem = Problem(
        model,
        GivenStart(one, one / np.sqrt(n)),
        {"eta": 1.0},
        alpha=np.array([0.0, end]),
        rtol=_RTOL,
        atol=_ATOL,
        method=default("method"),
        stop_loss=level,
    )
    return float(integrate_problem(system, problem)["escape_alpha"])
