"""The Lie derivative as a matrix on the monomials of bounded degree."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from derive.invariants.lie import VectorField

Exponents = tuple[int, ...]
Terms = dict[Exponents, Fraction]


@dataclasses.dataclass(frozen=True)
class Block:
    """Monomials that the Lie derivative does not mix with others, and its columns for them.

    monomials
        Exponents in the order parameters, the highest degree first.
    columns
        The Lie derivative of each monomial.
    rates
        Of each monomial under the linear part of the drift: the eigenvalue at the origin.
    """

    monomials: tuple[Exponents, ...]
    columns: tuple[Terms, ...]
    rates: tuple[Fraction, ...]


class NumericField:
    """A drift with numbers for all parameters, as exponents and coefficients.

    names
        The order parameters that are not held, in order.
    drift
        Of each of them.
    parities
        How each changes sign when student i or teacher r does: vectors modulo 2.
    """

    def __init__(self, field: VectorField) -> None:
        model = field.ring.model
        self.ring = field.ring
        self.names = [name for name in model.state if name in field.numerators]
        self._positions = [field.ring.position[name] for name in self.names]
        self.drift = [self.terms(field.numerators[name]) for name in self.names]
        self.parities = [_parity(name, model.p, model.pstar) for name in self.names]

    def terms(self, polynomial: Any) -> Terms:
        """A polynomial of the ring in these order parameters alone."""
        found: Terms = {}
        for monomial, coefficient in polynomial.terms():
            key = tuple(monomial[position] for position in self._positions)
            assert sum(key) == sum(monomial)
            found[key] = Fraction(int(coefficient.numerator), int(coefficient.denominator))
        return found

    def polynomial(self, terms: Mapping[Exponents, Fraction]) -> Any:
        """The inverse of `terms`."""
        size = len(self.ring.names)
        collected = {}
        for exponents, coefficient in terms.items():
            monomial = [0] * size
            for position, exponent in zip(self._positions, exponents, strict=True):
                monomial[position] = exponent
            collected[tuple(monomial)] = self.ring.number(coefficient)
        return self.ring.ring.from_dict(collected)

    def linear_rates(self) -> list[Fraction]:
        """Eigenvalues of the order parameters at the origin, which must be a state at rest.

        Raises NotImplementedError if the linear part of the drift is not diagonal.
        """
        rates = []
        for k, drift in enumerate(self.drift):
            for exponents, coefficient in drift.items():
                own = exponents[k] == 1
                if sum(exponents) == 0 or (sum(exponents) == 1 and not own and coefficient):
                    raise NotImplementedError("the linear part of the drift is not diagonal")
            unit = tuple(int(j == k) for j in range(len(self.names)))
            rates.append(drift.get(unit, Fraction(0)))
        return rates

    @property
    def degree(self) -> int:
        """Of the drift."""
        return max((sum(exponents) for drift in self.drift for exponents in drift), default=0)

    def blocks(self, degree: int, least: int = 0) -> list[Block]:
        """The monomials from one degree to another by parity: changes of sign commute with the drift."""
        rates = self.linear_rates()
        groups: dict[Exponents, list[Exponents]] = {}
        for monomial in _monomials(len(self.names), degree, least):
            parity = tuple(
                sum(e * bit for e, bit in zip(monomial, bits, strict=True)) % 2
                for bits in zip(*self.parities, strict=True)
            )
            groups.setdefault(parity, []).append(monomial)
        blocks = []
        for _, group in sorted(groups.items()):
            ordered = sorted(group, key=lambda monomial: (-sum(monomial), monomial))
            columns = tuple(self.derivative(monomial) for monomial in ordered)
            values = tuple(
                sum((e * rate for e, rate in zip(monomial, rates, strict=True)), start=Fraction(0))
                for monomial in ordered
            )
            blocks.append(Block(tuple(ordered), columns, values))
        return blocks

    def derivative(self, monomial: Exponents) -> Terms:
        """The Lie derivative of a monomial."""
        result: Terms = {}
        for k, exponent in enumerate(monomial):
            if exponent:
                rest = (*monomial[:k], exponent - 1, *monomial[k + 1 :])
                for exponents, coefficient in self.drift[k].items():
                    key = tuple(x + y for x, y in zip(rest, exponents, strict=True))
                    result[key] = result.get(key, Fraction(0)) + exponent * coefficient
        return result


def times(terms: Terms, monomial: Exponents) -> Terms:
    """The product with a monomial."""
    return {tuple(x + y for x, y in zip(e, monomial, strict=True)): c for e, c in terms.items()}


def _monomials(variables: int, degree: int, least: int) -> list[Exponents]:
    found = []
    for total in range(least, degree + 1):
        for chosen in itertools.combinations_with_replacement(range(variables), total):
            exponents = [0] * variables
            for variable in chosen:
                exponents[variable] += 1
            found.append(tuple(exponents))
    return found


def _parity(name: str, p: int, pstar: int) -> Exponents:
    kind, first, second = name.split("_")
    bits = [0] * (p + pstar)
    bits[int(first) - 1] ^= 1
    bits[int(second) - 1 + (p if kind == "R" else 0)] ^= 1
    return tuple(bits)
