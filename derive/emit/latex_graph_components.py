"""Prints the equations of any polynomial activation entry by entry as LaTeX, for given widths."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal

from derive.emit.activation_text import polynomial_latex
from derive.emit.latex_graphs import check_no_jacobian, indexed, moment, powered
from derive.emit.latex_lines import align
from derive.emit.latex_text import derivative, join, product_text, symbol
from derive.errors import InputError
from derive.model import Model
from derive.polynomial.graph_equations import UnitSumEquations, UnitTerm
from derive.readout import READOUTS

# Sums with more terms would fill more than some fifty pages.
TERM_LIMIT = 20_000
# The document leaves out sums with more terms, which would fill more than some five pages.
DOCUMENT_TERM_LIMIT = 1500

Lines = list[tuple[str, str]]


def term_count(model: Model) -> int:
    """About how many terms all entries have: those of the noise, or of the slopes in gradient flow."""
    equations = UnitSumEquations(model)
    units = model.p + model.pstar
    if model.flow == "gradient":
        return model.p * units * sum(1 for _ in equations.slopes())
    return model.p * (model.p + 1) // 2 * units**2 * sum(1 for _ in equations.noise())


class _Components:
    """The entries of one model; units are numbers from 0, students first."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.equations = UnitSumEquations(model)
        self.students = range(model.p)
        self.teachers = range(model.p, model.p + model.pstar)
        self.units = range(model.p + model.pstar)

    def overlap(self, u: int, v: int) -> str | Literal[0, 1]:
        """The entry of C of two units."""
        u, v = sorted((u, v))
        p = self.model.p
        if v < p:
            return indexed("Q", u + 1, v + 1)
        if u < p:
            return indexed("R", u + 1, v - p + 1)
        if self.model.teacher == "general":
            return indexed("T", u - p + 1, v - p + 1)
        return 1 if u == v else 0

    def teacher_moment(self, order: int, r: int) -> dict[int, Fraction]:
        """E[σ*^(order)] of a teacher as a polynomial in its norm, a number where T = 1; empty if zero."""
        powers = self.model.activations[1].moment(order)
        if self.overlap(r, r) != 1:
            return powers
        total = sum(powers.values(), start=Fraction(0))
        return {0: total} if total else {}

    def unit_moment(self, order: int, u: int) -> str | None:
        """c_k of a unit; None where it is zero."""
        if u < self.model.p:
            return moment("c", order, u + 1) if self.model.activations[0].moment(order) else None
        return f"{moment('c', order, u - self.model.p + 1)}^*" if self.teacher_moment(order, u) else None

    def product(self, term: UnitTerm, at: dict[str, int]) -> str | None:
        """The product of a term for these units; None where it is zero."""
        factors = Counter([symbol(name) for name in term.scalars])
        factors.update(sorted(moment("h", order, at[letter] + 1) for order, letter in term.students))
        units = [self.unit_moment(order, at[letter]) for order, letter in term.units]
        overlaps: Counter[str] = Counter()
        for first, second, power in term.overlaps:
            overlaps[str(self.overlap(at[first], at[second]))] += power
        if None in units or "0" in overlaps:
            return None
        factors.update(sorted(map(str, units)))
        factors.update({entry: power for entry, power in sorted(overlaps.items()) if entry != "1"})
        return _product(powered(text, power) for text, power in factors.items())

    def sum(self, terms: Iterable[UnitTerm], at: dict[str, int]) -> str:
        """The sum of terms for the units that are not summed over; equal products are collected."""
        collected: dict[str, Fraction] = {}
        for term in terms:
            for units in itertools.product(self.units, repeat=len(term.summed)):
                text = self.product(term, at | dict(zip(term.summed, units, strict=True)))
                if text is not None:
                    collected[text] = collected.get(text, Fraction(0)) + term.coefficient
        return join((value, text) for text, value in collected.items())

    def moments(self) -> Iterator[tuple[str, str]]:
        """The lines of h_k and c_k of each unit."""
        model, student = self.model, self.model.activations[0]
        a = _readout_factor(model, model.p)
        for order in self.equations.orders():
            for i in self.students:
                v = indexed("v", i + 1) if model.weighted else ""
                if student.moment(order):
                    h = moment("h", order, i + 1)
                    yield h, polynomial_latex(student.moment(order), indexed("Q", i + 1, i + 1))
                    yield moment("c", order, i + 1), _product([a, v, h])
        for order, r in itertools.product(self.equations.orders(), self.teachers):
            if self.teacher_moment(order, r):
                yield (
                    f"{moment('c', order, r - model.p + 1)}^*",
                    f"-{self._weighted_teacher_moment(order, r)}",
                )

    def _weighted_teacher_moment(self, order: int, r: int) -> str:
        """b v* times a moment; only a positive number with nothing in front has no brackets."""
        model, powers = self.model, self.teacher_moment(order, r)
        b = _readout_factor(model, model.pstar)
        v = indexed("v^*", r - model.p + 1) if model.weighted else ""
        value = polynomial_latex(powers, str(self.overlap(r, r)))
        bare = not (b or v) and powers.keys() == {0} and powers[0] > 0
        return value if bare else _product([b, v, f"({value})"])


def _product(factors: Iterable[str]) -> str:
    text = ""
    for factor in factors:
        text = product_text(text, factor)
    return text


def _readout_factor(model: Model, width: int) -> str:
    """a or b as a number in front of a product, and nothing where it is 1."""
    value, below = READOUTS[model.readout].parts(width)
    if below == 1:
        return "" if value == 1 else join([(value, "")])
    denominator = (
        rf"\sqrt{{{below}}}" if value.denominator == 1 else rf"{value.denominator}\sqrt{{{below}}}"
    )
    return rf"\frac{{{value.numerator}}}{{{denominator}}}"


def graph_component_form(model: Model, what: str) -> str:
    """LaTeX of every entry of "odes", or of "loss"; InputError for more than TERM_LIMIT terms."""
    check_no_jacobian(model, what)
    components = _Components(model)
    text = align(list(components.moments()))
    if what == "loss":
        return text + align([(r"\varepsilon", components.sum(components.equations.loss(), {}))])
    count = term_count(model)
    if count > TERM_LIMIT:
        raise InputError(
            "form",
            f"components of {model.name} have about {count} terms, and at most {TERM_LIMIT} are written"
            " out; use the matrix form",
        )
    return text + "".join(
        align(lines) for lines in (_means(components), _noise(components), _drift(components)) if lines
    )


def _means(components: _Components) -> Lines:
    """The lines of κ, H, u and M."""
    model, equations = components.model, components.equations
    bends = list(equations.bends())
    slopes = list(equations.slopes())
    lines: Lines = []
    readout = _readout_factor(model, model.p)
    if model.weighted:
        for i in components.students:
            lines.append((indexed(r"\kappa", i + 1), _product([readout, r"\eta", indexed("v", i + 1)])))
    else:
        lines.append((r"\kappa", _product([readout, r"\eta"])))
    for i, m in itertools.product(components.students, components.units):
        lines.append((_entry(components, "H", i, m), components.sum(slopes, {"i": i, "m": m})))
    if bends:
        lines += [(indexed("u", i + 1), components.sum(bends, {"i": i})) for i in components.students]
    for i, n in itertools.product(components.students, components.units):
        lines.append((_entry(components, "M", i, n), _mean(components, i, n, bool(bends))))
    return lines


def _entry(components: _Components, letter: str, i: int, n: int) -> str:
    """An entry of H or M; those of teachers have a star."""
    p = components.model.p
    return indexed(letter, i + 1, n + 1) if n < p else indexed(f"{letter}^*", i + 1, n - p + 1)


def _mean(components: _Components, i: int, n: int, bent: bool) -> str:
    """Σ_m H_im C_mn + u_i C_in."""
    terms = [(_entry(components, "H", i, m), components.overlap(m, n)) for m in components.units]
    if bent:
        terms.append((indexed("u", i + 1), components.overlap(i, n)))
    return join(
        (Fraction(1), product_text(left, "" if entry == 1 else str(entry)))
        for left, entry in terms
        if entry != 0
    )


def _noise(components: _Components) -> Lines:
    """The lines of S."""
    if components.model.flow != "sgd":
        return []
    terms = list(components.equations.noise())
    pairs = itertools.combinations_with_replacement(components.students, 2)
    return [(indexed("S", i + 1, j + 1), components.sum(terms, {"i": i, "j": j})) for i, j in pairs]


def _drift(components: _Components) -> Lines:
    """The lines of the drift of the state in its order."""
    model, equations = components.model, components.equations
    sphere, weighted = model.constraint == "sphere", model.weighted
    lines: Lines = []
    projected: Lines = []

    def step(i: int) -> str:
        return indexed(r"\kappa", i + 1) if weighted else r"\kappa"

    for i, j in itertools.combinations_with_replacement(components.students, 2):
        q = indexed("Q", i + 1, j + 1)
        text = f"-{step(i)} {_entry(components, 'M', i, j)} - {step(j)} {_entry(components, 'M', j, i)}"
        if model.flow == "sgd":
            steps = powered(step(i), 2) if i == j or not weighted else product_text(step(i), step(j))
            text += rf" + \frac{{{steps}}}{{B}}{indexed('S', i + 1, j + 1)}"
        left = indexed("F", i + 1, j + 1) if sphere else derivative(q)
        lines.append((left, rf"{text} - 2\eta\gamma {q}"))
        rates = f"({indexed('g', i + 1)} + {indexed('g', j + 1)}){q}"
        projected.append((derivative(q), f"{indexed('F', i + 1, j + 1)} - {rates}"))
    for i, n in itertools.product(components.students, components.teachers):
        r = n - model.p + 1
        overlap = indexed("R", i + 1, r)
        left = indexed("G", i + 1, r) if sphere else derivative(overlap)
        lines.append((left, rf"-{step(i)} {_entry(components, 'M', i, n)} - \eta\gamma {overlap}"))
        projected.append(
            (derivative(overlap), f"{indexed('G', i + 1, r)} - {indexed('g', i + 1)}{overlap}")
        )
    for i in components.students if model.trained else ():
        value = components.sum(list(equations.errors()), {"i": i})
        rate = _product([r"\eta_v", _readout_factor(model, model.p)])
        lines.append((derivative(indexed("v", i + 1)), f"-{rate}[{value}]"))
    if sphere:
        for i in range(1, model.p + 1):
            lines.append((indexed("g", i), rf"\frac{{{indexed('F', i, i)}}}{{2{indexed('Q', i, i)}}}"))
        lines += projected
    return lines
