"""Writes the sector's equations as a Numba module with loops over directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent

from derive.emit.header import derive_command, option_lines, paragraph, parameter_paragraph, problem_text
from derive.emit.python_source import COMPILED, INDENT, assignment_line, function_text
from derive.equations import READOUT_STUDENT
from derive.expansion import Assignment
from derive.overlap_program import LOSS
from derive.parameters import PARAMETERS
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial
from derive.sector.sector_model import SectorModel
from derive.sector.sector_program import (
    D_NORM,
    D_OVERLAP,
    D_PERP,
    NORM,
    OVERLAP,
    PERP,
    REST,
    Loop,
    SectorProgram,
)
from derive.sector.sector_text import INVARIANCE
from derive.version import written_by

_LISTED_DIRECTIONS = 8
_MULTIPLIED = frozenset({NORM, OVERLAP, PERP, REST})


def sector_module(model: SectorModel, program: SectorProgram, operations: int) -> str:
    """The source of the Numba module of the sector; its function rhs takes so many operations."""
    sections = [
        _docstring(model, operations),
        _constants(model),
        _rhs(model, program),
        _loss(model, program),
        _pack(model),
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def _docstring(model: SectorModel, operations: int) -> str:
    if model.pstar <= _LISTED_DIRECTIONS:
        names = model.state
    else:
        names = ("q_1", "...", f"q_{model.pstar}", "m_1", "...", f"m_{model.pstar}", "q_perp")
    pstar = model.pstar
    layout = (
        f"state[0:{pstar}] are the norms q_k, state[{pstar}:{2 * pstar}] the overlaps m_k, "
        f"state[{2 * pstar}] is q_perp. In order: {', '.join(names)}."
    )
    return f'''"""Invariant sector of the overlap ODEs of a quadratic teacher-student network, p* = {pstar}.

{problem_text(model)}, teacher T = 1.
{INVARIANCE}
with constant singular vectors u_k, v_k, for any number p of students; if p < p*, the
directions without a student have q_k = m_k = 0, and q_perp = 0.
After arXiv:2604.03068; readable equations are in odes.tex beside this file.

{option_lines(model)}

State, {model.state_size} numbers:
{paragraph(layout)}
Parameters, {len(model.parameters)} numbers:
{parameter_paragraph(model)}

The function rhs takes {operations} floating-point operations for any p.
{written_by()}, regenerate with
    {derive_command(model)}
"""'''


def _constants(model: SectorModel) -> str:
    lines = [
        "import numpy as np",
        "from numba import njit",
        "",
        f"PSTAR = {model.pstar}",
        "STATE_SIZE = 2 * PSTAR + 1",
        f"PARAMETERS = {len(model.parameters)}",
        "",
        "# Readout weight of the teacher, y = b sum lambda*_r^2; that of the students depends on p.",
        f"b = {READOUTS[model.readout].code(model.pstar)}",
        "",
        *COMPILED,
    ]
    return "\n".join(lines)


def _factor_order(name: str) -> tuple[bool, str]:
    return name in _MULTIPLIED, name


def _line(target: str, polynomial: ScalarPolynomial, plus: bool = False) -> str:
    # Positive terms come first, and in each term the coefficients before the numbers they multiply.
    ordered = sorted(polynomial.sorted_terms(), key=lambda term: term[1] < 0)
    terms = tuple((value, tuple(sorted(monomial, key=_factor_order))) for monomial, value in ordered)
    line = assignment_line(Assignment(target, terms))
    return line.replace(" = ", " += ", 1) if plus else line


def _load(model: SectorModel, program: SectorProgram, used: set[str]) -> Iterator[str]:
    """Lines that read p, the parameters in `used`, second-layer weights and q_perp."""
    used = used | {name for statement in program.weights for name in statement.polynomial.names}
    yield "p = parameters[0]"
    for position, name in enumerate(model.parameters[1:], start=1):
        if name in used:
            yield f"{name} = parameters[{position}]"
    yield f"{READOUT_STUDENT} = {READOUTS[model.readout].code('p')}"
    for statement in program.weights:
        yield _line(statement.target, statement.polynomial)
    yield f"{REST} = p - PSTAR"
    yield f"{PERP} = state[2 * PSTAR]"


def _each_direction(both: bool) -> Iterator[str]:
    """The head of a loop over directions; it reads q_k, and m_k if `both`."""
    yield "for k in range(PSTAR):"
    yield f"{INDENT}{NORM} = state[k]"
    if both:
        yield f"{INDENT}{OVERLAP} = state[PSTAR + k]"


def _loops(loops: Iterable[Loop], both: bool) -> Iterator[str]:
    loops = tuple(loops)
    yield ""
    yield f"# {', '.join(loop.note for loop in loops)}: students without a direction, then the directions"
    for loop in loops:
        yield _line(loop.target, loop.complement)
    yield from _each_direction(both)
    for loop in loops:
        yield indent(_line(loop.target, loop.direction, plus=True), INDENT)


def _rhs(model: SectorModel, program: SectorProgram) -> str:
    used = {name for statement in program.coefficients for name in statement.polynomial.names}
    loops = [loop for loop in program.loops if loop.target in used]
    both = any(OVERLAP in loop.direction.names for loop in loops)
    terms = ["c0 Q", "c1 (CDC)", "c2 (CDCDC)"]
    chains = sum(statement.target.startswith("c") for statement in program.coefficients)
    note = f"# dR = r0 R + r1 (CDC), dQ = {' + '.join(terms[:chains])}"
    body = [*_load(model, program, used), *_loops(loops, both), "", note]
    body += [_line(statement.target, statement.polynomial) for statement in program.coefficients]
    body += ["", *_each_direction(both=True)]
    for statement in program.direction:
        target = {D_NORM: "drift[k]", D_OVERLAP: "drift[PSTAR + k]"}.get(statement.target, statement.target)
        body.append(indent(_line(target, statement.polynomial), INDENT))
    body.append("")
    for statement in program.complement:
        target = "drift[2 * PSTAR]" if statement.target == D_PERP else statement.target
        body.append(_line(target, statement.polynomial))
    return function_text("rhs", "state, parameters, drift", "Write d state / d alpha into drift.", body)


def _loss(model: SectorModel, program: SectorProgram) -> str:
    body = [*_load(model, program, set()), *_loops(program.loops, both=True), "", f"# {program.loss.note}"]
    body += [_line(LOSS, program.loss.polynomial), f"return {LOSS}"]
    return function_text("loss", "state, parameters", "Generalisation error.", body)


def _pack(model: SectorModel) -> str:
    given = [parameter for parameter in PARAMETERS.values() if parameter.is_packed_for(model)]
    arguments = ", ".join(["p", *(parameter.name for parameter in given)])
    forms = ("1.0 / {}" if parameter.reciprocal else "float({})" for parameter in given)
    values = (form.format(parameter.name) for form, parameter in zip(forms, given, strict=True))
    lines = "".join(f"{INDENT * 3}{value},\n" for value in ("float(p)", *values))
    return f'''
def pack(q, m, q_perp):
{INDENT}"""States (..., STATE_SIZE) from q and m (..., PSTAR) and q_perp (...)."""
{INDENT}q, m, q_perp = (np.asarray(x, dtype=float) for x in (q, m, q_perp))
{INDENT}return np.concatenate([q, m, q_perp[..., None]], axis=-1)


def unpack(state):
{INDENT}"""q and m (..., PSTAR) and q_perp (...) from states (..., STATE_SIZE)."""
{INDENT}state = np.asarray(state, dtype=float)
{INDENT}q, m, q_perp = state[..., :PSTAR], state[..., PSTAR : 2 * PSTAR], state[..., 2 * PSTAR]
{INDENT}return q.copy(), m.copy(), q_perp.copy()


def pack_parameters({arguments}):
{INDENT}"""The vector of parameters that the functions above take."""
{INDENT}return np.array(
{INDENT * 2}[
{lines}{INDENT * 2}]
{INDENT})
'''
