"""The equations of any polynomial activation as sums over units, which hold for any widths, for texts.

They are made from the graphs that `graph_program` lowers to matrices. The letters are those of
docs/theory.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from math import factorial

from derive.equations import NOISE
from derive.model import Model
from derive.polynomial.noise_graphs import EDGES, noise_terms

# The factors of a noise graph in their order.
_LETTERS = "mnij"


@dataclasses.dataclass(frozen=True)
class UnitTerm:
    """coefficient · Π scalars · Π h_k,i · Π C_ij^power · Σ Π c_k,m · Π C_mi^power, a term of one entry.

    students
        The moments h_k,i = E[σ^(k)(λᵢ)], as (k, letter of the index).
    units
        The moments c_k,m = d_m E[g_m^(k)(z_m)] of all units, in the same form.
    overlaps
        The powers of entries of C, as (letter, letter, power).
    summed
        The letters of the units that are summed over.
    """

    coefficient: Fraction
    scalars: tuple[str, ...] = ()
    students: tuple[tuple[int, str], ...] = ()
    units: tuple[tuple[int, str], ...] = ()
    overlaps: tuple[tuple[str, str, int], ...] = ()
    summed: tuple[str, ...] = ()


class UnitSumEquations:
    """The moments that the drift and the loss of a model are made of, as sums over units."""

    def __init__(self, model: Model) -> None:
        self.student, self.teacher = model.activations
        self._degree = max(self.student.degree, self.teacher.degree)

    def _has_unit_moment(self, order: int) -> bool:
        return bool(self.student.moment(order) or self.teacher.moment(order))

    def slopes(self) -> Iterator[UnitTerm]:
        """The terms of H_im = d_m E[g'_m σ'ᵢ]."""
        for k in range(self._degree):
            if self.student.moment(k + 1) and self._has_unit_moment(k + 1):
                yield UnitTerm(
                    Fraction(1, factorial(k)), (), ((k + 1, "i"),), ((k + 1, "m"),), _power("i", "m", k)
                )

    def bends(self) -> Iterator[UnitTerm]:
        """The terms of uᵢ = Σ_m d_m E[g_m σ''ᵢ]."""
        yield from self._with_error(2, Fraction(1))

    def errors(self) -> Iterator[UnitTerm]:
        """The terms of Σ_m d_m E[g_m σᵢ], the mean of e σ(λᵢ)."""
        yield from self._with_error(0, Fraction(1))

    def _with_error(self, derivative: int, value: Fraction) -> Iterator[UnitTerm]:
        for k in range(self._degree + 1):
            if self.student.moment(k + derivative) and self._has_unit_moment(k):
                moments = ((k + derivative, "i"),), ((k, "m"),)
                yield UnitTerm(value / factorial(k), (), *moments, _power("i", "m", k), ("m",))

    def noise(self) -> Iterator[UnitTerm]:
        """The terms of E[e² σ'ᵢ σ'ⱼ]: the label noise, then a term for each graph."""
        for k in range(self.student.degree):
            if self.student.moment(k + 1):
                moments = ((k + 1, "i"), (k + 1, "j"))
                yield UnitTerm(Fraction(1, factorial(k)), (NOISE,), moments, (), _power("i", "j", k))
        for term in noise_terms(self._degree, self.student.degree):
            graph = term.graph
            for each in (graph,) if term.symmetric else (graph, graph.mirrored):
                m, n, i, j = (each.degree(u) for u in range(4))
                if not (self.student.moment(i + 1) and self.student.moment(j + 1)):
                    continue
                if not (self._has_unit_moment(m) and self._has_unit_moment(n)):
                    continue
                powers = tuple(
                    (_LETTERS[v], _LETTERS[u], count) if v > 1 >= u else (_LETTERS[u], _LETTERS[v], count)
                    for (u, v), count in zip(EDGES, each.edges, strict=True)
                    if count
                )
                value = term.multiplicity * each.symmetry_factor
                yield UnitTerm(
                    value, (), ((i + 1, "i"), (j + 1, "j")), ((m, "m"), (n, "n")), powers, ("m", "n")
                )

    def loss(self) -> Iterator[UnitTerm]:
        """The terms of ½ Σ_mn d_m d_n E[g_m g_n]."""
        for k in range(self._degree + 1):
            if self._has_unit_moment(k):
                value = Fraction(1, 2 * factorial(k))
                yield UnitTerm(value, (), (), ((k, "m"), (k, "n")), _power("m", "n", k), ("m", "n"))

    def orders(self) -> list[int]:
        """The orders of the derivatives whose moments do not vanish for all units."""
        return [k for k in range(self._degree + 1) if self._has_unit_moment(k)]


def _power(first: str, second: str, exponent: int) -> tuple[tuple[str, str, int], ...]:
    return ((first, second, exponent),) if exponent else ()
