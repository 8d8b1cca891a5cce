"""Prints the sector's equations as LaTeX, alone or in a document."""

from __future__ import annotations

from collections.abc import Mapping

from derive.emit.header import derive_command
from derive.emit.latex_definitions import network_sentences, step_sentences
from derive.emit.latex_document import document_start
from derive.emit.latex_lines import align
from derive.emit.latex_text import combination, derivative, join, polynomial, symbol
from derive.emit.printed_program import put_in
from derive.equations import STEP, OverlapEquations
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial
from derive.sector.sector_model import SectorModel
from derive.sector.sector_program import D_NORM, D_OVERLAP, REST, Loop, SectorProgram, numbered

_PERP = r"q_\perp"
# The LaTeX of the chains C(DC)ᵐ in a direction, by m.
_NORM_CHAINS = {0: "q_k", 1: "x_k", 2: "z_k"}
_OVERLAP_CHAINS = {0: "m_k", 1: "y_k"}


def _tidy(text: str) -> str:
    """The text with single indices without braces."""
    return text.replace("_{k}", "_k").replace("_{perp}", r"_\perp")


def _known(program: SectorProgram) -> dict[str, ScalarPolynomial]:
    """What is put in the places of its names: κ²/B, ηγ, and the entries of D with a second layer."""
    known: dict[str, ScalarPolynomial] = {}
    for statement in (*program.weights, *program.coefficients):
        if statement.target != STEP:
            known[statement.target] = put_in(statement.polynomial, known)
    return known


def _sum(value: ScalarPolynomial) -> str:
    """LaTeX of a polynomial of direction k, the positive terms first."""
    terms = numbered(value, "k").sorted_terms()
    ordered = sorted(terms, key=lambda term: (term[1] < 0, -len(term[0])))
    return join((c, polynomial(ScalarPolynomial({monomial: 1}))) for monomial, c in ordered)


def _loop(model: SectorModel, loop: Loop, known: Mapping[str, ScalarPolynomial]) -> str:
    inside = _sum(put_in(loop.direction, known))
    rest = polynomial(put_in(loop.complement.derivative(REST), known))
    names = loop.note.partition("tr")[2]
    total = rf"\sum_{{k=1}}^{{{model.pstar}}} ({inside}) + (p - {model.pstar}){rest}"
    return rf"\operatorname{{tr}}{names} = {total}"


def sector_equations(
    model: SectorModel, program: SectorProgram, equations: OverlapEquations, what: str
) -> str:
    """LaTeX (amsmath) of the sector's ``"odes"`` or ``"loss"``, p symbolic."""
    weights = READOUTS[model.readout].latex("p", str(model.pstar))
    known = _known(program)
    readout = f"\\[\n  {weights}\n\\]\n"
    loops = [(loop.target, _loop(model, loop, known)) for loop in program.loops]
    loss = (r"\varepsilon", polynomial(equations.loss))
    if what == "loss":
        return readout + _tidy(align([*loops, loss]))

    v = "v" if model.weighted else ""
    perp_chains = {0: _PERP, 1: rf"a{v}{_PERP}^2", 2: rf"a^2{v}{'^2' * bool(v)}{_PERP}^3"}

    def drift(chains: Mapping[int, str], parts: Mapping[int, ScalarPolynomial]) -> str:
        return combination(
            {chains[length]: put_in(value, known) for length, value in sorted(parts.items())}
        )

    (step,) = (put_in(scalar.polynomial, known) for scalar in program.coefficients if scalar.target == STEP)
    lines = [(symbol(STEP), polynomial(step)), *loops]
    for statement in program.direction:
        if statement.target not in (D_NORM, D_OVERLAP):
            lines.append((f"{statement.target}_k", _sum(put_in(statement.polynomial, known))))
    lines += [
        (derivative("m_k"), drift(_OVERLAP_CHAINS, equations.dR)),
        (derivative("q_k"), drift(_NORM_CHAINS, equations.dQ)),
        (derivative(_PERP), drift(perp_chains, equations.dQ)),
    ]
    return readout + _tidy(align(lines))


def sector_definitions(model: SectorModel, what: str = "odes") -> str:
    """Sentences that define what the equations of the sector refer to."""
    pstar = model.pstar
    v, vstar = ("v", "v^*") if model.weighted else ("", "")
    equal = "\nAll students have one second-layer weight $v$, and all teachers one $v^*$." * model.weighted
    steps = step_sentences(model) + "\n" if what == "odes" else ""
    return rf"""{network_sentences(model)} and
$R = WW^{{*\top}}/N$, where $W$ has the rows $w_i$ and $W^*$ has the rows $w^*_r$. The teacher is
orthonormal, $W^*W^{{*\top}}/N = 1$, with the width $p^* = {pstar}$, and norms are free.{equal}
{steps}From $Q_0 \propto 1$, or any $Q_0$ in the algebra of $R_0R_0^\top$ and $1$, the state stays
\begin{{align*}}
  Q &= \sum_{{k=1}}^{{{pstar}}} q_k \hat u_k \hat u_k^\top
    + {_PERP}\Bigl(1 - \sum_{{k=1}}^{{{pstar}}} \hat u_k \hat u_k^\top\Bigr), \\
  R &= \sum_{{k=1}}^{{{pstar}}} m_k \hat u_k \hat v_k^\top
\end{{align*}}
with constant orthonormal $\hat u_k$ and $\hat v_k$. In their frame the covariance $C$ of all
pre-activations has the blocks
\[
  c_k = \begin{{pmatrix}} q_k & m_k \\ m_k & 1 \end{{pmatrix}},\qquad
  \delta = \operatorname{{diag}}(a{v}, -b{vstar}),
\]
and $p - {pstar}$ entries ${_PERP}$; $\delta$ is the block of the weights $D$ of all units in the error
$f - y$. So each chain $C(DC)^m$ of Wick's theorem has the blocks
$c_k(\delta c_k)^m$ and the entries ${_PERP}(a{v}{_PERP})^m$, and each loop
$\operatorname{{tr}}((DC)^m)$ is a number. If $p < {pstar}$, the directions without a student have
$q_k = m_k = 0$, and ${_PERP} = 0$.
"""


def sector_document(model: SectorModel, program: SectorProgram, equations: OverlapEquations) -> str:
    """A document that plain pdflatex compiles (amsmath and geometry only)."""
    return rf"""{document_start(derive_command(model))}
\section*{{\raggedright Invariant sector of the overlap ODEs of a quadratic teacher--student network,
\mbox{{$p^* = {model.pstar}$}}}}

After arXiv:2604.03068.
{sector_definitions(model)}
\subsection*{{Equations, for any $p$}}
{sector_equations(model, program, equations, "odes")}
\subsection*{{Generalisation error}}
{sector_equations(model, program, equations, "loss")}
\end{{document}}
"""
