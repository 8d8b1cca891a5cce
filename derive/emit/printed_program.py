"""The program of a model as LaTeX prints it: with Z = (CDCDC)ₛₛ, and with most scalars in their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from derive.equations import LOOP_NAMES, STEP, OverlapEquations
from derive.model import Model
from derive.overlap_program import BR, LOSS, V, W, X, Y, Z, overlap_program
from derive.program import (
    EntryStatement,
    EntryTerm,
    MatrixStatement,
    Program,
    ScalarStatement,
    Statement,
    Term,
    VectorStatement,
    sources,
)
from derive.scalar_polynomials import ScalarPolynomial

# The scalars that have lines of their own.
_LINES = (STEP, *LOOP_NAMES.values(), LOSS)


@dataclasses.dataclass(frozen=True)
class PrintedProgram:
    """The statements of a model, with Z in place of the matrices V and W of Horner's rule."""

    program: Program

    @classmethod
    def of(cls, model: Model, equations: OverlapEquations) -> PrintedProgram:
        program = overlap_program(model, equations)
        statements: list[Statement] = []
        horner: tuple[Term, ...] = ()
        for statement in program.statements:
            match statement:
                case MatrixStatement(target, terms) if target.name == V.name:
                    horner = terms
                case MatrixStatement(target) if target.name == W.name:
                    pass
                case MatrixStatement(target, terms) if V.name in sources(statement):
                    # V = first 1 + second aQ, with the aQ that Z has too.
                    first, second = horner
                    blocks = (Term.of(*second.operands, X), Term.of(BR, Y.T, sign=-1))
                    chains = (Term.of(X, scalar=first.scalar), Term.of(Z, scalar=second.scalar))
                    statements.append(MatrixStatement(Z, blocks))
                    statements.append(dataclasses.replace(statement, terms=(terms[0], *chains)))
                case _:
                    statements.append(statement)
        return cls(dataclasses.replace(program, statements=tuple(statements)))

    @cached_property
    def scalars(self) -> dict[str, ScalarPolynomial]:
        """The scalars without a line of their own, in κ, the loops and run-time parameters."""
        known: dict[str, ScalarPolynomial] = {}
        for statement in self.program.statements:
            if isinstance(statement, ScalarStatement) and statement.target not in _LINES:
                known[statement.target] = put_in(statement.polynomial, known)
        return known

    @cached_property
    def chains(self) -> dict[str, dict[str, ScalarPolynomial]]:
        """The matrices that are sums of chains: by name, the coefficients of the chains by their names."""
        return {
            statement.target.name: {
                term.operands[0].matrix.name: self.scalars[term.scalar]
                for term in statement.terms
                if term.scalar
            }
            for statement in self.program.statements
            if isinstance(statement, MatrixStatement)
            and all(term.scalar in self.scalars for term in statement.terms)
        }

    @cached_property
    def entries(self) -> dict[str, tuple[EntryTerm, ...]]:
        """The terms of what is computed entry by entry, by name."""
        return {
            statement.target.name: statement.terms
            for statement in self.program.statements
            if isinstance(statement, (EntryStatement, VectorStatement))
        }


def put_in(value: ScalarPolynomial, known: Mapping[str, ScalarPolynomial]) -> ScalarPolynomial:
    """The polynomial with others in the places of their names."""
    total = ScalarPolynomial()
    for monomial, coefficient in value.terms.items():
        term = ScalarPolynomial.constant(coefficient)
        for name in monomial:
            term = term * known.get(name, ScalarPolynomial.name(name))
        total = total + term
    return total
