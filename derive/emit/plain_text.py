"""Prints the equations and the program of a model as plain text, for people who follow the derivation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from derive.emit.header import option_lines, problem_text
from derive.emit.printed_program import PrintedProgram
from derive.equations import DECAY, OverlapEquations
from derive.model import Model
from derive.overlap_program import (
    CHAINS_SS,
    CHAINS_ST,
    DQ,
    DR,
    DV,
    FREE_DQ,
    FREE_DR,
    MEAN_SS,
    MEAN_ST,
    NOISE_SS,
    STEPS,
    Z,
    closed_loops,
)
from derive.parameters import NUMBERS, PARAMETERS
from derive.program import (
    Contraction,
    EntryStatement,
    EntryTerm,
    Matrix,
    MatrixStatement,
    NormRates,
    Operand,
    PairProducts,
    Program,
    Projection,
    RowSum,
    ScalarStatement,
    Statement,
    Vector,
    VectorStatement,
)
from derive.scalar_polynomials import Monomial, ScalarPolynomial

_SIZES = {"p": "p", "pstar": "p*"}
# The parts of the drift that are computed entry by entry, and the steps in them.
_DRIFT = {part.name for part in (STEPS, FREE_DQ, FREE_DR, DQ, DR, DV)}


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


_NOTATION = "A' is the transpose of A, and <A, B> is tr(A'B)"
_COVARIANCE = """\
# C is the covariance of (lambda, lambda*) = (Wx, W*x)/sqrt(N), and D has the weights of the units.
# The block of C of students with students is ss, that of students with teachers st."""


def equations_text(equations: OverlapEquations, model: Model) -> str:
    """The drift and the loss without indices, which hold for any widths; `model` has the options."""
    # With a general T the loops are those of any teacher.
    general = dataclasses.replace(model, teacher="general")
    program = PrintedProgram.of(general, equations)
    sphere = model.constraint == "sphere"
    weights = "d, -f), d = a v, f = b v*" if model.weighted else "a, ..., a, -b, ..., -b)"
    drift = _weighted_drift(program) if model.weighted else _equal_drift(equations, program)
    before = f" before rescaling, {FREE_DR.name} and {FREE_DQ.name}" if sphere else ""
    lines = [
        f"{problem_text(model)}, T = W*W*'/N.",
        "",
        option_lines(model),
        *parameter_lines(model),
        "",
        _COVARIANCE,
        f"# {_NOTATION}.",
        f"C = [[Q, R], [R', T]], D = diag({weights}",
        *(f"{loop.note} = {scalar_line(loop).partition(' = ')[2]}" for loop in closed_loops(general)),
        *_blocks(program, model.weighted),
        *(_moments(program) if model.weighted else ()),
        "",
        f"# the drift{before}",
        *drift,
    ]
    if sphere:
        lines += SPHERE_LINES
    loss = f"loss = {polynomial_text(equations.loss)}"
    lines += ["", "# the generalisation error, which leaves out the label noise", loss]
    return "\n".join(lines) + "\n"


SPHERE_LINES = (
    "",
    "# rescaling keeps each norm Q_ii and so removes its growth",
    "g_i = fQ_ii / (2 Q_ii)",
    "dR_ir/dalpha = fR_ir - g_i R_ir",
    "dQ_ij/dalpha = fQ_ij - (g_i + g_j) Q_ij",
)


def parameter_lines(model: Model) -> Iterator[str]:
    """A line for each run-time parameter: its name, and the words about it."""
    given = [parameter for parameter in PARAMETERS.values() if parameter.belongs_to(model)]
    longest = max(len(parameter.name) for parameter in given)
    for parameter in given:
        yield f"{parameter.name:<{longest}} {parameter.words} {parameter.symbol}"


def _blocks(program: PrintedProgram, weighted: bool) -> Iterator[str]:
    """The lines of the blocks of C(DC)^m.

    They follow from C(DC)^m = CD C(DC)^(m-1), where [aQ, -bR] are the student rows of CD.
    """
    Q, R = ("Q diag(d)", "R diag(f)") if weighted else ("a Q", "b R")
    yield f"X = (CDC)_ss = {Q} Q - {R} R'"
    yield f"Y = (CDC)_st = {Q} R - {R} T"
    if any(Z.name in chains for chains in program.chains.values()):
        yield f"Z = (CDCDC)_ss = {Q} X - {R} Y'"


def _moments(program: PrintedProgram) -> Iterator[str]:
    """The lines of the moments that the drift is made of where second-layer weights differ."""
    yield ""
    yield "# the blocks of the moments E[e zz'], z = (lambda, lambda*), and of E[e^2 zz'] / batch"
    names = {
        MEAN_SS.name: "E[e zz']_ss",
        MEAN_ST.name: "E[e zz']_st",
        NOISE_SS.name: "E[e^2 zz']_ss / batch",
    }
    for name, meaning in names.items():
        if name in program.chains:
            yield f"{name} = {meaning} = {_sum_of_chains(program.chains[name])}"


def _sum_of_chains(chains: Mapping[str, ScalarPolynomial]) -> str:
    """Σ polynomial · chain, over what all of them are divided by."""
    for parameter in NUMBERS:
        if parameter.reciprocal and all(parameter.code in value.names for value in chains.values()):
            divided = {name: value.derivative(parameter.code) for name, value in chains.items()}
            return f"({_sum_of_chains(divided)}) / {parameter.name}"
    return sum_of(scaled(value, name) for name, value in chains.items())


def _equal_drift(equations: OverlapEquations, program: PrintedProgram) -> Iterator[str]:
    """The lines of the drift in matrices, where all second-layer weights are 1."""
    for name, value in equations.scalars.items():
        yield f"{name} = {_quotient(value)}"
    for free, target, chains, parts in (
        (FREE_DR, DR, CHAINS_ST, equations.dR),
        (FREE_DQ, DQ, CHAINS_SS, equations.dQ),
    ):
        left = free.name if free.name in program.chains else f"{target.name}/dalpha"
        terms = (scaled(value, chains[length].name) for length, value in sorted(parts.items()))
        yield f"{left} = {sum_of(terms)}"


def _quotient(value: ScalarPolynomial) -> str:
    """A polynomial, with what it is divided by below a line."""
    for parameter in NUMBERS:
        if parameter.reciprocal and parameter.code in value.names:
            return f"{polynomial_text(value.derivative(parameter.code))} / {parameter.name}"
    return polynomial_text(value)


def _weighted_drift(program: PrintedProgram) -> Iterator[str]:
    """The lines of the drift entry by entry, where second-layer weights differ."""
    for statement in program.program.statements:
        name = statement.target if isinstance(statement.target, str) else statement.target.name
        if name == DECAY:
            yield from _statement(statement)
        elif isinstance(statement, (EntryStatement, VectorStatement)) and name in _DRIFT:
            terms = sorted(statement.terms, key=lambda term: DECAY in term.scalars)
            (line,) = _statement(dataclasses.replace(statement, terms=tuple(terms)))
            left, equals, right = line.partition(" = ")
            yield f"{left}{'/dalpha' * name.startswith('d')}{equals}{right}"


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
            i, j = _indices(matrix)
            yield f"{matrix.name}_{i}{j} = {sum_of(_entry_term(term, i, j) for term in entry_terms)}"
        case VectorStatement(vector, entry_terms):
            i, _ = _indices(vector)
            yield f"{vector.name}_{i} = {sum_of(_entry_term(term, i, i) for term in entry_terms)}"
        case RowSum(vector, entry_terms):
            i, _ = _indices(vector)
            sums = (_row_sum(term, i) for term in entry_terms)
            yield f"{vector.name}_{i} = {sum_of((Fraction(1), text) for text in sums)}"
        case PairProducts(matrix, left, right):
            i, m = _indices(matrix)
            yield f"{matrix.name}_{i}{m} = {left.name}_i{m} {right.name}_j{m}"
        case NormRates(target, reciprocal, drift, overlap):
            yield f"{reciprocal}_i = 1 / {overlap.name}_ii"
            yield f"{target}_i = 1/2 {drift.name}_ii {reciprocal}_i"
        case Projection(target, drift, overlap, rates, sides):
            removed = f"{rates}_i" if sides == 1 else f"({rates}_i + {rates}_j)"
            exactly = ", and 0 where i = j" if sides == 2 else ""
            ij = "".join(_indices(target))
            yield f"{target.name}_{ij} = {drift.name}_{ij} - {removed} {overlap.name}_{ij}{exactly}"
        case _:
            raise NotImplementedError(f"no text for {type(statement).__name__}")


def _indices(part: Matrix | Vector) -> tuple[str, str]:
    """The letters of the indices of an entry, i and j of students, r and s of teachers."""
    columns = part.columns if isinstance(part, Matrix) else part.rows
    if part.rows == "pairs":
        return "(ij)", "k" if columns == "p" else "r"
    first = "i" if part.rows == "p" else "r"
    return first, "j" if columns == "p" else "s" if part.rows == "pstar" else "r"


def _row_sum(term: EntryTerm, i: str) -> str:
    """Σ_j of a term, where j runs over the columns of its first operand."""
    operand = term.operands[0]
    inner = operand.matrix.rows if operand.transposed else operand.matrix.columns
    students = "k" if i == "(ij)" else "j"
    j = students if inner == "p" else "s" if i == "r" else "r"
    coefficient, text = _entry_term(term, i, j)
    return f"sum_{j}({sum_of([(coefficient, text)])})"


def _entry_term(term: EntryTerm, i: str, j: str) -> tuple[Fraction, str]:
    """A term of entries with these two indices."""
    factors = [
        *term.scalars,
        *(f"{vector.name}_{i}" for vector in term.rows),
        *(f"{vector.name}_{j}" for vector in term.columns),
        *(
            f"{operand.matrix.name}_{j if operand.transposed else i}{i if operand.transposed else j}"
            for operand in term.operands
        ),
        *(f"{vector.name}_({i}{j})" for vector in term.pairs),
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
        i, j = _indices(left or contraction.rows[0])
        ij = i + j if right is not None else i + i
        entries = [f"{part.name}_{ij}" for part in (left, right) if part is not None]
        vectors = [f"{vector.name}_{i}" for vector in contraction.rows]
        vectors += [f"{vector.name}_{j}" for vector in contraction.columns]
        return f"sum_{ij if right is not None else i}({' '.join([*vectors, *entries])})"
    assert left is not None
    return f"tr({left.name})" if right is None else f"<{left.name}, {right.name}>"


def _operand(operand: Operand | None) -> str:
    """A factor of a product; None stands for the identity."""
    if operand is None:
        return "1"
    return f"{operand.matrix.name}'" if operand.transposed else operand.matrix.name
