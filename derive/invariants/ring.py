"""Defines the ring of polynomials in which conserved quantities are written and proved."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import Any

from flint import fmpq, fmpq_mpoly
from flint.utils.flint_exceptions import DomainError

from derive.equations import READOUT_STUDENT, READOUT_TEACHER
from derive.flint_polynomials import context_of, number
from derive.invariants.matrix_algebra import Matrix, matrix
from derive.model import Model, require_quadratic


class OverlapRing:
    """Polynomials over the rationals in the order parameters and the parameters of a model.

    The readout weights a and b and the run-time parameters, such as η, Δ (``label_noise``), 1/B
    (``inverse_batch``), a general T and second-layer weights, are generators, as the order parameters are.
    So what is proved in this ring holds for all their values and every readout. Its elements are
    polynomials of FLINT (``flint.fmpq_mpoly``), with +, −, *, ** and exact division among themselves and
    with integers and ``flint.fmpq``.

    model
        The model; its ``state`` and ``parameters`` name the generators.
    context
        The ``flint.fmpq_mpoly_ctx``, graded reverse lexicographic, the state first.
    zero, one
        The constants.
    Q, R, T
        Matrices of generators, tuples of rows: (p, p), (p, p*), (p*, p*); T has the entries
        1 and 0 for an orthonormal teacher.
    v, vstar
        The second-layer weights of the p students and the p* teachers: generators, or all 1.
    a, b, eta, label_noise, …
        The generators of the readout weights and of the run-time parameters.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.names = (*model.state, READOUT_STUDENT, READOUT_TEACHER, *model.parameters)
        self.context = context_of(self.names)
        self.zero, self.one = self.context.constant(0), self.context.constant(1)
        self.position = {name: k for k, name in enumerate(self.names)}
        p, pstar = model.p, model.pstar
        self.Q: Matrix = matrix(p, p, lambda i, j: self[f"Q_{min(i, j) + 1}_{max(i, j) + 1}"])
        self.R: Matrix = matrix(p, pstar, lambda i, r: self[f"R_{i + 1}_{r + 1}"])
        self.T: Matrix = matrix(pstar, pstar, self._teacher)
        self.v, self.vstar = self._weights("v", p), self._weights("vstar", pstar)

    def __getattr__(self, name: str) -> Any:
        """The generators a, b, eta, label_noise, … as attributes."""
        if name in self.__dict__.get("position", ()):
            return self[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, name: str) -> Any:
        """The generator of this name."""
        return self.context.gen(self.position[name])

    def _teacher(self, r: int, s: int) -> Any:
        if self.model.teacher == "general":
            return self[f"T_{min(r, s) + 1}_{max(r, s) + 1}"]
        return self.one if r == s else self.zero

    def _weights(self, letter: str, width: int) -> tuple[Any, ...]:
        return tuple(self[f"{letter}_{k + 1}"] if self.model.weighted else self.one for k in range(width))

    def contains(self, polynomial: Any) -> bool:
        """Whether this is an element of the ring."""
        return isinstance(polynomial, fmpq_mpoly) and polynomial.context() == self.context

    def degree(self, polynomial: Any) -> int:
        """The largest total degree in the order parameters; powers of parameters do not count."""
        size = len(self.model.state)
        return max((sum(monomial[:size]) for monomial in polynomial.monoms()), default=0)

    def constant_term(self, polynomial: Any) -> Any:
        """The coefficient of 1."""
        return polynomial[(0,) * len(self.names)]

    def substitute(self, polynomial: Any, values: Mapping[str, Fraction | int]) -> Any:
        """The polynomial with numbers in place of some generators, in the same ring."""
        return polynomial.subs({name: number(value) for name, value in values.items()})

    def replaced(self, polynomial: Any, replacements: Mapping[str, Any]) -> Any:
        """The polynomial with other polynomials of the ring in place of some generators."""
        if not replacements:
            return polynomial
        return polynomial.compose(*(replacements.get(name, self[name]) for name in self.names))

    def value(self, polynomial: Any, values: Mapping[str, Fraction | int]) -> Fraction:
        """The value of the polynomial at values of all generators; raises KeyError if one is missing."""
        result = polynomial(*(number(values[name]) for name in self.names))
        return Fraction(int(result.numerator), int(result.denominator))


@lru_cache(maxsize=32)
def overlap_ring(model: Model) -> OverlapRing:
    """The ring of a quadratic model; the same object each time. Raises InputError for other activations."""
    require_quadratic(model, "conserved quantities are proved")
    return OverlapRing(model)


def exact_quotient(dividend: Any, divisor: Any) -> Any | None:
    """dividend / divisor, or None if the divisor leaves a remainder."""
    try:
        return dividend / divisor
    except DomainError:
        return None


def primitive(polynomial: Any) -> Any:
    """The positive multiple that has integer coefficients without a common factor; 0 has none."""
    coefficients = polynomial.coeffs()
    scale = lcm(*(int(x.denominator) for x in coefficients))
    common = gcd(*(int(x.numerator) for x in coefficients))
    return polynomial * fmpq(scale, common)


def positive(polynomial: Any) -> Any:
    """The multiple that is `primitive` and has a positive leading coefficient; 0 has none."""
    return primitive(polynomial if polynomial.leading_coefficient() > 0 else -polynomial)


def as_expression(polynomial: Any) -> Any:
    """The polynomial as an expression of SymPy."""
    import sympy

    symbols = sympy.symbols(polynomial.context().names())
    terms = (
        sympy.Rational(int(x.numerator), int(x.denominator))
        * sympy.Mul(*(s ** int(e) for s, e in zip(symbols, monomial, strict=True)))
        for monomial, x in polynomial.terms()
    )
    return sympy.Add(*terms)
