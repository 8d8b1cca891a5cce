"""Writes a system as a Numba module: one line per entry, or loops over matrices when it is large."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from derive.emit.function_body import FunctionBody
from derive.emit.header import module_docstring, student_and_teacher
from derive.emit.looped_body import SIZES, LoopedBody
from derive.emit.looped_helpers import HELPERS
from derive.emit.python_source import COMPILED, INDENT, function_text
from derive.emit.unrolled_body import UnrolledBody
from derive.expansion import operation_count
from derive.model import Model
from derive.parameters import PARAMETERS, RuntimeParameter
from derive.program import Program
from derive.readout import READOUTS

# A function with more operations has loops. Numba's compile time of unrolled code grows faster than
# linearly, and about here it passes that of loops, a second and a half.
UNROLL_BUDGET = 1300
# Programs of other activations have many small matrices, whose loops take as long to compile as this many
# operations in lines, and run several times slower.
POLYNOMIAL_UNROLL_BUDGET = 6000


def is_unrolled(model: Model, name: str, program: Program) -> bool:
    """Whether the function of this name, that of `program`, has one line per entry."""
    # Tangents are for Jacobians alone, and their lines would take much longer to compile than loops.
    longer = not model.quadratic and name != "tangent"
    return operation_count(program) <= (POLYNOMIAL_UNROLL_BUDGET if longer else UNROLL_BUDGET)


def numba_module(model: Model, functions: Mapping[str, Program]) -> str:
    """The source of the Numba module of `model` from the programs of its functions."""
    unrolled = {name: is_unrolled(model, name, program) for name, program in functions.items()}
    bodies = {
        name: (UnrolledBody if unrolled[name] else LoopedBody)(model, program)
        for name, program in functions.items()
    }
    sections = [
        module_docstring(model, operation_count(functions["rhs"]), unrolled["rhs"]),
        module_constants(model),
        *([] if all(unrolled.values()) else [HELPERS]),
        *(generated_function(name, body) for name, body in bodies.items()),
        _JACOBIAN,
        _pack(model),
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def module_constants(model: Model) -> str:
    """The imports, sizes and readout weights with which a module begins."""
    readout = READOUTS[model.readout]
    lines = [
        "import numpy as np",
        "from numba import njit",
        "",
        f"P = {model.p}",
        f"PSTAR = {model.pstar}",
        f"STATE_SIZE = {model.state_size}",
        f"PARAMETERS = {len(model.parameters)}",
        "",
        f"# Readout weights: {student_and_teacher(model)}.",
        f"a = {readout.code(model.p)}",
        f"b = {readout.code(model.pstar)}",
        "",
        *COMPILED,
    ]
    return "\n".join(lines)


# The arguments, the docstring and the vector of results of each generated function.
_FUNCTIONS = {
    "rhs": ("y, parameters, dy", "Write dy/dalpha at the state y into dy.", "dy"),
    "loss": ("y, parameters", "Generalisation error at the state y.", ""),
    "tangent": (
        "y, parameters, direction, out",
        "Write the derivative of rhs at y along a direction into out.",
        "out",
    ),
    "second_tangent": (
        "y, parameters, direction, other, out",
        "Write the second derivative of rhs at y along two directions into out.",
        "out",
    ),
    "loss_tangent": ("y, parameters, direction", "Derivative of the loss at y along a direction.", ""),
    "second_loss_tangent": (
        "y, parameters, direction, other",
        "Second derivative of the loss at y along two directions.",
        "",
    ),
}


def generated_function(name: str, body: FunctionBody) -> str:
    """The text of one of the functions above."""
    arguments, docstring, target = _FUNCTIONS[name]
    last = body.store(target) if target else [f"return {body.program.outputs[0]}"]
    return function_text(name, arguments, docstring, [*body.load(), *body.statements(), *last])


_JACOBIAN = f'''
@_compiled
def jacobian(y, parameters, out):
{INDENT}"""Write d(dy_i/dalpha)/dy_j at the state y into out[i, j], column by column."""
{INDENT}direction = np.zeros(STATE_SIZE)
{INDENT}column = np.empty(STATE_SIZE)
{INDENT}for j in range(STATE_SIZE):
{INDENT * 2}direction[j] = 1.0
{INDENT * 2}tangent(y, parameters, direction, column)
{INDENT * 2}direction[j] = 0.0
{INDENT * 2}for i in range(STATE_SIZE):
{INDENT * 3}out[i, j] = column[i]
'''


def _pack(model: Model) -> str:
    lines = [*_OVERLAPS.splitlines(), "", ""]
    lines += (_PACK_TRAINED if model.trained else _PACK).splitlines()
    given = [parameter for parameter in PARAMETERS.values() if parameter.is_packed_for(model)]
    lines += [
        "",
        "",
        f"def pack_parameters({', '.join(_arguments(given))}):",
        f'{INDENT}"""The vector of parameters that the functions above take."""',
    ]
    return "\n".join([*lines, *(f"{INDENT}{line}" for line in _packed(given))])


_OVERLAPS = "_UPPER = np.triu_indices(P)"
_PACK = f'''\
def pack(Q, R):
{INDENT}"""State y of shape (..., STATE_SIZE) from Q (..., P, P) and R (..., P, PSTAR)."""
{INDENT}Q, R = np.asarray(Q, dtype=float), np.asarray(R, dtype=float)
{INDENT}rows, columns = _UPPER
{INDENT}upper = Q[..., rows, columns]
{INDENT}return np.concatenate([upper, R.reshape(*R.shape[:-2], P * PSTAR)], axis=-1)


def unpack(y):
{INDENT}"""Q (..., P, P), symmetric, and R (..., P, PSTAR) from states y (..., STATE_SIZE)."""
{INDENT}y = np.asarray(y, dtype=float)
{INDENT}rows, columns = _UPPER
{INDENT}Q = np.empty((*y.shape[:-1], P, P))
{INDENT}Q[..., rows, columns] = y[..., : rows.size]
{INDENT}Q[..., columns, rows] = y[..., : rows.size]
{INDENT}R = y[..., rows.size :].reshape(*y.shape[:-1], P, PSTAR).copy()
{INDENT}return Q, R'''
_PACK_TRAINED = f'''\
def pack(Q, R, v):
{INDENT}"""State y (..., STATE_SIZE) from Q (..., P, P), R (..., P, PSTAR) and v (..., P)."""
{INDENT}Q, R, v = (np.asarray(x, dtype=float) for x in (Q, R, v))
{INDENT}rows, columns = _UPPER
{INDENT}upper = Q[..., rows, columns]
{INDENT}return np.concatenate([upper, R.reshape(*R.shape[:-2], P * PSTAR), v], axis=-1)


def unpack(y):
{INDENT}"""Q (..., P, P), symmetric, R (..., P, PSTAR) and v (..., P) from states y (..., STATE_SIZE)."""
{INDENT}y = np.asarray(y, dtype=float)
{INDENT}rows, columns = _UPPER
{INDENT}Q = np.empty((*y.shape[:-1], P, P))
{INDENT}Q[..., rows, columns] = y[..., : rows.size]
{INDENT}Q[..., columns, rows] = y[..., : rows.size]
{INDENT}R = y[..., rows.size : rows.size + P * PSTAR].reshape(*y.shape[:-1], P, PSTAR).copy()
{INDENT}return Q, R, y[..., rows.size + P * PSTAR :].copy()'''


def _arguments(given: Sequence[RuntimeParameter]) -> list[str]:
    """The arguments of pack_parameters, of which the last ones have the defaults of the table."""
    texts: list[str] = []
    optional = True
    for parameter in reversed(given):
        optional = optional and not parameter.shape and parameter.default is not None
        texts.append(f"{parameter.name}={parameter.default!r}" if optional else parameter.name)
    return texts[::-1]


def _packed(given: Sequence[RuntimeParameter]) -> Iterator[str]:
    """Lines that return the vector of these parameters: numbers, vectors, upper triangles of matrices."""
    matrices = [parameter for parameter in given if len(parameter.shape) == 2]
    arrays = any(parameter.shape for parameter in given)
    for matrix in matrices:
        yield f"rows, columns = np.triu_indices({SIZES[matrix.shape[0]]})"
        yield f"upper_{matrix.name} = np.asarray({matrix.name}, dtype=float)[rows, columns]"
    pieces: list[str] = []
    for of_arrays, group in itertools.groupby(given, key=lambda parameter: bool(parameter.shape)):
        if of_arrays:
            pieces += [
                f"upper_{p.name}" if len(p.shape) == 2 else f"np.asarray({p.name}, dtype=float)"
                for p in group
            ]
        else:
            values = (f"1.0 / {p.name}" if p.reciprocal else f"float({p.name})" for p in group)
            pieces.append(f"[{', '.join(values)}]")
    if not arrays:
        yield f"return np.array({pieces[0]})"
        return
    yield "parts = ("
    yield from (f"{INDENT}{piece}," for piece in pieces)
    yield ")"
    yield "return np.concatenate(parts)"
