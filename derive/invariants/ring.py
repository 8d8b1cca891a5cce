"""The polynomial ring in which conserved quantities are written and proved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from derive.invariants.matrices import Matrix, matrix
from derive.model import Model

READOUTS = ("a", "b")


class OverlapRing:
    """Polynomials over the rationals in the order parameters and the parameters of a model.

    The readout weights a and b, η, Δ (``label_noise``) and a general T are generators as the
    order parameters are, so that what is proved in this ring holds for all their values, and
    for every readout.

    model
        The model; its ``state`` and ``parameters`` name the generators.
    ring
        The ``sympy.polys.rings.PolyRing``, graded reverse lexicographic, the state first.
    Q, R, T
        Matrices of generators, tuples of rows: (p, p), (p, p*), (p*, p*); T has the entries
        1 and 0 for an orthonormal teacher.
    a, b, eta, label_noise
        Generators.
    """

    def __init__(self, model: Model) -> None:
        from sympy import QQ, grevlex
        from sympy.polys.rings import PolyRing

        self.model = model
        self.names = (*model.state, *READOUTS, *model.parameters)
        self.ring = PolyRing(list(self.names), QQ, grevlex)
        self.position = {name: k for k, name in enumerate(self.names)}
        self._generators = dict(zip(self.names, self.ring.gens, strict=True))
        p, pstar = model.p, model.pstar
        self.Q: Matrix = matrix(p, p, lambda i, j: self[f"Q_{min(i, j) + 1}_{max(i, j) + 1}"])
        self.R: Matrix = matrix(p, pstar, lambda i, r: self[f"R_{i + 1}_{r + 1}"])
        self.T: Matrix = matrix(pstar, pstar, self._teacher)
        self.a, self.b, self.eta, self.label_noise = (
            self[name] for name in (*READOUTS, "eta", "label_noise")
        )

    def __getitem__(self, name: str) -> Any:
        """The generator of this name."""
        return self._generators[name]

    def _teacher(self, r: int, s: int) -> Any:
        if self.model.teacher == "general":
            return self[f"T_{min(r, s) + 1}_{max(r, s) + 1}"]
        return self.ring.one if r == s else self.ring.zero

    def number(self, value: Fraction | int) -> Any:
        """A rational number as an element of the coefficients."""
        return self.ring.domain(Fraction(value).numerator, Fraction(value).denominator)

    def contains(self, polynomial: Any) -> bool:
        """Whether this is an element of the ring."""
        return bool(getattr(polynomial, "ring", None) == self.ring)

    def degree(self, polynomial: Any) -> int:
        """The largest total degree in the order parameters, whatever the parameters' powers."""
        size = len(self.model.state)
        return max((sum(monomial[:size]) for monomial in polynomial.itermonoms()), default=0)

    def substitute(self, polynomial: Any, values: Mapping[str, Fraction | int]) -> Any:
        """The polynomial with numbers in place of some generators, in the same ring."""
        chosen = [(self.position[name], Fraction(value)) for name, value in values.items()]
        collected: dict[tuple[int, ...], Any] = {}
        for monomial, coefficient in polynomial.terms():
            factor, exponents = Fraction(1), list(monomial)
            for position, value in chosen:
                if exponents[position]:
                    factor *= value ** exponents[position]
                    exponents[position] = 0
            if factor:
                key = tuple(exponents)
                collected[key] = collected.get(key, 0) + coefficient * self.number(factor)
        return self.ring.from_dict({key: value for key, value in collected.items() if value})

    def value(self, polynomial: Any, values: Mapping[str, Fraction | int]) -> Fraction:
        """The polynomial where every generator that occurs has a value."""
        constant = self.substitute(polynomial, values)
        if not constant.is_ground:
            raise KeyError("a generator that occurs has no value")
        number = constant.coeff(1)
        return Fraction(int(number.numerator), int(number.denominator))


def combiner(ring: Any) -> Callable[[Iterable[tuple[Fraction, Sequence[Any]]]], Any]:
    """Sums of (coefficient, factors) terms in a PolyRing, as `derive.program.evaluate` needs them."""

    def combine(terms: Iterable[tuple[Fraction, Sequence[Any]]]) -> Any:
        total = ring.zero
        for coefficient, factors in terms:
            term = ring.ground_new(ring.domain(coefficient.numerator, coefficient.denominator))
            for factor in factors:
                term = term * factor
            total = total + term
        return total

    return combine


@lru_cache(maxsize=32)
def overlap_ring(model: Model) -> OverlapRing:
    """The ring of a model; the same object each time."""
    return OverlapRing(model)
