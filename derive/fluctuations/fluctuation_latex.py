"""Prints the diffusion matrix as LaTeX, for given widths or for any.

The coefficients of the moments come from `double_chains`. Units i, j, k and l are students or teachers, so
that one line holds for the entries of Q and of R.
"""

from __future__ import annotations

from derive.emit.latex_lines import align
from derive.emit.latex_matrix import readout_display
from derive.emit.latex_text import polynomial
from derive.equations import overlap_equations
from derive.fluctuations.double_chains import LONG_LOOP_NAMES, double_chain_moment
from derive.fluctuations.fluctuation_program import POWERS
from derive.model import Model

_D = r"\mathcal{D}"
_HATTED = rf"\hat{{{_D}}}"
_WEIGHTS = {
    False: r"\underbrace{a,\dots,a}_{p},\underbrace{-b,\dots,-b}_{p^*}",
    True: r"av_1,\dots,av_p,-bv^*_1,\dots,-bv^*_{p^*}",
}
_PAIRINGS = (
    r"\sum_{m + m' \leq n} c^{(n)}_{mm'}\,\bigl(K^m_{ij}K^{m'}_{kl}",
    r"+ K^m_{ik}K^{m'}_{jl} + K^m_{il}K^{m'}_{jk}\bigr)",
)
_SECOND, _THIRD, _FOURTH = (rf"\,\mathrm{{E}}[e^{n}\,z_iz_jz_kz_l]" for n in POWERS)
_COVARIANCE = (
    rf"(\kappa_i + \kappa_j)(\kappa_k + \kappa_l){_SECOND}",
    rf"- \frac{{1}}{{B}}(\kappa_i + \kappa_j)\kappa_k\kappa_l{_THIRD}",
    rf"- \frac{{1}}{{B}}\kappa_i\kappa_j(\kappa_k + \kappa_l){_THIRD}",
    rf"+ \frac{{1}}{{B^2}}\kappa_i\kappa_j\kappa_k\kappa_l{_FOURTH}",
    r"- \mathrm{E}[\delta_{ij}]\,\mathrm{E}[\delta_{kl}]",
)
_WITH_V = (
    r"\eta_va(\kappa_i + \kappa_j)\,\mathrm{E}[e^2\,z_iz_jz_k^2]",
    r"- \frac{1}{B}\eta_va\kappa_i\kappa_j\,\mathrm{E}[e^3\,z_iz_jz_k^2]",
    r"- \mathrm{E}[\delta_{ij}]\,\mathrm{E}[\delta v_k]",
)
_OF_V = (
    r"\eta_v^2a^2\,\mathrm{E}[e^2\,z_i^2z_k^2]",
    r"- \mathrm{E}[\delta v_i]\,\mathrm{E}[\delta v_k]",
)
_GROWTH = r"\frac{{\delta_{{{0}}}}}{{Q_{{{0}}}}}"
_GROWTHS = f"{_GROWTH.format('ii')} + {_GROWTH.format('jj')}"
_SPHERE = (
    (_D, rf"P{_HATTED}P^\top"),
    (
        r"(P\delta)_{ij}",
        rf"\delta_{{ij}} - \frac{{Q_{{ij}}}}{{2}}\Bigl({_GROWTHS}\Bigr)",
    ),
    (r"(P\delta)_{ir}", rf"\delta_{{ir}} - \frac{{R_{{ir}}}}{{2}}\,{_GROWTH.format('ii')}"),
)
_Lines = list[tuple[str, str]]


def diffusion_form(model: Model, any_widths: bool = False) -> str:
    """LaTeX of the diffusion matrix of a quadratic model; every symbol is defined."""
    if model.flow == "gradient":
        return f"\\[\n  {_D} = 0\n\\]\n"
    teacher = "T" if model.teacher == "general" else "1"
    covariance = rf"C = \begin{{pmatrix}} Q & R \\ R^\top & {teacher} \end{{pmatrix}}"
    D = rf"D = \operatorname{{diag}}({_WEIGHTS[model.weighted]})"
    displayed = readout_display(model, any_widths) + "".join(
        f"\\[\n  {line}\n\\]\n" for line in (covariance, D)
    )
    return displayed + align(_definitions(model)) + align(_moments()) + _diffusion(model)


def _definitions(model: Model) -> _Lines:
    v = "v_i" if model.weighted else ""
    lines = [
        ("z", r"(\lambda_1,\dots,\lambda_p,\lambda^*_1,\dots,\lambda^*_{p^*})"),
        ("e", r"z^\top Dz - \sqrt{\Delta}\,\xi"),
        (r"\kappa_i", rf"2a\eta {v}\ \text{{for students}},\ 0\ \text{{for teachers}}"),
        ("K^m", "C(DC)^m"),
    ]
    for m, name in LONG_LOOP_NAMES.items():
        lines.append((name, rf"\operatorname{{tr}}{'(DC)' if m == 1 else f'((DC)^{m})'}"))
    changes = [
        (r"\delta_{ij}", r"-(\kappa_i + \kappa_j)\,e\,z_iz_j + \frac{\kappa_i\kappa_j}{B}\,e^2z_iz_j")
    ]
    if model.trained:
        changes.append((r"\delta v_i", r"-\eta_va\,e\,z_i^2"))
    return lines + changes


def _moments() -> _Lines:
    """The moments of two and of four pre-activations, with their coefficients."""
    equations, lines = overlap_equations("sgd"), _Lines()
    for error, chains in (("e", equations.mean), ("e^2", equations.noise)):
        terms = (_times(polynomial(value), f"K^{m}_{{ij}}") for m, value in chains.items())
        lines.append((rf"\mathrm{{E}}[{error}\,z_iz_j]", " + ".join(terms)))
    lines.append((r"\mathrm{E}[e^n\,z_iz_jz_kz_l]", " ".join(_PAIRINGS)))
    lines.append((r"c^{(n)}_{mm'}", r"c^{(n)}_{m'm}"))
    for power in POWERS:
        for (first, second), value in double_chain_moment(power).items():
            if first <= second:
                lines.append((f"c^{{({power})}}_{{{first}{second}}}", polynomial(value)))
    return lines


def _times(coefficient: str, text: str) -> str:
    """A coefficient, in brackets if it is a sum, and what it multiplies."""
    if coefficient == "1":
        return text
    return f"({coefficient}){text}" if " " in coefficient else f"{coefficient}{text}"


def _diffusion(model: Model) -> str:
    sphere = model.constraint == "sphere"
    D = rf"B\,{_HATTED if sphere else _D}"
    lines = [(rf"{D}_{{ij,kl}}", " ".join(_COVARIANCE))]
    if model.trained:
        lines.append((rf"{D}_{{ij,v_k}}", " ".join(_WITH_V)))
        lines.append((rf"{D}_{{v_i,v_k}}", " ".join(_OF_V)))
    return align([*lines, *(_SPHERE if sphere else ())])
