"""Sorts the monomials up to a degree into blocks that a vector field does not mix."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from flint import fmpq

from derive.invariants.vector_field import VectorField

Exponents = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class MonomialBlock:
    """Monomials whose Lie derivatives have no terms in other blocks.

    monomials
        Polynomials of one term, the highest degree first.
    columns
        The Lie derivative of each monomial.
    rates
        The eigenvalue of each monomial under the linear part of the drift at the origin.
    """

    monomials: tuple[Any, ...]
    columns: tuple[Any, ...]
    rates: tuple[fmpq, ...]


class NumericField:
    """A drift with numbers for all parameters.

    field
        The drift; polynomials in the order parameters that are not held.
    names
        These order parameters, in order.
    """

    def __init__(self, field: VectorField) -> None:
        self.field = field
        self.ring = field.ring
        model = field.ring.model
        self.names = [name for name in model.state if name in field.numerators]
        self._parities = [parity(name, model.p, model.pstar) for name in self.names]

    def linear_rates(self) -> list[fmpq]:
        """Eigenvalues of the order parameters at the origin, which must be a state at rest.

        Raises NotImplementedError unless the linear part of the drift is triangular: that of an order
        parameter may have earlier ones, as that of a trained v has Q.
        """
        rates, allowed = [], set()
        for name in self.names:
            drift, own = self.field.numerators[name], self.ring[name].monomial(0)
            allowed.add(own)
            if any(sum(monomial) <= 1 and monomial not in allowed for monomial in drift.monoms()):
                raise NotImplementedError("the linear part of the drift is not triangular")
            rates.append(drift[own])
        return rates

    @property
    def degree(self) -> int:
        """The largest degree of the drift of an order parameter."""
        return max((drift.total_degree() for drift in self.field.numerators.values()), default=0)

    def blocks(self, degree: int, least: int = 0) -> list[MonomialBlock]:
        """The monomials from degree `least` to `degree` by parity, which the drift does not mix."""
        rates = self.linear_rates()
        groups: dict[Exponents, list[Exponents]] = {}
        for monomial in exponents_up_to(len(self.names), degree, least):
            signs = (
                sum(e * bit for e, bit in zip(monomial, bits, strict=True)) % 2
                for bits in zip(*self._parities, strict=True)
            )
            groups.setdefault(tuple(signs), []).append(monomial)
        blocks = []
        for _, group in sorted(groups.items()):
            ordered = sorted(group, key=lambda monomial: (-sum(monomial), monomial))
            monomials = tuple(self._monomial(exponents) for exponents in ordered)
            columns = tuple(self.field.along(monomial) for monomial in monomials)
            values = tuple(
                sum((e * rate for e, rate in zip(exponents, rates, strict=True)), start=fmpq(0))
                for exponents in ordered
            )
            blocks.append(MonomialBlock(monomials, columns, values))
        return blocks

    def _monomial(self, exponents: Exponents) -> Any:
        """The monomial with these exponents of the order parameters."""
        powers = [0] * len(self.ring.names)
        for name, exponent in zip(self.names, exponents, strict=True):
            powers[self.ring.position[name]] = exponent
        return self.ring.context.term(exp_vec=powers)


def exponents_up_to(variables: int, degree: int, least: int) -> list[Exponents]:
    """The exponents of all monomials whose degree is from `least` to `degree`."""
    return [
        tuple(chosen.count(variable) for variable in range(variables))
        for total in range(least, degree + 1)
        for chosen in itertools.combinations_with_replacement(range(variables), total)
    ]


def parity(name: str, p: int, pstar: int) -> Exponents:
    """How an order parameter changes sign when student i or teacher r does: a vector modulo 2."""
    bits = [0] * (p + pstar)
    kind, first, *others = name.split("_")
    if kind == "v":
        return tuple(bits)
    (second,) = others
    bits[int(first) - 1] ^= 1
    bits[int(second) - 1 + (p if kind == "R" else 0)] ^= 1
    return tuple(bits)
