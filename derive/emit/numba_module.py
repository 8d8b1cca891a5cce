"""Prints a system as a Numba module: one line per entry, or loops over matrices when large."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from textwrap import indent

from derive.emit.header import module_docstring
from derive.lower import LOSS, Q, R, drift_program, loss_program
from derive.model import Model
from derive.program import (
    Assignment,
    Matrix,
    MatrixStatement,
    NormRates,
    NormRatesTangent,
    Operand,
    Program,
    Projection,
    ProjectionTangent,
    ScalarStatement,
    Statement,
    entry,
    expand,
    operation_count,
    sources,
)
from derive.tangent import PREFIX, differentiate

# Above this many operations a function has loops: Numba's compile time of unrolled code grows
# faster than linearly and passes that of loops (a second and a half) about here.
UNROLL_BUDGET = 1300
LINE_WIDTH = 96
INDENT = "    "

_READOUT = {
    "mean": "1.0 / {width}",
    "sum": "1.0",
    "sqrt": "1.0 / {width} ** 0.5",
}


def programs(model: Model) -> dict[str, Program]:
    """The programs of the generated functions rhs, loss and tangent."""
    drift = drift_program(model)
    return {"rhs": drift, "loss": loss_program(model), "tangent": differentiate(drift, (Q, R))}


def is_unrolled(program: Program) -> bool:
    """Whether the function of `program` has one line per entry."""
    return operation_count(program) <= UNROLL_BUDGET


def numba_module(model: Model) -> str:
    """The source of the Numba module of `model`; the same text on any machine."""
    functions = programs(model)
    unrolled = {name: is_unrolled(program) for name, program in functions.items()}
    bodies = {
        name: (_Unrolled if unrolled[name] else _Looped)(model, program)
        for name, program in functions.items()
    }
    sections = [
        module_docstring(model, operation_count(functions["rhs"]), unrolled["rhs"]),
        _constants(model),
        *([] if all(unrolled.values()) else [_HELPERS]),
        _rhs(bodies["rhs"]),
        _loss(bodies["loss"]),
        _tangent(bodies["tangent"]),
        _JACOBIAN,
        _pack(model),
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def _constants(model: Model) -> str:
    lines = [
        "import numpy as np",
        "from numba import njit",
        "",
        f"P = {model.p}",
        f"PSTAR = {model.pstar}",
        f"STATE_SIZE = {model.state_size}",
        f"PARAMETERS = {len(model.parameters)}",
        "",
        "# Readout weights: student f = a sum lambda_i^2, teacher y = b sum lambda*_r^2.",
        f"a = {_READOUT[model.readout].format(width=model.p)}",
        f"b = {_READOUT[model.readout].format(width=model.pstar)}",
        "",
        "# Why contract only: fused multiply-adds are exact enough, but reordering would hide NaN.",
        '_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})',
    ]
    return "\n".join(lines)


def _function(name: str, arguments: str, docstring: str, body: str) -> str:
    return f'@_compiled\ndef {name}({arguments}):\n{INDENT}"""{docstring}"""\n{indent(body, INDENT)}\n'


def _rhs(body: _Body) -> str:
    text = "\n".join([*body.load(), *body.statements(), *body.store("dy")])
    return _function("rhs", "y, parameters, dy", "Write dy/dalpha at the state y into dy.", text)


def _loss(body: _Body) -> str:
    text = "\n".join([*body.load(), *body.statements(), f"return {LOSS}"])
    return _function("loss", "y, parameters", "Generalisation error at the state y.", text)


def _tangent(body: _Body) -> str:
    text = "\n".join([*body.load(), *body.statements(), *body.store("out")])
    docstring = "Write the derivative of rhs at y along the direction v into out."
    return _function("tangent", "y, parameters, v, out", docstring, text)


_JACOBIAN = f'''
@_compiled
def jacobian(y, parameters, out):
{INDENT}"""Write d(dy_i/dalpha)/dy_j at the state y into out[i, j], column by column."""
{INDENT}v = np.zeros(STATE_SIZE)
{INDENT}column = np.empty(STATE_SIZE)
{INDENT}for j in range(STATE_SIZE):
{INDENT * 2}v[j] = 1.0
{INDENT * 2}tangent(y, parameters, v, column)
{INDENT * 2}v[j] = 0.0
{INDENT * 2}for i in range(STATE_SIZE):
{INDENT * 3}out[i, j] = column[i]
'''


def _pack(model: Model) -> str:
    general = model.teacher == "general"
    argument = ", T" if general else ""
    lines = [
        "_UPPER = np.triu_indices(P)",
        "",
        "",
        "def pack(Q, R):",
        f'{INDENT}"""State y of shape (..., STATE_SIZE) from Q (..., P, P) and R (..., P, PSTAR)."""',
        f"{INDENT}Q, R = np.asarray(Q, dtype=float), np.asarray(R, dtype=float)",
        f"{INDENT}rows, columns = _UPPER",
        f"{INDENT}upper = Q[..., rows, columns]",
        f"{INDENT}return np.concatenate([upper, R.reshape(*R.shape[:-2], P * PSTAR)], axis=-1)",
        "",
        "",
        "def unpack(y):",
        f'{INDENT}"""Q (..., P, P), symmetric, and R (..., P, PSTAR) from states y (..., STATE_SIZE)."""',
        f"{INDENT}y = np.asarray(y, dtype=float)",
        f"{INDENT}rows, columns = _UPPER",
        f"{INDENT}Q = np.empty((*y.shape[:-1], P, P))",
        f"{INDENT}Q[..., rows, columns] = y[..., : rows.size]",
        f"{INDENT}Q[..., columns, rows] = y[..., : rows.size]",
        f"{INDENT}R = y[..., rows.size :].reshape(*y.shape[:-1], P, PSTAR).copy()",
        f"{INDENT}return Q, R",
        "",
        "",
        f"def pack_parameters(eta, label_noise{argument}):",
        f'{INDENT}"""The vector of parameters that the functions above take."""',
    ]
    if general:
        lines += [
            f"{INDENT}rows, columns = np.triu_indices(PSTAR)",
            f"{INDENT}upper = np.asarray(T, dtype=float)[rows, columns]",
            f"{INDENT}return np.concatenate([[float(eta), float(label_noise)], upper])",
        ]
    else:
        lines.append(f"{INDENT}return np.array([float(eta), float(label_noise)])")
    return "\n".join(lines)


class _Body:
    """Prints the body of one function; subclasses choose scalars or arrays."""

    def __init__(self, model: Model, program: Program) -> None:
        self.model = model
        self.program = program
        self._names = self._used_names()

    def _used_names(self) -> set[str]:
        used: set[str] = set()
        for statement in self.program.statements:
            used |= sources(statement)
        return used

    def load(self) -> Iterator[str]:
        """Lines that read the state, the direction and the parameters."""
        for k, name in enumerate(("eta", "label_noise")):
            if name in self._names:
                yield f"{name} = parameters[{k}]"
        offsets = {"Q": 0, "R": self.model.p * (self.model.p + 1) // 2, "T": 2}
        for matrix in self.program.inputs:
            if matrix.name in self._names:
                base = matrix.name.removeprefix(PREFIX)
                source = "parameters" if base == "T" else "v" if base != matrix.name else "y"
                yield from self.read(matrix, source, offsets[base])

    def statements(self) -> Iterator[str]:
        for statement in self.program.statements:
            if statement.note:
                yield ""
                yield f"# {self._note(statement)}"
            yield from self.statement(statement)

    def _note(self, statement: Statement) -> str:
        target = statement.target
        name = target if isinstance(target, str) else target.name
        return f"change of {statement.note}" if name.startswith(PREFIX) else statement.note

    def store(self, target: str) -> Iterator[str]:
        """Lines that write the output matrices into the vector `target`."""
        yield ""
        offset = 0
        for output in self.program.outputs:
            assert isinstance(output, Matrix)
            yield from self.write(output, target, offset)
            offset += sum(1 for _ in self.program.entries(output))

    def read(self, matrix: Matrix, source: str, offset: int) -> Iterator[str]:
        raise NotImplementedError

    def write(self, matrix: Matrix, target: str, offset: int) -> Iterator[str]:
        raise NotImplementedError

    def statement(self, statement: Statement) -> Iterator[str]:
        raise NotImplementedError


# --- one line per entry ------------------------------------------------------------------


class _Unrolled(_Body):
    """Every entry of every matrix is a local scalar."""

    def read(self, matrix: Matrix, source: str, offset: int) -> Iterator[str]:
        for k, (i, j) in enumerate(self.program.entries(matrix), start=offset):
            yield f"{entry(matrix, i, j)} = {source}[{k}]"

    def write(self, matrix: Matrix, target: str, offset: int) -> Iterator[str]:
        for k, (i, j) in enumerate(self.program.entries(matrix), start=offset):
            yield f"{target}[{k}] = {entry(matrix, i, j)}"

    def statement(self, statement: Statement) -> Iterator[str]:
        for assignment in expand(self.program, statement):
            yield assignment_line(assignment)


def number_text(value: Fraction) -> str:
    """A rational as a float literal that is exact, or as an exact quotient."""
    if Fraction(float(value)) == value:
        return repr(float(value))
    return f"({value.numerator}.0 / {value.denominator}.0)"


def _signed_term(coefficient: Fraction, factors: tuple[str, ...]) -> tuple[str, str]:
    size = abs(coefficient)
    parts = [number_text(size)] if size != 1 or not factors else []
    return ("-" if coefficient < 0 else "+"), " * ".join([*parts, *factors])


def sum_text(terms: list[tuple[str, str]]) -> list[str]:
    """Signed terms as pieces "x", "+ y", "- z"; an empty sum is 0.0."""
    if not terms:
        return ["0.0"]
    first_sign, first = terms[0]
    pieces = [first if first_sign == "+" else f"-{first}"]
    return pieces + [f"{sign} {text}" for sign, text in terms[1:]]


def assignment_line(assignment: Assignment) -> str:
    """One assignment as Python, wrapped in parentheses where it is long."""
    if assignment.reciprocal:
        return f"{assignment.target} = 1.0 / {assignment.terms[0][1][0]}"
    return _wrapped(assignment.target, sum_text([_signed_term(*term) for term in assignment.terms]))


def _wrapped(target: str, pieces: list[str]) -> str:
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


# --- loops -------------------------------------------------------------------------------

_HELPERS = """
# Sums of matrix products, the pieces of the functions below. Inner loops run over contiguous
# memory; of a symmetric result the upper triangle is computed and copied.


@_compiled
def _trace(matrix):
    total = 0.0
    for i in range(matrix.shape[0]):
        total += matrix[i, i]
    return total


@_compiled
def _inner(left, right):
    total = 0.0
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            total += left[i, j] * right[i, j]
    return total


@_compiled
def _add(out, factor, matrix):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += factor * matrix[i, j]


@_compiled
def _add_identity(out, factor):
    for i in range(out.shape[0]):
        out[i, i] += factor


@_compiled
def _add_product(out, sign, left, right):
    for i in range(out.shape[0]):
        for k in range(left.shape[1]):
            x = sign * left[i, k]
            for j in range(out.shape[1]):
                out[i, j] += x * right[k, j]


@_compiled
def _add_symmetric_product(out, sign, left, right):
    for i in range(out.shape[0]):
        for k in range(left.shape[1]):
            x = sign * left[i, k]
            for j in range(i, out.shape[1]):
                out[i, j] += x * right[k, j]


@_compiled
def _copy_upper(matrix):
    for i in range(matrix.shape[0]):
        for j in range(i):
            matrix[i, j] = matrix[j, i]


@_compiled
def _read_symmetric(source, offset, size):
    matrix = np.empty((size, size))
    k = offset
    for i in range(size):
        for j in range(i, size):
            matrix[i, j] = source[k]
            matrix[j, i] = source[k]
            k += 1
    return matrix


@_compiled
def _read(source, offset, rows, columns):
    matrix = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            matrix[i, j] = source[offset + i * columns + j]
    return matrix


@_compiled
def _write_symmetric(target, offset, matrix):
    k = offset
    for i in range(matrix.shape[0]):
        for j in range(i, matrix.shape[1]):
            target[k] = matrix[i, j]
            k += 1


@_compiled
def _write(target, offset, matrix):
    columns = matrix.shape[1]
    for i in range(matrix.shape[0]):
        for j in range(columns):
            target[offset + i * columns + j] = matrix[i, j]


@_compiled
def _transpose(matrix):
    transposed = np.empty((matrix.shape[1], matrix.shape[0]))
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            transposed[j, i] = matrix[i, j]
    return transposed
"""

_SIZES = {"p": "P", "pstar": "PSTAR"}


class _Looped(_Body):
    """Every matrix is an array; sums of products are calls of the helpers above."""

    def __init__(self, model: Model, program: Program) -> None:
        super().__init__(model, program)
        self._transposed: set[str] = set()

    def read(self, matrix: Matrix, source: str, offset: int) -> Iterator[str]:
        rows, columns = _SIZES[matrix.rows], _SIZES[matrix.columns]
        if matrix.symmetric:
            yield f"{matrix.name} = _read_symmetric({source}, {offset}, {rows})"
        else:
            yield f"{matrix.name} = _read({source}, {offset}, {rows}, {columns})"

    def write(self, matrix: Matrix, target: str, offset: int) -> Iterator[str]:
        function = "_write_symmetric" if matrix.symmetric else "_write"
        yield f"{function}({target}, {offset}, {matrix.name})"

    def statement(self, statement: Statement) -> Iterator[str]:
        match statement:
            case ScalarStatement():
                yield from self._scalar(statement)
            case MatrixStatement():
                yield from self._matrix(statement)
            case NormRates(target, reciprocal, drift, overlap):
                yield f"{reciprocal} = np.empty(P)"
                yield f"{target} = np.empty(P)"
                yield "for i in range(P):"
                yield f"{INDENT}{reciprocal}[i] = 1.0 / {overlap.name}[i, i]"
                yield f"{INDENT}{target}[i] = 0.5 * {drift.name}[i, i] * {reciprocal}[i]"
            case NormRatesTangent(target, rates, reciprocal, drift, overlap):
                yield f"{target} = np.empty(P)"
                yield "for i in range(P):"
                change = f"0.5 * {drift.name}[i, i] - {rates}[i] * {overlap.name}[i, i]"
                yield f"{INDENT}{target}[i] = ({change}) * {reciprocal}[i]"
            case Projection() | ProjectionTangent():
                yield from self._projection(statement)

    def _scalar(self, statement: ScalarStatement) -> Iterator[str]:
        terms: list[tuple[str, str]] = []
        for contraction in statement.contractions:
            left, right = contraction.left, contraction.right
            call = f"_inner({left.name}, {right.name})" if right else f"_trace({left.name})"
            terms += [
                _signed_term(value, (*monomial, call))
                for monomial, value in contraction.coefficient.sorted_terms()
            ]
        terms += [_signed_term(value, m) for m, value in statement.polynomial.sorted_terms()]
        yield _wrapped(statement.target, sum_text(terms))

    def _matrix(self, statement: MatrixStatement) -> Iterator[str]:
        target = statement.target
        for term in statement.terms:
            for operand in term.operands:
                yield from self._transpose(operand)
        product = "_add_symmetric_product" if target.symmetric else "_add_product"
        yield f"{target.name} = np.zeros(({_SIZES[target.rows]}, {_SIZES[target.columns]}))"
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
        # Why a copy: the helpers' inner loops then run over contiguous memory.
        name = operand.matrix.name
        if operand.transposed and name not in self._transposed:
            self._transposed.add(name)
            yield f"{name}_transposed = _transpose({name})"

    def _projection(self, statement: Projection | ProjectionTangent) -> Iterator[str]:
        name, drift, overlap = statement.target.name, statement.drift.name, statement.overlap.name
        sides = range(statement.sides)
        removed = [(statement.rates, overlap)]
        if isinstance(statement, ProjectionTangent):
            removed = [
                (statement.rates_tangent, overlap),
                (statement.rates, statement.overlap_tangent.name),
            ]
        yield f"{name} = np.zeros_like({drift})"
        yield f"_add({name}, 1.0, {drift})"
        yield "for i in range(P):"
        yield f"{INDENT}for j in range({_SIZES[statement.target.columns]}):"
        for rates, of in removed:
            rate = " + ".join(f"{rates}[{'ij'[side]}]" for side in sides)
            yield f"{INDENT * 2}{name}[i, j] -= ({rate}) * {of}[i, j]"
        if statement.sides == 2:
            yield f"{INDENT}{name}[i, i] = 0.0"
