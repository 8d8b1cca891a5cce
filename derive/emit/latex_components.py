"""Prints the equations entry by entry as LaTeX: ODEs, loss and Jacobian of given widths."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction

from derive.emit.latex_lines import align
from derive.emit.latex_text import (
    PARTIAL,
    ReadoutSums,
    combination,
    derivative,
    polynomial,
    symbol,
)
from derive.emit.printed_program import PrintedProgram
from derive.equations import (
    LOOP_NAMES,
    READOUT_STUDENT,
    READOUT_TEACHER,
    STEP,
    WEIGHT_DECAY,
    OverlapEquations,
)
from derive.errors import InputError
from derive.expansion import Factors, expand
from derive.model import Model
from derive.overlap_program import (
    DQ,
    DR,
    DV,
    FREE_DQ,
    FREE_DR,
    MEAN_SS,
    NOISE_SS,
    X,
    Y,
    Z,
)
from derive.program import NormRates, Program, ScalarStatement, targets
from derive.scalar_polynomials import ScalarPolynomial

# The components of more order parameters would fill tens of pages, so the document leaves them out. The
# Jacobian, with the square of this many derivatives, is not written out at all.
COMPONENT_LIMIT = 200
# What has a line of its own.
_LOOPS = tuple(LOOP_NAMES.values())
_BLOCKS = tuple(block.name for block in (X, Y, Z, MEAN_SS, NOISE_SS))
_DRIFT = tuple(part.name for part in (FREE_DQ, FREE_DR, DQ, DR, DV))
_PRINTED = {STEP, *_LOOPS, *_BLOCKS, *_DRIFT}

_Terms = tuple[tuple[Fraction, Factors], ...]


def _put_in(terms: _Terms, inner: Mapping[str, _Terms]) -> _Terms:
    """The terms with sums in the places of the names in `inner`, multiplied out and collected."""
    collected: dict[Factors, Fraction] = {}
    for coefficient, factors in terms:
        if inner.keys().isdisjoint(factors):
            collected[factors] = collected.get(factors, Fraction(0)) + coefficient
            continue
        products: list[tuple[Fraction, Factors]] = [(coefficient, ())]
        for factor in factors:
            if factor in inner:
                products = [(c * d, (*left, *right)) for c, left in products for d, right in inner[factor]]
            else:
                products = [(c, (*left, factor)) for c, left in products]
        for value, names in products:
            collected[names] = collected.get(names, Fraction(0)) + value
    return tuple((value, names) for names, value in collected.items())


def _lines(program: Program) -> dict[str, _Terms]:
    """The right side of each line by its left side; names without a line are put in their places."""
    lines: dict[str, _Terms] = {}
    inner: dict[str, _Terms] = {}
    for statement in program.statements:
        # The growth of norms is a quotient, and is printed as one.
        if isinstance(statement, NormRates):
            continue
        (name,) = targets(statement)
        for assignment in expand(program, statement):
            terms = _put_in(assignment.terms, inner)
            # A statement on scalars begins with its sums over entries, which have names like s_1.
            part = isinstance(statement, ScalarStatement) and assignment.target != name
            (lines if name in _PRINTED and not part else inner)[assignment.target] = terms
    return lines


def _left(target: str) -> str:
    """The left side of a line: a symbol, or the derivative of an order parameter."""
    return derivative(symbol(target[1:])) if target.startswith("d") else symbol(target)


def _right(components: ReadoutSums, terms: _Terms) -> str:
    """The right side of an entry: a sum over entries of blocks, with brackets where these have factors."""
    parts: dict[str, dict[Factors, Fraction | int]] = {}
    for coefficient, factors in terms:
        if {READOUT_STUDENT, READOUT_TEACHER} & set(factors):
            return components.sum(terms)
        (entry,) = (name for name in factors if name.count("_") == 2)
        monomial = tuple(sorted(name for name in factors if name != entry))
        parts.setdefault(symbol(entry), {})[monomial] = coefficient
    return combination({text: ScalarPolynomial(value) for text, value in parts.items()})


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
    components = ReadoutSums(model)
    lines = _lines(PrintedProgram.of(model, equations).program)
    loops = [(_left(name), components.sum(lines[name])) for name in _LOOPS]
    if what == "loss":
        return align([*loops, (r"\varepsilon", polynomial(equations.loss))])
    # The derivatives of the Jacobian refer to everything that the equations define.
    text = _component_odes(model, components, lines, loops)
    return text + _component_jacobian(model, components, lines) if what == "jacobian" else text


def _drift(model: Model, lines: Mapping[str, _Terms]) -> tuple[list[str], list[str]]:
    """The targets of the drift of the state in its order: before the sphere's projection, and of it."""
    free = [f"f{name}" if f"f{name}" in lines else f"d{name}" for name in model.state]
    projected = [f"d{name[1:]}" for name in free if name.startswith("f")]
    return free, projected


def _component_odes(
    model: Model, components: ReadoutSums, lines: Mapping[str, _Terms], loops: list[tuple[str, str]]
) -> str:
    """The definitions and the drift, each group of lines in an environment of its own."""
    free, projected = _drift(model, lines)
    steps = [name for name in lines if name.partition("_")[0] == STEP]
    blocks = sorted(
        (name for name in lines if name.partition("_")[0] in _BLOCKS),
        key=lambda name: _BLOCKS.index(name.partition("_")[0]),
    )
    text = align([*((_left(name), components.sum(lines[name])) for name in steps), *loops])
    for names in (blocks, free):
        text += align([(_left(name), _right(components, lines[name])) for name in names])
    if projected:
        rates = (
            rf"\frac{{{symbol(f'fQ_{i}_{i}')}}}{{2{symbol(f'Q_{i}_{i}')}}}" for i in range(1, model.p + 1)
        )
        text += align([(symbol(f"g_{i}"), rate) for i, rate in enumerate(rates, start=1)])
        text += align([(_left(name), components.sum(lines[name])) for name in projected])
    return text


def _component_jacobian(model: Model, components: ReadoutSums, lines: Mapping[str, _Terms]) -> str:
    """For each order parameter x, the derivatives ∂ₓ that do not vanish, intermediate ones first."""
    free, projected = _drift(model, lines)
    before = [*(name for name in lines if not name.startswith(("d", "f"))), *free]
    sections: list[str] = []
    for variable in model.state:
        changing = {variable}
        printed = _changes(components, lines, before, variable, changing)
        for i in range(1, model.p + 1) if projected else ():
            drift, norm = f"fQ_{i}_{i}", f"Q_{i}_{i}"
            terms = [rf"\partial {symbol(drift)}"] * (drift in changing)
            terms += [f"- 2{symbol(f'g_{i}')}"] * (norm == variable)
            if terms:
                changing.add(f"g_{i}")
                change = rf"\frac{{{' '.join(terms)}}}{{2{symbol(norm)}}}"
                printed.append((rf"\partial {symbol(f'g_{i}')}", change))
        printed += _changes(components, lines, projected, variable, changing)
        sections.append(
            rf"\paragraph{{$\partial = \partial/\partial {symbol(variable)}$:}}" + "\n" + align(printed)
        )
    return "".join(sections)


def _changes(
    components: ReadoutSums,
    lines: Mapping[str, _Terms],
    names: Iterable[str],
    variable: str,
    changing: set[str],
) -> list[tuple[str, str]]:
    """The lines of the derivatives that do not vanish; their names are added to those that are changing."""
    printed: list[tuple[str, str]] = []
    for name in names:
        terms = _differentiate(lines[name], variable, changing)
        if terms:
            changing.add(name)
            # Weight decay comes last, as in the equations.
            terms = tuple(sorted(terms, key=lambda term: WEIGHT_DECAY in term[1]))
            printed.append((rf"\partial {_left(name)}", components.sum(terms)))
    return printed


def _differentiate(terms: _Terms, variable: str, changing: Collection[str]) -> _Terms:
    """The terms of the derivative of a sum of products by an order parameter."""
    collected: dict[Factors, Fraction] = {}
    for coefficient, factors in terms:
        for k, factor in enumerate(factors):
            if factor in changing:
                changed = () if factor == variable else (PARTIAL + factor,)
                product = tuple(sorted((*factors[:k], *factors[k + 1 :], *changed)))
                collected[product] = collected.get(product, Fraction(0)) + coefficient
    return tuple((value, product) for product, value in collected.items() if value)
