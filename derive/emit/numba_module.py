"""Writes a system as a Numba module: one line per entry, or loops over matrices when it is large."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from derive.emit.function_body import FunctionBody
from derive.emit.header import module_docstring
from derive.emit.looped_body import HELPERS, SIZES, LoopedBody
from derive.emit.python_source import COMPILED, INDENT, function_text
from derive.emit.unrolled_body import UnrolledBody
from derive.expansion import operation_count
from derive.model import Model
from derive.overlap_program import LOSS
from derive.parameters import PARAMETERS, RuntimeParameter
from derive.program import Program
from derive.readout import READOUTS

# A function with more operations has loops. Numba's compile time of unrolled code grows faster than
# linearly, and about here it passes that of loops, a second and a half.
UNROLL_BUDGET = 1300


def is_unrolled(program: Program) -> bool:
    """Whether the function of `program` has one line per entry."""
    return operation_count(program) <= UNROLL_BUDGET


def numba_module(model: Model, functions: Mapping[str, Program]) -> str:
    """The source of the Numba module of `model` from the programs of its functions."""
    unrolled = {name: is_unrolled(program) for name, program in functions.items()}
    bodies = {
        name: (UnrolledBody if unrolled[name] else LoopedBody)(model, program)
        for name, program in functions.items()
    }
    sections = [
        module_docstring(model, operation_count(functions["rhs"]), unrolled["rhs"]),
        _constants(model),
        *([] if all(unrolled.values()) else [HELPERS]),
        *(_function(name, body) for name, body in bodies.items()),
        _JACOBIAN,
        _pack(model),
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def _constants(model: Model) -> str:
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
        "# Readout weights: student f = a sum lambda_i^2, teacher y = b sum lambda*_r^2.",
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
    "tangent": ("y, parameters, v, out", "Write the derivative of rhs at y along v into out.", "out"),
}


def _function(name: str, body: FunctionBody) -> str:
    arguments, docstring, target = _FUNCTIONS[name]
    last = body.store(target) if target else [f"return {LOSS}"]
    return function_text(name, arguments, docstring, [*body.load(), *body.statements(), *last])


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
    given = [parameter for parameter in PARAMETERS.values() if parameter.is_packed_for(model)]
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
        f"def pack_parameters({', '.join(parameter.name for parameter in given)}):",
        f'{INDENT}"""The vector of parameters that the functions above take."""',
    ]
    return "\n".join([*lines, *(f"{INDENT}{line}" for line in _packed(given))])


def _packed(given: Sequence[RuntimeParameter]) -> Iterator[str]:
    """Lines that return the vector of these parameters: numbers, and the upper triangles of matrices."""
    matrices = [parameter for parameter in given if parameter.shape]
    upper = {matrix.name: f"upper_{matrix.name}" if len(matrices) > 1 else "upper" for matrix in matrices}
    for matrix in matrices:
        yield f"rows, columns = np.triu_indices({SIZES[matrix.shape[0]]})"
        yield f"{upper[matrix.name]} = np.asarray({matrix.name}, dtype=float)[rows, columns]"
    pieces: list[str] = []
    for of_matrices, group in itertools.groupby(given, key=lambda parameter: bool(parameter.shape)):
        names = [parameter.name for parameter in group]
        if of_matrices:
            pieces += [upper[name] for name in names]
        else:
            pieces.append(f"[{', '.join(f'float({name})' for name in names)}]")
    yield f"return np.concatenate([{', '.join(pieces)}])" if matrices else f"return np.array({pieces[0]})"
