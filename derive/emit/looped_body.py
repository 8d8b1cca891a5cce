"""Prints the body of a generated function as loops over matrices, if one line per entry were too many."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent

from derive.emit.function_body import FunctionBody
from derive.emit.python_source import INDENT, signed_term, sum_text, wrapped
from derive.model import Model
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    NormRatesTangent,
    Operand,
    PairProducts,
    Program,
    Projection,
    ProjectionTangent,
    RowSum,
    ScalarStatement,
    Statement,
    Vector,
    VectorStatement,
)

SIZES = {"p": "P", "pstar": "PSTAR", "pairs": "P * (P + 1) // 2", "units": "UNITS"}


def _vector_axis(statement: Statement) -> str | None:
    """The axis of a statement on vectors alone; None for others."""
    return statement.target.rows if isinstance(statement, VectorStatement) else None


class LoopedBody(FunctionBody):
    """Every matrix is an array; sums of products are calls of the functions in `looped_helpers`."""

    def __init__(self, model: Model, program: Program) -> None:
        super().__init__(model, program)
        self._transposed: set[str] = set()

    def read(self, part: Matrix | Vector, source: str, offset: int) -> Iterator[str]:
        rows = SIZES[part.rows]
        if isinstance(part, Vector):
            yield f"{part.name} = {source}[{offset} : {offset} + {rows}]"
        elif part.symmetric:
            yield f"{part.name} = _read_symmetric({source}, {offset}, {rows})"
        else:
            yield f"{part.name} = _read({source}, {offset}, {rows}, {SIZES[part.columns]})"

    def write(self, part: Matrix | Vector, target: str, offset: int) -> Iterator[str]:
        if isinstance(part, Vector):
            yield f"for i in range({SIZES[part.rows]}):"
            yield f"{INDENT}{target}[{offset} + i] = {part.name}[i]"
        else:
            function = "_write_symmetric" if part.symmetric else "_write"
            yield f"{function}({target}, {offset}, {part.name})"

    def statement(self, statement: Statement) -> Iterator[str]:
        match statement:
            case ScalarStatement():
                yield from self._scalar(statement)
            case MatrixStatement():
                yield from self._matrix(statement)
            case EntryStatement():
                yield from self._entries(statement)
            case VectorStatement():
                yield from self._vectors([statement])
            case RowSum():
                yield from self._row_sum(statement)
            case PairProducts(matrix, left, right):
                yield f"{matrix.name} = _pair_products({left.name}, {right.name})"
            case NormRates(target, reciprocal, drift, overlap):
                yield f"{reciprocal} = np.empty(P)"
                yield f"{target} = np.empty(P)"
                yield "for i in range(P):"
                yield f"{INDENT}{reciprocal}[i] = 1.0 / {overlap.name}[i, i]"
                yield f"{INDENT}{target}[i] = 0.5 * {drift.name}[i, i] * {reciprocal}[i]"
            case NormRatesTangent(target, reciprocal, drift, _, removed):
                yield f"{target} = np.empty(P)"
                yield "for i in range(P):"
                rest = (f"{rates}[i] * {matrix.name}[i, i]" for rates, matrix in removed)
                change = " - ".join([f"0.5 * {drift.name}[i, i]", *rest])
                yield f"{INDENT}{target}[i] = ({change}) * {reciprocal}[i]"
            case Projection() | ProjectionTangent():
                yield from self._projection(statement)

    def _scalar(self, statement: ScalarStatement) -> Iterator[str]:
        terms: list[tuple[str, str]] = []
        for contraction in statement.contractions:
            call = self._contraction(contraction)
            terms += [
                signed_term(value, (*monomial, call))
                for monomial, value in contraction.coefficient.sorted_terms()
            ]
        terms += [signed_term(value, m) for m, value in statement.polynomial.sorted_terms()]
        yield wrapped(statement.target, sum_text(terms))

    def _contraction(self, contraction: Contraction) -> str:
        """The call that computes a contraction; weights are arrays, products of vectors."""
        left, right = contraction.left, contraction.right
        rows, columns = (
            " * ".join(vector.name for vector in vectors)
            for vectors in (contraction.rows, contraction.columns)
        )
        if left is None:
            return f"_total({rows})"
        if right is None:
            return f"_weighted_trace({rows}, {left.name})" if rows else f"_trace({left.name})"
        if rows or columns:
            return f"_weighted_inner({rows}, {left.name}, {right.name}, {columns})"
        return f"_inner({left.name}, {right.name})"

    def _sum(self, terms: Iterable[EntryTerm], i: str, j: str) -> list[str]:
        """The pieces of a sum of terms of the entry (i, j)."""
        pieces = []
        for term in terms:
            factors = [
                *term.scalars,
                *(f"{vector.name}[{i}]" for vector in term.rows),
                *(f"{vector.name}[{j}]" for vector in term.columns),
                *(
                    f"{operand.matrix.name}[{j}, {i}]"
                    if operand.transposed
                    else f"{operand.matrix.name}[{i}, {j}]"
                    for operand in term.operands
                ),
                *(f"{vector.name}[{i} * (2 * P - {i} - 1) // 2 + {j}]" for vector in term.pairs),
            ]
            pieces.append(signed_term(term.coefficient, tuple(factors)))
        return sum_text(pieces)

    def statements(self) -> Iterator[str]:
        """As that of the base class, but neighbouring vectors of equal length are computed in one loop."""
        for together, group in itertools.groupby(self.program.statements, key=_vector_axis):
            if together is None:
                yield from self.lines_of(group)
                continue
            vectors = [statement for statement in group if isinstance(statement, VectorStatement)]
            yield ""
            yield from (f"# {self._note(statement)}" for statement in vectors if statement.note)
            yield from self._vectors(vectors)

    def _vectors(self, statements: Sequence[VectorStatement]) -> Iterator[str]:
        rows = SIZES[statements[0].target.rows]
        for statement in statements:
            yield f"{statement.target.name} = np.empty({rows})"
        yield f"for i in range({rows}):"
        for statement in statements:
            line = wrapped(f"{statement.target.name}[i]", self._sum(statement.terms, "i", "i"))
            yield indent(line, INDENT)

    def _product_of_entries(self, term: EntryTerm) -> str | None:
        """A term as calls of functions for products of matrices and vectors; None if there are none."""
        if term.coefficient != 1 or term.scalars or term.rows or term.pairs:
            return None
        text, *others = (self._array(operand) for operand in term.operands)
        for other in others:
            text = f"_entry_product({text}, {other})"
        for vector in term.columns:
            text = f"_scaled_columns({text}, {vector.name})"
        return text

    def _entries(self, statement: EntryStatement) -> Iterator[str]:
        target = statement.target
        call = self._product_of_entries(statement.terms[0]) if len(statement.terms) == 1 else None
        if call is not None:
            for operand in statement.terms[0].operands:
                yield from self._transpose(operand)
            yield f"{target.name} = {call}"
            return
        rows, columns = SIZES[target.rows], SIZES[target.columns]
        yield f"{target.name} = np.empty(({rows}, {columns}))"
        yield f"for i in range({rows}):"
        yield f"{INDENT}for j in range({'i, ' if target.symmetric else ''}{columns}):"
        line = wrapped(f"{target.name}[i, j]", self._sum(statement.terms, "i", "j"))
        yield indent(line, INDENT * 2)
        if target.symmetric:
            yield f"_copy_upper({target.name})"

    def _row_sum(self, statement: RowSum) -> Iterator[str]:
        for term in statement.terms:
            for operand in term.operands:
                yield from self._transpose(operand)
        name = statement.target.name
        for k, term in enumerate(statement.terms):
            product = self._product_of_entries(dataclasses.replace(term, columns=term.columns[:-1]))
            if product is None:
                raise NotImplementedError("only sums of products of matrices and of vectors along rows")
            summed = f"_matrix_vector({product}, {term.columns[-1].name})" if term.columns else ""
            summed = summed or f"_row_sums({product})"
            yield f"_add_vector({name}, {summed})" if k else f"{name} = {summed}"

    def _matrix(self, statement: MatrixStatement) -> Iterator[str]:
        target = statement.target
        for term in statement.terms:
            for operand in term.operands:
                yield from self._transpose(operand)
        product = "_add_symmetric_product" if target.symmetric else "_add_product"
        yield f"{target.name} = np.zeros(({SIZES[target.rows]}, {SIZES[target.columns]}))"
        for term in statement.terms:
            sign = "-" if term.sign < 0 else ""
            factor = f"{sign}{term.scalar or '1.0'}"
            names = ", ".join(self._array(operand) for operand in term.operands)
            if len(term.operands) == 2:
                yield f"{product}({target.name}, {factor}, {names})"
            elif term.operands:
                yield f"_add({target.name}, {factor}, {names})"
            else:
                yield f"_add_identity({target.name}, {factor})"
        if target.symmetric and any(len(term.operands) == 2 for term in statement.terms):
            yield f"_copy_upper({target.name})"

    def _array(self, operand: Operand) -> str:
        return f"{operand.matrix.name}_transposed" if operand.transposed else operand.matrix.name

    def _transpose(self, operand: Operand) -> Iterator[str]:
        # The transpose is a copy, so that the inner loops of the helpers run over contiguous memory.
        name = operand.matrix.name
        if operand.transposed and name not in self._transposed:
            self._transposed.add(name)
            yield f"{name}_transposed = _transpose({name})"

    def _projection(self, statement: Projection | ProjectionTangent) -> Iterator[str]:
        name, drift = statement.target.name, statement.drift.name
        sides = range(statement.sides)
        yield f"{name} = np.zeros_like({drift})"
        yield f"_add({name}, 1.0, {drift})"
        yield "for i in range(P):"
        yield f"{INDENT}for j in range({SIZES[statement.target.columns]}):"
        for rates, matrix in statement.removed:
            rate = " + ".join(f"{rates}[{'ij'[side]}]" for side in sides)
            yield f"{INDENT * 2}{name}[i, j] -= ({rate}) * {matrix.name}[i, j]"
        if statement.sides == 2:
            yield f"{INDENT}{name}[i, i] = 0.0"
