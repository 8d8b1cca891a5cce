"""Proves that the program made from Wick diagrams computes the moments written out in components.

Route 1 (`isserlis`) writes the drift in components. Route 2 (`wick`, `overlap_program`) is evaluated as it
is generated, entry by entry, in exact arithmetic. Small systems are compared as polynomials. Large ones are
compared at random integer points. There both drifts are contracted with random vectors, so that one number
tests all entries. By the lemma of Schwartz and Zippel (J. T. Schwartz, J. ACM 27, 701 (1980)), a wrong
program of degree d passes a point with coordinates from a set of S values with probability at most d / S.

The sphere is proved in two steps. The free drift is compared as above. With that drift taken as given, the
removal of the growth of norms is compared with the derivative of the rescaled overlaps.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache, partial
from math import prod
from typing import Any

from derive.expansion import evaluate
from derive.isserlis import ComponentMoments
from derive.model import Model
from derive.overlap_program import DQ, DR, DV, FREE_DQ, FREE_DR, LOSS
from derive.program import Matrix, Program, Vector, sources
from derive.proof_polynomials import ProofPolynomials, no_reciprocal

# Above this many products the polynomials are too long to expand in a second.
POLYNOMIAL_BUDGET = 40_000
# E[z_k² z_l² z_i z_j] has this many distinct products.
PAIRINGS_OF_SQUARES = 6
RANDOM_POINTS = 2
# Coordinates are drawn from 1 to 2^62.
RANDOM_BITS = 62
# The difference of the two routes is a polynomial in all coordinates, of a degree of at most 2^4. It is 14:
# κ²/B has 5, and C(DC)² has 5 with its readouts. The two contracting vectors add 2, and so do the two
# denominators that are cleared on the sphere. Second-layer weights add 4, one for each κ and each D.
DEGREE_BOUND_LOG2, WEIGHTED_DEGREE_BOUND_LOG2 = 4, 5


class ProofError(AssertionError):
    """The two derivations disagree, which is a defect of this software, never of its input."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """How the two derivations were found to be equal.

    method
        ``"polynomial identity"`` or ``"random points"``; of fluctuations ``"cubature to rounding"`` and
        ``"no diffusion"``.
    compared
        The number of entries of dQ, dR and loss that were compared: all of them, by either method.
    points, error_bound_log2
        The number of random points, and the bound on the chance that a difference was missed, as log₂.
    """

    method: str
    compared: int
    points: int = 0
    error_bound_log2: int | None = None

    def __repr__(self) -> str:
        how = f"{self.points} {self.method}" if self.points else self.method
        if self.error_bound_log2 is not None:
            how += f", a difference is missed with a chance below 2^{self.error_bound_log2}"
        return f"<{type(self).__name__}: two derivations agree in {self.compared} entries ({how})>"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as in the manifest."""
        return dataclasses.asdict(self)


def component_products(model: Model) -> int:
    """The number of products that route 1 sums for all entries, which is the size of the polynomials."""
    width = model.p + model.pstar
    student_entries = model.p * (model.p + 1) // 2
    products = student_entries * width + model.p * model.pstar * width
    if model.flow == "sgd":
        products += student_entries * PAIRINGS_OF_SQUARES * width**2
    return products + model.p * width if model.trained else products


def proof_record(model: Model) -> Proof:
    """What `prove` returns for a model; it depends on the widths and options alone."""
    compared = model.state_size + 1
    if component_products(model) <= POLYNOMIAL_BUDGET:
        return Proof("polynomial identity", compared)
    degree_bound = WEIGHTED_DEGREE_BOUND_LOG2 if model.weighted else DEGREE_BOUND_LOG2
    bound = RANDOM_POINTS * (degree_bound - RANDOM_BITS)
    return Proof("random points", compared, RANDOM_POINTS, bound)


def prove(model: Model, program: Program, seed: int = 0) -> Proof:
    """Compare both routes; raises ProofError, which names the first entry that differs."""
    record = proof_record(model)
    generator = random.Random(seed)
    try:
        if not record.points:
            _prove_polynomials(model, program)
        for _ in range(record.points):
            _prove_at_point(model, program, generator)
    except (KeyError, NotImplementedError) as error:
        # A wrong program may read a name that does not exist, or divide where nothing is divided.
        raise ProofError(f"{model.name}: the program cannot be compared: {error!r}") from error
    return record


# --- polynomials -------------------------------------------------------------------------


def _prove_polynomials(model: Model, program: Program) -> None:
    ring = ProofPolynomials(["a", "b", *model.parameters, *model.state])
    outputs = (*free_outputs(model), LOSS)
    derived = evaluate(program.restricted_to(outputs), ring.values, ring.combine, no_reciprocal)
    compare_entries(model, derived, _component_drift(model, ring) | _component_loss(model, ring))
    if model.constraint == "sphere":
        prove_sphere(model, program)


def compare_entries(model: Model, derived: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if set(derived) != set(expected):
        raise ProofError(f"{model.name}: the two derivations have different entries")
    for name, value in expected.items():
        if derived[name] != value:
            raise ProofError(f"{model.name}: the two derivations of {name} differ")


def free_outputs(model: Model) -> tuple[Matrix | Vector, ...]:
    """The drift before the sphere's projection: that of Q, of R, and of a trained v."""
    overlaps = (FREE_DQ, FREE_DR) if model.constraint == "sphere" else (DQ, DR)
    return (*overlaps, DV) if model.trained else overlaps


def covariance_names(model: Model) -> list[list[str | int]]:
    """The names of the entries of C; 0 and 1 where T is the identity."""
    p, width = model.p, model.p + model.pstar
    rows: list[list[str | int]] = []
    for k in range(width):
        row: list[str | int] = []
        for m in range(width):
            i, j = sorted((k, m))
            if j < p:
                row.append(f"Q_{i + 1}_{j + 1}")
            elif i < p:
                row.append(f"R_{i + 1}_{j - p + 1}")
            elif model.teacher == "general":
                row.append(f"T_{i - p + 1}_{j - p + 1}")
            else:
                row.append(1 if i == j else 0)
        rows.append(row)
    return rows


# These are the lines of the drift in route 1. moment(k, left, right) is E[e^k z_i z_j] of one entry (i, j),
# or a weighted sum over entries; with `left` each summand has the factor κ_i, and with `right` κ_j.


def _student_drift(
    model: Model, values: Mapping[str, Any], moment: Callable[[int, bool, bool], Any]
) -> Any:
    """dQ_ij/dα before the sphere's projection."""
    change = -moment(1, True, False) - moment(1, False, True)
    change = change - 2 * values["eta"] * values["weight_decay"] * moment(0, False, False)
    return change + values["inverse_batch"] * moment(2, True, True) if model.flow == "sgd" else change


def _student_teacher_drift(values: Mapping[str, Any], moment: Callable[[int, bool, bool], Any]) -> Any:
    """dR_ir/dα before the sphere's projection."""
    return -moment(1, True, False) - values["eta"] * values["weight_decay"] * moment(0, False, False)


def _second_layer_drift(values: Mapping[str, Any], mean: Any) -> Any:
    """dv_i/dα, where `mean` is E[e z_i²]."""
    return -values["eta_second"] * values["a"] * mean


def _steps(model: Model, values: Mapping[str, Any]) -> list[Any]:
    """κ_i = 2aηv_i of each student."""
    kappa = 2 * values["a"] * values["eta"]
    return [kappa * values[f"v_{i + 1}"] if model.weighted else kappa for i in range(model.p)]


def _component_moments(model: Model, ring: ProofPolynomials, noise: bool) -> ComponentMoments:
    def element(name: str | int) -> tuple[int, tuple[int, ...]] | None:
        if name == 0:
            return None
        return (1, ()) if name == 1 else (1, (ring.position[str(name)],))

    covariance = [[element(name) for name in row] for row in covariance_names(model)]
    weights = [(sign, tuple(ring.position[name] for name in names)) for sign, names in _weight_names(model)]
    variance = element("label_noise") if noise else None
    return ComponentMoments(covariance, weights, variance, ring.product, ring.total)


def _weight_names(model: Model) -> list[tuple[int, tuple[str, ...]]]:
    """The signs and the names of the factors of the entries of D: a v_i, and −b v*_r."""

    def factors(readout: str, letter: str, k: int) -> tuple[str, ...]:
        return (readout, f"{letter}_{k + 1}") if model.weighted else (readout,)

    students = [(1, factors("a", "v", i)) for i in range(model.p)]
    return students + [(-1, factors("b", "vstar", r)) for r in range(model.pstar)]


def _component_drift(model: Model, ring: ProofPolynomials) -> dict[str, Any]:
    """Route 1: every entry of the free drift as a polynomial."""
    moments = _component_moments(model, ring, noise=True)
    dQ, dR, *_ = free_outputs(model)
    steps = _steps(model, ring.values)
    drift: dict[str, Any] = {}

    def moment(power: int, left: bool, right: bool, i: int, j: int) -> Any:
        value = moments.component_moment(power, i, j)
        value = value * steps[i] if left else value
        return value * steps[j] if right else value

    for i in range(model.p):
        for j in range(model.p + model.pstar):
            entry = partial(moment, i=i, j=j)
            if j >= model.p:
                drift[f"{dR.name}_{i + 1}_{j - model.p + 1}"] = _student_teacher_drift(ring.values, entry)
            elif j >= i:
                drift[f"{dQ.name}_{i + 1}_{j + 1}"] = _student_drift(model, ring.values, entry)
        if model.trained:
            mean = moments.component_moment(1, i, i)
            drift[f"{DV.name}_{i + 1}"] = _second_layer_drift(ring.values, mean)
    return drift


def _component_loss(model: Model, ring: ProofPolynomials) -> dict[str, Any]:
    squared = _component_moments(model, ring, noise=False).error_power(2)
    return {LOSS: squared * ring.number(Fraction(1, 2))}


# --- the sphere --------------------------------------------------------------------------


def sphere_slopes() -> tuple[Fraction, Fraction]:
    """How rescaling to fixed norms n enters the drift of Q_ij (i ≠ j) and R_ir: both slopes are −½.

    The rescaled overlaps x are Q_ij √(n_i n_j / (Q_ii Q_jj)) and R_ir √(n_i / Q_ii). Differentiated at
    Q_ii = n_i, the drift of Q_ii enters with slope · x / Q_ii. The slope is half the logarithmic derivative
    by Q_ii of x², which is a quotient of polynomials.
    """
    from derive.flint_polynomials import context_of

    x, q, other, n, n_other = context_of(["x", "Q_ii", "Q_jj", "n_i", "n_j"]).gens()
    slopes = []
    for above, below in ((x**2 * n * n_other, q * other), (x**2 * n, q)):
        assert above.derivative("x") * x == 2 * above
        slope = (-q * below.derivative("Q_ii") / (2 * below)).leading_coefficient()
        slopes.append(Fraction(int(slope.numerator), int(slope.denominator)))
    return slopes[0], slopes[1]


def _rescaled_drift(
    model: Model, values: Mapping[str, Any], inverse: Mapping[int, Any], number: Any
) -> dict[str, Any]:
    """dQ and dR on the sphere from the free drift in `values`; the norms do not change."""
    slope_q, slope_r = (number(slope) for slope in sphere_slopes())
    growth = {i: values[f"fQ_{i}_{i}"] * inverse[i] for i in range(1, model.p + 1)}
    drift: dict[str, Any] = {}
    for i in range(1, model.p + 1):
        drift[f"dQ_{i}_{i}"] = number(Fraction(0))
        for j in range(i + 1, model.p + 1):
            removed = slope_q * (growth[i] + growth[j]) * values[f"Q_{i}_{j}"]
            drift[f"dQ_{i}_{j}"] = values[f"fQ_{i}_{j}"] + removed
        for r in range(1, model.pstar + 1):
            removed = slope_r * growth[i] * values[f"R_{i}_{r}"]
            drift[f"dR_{i}_{r}"] = values[f"fR_{i}_{r}"] + removed
    return drift


def prove_sphere(model: Model, program: Program) -> None:
    """Compare the last statements of the program, with the free drift and 1/Q_ii as variables."""
    dimensions = range(1, model.p + 1)
    overlaps = [name for name in model.state if name[0] in "QR"]
    ring = ProofPolynomials(
        [*overlaps, *(f"f{name}" for name in overlaps), *(f"inverse_{i}" for i in dimensions)]
    )
    inverse = {i: ring.values[f"inverse_{i}"] for i in dimensions}
    of_norm = {f"Q_{i}_{i}": inverse[i] for i in dimensions}
    given = {FREE_DQ.name, FREE_DR.name}
    kept = [s for s in program.restricted_to((DQ, DR)).statements if sources(s) & given]
    sphere = dataclasses.replace(program, statements=tuple(kept), outputs=(DQ, DR))
    derived = evaluate(sphere, ring.values, ring.combine, lambda norm: of_norm[str(norm)])
    compare_entries(model, derived, _rescaled_drift(model, ring.values, inverse, ring.number))


# --- random points -----------------------------------------------------------------------


def _prove_at_point(model: Model, program: Program, generator: random.Random) -> None:
    """Compare both routes at one random point."""
    # No number is 0, since the norms Q_ii are inverted on the sphere.
    values: dict[str, Any] = {
        name: generator.randint(1, 2**RANDOM_BITS) for name in ("a", "b", *model.parameters, *model.state)
    }
    u, v = ([generator.randint(1, 2**RANDOM_BITS) for _ in range(model.p + model.pstar)] for _ in range(2))
    outputs = (*free_outputs(model), DQ, DR, LOSS)
    derived = evaluate_exactly(program.restricted_to(outputs), values)
    compare_entries(
        model, _contracted_outputs(model, derived, u, v), _contracted_moments(model, values, u, v)
    )
    if model.constraint == "sphere":
        inverse = {i: 1 / Fraction(values[f"Q_{i}_{i}"]) for i in range(1, model.p + 1)}
        expected = _rescaled_drift(model, values | derived, inverse, Fraction)
        compare_entries(model, {name: derived[name] for name in expected}, expected)


def _contracted_outputs(
    model: Model, derived: Mapping[str, Any], u: Sequence[int], v: Sequence[int]
) -> dict[str, Any]:
    """Route 2: Σ u_i v_j dQ_ij over students, Σ u_i v_r dR_ir with teachers, Σ u_i dv_i, and the loss."""
    p = model.p
    dQ, dR = (matrix.name for matrix in free_outputs(model)[:2])
    students, teachers = range(p), range(p, p + model.pstar)
    total_q = sum(
        u[i] * v[j] * derived[f"{dQ}_{min(i, j) + 1}_{max(i, j) + 1}"] for i in students for j in students
    )
    total_r = sum(u[i] * v[r] * derived[f"{dR}_{i + 1}_{r - p + 1}"] for i in students for r in teachers)
    totals = {dQ: total_q, dR: total_r, LOSS: derived[LOSS]}
    if model.trained:
        totals[DV.name] = sum(u[i] * derived[f"{DV.name}_{i + 1}"] for i in students)
    return totals


def _contracted_moments(
    model: Model, values: Mapping[str, Any], u: Sequence[int], v: Sequence[int]
) -> dict[str, Any]:
    """Route 1: the same numbers from the moments of two random combinations of components."""
    p, width = model.p, model.p + model.pstar
    full = [
        [values[name] if isinstance(name, str) else name for name in row] for row in covariance_names(model)
    ]
    weights = [sign * prod(values[name] for name in names) for sign, names in _weight_names(model)]
    covariance = [[value or None for value in row] for row in full]
    steps = _steps(model, values)

    def moments(noise: Any) -> ComponentMoments:
        return ComponentMoments(
            covariance,
            weights,
            noise,
            prod,
            lambda terms: sum(multiplicity * value for multiplicity, value in terms),
        )

    noisy = moments(values["label_noise"])

    @cache
    def contracted(columns: range, power: int, on_left: bool, on_right: bool) -> Any:
        """Σ x_i y_j E[e^power z_i z_j] over students i and these columns j; x is u or κu, and y v or κv."""
        x = [u[i] * steps[i] if on_left else u[i] for i in range(p)]
        y = {j: v[j] * steps[j] if on_right else v[j] for j in columns}
        left = [sum(x[i] * full[i][k] for i in range(p)) for k in range(width)]
        right = [sum(y[j] * full[j][k] for j in columns) for k in range(width)]
        joint = sum(y[j] * left[j] for j in columns)
        return noisy.error_moment(power, left, right, joint)

    def moment(columns: range) -> Callable[[int, bool, bool], Any]:
        if model.weighted:
            return partial(contracted, columns)
        # All students have the same κ, which is multiplied with the result.
        return lambda power, left, right: (
            steps[0] ** (left + right) * contracted(columns, power, False, False)
        )

    dQ, dR = (matrix.name for matrix in free_outputs(model)[:2])
    found = {
        dQ: _student_drift(model, values, moment(range(p))),
        dR: _student_teacher_drift(values, moment(range(p, width))),
        LOSS: Fraction(moments(None).error_power(2)) / 2,
    }
    if model.trained:
        found[DV.name] = sum(
            u[i] * _second_layer_drift(values, noisy.component_moment(1, i, i)) for i in range(p)
        )
    return found


def evaluate_exactly(program: Program, values: Mapping[str, Any]) -> dict[str, Any]:
    """The program in exact rational arithmetic; `values` are integers or Fractions by name."""

    def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Any:
        total: Any = 0
        for coefficient, factors in terms:
            # Integers stay integers, which are ten times faster than Fractions.
            number: Any = coefficient.numerator if coefficient.denominator == 1 else coefficient
            total += number * prod(factors)
        return total

    return evaluate(program, values, combine, lambda value: 1 / Fraction(value))
