"""Proves that the program made from graphs computes the moments of activations, written in components.

Route 1 is `component_drift`. Route 2 is evaluated as it is generated, entry by entry. Both are compared
in each entry of the drift and in the loss: as polynomials where these are short, and else at random points.
The coordinates of each point are drawn modulo a prime, which differs from point to point. By the lemma of
Schwartz and Zippel (J. T. Schwartz, J. ACM 27, 701 (1980)), a wrong program of degree d passes a point with
probability at most d over the prime, unless all coefficients of the difference are divisible by this prime.
No prime divides a number in the activations, so that none makes an activation shorter.
"""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from functools import cache, lru_cache

from derive.activation import Activation
from derive.errors import InputError
from derive.model import Model
from derive.overlap_program import LOSS
from derive.polynomial.pairing_terms import pairing_terms
from derive.program import Program
from derive.proof import Proof, ProofError, compare_entries, free_outputs, prove_sphere

# So many points bound the chance that a difference is missed to 2^-100 and less.
POINTS = 5
# Route 1 sums so many products at most. Ten million take a second.
LARGEST_PROOF = 2 * 10**9
# Above this many products the polynomials are too long to expand in half a second.
POLYNOMIAL_BUDGET = 15_000


@cache
def _primes_from(largest: int) -> int:
    """The largest prime up to a number."""
    from flint import fmpz

    return next(k for k in range(largest, 1, -1) if fmpz(k).is_prime())


@lru_cache(maxsize=64)
def primes_for(activations: tuple[Activation, ...]) -> tuple[int, ...]:
    """The largest primes below 2^31 that divide no numerator or denominator in the activations."""
    coefficients = [c for activation in activations for c in activation.coefficients if c]
    found: list[int] = []
    prime = 2**31
    while len(found) < POINTS:
        prime = _primes_from(prime - 1)
        if all(c.numerator % prime and c.denominator % prime for c in coefficients):
            found.append(prime)
    return tuple(found)


def component_products(model: Model) -> int:
    """The number of products that route 1 sums for all entries of the noise, or of the mean without it."""
    students = model.p * (model.p + 1) // 2
    student, teacher = model.activations
    slope, z = student.derivative(1), (Fraction(0), Fraction(1))
    kinds = ((model.p, student.coefficients), (model.pstar, teacher.coefficients))
    entries = model.p * (model.p + model.pstar)
    count = sum(entries * width * _terms((g, slope, z)) for width, g in kinds)
    if model.flow == "sgd":
        for (width, g), (other, h) in itertools.product(kinds, repeat=2):
            count += students * width * other * _terms((g, h, slope, slope))
    return count


@lru_cache(maxsize=256)
def _terms(polynomials: tuple[tuple[Fraction, ...], ...]) -> int:
    return sum(1 for _ in pairing_terms(polynomials))


def check_size(model: Model) -> None:
    """Raise InputError for a model whose proof would take more than some minutes."""
    products = 0 if model.quadratic else component_products(model)
    if products > LARGEST_PROOF:
        raise InputError(
            "activation",
            f"p = {model.p}, p* = {model.pstar} with {model.activation} needs {products:.0e} products in"
            f" the proof, and at most {LARGEST_PROOF:.0e} are computed: take smaller widths or degrees",
        )


def graph_proof_record(model: Model) -> Proof:
    """What `prove_graphs` returns for a model."""
    compared = model.state_size + 1
    if component_products(model) <= POLYNOMIAL_BUDGET:
        return Proof("polynomial identity", compared)
    degree = degree_bound(model)
    bound = math.ceil(sum(math.log2(degree / prime) for prime in primes_for(model.activations)))
    return Proof("random points", compared, POINTS, bound)


def degree_bound(model: Model) -> int:
    """A bound on the degree of the drift and of the loss in all their variables together."""
    # In the noise κ² and 1/B have 5 with their second-layer weights 7, and two units of the error have 2
    # with their weights 4. The moment of two activations and two slopes has half of their degrees.
    student, teacher = (activation.degree for activation in model.activations)
    return (11 if model.weighted else 7) + max(student, teacher) + student - 1


def prove_graphs(model: Model, program: Program, seed: int = 0) -> Proof:
    """Compare both routes; raises ProofError, which names the first entry that differs."""
    record = graph_proof_record(model)
    kept = program.restricted_to((*free_outputs(model), LOSS))
    names = ("a", "b", *model.parameters, *model.state)
    # NumPy is imported when something is proved.
    from derive.polynomial.component_drift import as_polynomials, at_points

    try:
        if record.points:
            primes = primes_for(model.activations)
            sides = at_points(model, kept, names, primes, random.Random(seed))
        else:
            sides = as_polynomials(model, kept, names)
        compare_entries(model, *sides)
        if model.constraint == "sphere":
            prove_sphere(model, program)
    except (KeyError, NotImplementedError) as error:
        # A wrong program may read a name that does not exist, or divide where nothing is divided.
        raise ProofError(f"{model.name}: the program cannot be compared: {error!r}") from error
    return record
