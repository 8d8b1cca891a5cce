"""Prints pieces of generated Python: numbers, sums, assignments and compiled functions."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from textwrap import indent

from derive.expansion import Assignment

LINE_WIDTH = 96
INDENT = "    "
COMPILED = (
    "# Fused multiply-adds are the only fast-math option that is allowed. The others would let the",
    "# compiler reorder sums and assume that no number is NaN.",
    '_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})',
)


def function_text(name: str, arguments: str, docstring: str, body: Iterable[str]) -> str:
    """A compiled function with these lines as its body."""
    lines = indent("\n".join(body), INDENT)
    return f'@_compiled\ndef {name}({arguments}):\n{INDENT}"""{docstring}"""\n{lines}\n'


def number_text(value: Fraction) -> str:
    """A rational as a float literal that is exact, or as an exact quotient."""
    if Fraction(float(value)) == value:
        return repr(float(value))
    return f"({value.numerator}.0 / {value.denominator}.0)"


def signed_term(coefficient: Fraction, factors: tuple[str, ...]) -> tuple[str, str]:
    """The sign of a term, and the text of its absolute value."""
    size = abs(coefficient)
    parts = [number_text(size)] if size != 1 or not factors else []
    return ("-" if coefficient < 0 else "+"), " * ".join([*parts, *factors])


def sum_text(terms: list[tuple[str, str]]) -> list[str]:
    """Signed terms as the pieces "x", "+ y", "- z" of a sum; an empty sum is 0.0."""
    if not terms:
        return ["0.0"]
    first_sign, first = terms[0]
    pieces = [first if first_sign == "+" else f"-{first}"]
    return pieces + [f"{sign} {text}" for sign, text in terms[1:]]


def assignment_line(assignment: Assignment) -> str:
    """One assignment as Python, wrapped in parentheses where it is long."""
    if assignment.reciprocal:
        return f"{assignment.target} = 1.0 / {assignment.terms[0][1][0]}"
    return wrapped(assignment.target, sum_text([signed_term(*term) for term in assignment.terms]))


def wrapped(target: str, pieces: list[str]) -> str:
    """The assignment of a sum, in parentheses where it is longer than a line."""
    line = f"{target} = {' '.join(pieces)}"
    if len(line) + len(INDENT) <= LINE_WIDTH:
        return line
    lines = [f"{target} = ("]
    current = INDENT + pieces[0]
    for piece in pieces[1:]:
        if len(current) + len(piece) + 1 + len(INDENT) > LINE_WIDTH:
            lines.append(current)
            current = INDENT + piece
        else:
            current += f" {piece}"
    return "\n".join([*lines, current, ")"])
