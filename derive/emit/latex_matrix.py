"""Prints the equations in matrices as LaTeX, for given widths or for any: ODEs, loss and Jacobian.

Coefficients come from the diagrams. The blocks of C(DC)ᵐ are X = (CDC)ₛₛ, Y = (CDC)ₛₜ and Z = (CDCDC)ₛₛ,
where s stands for students and t for teachers.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from derive.emit.latex_text import ReadoutSums, align, combination, derivative, polynomial, symbol
from derive.equations import STEP, OverlapEquations
from derive.model import Model
from derive.overlap_program import CHAINS_SS, CHAINS_ST
from derive.program import Matrix
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial


def _readout_numbers(model: Model) -> str:
    a, b = (ReadoutSums(model).sum([(Fraction(1), (name,))], {}) for name in ("a", "b"))
    return rf"a = {a},\qquad b = {b}" if READOUTS[model.readout].power else "a = b = 1"


def _definitions(model: Model, any_widths: bool, chains: int) -> list[tuple[str, str]]:
    """The lines of s and t, of X and Y if `chains` is at least 1, and of Z if it is 2."""
    if model.teacher == "general":
        trace, square = r"b\operatorname{tr} T", r"b^2\operatorname{tr} T^2"
        teacher = "RT"
    else:
        # For T = 1 both tr T and tr T² are p*.
        width = "p^*" if any_widths else "" if model.pstar == 1 else str(model.pstar)
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


def _named(
    chains: Mapping[int, Matrix], parts: Mapping[int, ScalarPolynomial]
) -> dict[str, ScalarPolynomial]:
    return {chains[chain].name: value for chain, value in sorted(parts.items())}


def _matrix_drift(model: Model, equations: OverlapEquations) -> list[tuple[str, str]]:
    drift_q = combination(_named(CHAINS_SS, equations.dQ))
    drift_r = combination(_named(CHAINS_ST, equations.dR))
    if model.constraint == "free":
        return [(derivative("R"), drift_r), (derivative("Q"), drift_q)]
    return [
        ("G", drift_r),
        ("F", drift_q),
        (r"\Gamma", r"\operatorname{diag}(g_1,\dots,g_p),\qquad g_i = \frac{F_{ii}}{2Q_{ii}}"),
        (derivative("R"), r"G - \Gamma R"),
        (derivative("Q"), r"F - \Gamma Q - Q\Gamma"),
    ]


def _tangents(parts: Mapping[str, ScalarPolynomial]) -> dict[str, ScalarPolynomial]:
    """The product rule δ(Σ c M) = Σ c δM + δc M, where s and t are what changes in c."""
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


def _matrix_jacobian(model: Model, equations: OverlapEquations) -> list[tuple[str, str]]:
    teacher = r"\delta R\,T" if model.teacher == "general" else r"\delta R"
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
    if model.constraint == "free":
        return [
            *lines,
            (rf"\delta{derivative('R')}", drift_r),
            (rf"\delta{derivative('Q')}", drift_q),
        ]
    return [
        *_matrix_drift(model, equations)[:3],
        *lines,
        (r"\delta G", drift_r),
        (r"\delta F", drift_q),
        (
            r"\delta\Gamma",
            r"\operatorname{diag}(\delta g_1,\dots,\delta g_p),\qquad "
            + r"\delta g_i = \frac{\delta F_{ii} - 2 g_i\,\delta Q_{ii}}{2Q_{ii}}",
        ),
        (rf"\delta{derivative('R')}", r"\delta G - \delta\Gamma\,R - \Gamma\,\delta R"),
        (
            rf"\delta{derivative('Q')}",
            r"\delta F - \delta\Gamma\,Q - \Gamma\,\delta Q - \delta Q\,\Gamma - Q\,\delta\Gamma",
        ),
    ]


def matrix_form(model: Model, equations: OverlapEquations, what: str, any_widths: bool = False) -> str:
    """LaTeX of "odes", "loss" or "jacobian" in matrices, with symbolic p and p* for `any_widths`."""
    definitions = _definitions(model, any_widths, max(equations.dQ))
    weights = READOUTS[model.readout].latex("p", "p^*") if any_widths else _readout_numbers(model)
    readout = f"\\[\n  {weights}\n\\]\n"
    if what == "loss":
        return readout + align([*definitions[:2], (r"\varepsilon", polynomial(equations.loss))])
    step = (symbol(STEP), polynomial(equations.step))
    lines = _matrix_drift if what == "odes" else _matrix_jacobian
    return readout + align([step, *definitions, *lines(model, equations)])
