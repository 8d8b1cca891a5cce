"""Exact null spaces of sparse rational matrices, and spans of sparse vectors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Generic, TypeVar

import numpy as np

from derive.invariants import modular

Key = TypeVar("Key", bound=Hashable)


def residues(columns: Sequence[Mapping[Any, Fraction]]) -> modular.Array:
    """The matrix of these columns modulo the prime; rows in the order of their sorted keys."""
    rows = {key: k for k, key in enumerate(sorted({key for column in columns for key in column}))}
    matrix = np.zeros((len(rows), len(columns)), dtype=np.int64)
    for k, column in enumerate(columns):
        for key, coefficient in column.items():
            matrix[rows[key], k] = modular.residue(coefficient)
    return matrix


def null_space(columns: Sequence[Mapping[Any, Fraction]]) -> list[list[Fraction]]:
    """A basis of the vectors v with Σ v_k column_k = 0, exactly.

    It is read off modulo a prime and checked; where the check fails, it is computed over the
    rational numbers. Without a null vector modulo the prime there is none.
    """
    basis = modular.null_space(residues(columns))
    found = []
    for row in basis.tolist():
        vector = [modular.fraction(number) for number in row]
        numbers = [number for number in vector if number is not None]
        if len(numbers) < len(vector) or not _is_null(columns, numbers):
            return _exact(columns)
        found.append(numbers)
    return found


def _is_null(columns: Sequence[Mapping[Any, Fraction]], vector: Sequence[Fraction]) -> bool:
    total: dict[Any, Fraction] = {}
    for number, column in zip(vector, columns, strict=True):
        if number:
            for key, coefficient in column.items():
                total[key] = total.get(key, Fraction(0)) + number * coefficient
    return not any(total.values())


def _exact(columns: Sequence[Mapping[Any, Fraction]]) -> list[list[Fraction]]:
    from sympy import QQ
    from sympy.polys.matrices import DomainMatrix

    rows = {key: k for k, key in enumerate(sorted({key for column in columns for key in column}))}
    entries: dict[int, dict[int, Any]] = {}
    for k, column in enumerate(columns):
        for key, coefficient in column.items():
            if coefficient:
                entries.setdefault(rows[key], {})[k] = QQ(coefficient.numerator, coefficient.denominator)
    matrix = DomainMatrix(entries, (len(rows), len(columns)), QQ)
    vectors = matrix.nullspace().to_list()
    return [[Fraction(int(x.numerator), int(x.denominator)) for x in vector] for vector in vectors]


class Span(Generic[Key]):
    """The span of sparse vectors, built one at a time."""

    def __init__(self) -> None:
        self._reduced: dict[Key, dict[Key, Fraction]] = {}

    def remainder(self, vector: Mapping[Key, Fraction]) -> dict[Key, Fraction]:
        """The vector less what the span has of it; empty if it is in the span."""
        rest = {key: value for key, value in vector.items() if value}
        for pivot, row in self._reduced.items():
            factor = rest.get(pivot)
            if factor:
                for key, value in row.items():
                    rest[key] = rest.get(key, Fraction(0)) - factor * value
                rest = {key: value for key, value in rest.items() if value}
        return rest

    def add(self, vector: Mapping[Key, Fraction]) -> bool:
        """Extend the span; whether the vector was not in it yet."""
        rest = self.remainder(vector)
        if not rest:
            return False
        pivot, value = next(iter(rest.items()))
        self._reduced[pivot] = {key: x / value for key, x in rest.items()}
        return True
