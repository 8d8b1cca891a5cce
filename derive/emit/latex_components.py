"""Prints the equations entry by entry as LaTeX: ODEs, loss and Jacobian of given widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial

from derive.emit.latex_text import (
    ReadoutSums,
    align,
    combination,
    derivative,
    polynomial,
    symbol,
)
from derive.equations import STEP, OverlapEquations
from derive.errors import InputError
from derive.expansion import Assignment, expand
from derive.model import Model
from derive.overlap_program import (
    CHAINS_SS,
    CHAINS_ST,
    DQ,
    DR,
    FREE_DQ,
    FREE_DR,
    Q,
    R,
    T,
    X,
    Y,
    Z,
    closed_loops,
)
from derive.program import MatrixStatement, Program, Projection, ScalarStatement, Statement, Term
from derive.scalar_polynomials import ScalarPolynomial

# The components of more order parameters would fill tens of pages, so the document leaves them out. The
# Jacobian, with the square of this many derivatives, is not written out at all.
COMPONENT_LIMIT = 200


def _display_program(model: Model, equations: OverlapEquations) -> Program:
    """The statements of s, t, X, Y and Z as they are printed, with the readouts as factors of products."""
    a, minus_b = partial(Term.of, scalar="a"), partial(Term.of, sign=-1, scalar="b")
    general = model.teacher == "general"
    statements: list[Statement] = [
        *closed_loops(model),
        MatrixStatement(X, (a(Q, Q), minus_b(R, R.T))),
        MatrixStatement(Y, (a(Q, R), minus_b(R, T) if general else minus_b(R))),
    ]
    if 2 in equations.dQ:
        statements.append(MatrixStatement(Z, (a(Q, X), minus_b(R, Y.T))))
    inputs = (Q, R, T) if general else (Q, R)
    return Program(model.p, model.pstar, inputs, ("a", "b"), tuple(statements), ())


def _flat_assignments(program: Program) -> list[Assignment]:
    """All assignments; the auxiliary sums of s and t are put back in place."""
    flat: list[Assignment] = []
    for statement in program.statements:
        assignments = list(expand(program, statement))
        if isinstance(statement, ScalarStatement):
            *parts, last = assignments
            inner = {part.target: part.terms for part in parts}
            terms: list[tuple[Fraction, tuple[str, ...]]] = []
            for coefficient, factors in last.terms:
                sums = [f for f in factors if f in inner]
                rest = tuple(f for f in factors if f not in inner)
                if sums:
                    terms += [(coefficient * c, (*rest, *f)) for c, f in inner[sums[0]]]
                else:
                    terms.append((coefficient, rest))
            flat.append(Assignment(last.target, tuple(terms)))
        else:
            flat += assignments
    return flat


def _entry_drifts(
    model: Model, equations: OverlapEquations
) -> list[tuple[str, dict[str, ScalarPolynomial]]]:
    """Each entry of the free drift by its order parameter: the coefficients of the entries of chains."""
    drifts = []
    for name in model.state:
        kind, i, j = name.split("_")
        chains, parts = (CHAINS_SS, equations.dQ) if kind == "Q" else (CHAINS_ST, equations.dR)
        entries = {f"{chains[m].name}_{i}_{j}": value for m, value in sorted(parts.items())}
        drifts.append((name, entries))
    return drifts


def _drift_symbol(model: Model, name: str) -> str:
    """The left side of an entry of the free drift: a derivative, or an entry of F or G on the sphere."""
    if model.constraint == "free":
        return derivative(symbol(name))
    return symbol(f"f{name}")


def _sphere_assignments(model: Model) -> list[Assignment]:
    """The drift on the sphere, from the free drift and the growth g of norms."""
    program = Program(model.p, model.pstar, (Q, R), (), (), ())
    statements = (Projection(DQ, FREE_DQ, Q, "g", 2), Projection(DR, FREE_DR, R, "g", 1))
    return [assignment for statement in statements for assignment in expand(program, statement)]


def component_form(model: Model, equations: OverlapEquations, what: str) -> str:
    """LaTeX of every component of the ``"odes"``, ``"loss"`` or ``"jacobian"`` of `model`.

    Raises InputError for the jacobian of more than COMPONENT_LIMIT order parameters.
    """
    if what == "jacobian" and model.state_size > COMPONENT_LIMIT:
        raise InputError(
            "form",
            f"components of the jacobian for {model.state_size} order parameters are more than"
            f" {COMPONENT_LIMIT}², the most that are written out; use the matrix form",
        )
    program = _display_program(model, equations)
    components = ReadoutSums(model)
    assignments = _flat_assignments(program)
    if what == "loss":
        lines = [(symbol(x.target), components.sum(x.terms, {})) for x in assignments[:2]]
        return align([*lines, (r"\varepsilon", polynomial(equations.loss))])
    if what == "jacobian":
        # The derivatives refer to everything that the equations define.
        definitions = component_form(model, equations, "odes")
        return definitions + _component_jacobian(model, equations, components, assignments)
    definition = [(value, monomial) for monomial, value in equations.step.sorted_terms()]
    step = (symbol(STEP), components.sum(definition, {}))
    lines = [(symbol(x.target), components.sum(x.terms, {})) for x in assignments]
    text = align([step, *lines[:2]]) + align(lines[2:])
    drift = [
        (
            _drift_symbol(model, name),
            combination({symbol(entry): value for entry, value in parts.items()}),
        )
        for name, parts in _entry_drifts(model, equations)
    ]
    text += align(drift)
    if model.constraint == "sphere":
        rates = [
            (symbol(f"g_{i}"), rf"\frac{{{symbol(f'fQ_{i}_{i}')}}}{{2{symbol(f'Q_{i}_{i}')}}}")
            for i in range(1, model.p + 1)
        ]
        sphere = [
            (derivative(symbol(x.target[1:])), components.sum(x.terms, {}))
            for x in _sphere_assignments(model)
        ]
        text += align(rates) + align(sphere)
    return text


def _component_jacobian(
    model: Model, equations: OverlapEquations, components: ReadoutSums, assignments: list[Assignment]
) -> str:
    """For each order parameter x, the derivatives ∂ₓ that do not vanish, intermediate ones first."""
    sections: list[str] = []
    for variable in model.state:
        tangents = {variable: ""}
        lines: list[tuple[str, str]] = []
        for assignment in assignments:
            terms, rename = _differentiate(assignment.terms, tangents)
            if terms:
                tangents[assignment.target] = rf"\partial {symbol(assignment.target)}"
                lines.append((tangents[assignment.target], components.sum(terms, rename)))
        for name, parts in _entry_drifts(model, equations):
            terms, rename = [], {}
            for entry, value in parts.items():
                product = [(c, (*m, entry)) for m, c in value.sorted_terms()]
                more, names = _differentiate(product, tangents)
                terms += more
                rename |= names
            if terms:
                left = _drift_symbol(model, name)
                tangents[f"f{name}"] = rf"\partial {symbol(f'f{name}')}"
                lines.append((rf"\partial {left}", components.sum(terms, rename)))
        if model.constraint == "sphere":
            lines += _sphere_tangents(model, components, tangents)
        sections.append(
            rf"\paragraph{{$\partial = \partial/\partial {symbol(variable)}$:}}" + "\n" + align(lines)
        )
    return "".join(sections)


def _differentiate(
    terms: Iterable[tuple[Fraction, tuple[str, ...]]], tangents: Mapping[str, str]
) -> tuple[list[tuple[Fraction, tuple[str, ...]]], dict[str, str]]:
    """The terms of the derivative of a sum of products, and the LaTeX of the tangents in them.

    The tangent "" is that of the variable itself, which is 1.
    """
    collected: dict[tuple[str, ...], Fraction] = {}
    rename: dict[str, str] = {}
    for coefficient, factors in terms:
        for k, factor in enumerate(factors):
            if factor not in tangents:
                continue
            changed: tuple[str, ...] = ()
            if tangents[factor]:
                rename[f"partial {factor}"] = r"\," + tangents[factor]
                changed = (f"partial {factor}",)
            product = (*factors[:k], *factors[k + 1 :], *changed)
            collected[product] = collected.get(product, Fraction(0)) + coefficient
    return [(value, product) for product, value in collected.items() if value], rename


def _sphere_tangents(
    model: Model, components: ReadoutSums, tangents: dict[str, str]
) -> list[tuple[str, str]]:
    """The derivatives of the growth of norms and of the drift on the sphere."""
    lines: list[tuple[str, str]] = []
    for i in range(1, model.p + 1):
        norm = f"Q_{i}_{i}"
        terms: list[str] = []
        if f"fQ_{i}_{i}" in tangents:
            terms.append(tangents[f"fQ_{i}_{i}"])
        if norm in tangents:
            terms.append(f"- 2{symbol(f'g_{i}')}")
        if terms:
            tangents[f"g_{i}"] = rf"\partial {symbol(f'g_{i}')}"
            lines.append((tangents[f"g_{i}"], rf"\frac{{{' '.join(terms)}}}{{2{symbol(norm)}}}"))
    for assignment in _sphere_assignments(model):
        terms_, rename = _differentiate(assignment.terms, tangents)
        if terms_:
            left = rf"\partial {derivative(symbol(assignment.target[1:]))}"
            lines.append((left, components.sum(terms_, rename)))
    return lines
