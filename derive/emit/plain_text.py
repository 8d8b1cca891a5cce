"""Prints the equations and the program of a model as plain text, for people who follow the derivation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import repeat

from derive.emit.header import option_lines, problem_text
from derive.equations import OverlapEquations
from derive.model import Model
from derive.overlap_program import CHAINS_SS, CHAINS_ST, FREE_DQ, FREE_DR, X, Y, Z, closed_loops
from derive.parameters import PARAMETERS
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    Statement,
    Vector,
    VectorStatement,
)
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


# The blocks ss of students with students, and st of students with teachers. They follow from
# C(DC)^m = CD C(DC)^(m-1), where [aQ, -bR] are the student rows of CD.
_BLOCKS = {
    X: "X = (CDC)_ss = a Q Q - b R R'",
    Y: "Y = (CDC)_st = a Q R - b R T",
    Z: "Z = (CDCDC)_ss = a Q X - b R Y'",
}
_NOTATION = "A' is the transpose of A, and <A, B> is tr(A'B)"


def equations_text(equations: OverlapEquations, model: Model) -> str:
    """The drift and the loss without indices, which hold for any widths; `model` has the options."""
    given = (parameter for parameter in PARAMETERS.values() if parameter.belongs_to(model))
    # With a general T the loops are those of any teacher.
    loops = closed_loops(dataclasses.replace(model, teacher="general"))
    sphere = model.constraint == "sphere"
    dQ, dR = (FREE_DQ.name, FREE_DR.name) if sphere else ("dQ/dalpha", "dR/dalpha")
    parts = ((CHAINS_SS, equations.dQ), (CHAINS_ST, equations.dR))
    used = {chains[length] for chains, coefficients in parts for length in coefficients}
    lines = [
        f"{problem_text(model)}, T = W*W*'/N.",
        "",
        option_lines(model),
        *(f"{parameter.name:<11} {parameter.words} {parameter.symbol}" for parameter in given),
        "",
        "# C is the covariance of (lambda, lambda*) = (Wx, W*x)/sqrt(N), and D has the readout weights.",
        "# The block of C of students with students is ss, that of students with teachers st.",
        f"# {_NOTATION}.",
        "C = [[Q, R], [R', T]], D = diag(a, ..., a, -b, ..., -b)",
        *(f"{loop.note} = {scalar_line(loop).partition(' = ')[2]}" for loop in loops),
        *(line for block, line in _BLOCKS.items() if block in used),
        "",
        f"# the drift before rescaling, {dR} and {dQ}" if sphere else "# the drift",
        *(f"{name} = {polynomial_text(value)}" for name, value in equations.scalars.items()),
        f"{dR} = {_drift(equations.dR, CHAINS_ST)}",
        f"{dQ} = {_drift(equations.dQ, CHAINS_SS)}",
    ]
    if sphere:
        lines += [
            "",
            "# rescaling keeps each norm Q_ii and so removes its growth",
            f"g_i = {dQ}_ii / (2 Q_ii)",
            f"dR_ir/dalpha = {dR}_ir - g_i R_ir",
            f"dQ_ij/dalpha = {dQ}_ij - (g_i + g_j) Q_ij",
        ]
    loss = f"loss = {polynomial_text(equations.loss)}"
    lines += ["", "# the generalisation error, which leaves out the label noise", loss]
    return "\n".join(lines) + "\n"


def _drift(parts: Mapping[int, ScalarPolynomial], chains: Mapping[int, Matrix]) -> str:
    return sum_of(scaled(value, chains[length].name) for length, value in sorted(parts.items()))


def program_text(program: Program) -> str:
    """The inputs, and a line for each statement."""
    matrices = (
        f"{part.name} ({_SIZES[part.rows]})"
        if isinstance(part, Vector)
        else f"{part.name} ({_SIZES[part.rows]}, {_SIZES[part.columns]})"
        for part in program.inputs
    )
    lines = [
        f"# {_NOTATION}. The matrix 1 is the identity.",
        f"p = {program.p}, p* = {program.pstar}",
        f"given: {', '.join((*matrices, *program.scalars))}",
    ]
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
        case EntryStatement(matrix, entry_terms):
            yield f"{matrix.name}_ij = {sum_of(map(_entry_term, entry_terms, repeat('ij')))}"
        case VectorStatement(vector, entry_terms):
            yield f"{vector.name}_i = {sum_of(map(_entry_term, entry_terms, repeat('ii')))}"
        case NormRates(target, reciprocal, drift, overlap):
            yield f"{reciprocal}_i = 1 / {overlap.name}_ii"
            yield f"{target}_i = 1/2 {drift.name}_ii {reciprocal}_i"
        case Projection(target, drift, overlap, rates, sides):
            removed = f"{rates}_i" if sides == 1 else f"({rates}_i + {rates}_j)"
            exactly = ", and 0 where i = j" if sides == 2 else ""
            yield f"{target.name}_ij = {drift.name}_ij - {removed} {overlap.name}_ij{exactly}"
        case _:
            raise NotImplementedError(f"no text for {type(statement).__name__}")


def _entry_term(term: EntryTerm, indices: str) -> tuple[Fraction, str]:
    """A term of entries with these two indices."""
    i, j = indices[0], indices[1]
    factors = [
        *term.scalars,
        *(f"{vector.name}_{i}" for vector in term.rows),
        *(f"{vector.name}_{j}" for vector in term.columns),
        *(
            f"{operand.matrix.name}_{j if operand.transposed else i}{i if operand.transposed else j}"
            for operand in term.operands
        ),
    ]
    return term.coefficient, " ".join(factors)


def scalar_line(statement: ScalarStatement) -> str:
    """The line of a statement on scalars, traces and contractions."""
    terms = []
    for contraction in statement.contractions:
        terms.append(scaled(contraction.coefficient, _sum_over_entries(contraction)))
    terms += [(c, product_of(monomial)) for monomial, c in reversed(statement.polynomial.sorted_terms())]
    return f"{statement.target} = {sum_of(terms)}"


def _sum_over_entries(contraction: Contraction) -> str:
    """A contraction as a trace or an inner product, or, where it is weighted, as a sum over i and j."""
    left, right = contraction.left, contraction.right
    if contraction.rows or contraction.columns:
        both = left is not None and right is not None
        entries = [f"{part.name}_{'ij' if both else 'ii'}" for part in (left, right) if part is not None]
        vectors = [f"{vector.name}_i" for vector in contraction.rows]
        vectors += [f"{vector.name}_j" for vector in contraction.columns]
        return f"sum_{'ij' if both else 'i'}({' '.join([*vectors, *entries])})"
    assert left is not None
    return f"tr({left.name})" if right is None else f"<{left.name}, {right.name}>"


def _operand(operand: Operand | None) -> str:
    """A factor of a product; None stands for the identity."""
    if operand is None:
        return "1"
    return f"{operand.matrix.name}'" if operand.transposed else operand.matrix.name
