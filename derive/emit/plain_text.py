"""Prints the equations and the program of a model as plain text, for people who follow the derivation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from derive.equations import LOOP_NAMES, STEP, OverlapEquations
from derive.program import (
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    Statement,
)
from derive.readout import READOUTS
from derive.scalar_polynomials import Monomial, ScalarPolynomial

_SIZES = {"p": "p", "pstar": "p*"}


def sum_of(terms: Iterable[tuple[Fraction, str]]) -> str:
    """Σ coefficient · text; an empty text stands for 1."""
    pieces: list[str] = []
    for coefficient, text in terms:
        size = abs(coefficient)
        body = text if size == 1 and text else f"{size} {text}".rstrip()
        sign = "-" if coefficient < 0 else "+"
        pieces.append(f" {sign} {body}" if pieces else body if sign == "+" else f"-{body}")
    return "".join(pieces) or "0"


def product_of(monomial: Monomial) -> str:
    """A product of names, equal ones as powers."""
    counted = {name: monomial.count(name) for name in monomial}
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in counted.items())


def polynomial_text(value: ScalarPolynomial) -> str:
    """A polynomial in named scalars, the highest degree first."""
    return sum_of((c, product_of(monomial)) for monomial, c in reversed(value.sorted_terms()))


def scaled(value: ScalarPolynomial, text: str) -> tuple[Fraction, str]:
    """polynomial · text as a term for `sum_of`."""
    if len(value.terms) == 1:
        ((monomial, coefficient),) = value.terms.items()
        return coefficient, f"{product_of(monomial)} {text}".lstrip()
    return Fraction(1), f"({polynomial_text(value)}) {text}"


def equations_text(equations: OverlapEquations, constraint: str, readout: str) -> str:
    """The free drift and the loss without indices, which hold for any widths."""
    lines = [
        "C = [[Q, R], [R', T]] is the covariance of all pre-activations, D = diag(a, ..., -b, ...).",
        "ss and st are the blocks of students with students, and of students with teachers.",
        "",
        READOUTS[readout].words,
        f"{STEP} = {polynomial_text(equations.step)}",
        *(f"{name} = tr({'DC' * length})" for length, name in LOOP_NAMES.items()),
        f"dR/dalpha = {_drift(equations.dR, 'st')}",
        f"dQ/dalpha = {_drift(equations.dQ, 'ss')}",
        f"loss = {polynomial_text(equations.loss)}",
    ]
    if constraint == "sphere":
        lines += ["", "From this drift the program removes the growth of norms, as rescaling does."]
    return "\n".join(lines) + "\n"


def _drift(parts: Mapping[int, ScalarPolynomial], block: str) -> str:
    return sum_of(scaled(value, f"(C{'DC' * length})_{block}") for length, value in sorted(parts.items()))


def program_text(program: Program) -> str:
    """The inputs, and a line for each statement."""
    matrices = (
        f"{matrix.name} ({_SIZES[matrix.rows]}, {_SIZES[matrix.columns]})" for matrix in program.inputs
    )
    lines = [f"p = {program.p}, p* = {program.pstar}", f"given: {', '.join((*matrices, *program.scalars))}"]
    for statement in program.statements:
        if statement.note:
            lines += ["", f"# {statement.note}"]
        lines += _statement(statement)
    return "\n".join(lines) + "\n"


def _statement(statement: Statement) -> Iterator[str]:
    match statement:
        case ScalarStatement():
            yield scalar_line(statement)
        case MatrixStatement(target, terms):
            products = (
                (
                    Fraction(term.sign),
                    " ".join([*filter(None, [term.scalar]), *map(_operand, term.operands or [None])]),
                )
                for term in terms
            )
            yield f"{target.name} = {sum_of(products)}"
        case NormRates(target, reciprocal, drift, overlap):
            yield f"{reciprocal}_i = 1 / {overlap.name}_ii"
            yield f"{target}_i = 1/2 {drift.name}_ii {reciprocal}_i"
        case Projection(target, drift, overlap, rates, sides):
            removed = f"{rates}_i" if sides == 1 else f"({rates}_i + {rates}_j)"
            exactly = ", and 0 where i = j" if sides == 2 else ""
            yield f"{target.name}_ij = {drift.name}_ij - {removed} {overlap.name}_ij{exactly}"
        case _:
            raise NotImplementedError(f"no text for {type(statement).__name__}")


def scalar_line(statement: ScalarStatement) -> str:
    """The line of a statement on scalars, traces and contractions."""
    terms = []
    for contraction in statement.contractions:
        left, right = contraction.left, contraction.right
        inside = f"tr({left.name})" if right is None else f"<{left.name}, {right.name}>"
        terms.append(scaled(contraction.coefficient, inside))
    terms += [(c, product_of(monomial)) for monomial, c in reversed(statement.polynomial.sorted_terms())]
    return f"{statement.target} = {sum_of(terms)}"


def _operand(operand: Operand | None) -> str:
    """A factor of a product; None stands for the identity."""
    if operand is None:
        return "1"
    return f"{operand.matrix.name}'" if operand.transposed else operand.matrix.name
