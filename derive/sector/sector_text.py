"""Prints the program of a sector as plain text, for people who follow the derivation."""

from __future__ import annotations

from derive.emit.plain_text import polynomial_text
from derive.sector.sector_program import SectorProgram, numbered


def sector_program_text(program: SectorProgram) -> str:
    """The loops and coefficients, then a line for each statement on a direction k and on q_perp."""
    lines = [f"p* = {program.pstar}, rest = p - p*", f"given: a, b, {', '.join(program.parameters)}, p", ""]
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
