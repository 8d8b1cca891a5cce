"""Prints the equations as LaTeX: matrix form for any widths, and every component.

Coefficients come from the diagrams; the blocks of C(DC)ᵐ are written with P = CD as
X = (CDC)ₛₛ, Y = (CDC)ₛₜ and Z = (CDCDC)ₛₛ (s: students, t: teachers).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import gcd, isqrt

from derive.equations import NOISE, STEP, OverlapEquations, overlap_equations
from derive.errors import InputError
from derive.lower import FREE_DQ, FREE_DR, Q, R, T, X, Y
from derive.model import Model
from derive.program import (
    Assignment,
    Contraction,
    Matrix,
    MatrixStatement,
    Operand,
    Program,
    Projection,
    ScalarStatement,
    Statement,
    Term,
    expand,
)
from derive.scalars import ScalarPolynomial

FORMS = ("matrix", "components")
SUBJECTS = ("odes", "loss", "jacobian")

Z = Matrix("Z", "p", "p", symmetric=True)
CHAINS_SS = {0: Q, 1: X, 2: Z}
CHAINS_ST = {0: R, 1: Y}
# Above this many order parameters the document leaves out the components, tens of pages, and
# nobody can read the square of this many derivatives.
COMPONENT_LIMIT = 200
LINE_CHARACTERS = 72

_SYMBOLS = {
    STEP: r"\kappa",
    NOISE: r"\Delta",
    "eta": r"\eta",
    "fQ": "F",
    "fR": "G",
    # Changes of the loops; the tilde sorts them behind every other factor.
    "~s": r"\,\delta s",
    "~t": r"\,\delta t",
}


@dataclasses.dataclass(frozen=True)
class Conventions:
    """The options without the widths: what the matrix form depends on."""

    constraint: str = "free"
    flow: str = "sgd"
    teacher: str = "orthonormal"
    readout: str = "mean"

    @classmethod
    def of(cls, model: Model) -> Conventions:
        return cls(model.constraint, model.flow, model.teacher, model.readout)


# --- small pieces ------------------------------------------------------------------------


def symbol(name: str) -> str:
    """LaTeX of a name such as "kappa", "Q_1_2" or "g_3"; commas where an index has two digits."""
    base, *indices = name.split("_") if name not in _SYMBOLS else [name]
    base = _SYMBOLS.get(base, base)
    if not indices:
        return base
    separator = "" if all(len(index) == 1 for index in indices) else ","
    return f"{base}_{{{separator.join(indices)}}}"


def number(value: Fraction) -> str:
    """A positive rational."""
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _powers(factors: Iterable[str]) -> str:
    """A product of LaTeX symbols, equal neighbours collected into powers."""
    counted: dict[str, int] = {}
    for factor in factors:
        counted[factor] = counted.get(factor, 0) + 1
    pieces: list[str] = []
    for text, power in counted.items():
        piece = text if power == 1 else f"{text}^{power}"
        # Why the space: "\kappa" directly before a letter would be another command.
        joined = pieces and re.search(r"\\[a-zA-Z]+$", pieces[-1]) and piece[0].isalpha()
        pieces.append(f" {piece}" if joined else piece)
    return "".join(pieces)


def join(terms: Iterable[tuple[Fraction, str]]) -> str:
    """Σ coefficient · text as LaTeX; texts are products, an empty text is the number itself."""
    pieces: list[str] = []
    for coefficient, text in terms:
        if coefficient == 0:
            continue
        size = abs(coefficient)
        body = text.removeprefix(r"\,") if size == 1 and text else number(size) + text
        if not pieces:
            pieces.append(f"-{body}" if coefficient < 0 else body)
        else:
            pieces.append(f"{'-' if coefficient < 0 else '+'} {body}")
    return " ".join(pieces) or "0"


def polynomial(value: ScalarPolynomial) -> str:
    """A polynomial in scalars, highest degree first."""
    return join((c, _powers(map(symbol, m))) for m, c in reversed(value.sorted_terms()))


def _common_factor(values: Sequence[Fraction]) -> Fraction:
    """The greatest common divisor, with the sign of the first value."""
    size = Fraction(
        gcd(*(value.numerator for value in values)),
        # Denominators are powers of two here; the largest clears them all.
        max(value.denominator for value in values),
    )
    return -size if values[0] < 0 else size


def combination(parts: Mapping[str, ScalarPolynomial]) -> str:
    """Σ polynomial · matrix, grouped by powers of κ: −2κ(sQ + 2X) + κ²(…)."""
    powers: dict[int, list[tuple[str, ScalarPolynomial]]] = {}
    for text, value in parts.items():
        for monomial, part in value.collect([STEP]).items():
            powers.setdefault(len(monomial), []).append((text, part))
    groups: list[tuple[Fraction, str]] = []
    for power, members in sorted(powers.items()):
        factor = _common_factor([c for _, part in members for _, c in part.sorted_terms()])
        inside: list[tuple[Fraction, str]] = []
        for text, part in members:
            scaled = part * (1 / factor)
            if len(scaled.terms) == 1:
                ((monomial, coefficient),) = scaled.terms.items()
                inside.append((coefficient, _product(_powers(map(symbol, monomial)), text)))
            else:
                inside.append((Fraction(1), f"({polynomial(scaled)}){text}"))
        kappa = _powers([_SYMBOLS[STEP]] * power)
        if len(inside) == 1 and inside[0][0] == 1:
            groups.append((factor, _product(kappa, inside[0][1])))
        else:
            groups.append((factor, f"{kappa}[{join(inside)}]"))
    return join(groups)


def _product(left: str, right: str) -> str:
    if re.search(r"\\delta [st]$", left):
        return rf"{left}\,{right}"
    needs_space = re.search(r"\\[a-zA-Z]+$", left) and right[:1].isalpha()
    return f"{left} {right}" if needs_space else left + right


def _printed_width(text: str) -> int:
    """Rough number of characters that `text` takes on the page."""
    return len(re.sub(r"\\[a-zA-Z]+\{?|[{}_^\\,&]", "", text).replace(" + ", "+++").replace(" - ", "+++"))


def _wrap(text: str) -> str:
    """Break a long right-hand side before "+" and "-"; parentheses are plain, so they may break."""
    pieces = re.split(r" (?=[+-] )", text)
    lines, current = [], pieces[0]
    for piece in pieces[1:]:
        if _printed_width(current) + _printed_width(piece) > LINE_CHARACTERS:
            lines.append(current)
            current = piece
        else:
            current += f" {piece}"
    return " \\\\\n  &\\qquad ".join([*lines, current])


def align(lines: Sequence[tuple[str, str]]) -> str:
    """An align* environment of left = right lines."""
    body = " \\\\\n".join(f"  {left} &= {_wrap(right)}" for left, right in lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}\n"


# --- matrix form -------------------------------------------------------------------------


def _readout_line(conventions: Conventions, model: Model | None) -> str:
    if conventions.readout == "sum":
        return "a = b = 1"
    widths = [str(model.p), str(model.pstar)] if model else ["p", "p^*"]
    if conventions.readout == "sqrt":
        widths = [rf"\sqrt{{{width}}}" for width in widths]
    return rf"a = \frac{{1}}{{{widths[0]}}},\qquad b = \frac{{1}}{{{widths[1]}}}"


def _definitions(conventions: Conventions, model: Model | None, chains: int) -> list[tuple[str, str]]:
    """s, t, X, Y and, with the η² term, Z by the block products of C and D."""
    if conventions.teacher == "general":
        trace, square = r"b\operatorname{tr} T", r"b^2\operatorname{tr} T^2"
        teacher = "RT"
    else:
        # Why: for T = 1 both tr T and tr T² are p*.
        width = "" if model and model.pstar == 1 else str(model.pstar) if model else "p^*"
        trace, square, teacher = f"{width}b", f"{width}b^2", "R"
    lines = [
        ("s", rf"\operatorname{{tr}}(DC) = a\operatorname{{tr}} Q - {trace}"),
        (
            "t",
            r"\operatorname{tr}(DCDC) = a^2\operatorname{tr} Q^2 - 2ab\operatorname{tr} RR^\top + "
            + square,
        ),
    ]
    if chains >= 1:
        lines += [
            ("X", r"(CDC)_{\mathrm{ss}} = aQ^2 - bRR^\top"),
            ("Y", rf"(CDC)_{{\mathrm{{st}}}} = aQR - b{teacher}"),
        ]
    if chains >= 2:
        lines.append(("Z", r"(CDCDC)_{\mathrm{ss}} = aQX - bRY^\top"))
    return lines


def _derivative(of: str) -> str:
    return rf"\frac{{\mathrm{{d}}{of}}}{{\mathrm{{d}}\alpha}}"


def _named(
    chains: Mapping[int, Matrix], parts: Mapping[int, ScalarPolynomial]
) -> dict[str, ScalarPolynomial]:
    return {chains[chain].name: value for chain, value in sorted(parts.items())}


def _matrix_drift(conventions: Conventions, equations: OverlapEquations) -> list[tuple[str, str]]:
    drift_q = combination(_named(CHAINS_SS, equations.dQ))
    drift_r = combination(_named(CHAINS_ST, equations.dR))
    if conventions.constraint == "free":
        return [(_derivative("R"), drift_r), (_derivative("Q"), drift_q)]
    return [
        ("G", drift_r),
        ("F", drift_q),
        (r"\Gamma", r"\operatorname{diag}(g_1,\dots,g_p),\qquad g_i = \frac{F_{ii}}{2Q_{ii}}"),
        (_derivative("R"), r"G - \Gamma R"),
        (_derivative("Q"), r"F - \Gamma Q - Q\Gamma"),
    ]


def _tangents(parts: Mapping[str, ScalarPolynomial]) -> dict[str, ScalarPolynomial]:
    """Product rule: δ(Σ c M) = Σ c δM + δc M, where s and t change."""
    result: dict[str, ScalarPolynomial] = {}
    for text, value in parts.items():
        result[rf"\,\delta {text}"] = value
    for text, value in parts.items():
        change = ScalarPolynomial()
        for loop in ("s", "t"):
            change = change + value.derivative(loop) * ScalarPolynomial.name(f"~{loop}")
        if change:
            result[text] = change
    return result


def _matrix_jacobian(conventions: Conventions, equations: OverlapEquations) -> list[tuple[str, str]]:
    teacher = r"\delta R\,T" if conventions.teacher == "general" else r"\delta R"
    lines = [
        (r"\delta s", r"a\operatorname{tr}\delta Q"),
        (r"\delta t", r"2a^2\operatorname{tr}(Q\,\delta Q) - 4ab\operatorname{tr}(R^\top\delta R)"),
        (
            r"\delta X",
            r"a(\delta Q\,Q + Q\,\delta Q) - b(\delta R\,R^\top + R\,\delta R^\top)",
        ),
        (r"\delta Y", rf"a(\delta Q\,R + Q\,\delta R) - b\,{teacher}"),
    ]
    if 2 in equations.dQ:
        lines.append(
            (r"\delta Z", r"a(\delta Q\,X + Q\,\delta X) - b(\delta R\,Y^\top + R\,\delta Y^\top)")
        )
    drift_q = combination(_tangents(_named(CHAINS_SS, equations.dQ)))
    drift_r = combination(_tangents(_named(CHAINS_ST, equations.dR)))
    if conventions.constraint == "free":
        return [
            *lines,
            (rf"\delta{_derivative('R')}", drift_r),
            (rf"\delta{_derivative('Q')}", drift_q),
        ]
    return [
        *lines,
        (r"\delta G", drift_r),
        (r"\delta F", drift_q),
        (r"\delta g_i", r"\frac{\delta F_{ii} - 2 g_i\,\delta Q_{ii}}{2Q_{ii}}"),
        (rf"\delta{_derivative('R')}", r"\delta G - \delta\Gamma\,R - \Gamma\,\delta R"),
        (
            rf"\delta{_derivative('Q')}",
            r"\delta F - \delta\Gamma\,Q - \Gamma\,\delta Q - \delta Q\,\Gamma - Q\,\delta\Gamma",
        ),
    ]


def matrix_form(conventions: Conventions, what: str, model: Model | None = None) -> str:
    """LaTeX of the odes, loss or jacobian in matrices; without a model for symbolic p, p*."""
    equations = overlap_equations(conventions.flow)
    definitions = _definitions(conventions, model, max(equations.dQ))
    readout = f"\\[\n  {_readout_line(conventions, model)}\n\\]\n"
    if what == "loss":
        return readout + align([*definitions[:2], (r"\varepsilon", polynomial(equations.loss))])
    step = (symbol(STEP), r"2a\eta")
    if what == "odes":
        return readout + align([step, *definitions, *_matrix_drift(conventions, equations)])
    return readout + align([step, *definitions, *_matrix_jacobian(conventions, equations)])


# --- components --------------------------------------------------------------------------


def _display_program(model: Model, equations: OverlapEquations) -> Program:
    """s, t, X, Y, Z one product at a time, with the readouts as factors outside."""

    def product(scalar: str, sign: int, *operands: Matrix | Operand) -> Term:
        return Term(sign, scalar, tuple(o if isinstance(o, Operand) else Operand(o) for o in operands))

    a, b = ScalarPolynomial.name("a"), ScalarPolynomial.name("b")
    general = model.teacher == "general"
    width = Fraction(model.pstar)
    s_parts, t_parts = [Contraction(a, Q, None)], [Contraction(a * a, Q, Q), Contraction(-2 * a * b, R, R)]
    if general:
        s_parts.append(Contraction(-1 * b, T, None))
        t_parts.append(Contraction(b * b, T, T))
    statements: list[Statement] = [
        ScalarStatement("s", ScalarPolynomial() if general else -width * b, tuple(s_parts)),
        ScalarStatement("t", ScalarPolynomial() if general else width * b * b, tuple(t_parts)),
        MatrixStatement(X, (product("a", 1, Q, Q), product("b", -1, R, R.T))),
        MatrixStatement(
            Y, (product("a", 1, Q, R), product("b", -1, R, T) if general else product("b", -1, R))
        ),
    ]
    if 2 in equations.dQ:
        statements.append(MatrixStatement(Z, (product("a", 1, Q, X), product("b", -1, R, Y.T))))
    inputs = (Q, R, T) if general else (Q, R)
    return Program(model.p, model.pstar, inputs, ("a", "b"), tuple(statements), ())


class _Components:
    """Prints assignments with a and b as numbers, grouped by their readout factor."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def _readout(self, factors: Sequence[str]) -> tuple[Fraction, str]:
        """A product of a and b as (rational, text of the irrational rest)."""
        width = 1
        for name in factors:
            width *= self._model.p if name == "a" else self._model.pstar
        if self._model.readout == "sum":
            return Fraction(1), ""
        if self._model.readout == "mean":
            return Fraction(1, width), ""
        root = isqrt(width)
        if root * root == width:
            return Fraction(1, root), ""
        return Fraction(1), rf"\frac{{1}}{{\sqrt{{{width}}}}}"

    def sum(self, terms: Iterable[tuple[Fraction, tuple[str, ...]]], rename: Mapping[str, str]) -> str:
        groups: dict[tuple[str, ...], list[tuple[Fraction, tuple[str, ...]]]] = {}
        for coefficient, factors in terms:
            readout = tuple(f for f in factors if f in ("a", "b"))
            rest = tuple(f for f in factors if f not in ("a", "b"))
            groups.setdefault(readout, []).append((coefficient, rest))
        printed: list[tuple[Fraction, str]] = []
        for readout, members in groups.items():
            scale, text = self._readout(readout)
            if len(members) == 1 or not readout:
                for coefficient, rest in members:
                    product = _powers(rename.get(f, symbol(f)) for f in rest)
                    printed.append((scale * coefficient, _product(text, product)))
                continue
            common = _common_factor([coefficient for coefficient, _ in members])
            inside = join(
                (c / common, _powers(rename.get(f, symbol(f)) for f in rest)) for c, rest in members
            )
            printed.append((scale * common, f"{text}({inside})"))
        return join(printed)


def _flat_assignments(program: Program) -> list[Assignment]:
    """All assignments, the auxiliary sums of s and t put back in place."""
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
    """(name of the left side, {entry: coefficient}) for each entry of dQ and dR (F, G on the sphere)."""
    drifts = []
    for name in model.state:
        kind, i, j = name.split("_")
        chains, parts = (CHAINS_SS, equations.dQ) if kind == "Q" else (CHAINS_ST, equations.dR)
        entries = {f"{chains[m].name}_{i}_{j}": value for m, value in sorted(parts.items())}
        drifts.append((name, entries))
    return drifts


def _drift_symbol(model: Model, name: str) -> str:
    if model.constraint == "free":
        return _derivative(symbol(name))
    return symbol(f"f{name}")


def _sphere_assignments(model: Model) -> list[Assignment]:
    dQ, dR = Matrix("dQ", "p", "p", symmetric=True), Matrix("dR", "p", "pstar")
    program = Program(model.p, model.pstar, (Q, R), (), (), ())
    statements = (Projection(dQ, FREE_DQ, Q, "g", 2), Projection(dR, FREE_DR, R, "g", 1))
    return [assignment for statement in statements for assignment in expand(program, statement)]


def component_form(model: Model, what: str) -> str:
    """LaTeX of every component of the odes, loss or jacobian of `model`.

    Raises InputError for a jacobian of more than COMPONENT_LIMIT order parameters.
    """
    if what == "jacobian" and model.state_size > COMPONENT_LIMIT:
        raise InputError(
            "form",
            f"components of the jacobian for {model.state_size} order parameters are more than"
            f" {COMPONENT_LIMIT}², the most that are written out; use the matrix form",
        )
    equations = overlap_equations(model.flow)
    program = _display_program(model, equations)
    components = _Components(model)
    assignments = _flat_assignments(program)
    if what == "loss":
        lines = [(symbol(x.target), components.sum(x.terms, {})) for x in assignments[:2]]
        return align([*lines, (r"\varepsilon", polynomial(equations.loss))])
    if what == "jacobian":
        return _component_jacobian(model, equations, components, assignments)
    step = (symbol(STEP), _product(components.sum([(Fraction(2), ("a", "eta"))], {}), ""))
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
            (_derivative(symbol(x.target[1:])), components.sum(x.terms, {}))
            for x in _sphere_assignments(model)
        ]
        text += align(rates) + align(sphere)
    return text


def _component_jacobian(
    model: Model, equations: OverlapEquations, components: _Components, assignments: list[Assignment]
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
    """Product rule on a sum of products; "" is the tangent of the variable itself, 1."""
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
    model: Model, components: _Components, tangents: dict[str, str]
) -> list[tuple[str, str]]:
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
            left = rf"\partial {_derivative(symbol(assignment.target[1:]))}"
            lines.append((left, components.sum(terms_, rename)))
    return lines
