"""Searches for polynomial invariants and Darboux polynomials up to a degree, at small widths.

A Darboux polynomial f has L f = k f with a polynomial k, its cofactor: f = 0 is then an invariant
set, and f keeps its sign. Cofactors of products add up, so powers with Σ nᵢ kᵢ = 0 multiply to a
first integral Π fᵢ^nᵢ, and those with a constant sum to one that grows at a known rate
(G. Darboux, Bull. Sci. Math. 2, 60 (1878)).

With numbers for the parameters, f in the space of polynomials up to the degree and the ansatz

    k = k₀ + k₁ c,        c = tr Q for free norms, the part of tr(A + D) in the overlaps on the sphere

(A + D as in `derive.invariants.transport_laws`), L f = k f is linear in f. At the origin of the order
parameters, which is at rest, the lowest part of f is an eigenvector of the linear part of the drift,
so k₀ is a sum of its eigenvalues. Then L − k₀ − k₁ c is a matrix pencil. The k₁ at which it loses rank
are found modulo a prime, where c is one degree below the drift from the leading part of f alone. The
polynomials are then the exact null space, and each is tried again with symbols for a, b and the parameters.

The ansatz is complete for gradient flow with free norms, T = 1, weights of 1 and p + p* > 2. There
cofactors are linear. Each takes one of finitely many values at each state at rest, and these states span
the whole space, so for a given degree there are finitely many cofactors. Rotations of students and teachers
permute them and, being connected, leave each where it is; the only linear function that they leave is
tr Q. The search does not look for irrational k₁, nor for those with numerators or denominators above
32 767. With the η² term or on the sphere it does not look for cofactors of another form, such as that
of the commutator of two students, which `derive.invariants.conservation_laws` knows.

No polynomial without a denominator can be conserved with free norms and weights of 1, whatever its degree:
the origin is a source, from where trajectories lead to every state nearby. With a second layer that has
both signs, or is trained, it is none.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import comb
from typing import Any

from derive.arguments import whole_number
from derive.equations import WEIGHT_DECAY
from derive.errors import InputError
from derive.flint_polynomials import number
from derive.invariants.darboux import DarbouxSearch
from derive.invariants.first_integrals import Powers, conserved_products, growing_product
from derive.invariants.known_polynomials import known_polynomials
from derive.invariants.matrix_algebra import trace
from derive.invariants.model_matrices import ModelMatrices
from derive.invariants.monomials import NumericField
from derive.invariants.ring import OverlapRing, exact_quotient, positive, primitive
from derive.invariants.vector_field import VectorField, drift_field
from derive.model import Model
from derive.parameters import NUMBERS, VECTORS
from derive.readout import READOUTS

# These numbers stand for irrational readouts, and for the numbers of the table of parameters, in its order:
# η, Δ, γ, 1/B and η_v are the first; no two have a simple ratio.
GENERIC_READOUTS = {"a": Fraction(5, 13), "b": Fraction(7, 9)}
GENERIC_PARAMETERS = ("3/7", "2/11", "5/17", "1/2", "8/3", "31/37", "41/43", "47/53", "59/61")
LARGEST_DEGREE = 8
# This says why models that are not `searchable` have no search.
NOT_SEARCHED = "on the sphere a trained v = 0 is not at rest, and the search needs an origin at rest"
# More monomials would take minutes.
LARGEST_SPACE = 2000


@dataclasses.dataclass(frozen=True)
class Darboux:
    """A polynomial that divides its Lie derivative.

    polynomial
        An element of the ring of the model.
    label
        The name of the polynomial if it is known, else "".
    cofactor
        L f / f in a, b and the run-time parameters if it was proved for all their values, else at the
        numbers of the search.
    symbolic
        Whether it was proved for all their values.
    """

    polynomial: Any
    label: str
    cofactor: Any
    symbolic: bool


@dataclasses.dataclass(frozen=True)
class Invariant:
    """Π fᵢ^nᵢ over Darboux polynomials; it grows as exp(rate · α), and is conserved for rate 0.

    powers
        Pairs (index into the Darboux polynomials, exponent); no exponent is 0.
    rate
        The sum of the cofactors, in which no order parameter is left.
    symbolic
        Whether it holds for all a, b and run-time parameters.
    """

    powers: tuple[tuple[int, int], ...]
    rate: Any
    symbolic: bool


@dataclasses.dataclass(frozen=True)
class Findings:
    """What `search` found.

    values
        The numbers for which it was searched, by the name of the generator.
    complete
        Whether there are no other Darboux polynomials up to the degree.
    polynomials
        A basis of the conserved polynomials up to the degree, without constants.
    darboux
        Darboux polynomials that are not products of others, by degree.
    first_integrals
        Functionally independent products of their powers that are conserved.
    growing
        One such product that grows exponentially, if there is one.
    """

    model: Model
    degree: int
    values: Mapping[str, Fraction]
    complete: bool
    polynomials: tuple[Any, ...]
    darboux: tuple[Darboux, ...]
    first_integrals: tuple[Invariant, ...]
    growing: Invariant | None


def search(model: Model, degree: int, *, decay: bool = False) -> Findings:
    """All polynomial invariants and Darboux polynomials of a model up to a total degree.

    The ansatz for cofactors, and where it is complete, are in the docstring of this module.

    Parameters
    ----------
    model
        A general T is taken as diagonal with different numbers, as it is after a rotation of the teachers.
        On the sphere the norms are 1. Irrational readouts are replaced by rational numbers, as are the
        run-time parameters; second-layer weights are different primes.
    degree
        An integer from 1 to 8; the number of monomials limits it further.
    decay
        Whether weights decay; otherwise γ = 0.

    Raises
    ------
    InputError
        The degree is not allowed, there would be too many monomials, or the model is not `searchable`.
    """
    degree = whole_number("degree", degree, 1, LARGEST_DEGREE)
    if not searchable(model):
        raise InputError("degree", f"{degree} is not possible: {NOT_SEARCHED}")
    held, numbers = _held(model, decay), _numbers(model, decay)
    drift = drift_field(model, decay).with_values(held)
    size = comb(len(drift.numerators) + degree, degree)
    if size > LARGEST_SPACE:
        raise InputError(
            "degree", f"{degree} means {size} monomials for {model.name}, more than {LARGEST_SPACE}"
        )
    values = {**held, **numbers}
    field = NumericField(drift.with_values(numbers))
    matrices = ModelMatrices(model, decay)
    direction = _direction(matrices, values)
    known = known_polynomials(matrices, held)
    numeric = [(name, field.ring.substitute(polynomial, numbers)) for name, polynomial in known]
    finder = DarbouxSearch(field, direction, numeric)
    for order in range(1, degree + 1):
        finder.extend(order)
    found = [(f.polynomial, f.label) for f in finder.found]
    found += _outside_the_ansatz(drift, known, direction, values, degree)
    named = dict(known)
    darboux = [_symbolic(drift, f, label, named.get(label, f), numbers) for f, label in found]
    cofactors = [field.ring.substitute(f.cofactor, numbers) for f in darboux]
    at_numbers = [field.ring.substitute(f.polynomial, numbers) for f in darboux]
    integrals = conserved_products(at_numbers, cofactors)
    growing = growing_product(field.ring, cofactors)
    return Findings(
        model=model,
        degree=degree,
        values=values,
        complete=_complete(model) and not decay,
        polynomials=tuple(finder.conserved(degree)),
        darboux=tuple(darboux),
        first_integrals=tuple(_invariant(field.ring, darboux, n, numbers) for n in integrals),
        growing=None if growing is None else _invariant(field.ring, darboux, growing, numbers),
    )


def searchable(model: Model) -> bool:
    """Whether the origin of the order parameters is at rest, from which the ansatz takes k₀."""
    return not (model.trained and model.constraint == "sphere")


def _complete(model: Model) -> bool:
    """Whether the ansatz holds for every Darboux polynomial; the docstring of this module says why."""
    conventions = (model.constraint, model.flow, model.teacher, model.second_layer)
    return conventions == ("free", "gradient", "orthonormal", "ones") and model.p + model.pstar > 2


def _outside_the_ansatz(
    drift: VectorField,
    known: list[tuple[str, Any]],
    direction: Any,
    values: Mapping[str, Fraction],
    degree: int,
) -> list[tuple[Any, str]]:
    """The known Darboux polynomials up to the degree whose cofactors are not k₀ + k₁ c."""
    ring, more = drift.ring, []
    for label, polynomial in known:
        if ring.degree(polynomial) > degree:
            continue
        quotient = exact_quotient(drift.along(polynomial), polynomial)
        if quotient is None:
            continue
        cofactor = ring.substitute(quotient, values)
        changing = cofactor - ring.constant_term(cofactor)
        if changing and not (direction and positive(changing) == positive(direction)):
            more.append((polynomial, label))
    return more


def _symbolic(
    drift: VectorField, polynomial: Any, label: str, known: Any, numbers: Mapping[str, Fraction]
) -> Darboux:
    """The polynomial, or as it is known, with its cofactor for all parameters, or else at the numbers."""
    for candidate in (polynomial, _rescaled(drift.ring, polynomial, numbers), known):
        quotient = exact_quotient(drift.along(candidate), candidate)
        if quotient is not None:
            return Darboux(candidate, label, quotient, True)
    return Darboux(polynomial, label, drift.with_values(numbers).along(polynomial) / polynomial, False)


def _rescaled(ring: OverlapRing, polynomial: Any, numbers: Mapping[str, Fraction]) -> Any:
    """The polynomial for symbolic readouts, with Q in units of b/a and R in units of √(b/a).

    In these units and with free norms, a and b enter the drift only in the unit of time and, with the η²
    term, in the sizes of η and Δ. The power of b/a that all terms share is left out.
    """
    ratio = number(numbers["a"] / numbers["b"])
    a, b = (ring.position[name] for name in ("a", "b"))
    orders = {}
    for monomial in polynomial.monoms():
        of_q, of_r = (
            sum(monomial[ring.position[name]] for name in ring.model.state if name.startswith(kind))
            for kind in ("Q", "R")
        )
        orders[monomial] = 2 * of_q + of_r
    least, most = min(orders.values()), max(orders.values())
    collected = {}
    for monomial, coefficient in polynomial.terms():
        # This is a whole number, since all terms have the same parity in R.
        power = (orders[monomial] - least) // 2
        exponents = list(monomial)
        exponents[a] += power
        exponents[b] += (most - least) // 2 - power
        collected[tuple(exponents)] = coefficient * ratio**-power
    return primitive(ring.context.from_dict(collected))


def _held(model: Model, decay: bool) -> dict[str, Fraction]:
    """What is a number even in the symbolic proof: norms on the sphere, a general T, and γ = 0."""
    held: dict[str, Fraction] = {} if decay else {WEIGHT_DECAY: Fraction(0)}
    if model.constraint == "sphere":
        held |= {f"Q_{i}_{i}": Fraction(1) for i in range(1, model.p + 1)}
    if model.teacher == "general":
        for r in range(1, model.pstar + 1):
            held |= {f"T_{r}_{s}": Fraction(2 * r - 1, r) * (r == s) for s in range(r, model.pstar + 1)}
    return held


def _numbers(model: Model, decay: bool) -> dict[str, Fraction]:
    """Numbers for a, b and the parameters; a and b are those of the readout if these are rational."""
    numbers = {
        parameter.code: Fraction(GENERIC_PARAMETERS[k])
        for k, parameter in enumerate(NUMBERS)
        if parameter.belongs_to(model) and (decay or parameter.code != WEIGHT_DECAY)
    }
    second = [name for name in VECTORS if name.is_packed_for(model)]
    names = [name for parameter in second for name in parameter.packed_names(model)]
    numbers |= {name: Fraction(prime) for name, prime in zip(names, _primes(), strict=False)}
    for name, width in (("a", model.p), ("b", model.pstar)):
        weight = READOUTS[model.readout].exact(width)
        numbers[name] = GENERIC_READOUTS[name] if weight is None else weight
    return numbers


def _primes() -> Iterator[int]:
    return (n for n in itertools.count(2) if all(n % divisor for divisor in range(2, n)))


def _direction(matrices: ModelMatrices, values: Mapping[str, Fraction]) -> Any:
    """The direction c, the part of tr(A + D) in the order parameters without a common factor."""
    whole = matrices.ring.substitute(trace(matrices.step), values)
    changing = whole - matrices.ring.constant_term(whole)
    return positive(changing) if changing else changing


def _invariant(
    ring: OverlapRing, darboux: list[Darboux], powers: Powers, numbers: Mapping[str, Fraction]
) -> Invariant:
    """The product with its rate, with symbols if it is zero for all parameters or for none."""
    used = tuple((i, n) for i, n in enumerate(powers) if n)
    rate = sum((n * darboux[i].cofactor for i, n in used), start=ring.zero)
    state = {ring.position[name] for name in ring.model.state}
    constant = not any(monomial[k] for monomial in rate.monoms() for k in state)
    number = ring.substitute(rate, numbers)
    if constant and all(darboux[i].symbolic for i, _ in used) and bool(rate) == bool(number):
        return Invariant(used, rate, True)
    return Invariant(used, number, False)
