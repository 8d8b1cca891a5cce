"""Prints the equations in matrices as LaTeX, for given widths or for any: ODEs, loss and Jacobian.

Coefficients come from the diagrams. The blocks of C(DC)ᵐ are X = (CDC)ₛₛ, Y = (CDC)ₛₜ and Z = (CDCDC)ₛₛ,
where s stands for students and t for teachers. With second-layer weights M is E[e λλᵀ], S is E[e² λλᵀ]/B,
K is diag(κ₁, …, κ_p), and D_v and D_v* are diag(v) and diag(v*).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from derive.emit.latex_definitions import SECOND_LAYER
from derive.emit.latex_lines import align
from derive.emit.latex_text import (
    CHANGE,
    ReadoutSums,
    combination,
    derivative,
    join,
    polynomial,
    product_text,
    symbol,
)
from derive.emit.printed_program import PrintedProgram, put_in
from derive.equations import LOOP_NAMES, STEP, OverlapEquations
from derive.model import Model
from derive.overlap_program import DQ, DR, DV, FREE_DQ, FREE_DR, MEAN_SS, MEAN_ST, NOISE_SS, Z
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial

_Lines = list[tuple[str, str]]


def matrix_form(model: Model, equations: OverlapEquations, what: str, any_widths: bool = False) -> str:
    """LaTeX of "odes", "loss" or "jacobian" in matrices, with symbolic p and p* for `any_widths`."""
    text = readout_display(model, any_widths)
    loops = _loops(model, any_widths)
    if what == "loss":
        return text + align([*second_layer(model), *loops, (r"\varepsilon", polynomial(equations.loss))])
    program = PrintedProgram.of(model, equations)
    lines = [*second_layer(model), _step(model, equations), *loops, *_blocks(model, program)]
    projection = PROJECTION if model.constraint == "sphere" else ()
    if what == "odes" or projection or model.trained:
        lines += [(symbol(name), combination(chains)) for name, chains in _moments(program)]
    if what == "odes":
        return text + align([*lines, *_drift(program), *projection])
    if projection:
        # The changes refer to the drift before its projection, and to the growth of norms.
        lines += [*(line for line in _drift(program) if line[0] in ("G", "F")), *projection[:2]]
    return text + align([*lines, *_changes_of_blocks(model, program), *_changes_of_drift(model, program)])


# --- definitions -------------------------------------------------------------------------


def readout_display(model: Model, any_widths: bool = False) -> str:
    """The line of a and b for the widths of a model, or with symbolic p and p* for `any_widths`."""
    weights = READOUTS[model.readout].latex("p", "p^*") if any_widths else _readout_numbers(model)
    return f"\\[\n  {weights}\n\\]\n"


def _readout_numbers(model: Model) -> str:
    a, b = (ReadoutSums(model).sum([(Fraction(1), (name,))]) for name in ("a", "b"))
    return rf"a = {a},\qquad b = {b}" if READOUTS[model.readout].power else "a = b = 1"


def second_layer(model: Model) -> _Lines:
    """The lines of D_v and D_v*."""
    return list(SECOND_LAYER) if model.weighted else []


def _step(model: Model, equations: OverlapEquations) -> tuple[str, str]:
    """κ = 2aη, or K = 2aη D_v."""
    kappa = polynomial(equations.step)
    return ("K", product_text(kappa, "D_v")) if model.weighted else (symbol(STEP), kappa)


def _loops(model: Model, any_widths: bool) -> _Lines:
    """The lines of s = tr(DC) and t = tr(DCDC)."""
    general = model.teacher == "general"
    if model.weighted:
        students, squares, crossed = "(D_vQ)", "(D_vQD_vQ)", r"(D_vRD_{v^*}R^\top)"
        teachers = ("(D_{v^*}T)", "(D_{v^*}TD_{v^*}T)") if general else (" D_{v^*}", " D_{v^*}^2")
    else:
        students, squares, crossed, teachers = " Q", " Q^2", r" RR^\top", (" T", " T^2")
    trace, square = rf"b\operatorname{{tr}}{teachers[0]}", rf"b^2\operatorname{{tr}}{teachers[1]}"
    if not general and not model.weighted:
        # For T = 1 both tr T and tr T² are p*.
        width = "p^*" if any_widths else "" if model.pstar == 1 else str(model.pstar)
        trace, square = f"{width}b", f"{width}b^2"
    a_t = rf"a^2\operatorname{{tr}}{squares} - 2ab\operatorname{{tr}}{crossed} + {square}"
    return [
        ("s", rf"\operatorname{{tr}}(DC) = a\operatorname{{tr}}{students} - {trace}"),
        ("t", rf"\operatorname{{tr}}(DCDC) = {a_t}"),
    ]


def _weights(model: Model) -> tuple[str, str]:
    """What stands between two blocks of C in a product: D_v and D_v*, or nothing."""
    return ("D_v", "D_{v^*}") if model.weighted else ("", "")


def _blocks(model: Model, program: PrintedProgram) -> _Lines:
    """The lines of X and Y, and of Z if it occurs."""
    v, vstar = _weights(model)
    squared = "QD_vQ" if model.weighted else "Q^2"
    lines = [
        ("X", rf"(CDC)_{{\mathrm{{ss}}}} = a{squared} - bR{vstar}R^\top"),
        ("Y", rf"(CDC)_{{\mathrm{{st}}}} = aQ{v}R - bR{vstar}{_teacher(model)}"),
    ]
    if _has_noise(program):
        lines.append(("Z", rf"(CDCDC)_{{\mathrm{{ss}}}} = aQ{v}X - bR{vstar}Y^\top"))
    return lines


def _teacher(model: Model) -> str:
    return "T" if model.teacher == "general" else ""


def _has_noise(program: PrintedProgram) -> bool:
    return any(Z.name in chains for chains in program.chains.values())


def _moments(program: PrintedProgram) -> Iterator[tuple[str, dict[str, ScalarPolynomial]]]:
    """The moments that have letters, with their chains: M, and S where there is noise."""
    for moment in (MEAN_SS, NOISE_SS):
        if moment.name in program.chains:
            yield moment.name, program.chains[moment.name]


# --- drift -------------------------------------------------------------------------------

# On the sphere the growth of norms is removed from the drift F and G of Q and R.
PROJECTION = (
    ("g_i", r"\frac{F_{ii}}{2Q_{ii}}"),
    (r"\Gamma", r"\operatorname{diag}(g_1,\dots,g_p)"),
    (derivative("R"), r"G - \Gamma R"),
    (derivative("Q"), r"F - \Gamma Q - Q\Gamma"),
)
CHANGE_OF_PROJECTION = (
    (r"\delta g_i", r"\frac{\delta F_{ii} - 2 g_i\,\delta Q_{ii}}{2Q_{ii}}"),
    (r"\delta\Gamma", r"\operatorname{diag}(\delta g_1,\dots,\delta g_p)"),
    (rf"\delta{derivative('R')}", r"\delta G - \delta\Gamma\,R - \Gamma\,\delta R"),
    (
        rf"\delta{derivative('Q')}",
        r"\delta F - \delta\Gamma\,Q - \Gamma\,\delta Q - \delta Q\,\Gamma - Q\,\delta\Gamma",
    ),
)
# The parts of the drift in the order of their lines, with the left sides.
LEFT_SIDES = {
    FREE_DR.name: "G",
    FREE_DQ.name: "F",
    DR.name: derivative("R"),
    DQ.name: derivative("Q"),
    DV.name: derivative("v_i"),
}


def _drift(program: PrintedProgram) -> _Lines:
    """The lines of the drift, on the sphere of that before the projection."""
    lines: _Lines = []
    for name, left in LEFT_SIDES.items():
        if name in program.chains:
            lines.append((left, combination(program.chains[name])))
        elif name in program.entries:
            terms = _products(program, name)
            lines.append((left, join((value, side_by_side(*factors)) for value, factors, _ in terms)))
    return lines


_Product = tuple[Fraction, tuple[str, str, str, str], str]


def _products(program: PrintedProgram, target: str) -> Iterator[_Product]:
    """The terms of entries as products of matrices, those with κ first, so that weight decay comes last.

    The factors are the scalars, K if κᵢ is a factor of the entries, a moment, and K for κⱼ. The last value
    is the change of the moment.
    """
    for term in sorted(program.entries[target], key=lambda term: not (term.rows or term.columns)):
        scalars = put_in(ScalarPolynomial({tuple(sorted(term.scalars)): 1}), program.scalars)
        name = term.operands[0].matrix.name
        matrix, change = symbol(name), rf"\delta {symbol(name)}"
        if name == MEAN_ST.name:
            # E[e λλ*ᵀ] occurs once, and has no letter.
            matrix = f"[{combination(program.chains[name])}]"
            change = f"[{combination(_changes(program.chains[name]))}]"
        if target == DV.name:
            matrix, change = f"{matrix}_{{ii}}", f"{change}_{{ii}}"
        left, right = ("K" if vectors else "" for vectors in (term.rows, term.columns))
        scalars_text = polynomial(scalars) if term.scalars else ""
        yield term.coefficient, (scalars_text, left, matrix, right), change


def side_by_side(*factors: str) -> str:
    """A product of factors, with a thin space beside changes."""
    text = last = ""
    for factor in filter(None, factors):
        thin = last and (last.startswith(r"\delta") or factor.startswith(r"\delta"))
        text = rf"{text}\,{factor}" if thin else product_text(text, factor)
        last = factor
    return text


# --- changes -----------------------------------------------------------------------------


def _changes(parts: Mapping[str, ScalarPolynomial]) -> dict[str, ScalarPolynomial]:
    """The product rule δ(Σ c M) = Σ c δM + δc M, where s and t are what changes in c."""
    result: dict[str, ScalarPolynomial] = {}
    for text, value in parts.items():
        result[rf"\,\delta {text}"] = value
    for text, value in parts.items():
        change = ScalarPolynomial()
        for loop in LOOP_NAMES.values():
            change = change + value.derivative(loop) * ScalarPolynomial.name(CHANGE + loop)
        if change:
            result[text] = change
    return result


def _changes_of_blocks(model: Model, program: PrintedProgram) -> _Lines:
    """The changes of K, of the loops, of X, Y and Z and of the moments."""
    v, vstar = _weights(model)
    change_s = r"a\operatorname{tr}(D_v\,\delta Q)" if model.weighted else r"a\operatorname{tr}\delta Q"
    transposed = side_by_side(r"R^\top", v, r"\delta R")
    change_t = (
        rf"2a^2\operatorname{{tr}}({v}Q{v}\,\delta Q)"
        rf" - 4ab\operatorname{{tr}}({vstar}{transposed})"
    )
    lines: _Lines = []
    if model.trained:
        lines.append((r"\delta K", r"2a\eta\,\delta D_v"))
        change_s += r" + a\operatorname{tr}(\delta D_v\,Q)"
        change_t += (
            r" + 2a^2\operatorname{tr}(\delta D_v\,QD_vQ)"
            r" - 2ab\operatorname{tr}(\delta D_v\,RD_{v^*}R^\top)"
        )
    lines += [(r"\delta s", change_s), (r"\delta t", change_t)]
    blocks = [("X", "Q", r"R^\top"), ("Y", "R", _teacher(model))]
    if _has_noise(program):
        blocks.append(("Z", "X", r"Y^\top"))
    for name, student, teacher in blocks:
        change = "" if name == "Y" else rf" + R{vstar}\,\delta {teacher}"
        second = rf" + Q\,\delta D_v\,{student}" if model.trained else ""
        students = rf"a(\delta Q\,{v}{student} + Q{v}\,\delta {student}{second})"
        product = side_by_side(r"\delta R", f"{vstar}{teacher}")
        teachers = f"b({product}{change})" if change else side_by_side("b", product)
        lines.append((rf"\delta {name}", f"{students} - {teachers}"))
    return lines + [
        (rf"\delta {symbol(name)}", combination(_changes(chains))) for name, chains in _moments(program)
    ]


def _changes_of_drift(model: Model, program: PrintedProgram) -> _Lines:
    """The changes of the drift, in matrices or, for that of v, by entries."""
    lines: _Lines = []
    for name, left in LEFT_SIDES.items():
        if name in program.chains:
            right = combination(_changes(program.chains[name]))
        elif name in program.entries:
            right = join(_changes_of_products(model, program, name))
        else:
            continue
        lines.append((rf"\delta{left}" if "frac" in left else rf"\delta {left}", right))
    return lines + list(CHANGE_OF_PROJECTION if model.constraint == "sphere" else ())


def _changes_of_products(
    model: Model, program: PrintedProgram, target: str
) -> Iterator[tuple[Fraction, str]]:
    """The product rule for each term: the moment changes, and K does if v does."""
    for value, (scalars, left, moment, right), change in _products(program, target):
        if left and model.trained:
            yield value, side_by_side(scalars, r"\delta K", moment, right)
        yield value, side_by_side(scalars, left, change, right)
        if right and model.trained:
            yield value, side_by_side(scalars, left, moment, r"\delta K")
