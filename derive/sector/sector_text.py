"""Prints the equations and the program of a sector as plain text, for people who follow the derivation."""

from __future__ import annotations

from derive.emit.plain_text import equations_text, polynomial_text
from derive.equations import OverlapEquations
from derive.sector.sector_model import SectorModel
from derive.sector.sector_program import SectorProgram, numbered

# What makes a sector: it contains its states at all times. ASCII only.
INVARIANCE = """\
From Q0 = q0 1 (or any Q0 in the algebra of R0 R0' and 1) the state stays
    Q = sum_k q_k u_k u_k' + q_perp (1 - sum_k u_k u_k'),    R = sum_k m_k u_k v_k'"""


def sector_equations_text(equations: OverlapEquations, model: SectorModel) -> str:
    """The equations of the full system, and the states at which the program is what is left of them."""
    full = equations_text(equations, model.with_widths(1, 1))
    reduced = "with constant singular vectors. The program has the equations of these numbers."
    return f"{full}\n{INVARIANCE}\n{reduced}\n"


def sector_program_text(program: SectorProgram) -> str:
    """The loops and coefficients, then a line for each statement on a direction k and on q_perp."""
    lines = [f"p* = {program.pstar}, rest = p - p*", f"given: a, b, {', '.join(program.parameters)}, p", ""]
    lines += [f"{weight.target} = {polynomial_text(weight.polynomial)}" for weight in program.weights]
    for loop in program.loops:
        inside = polynomial_text(numbered(loop.direction, "k"))
        lines.append(f"{loop.target} = {polynomial_text(loop.complement)} + sum_k ({inside})")
    groups = {
        "": program.coefficients,
        "# in each direction k": program.direction,
        "# outside all directions": program.complement,
        f"# {program.loss.note}": (program.loss,),
    }
    for heading, statements in groups.items():
        lines += [""] + [heading] * bool(heading)
        index = "_k" if statements is program.direction else ""
        for statement in statements:
            value = polynomial_text(numbered(statement.polynomial, "k"))
            lines.append(f"{statement.target}{index} = {value}")
    return "\n".join(lines) + "\n"
