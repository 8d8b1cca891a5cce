"""Prints the equations of any polynomial activation as LaTeX: sums over units, for given widths or for any.

Everything that is summed is made of the powers of C, of the moments h_k(q) of the activation's derivatives,
and of the weights of the units in the error (docs/theory.md). The letters are h for a student, c for a unit
with its weight, and H, u, M and S for the means of products that the drift is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from derive.activation import Activation
from derive.emit.activation_text import polynomial_latex
from derive.emit.latex_lines import align
from derive.emit.latex_matrix import readout_display
from derive.emit.latex_text import derivative, join, product_text, symbol
from derive.errors import InputError
from derive.model import Model
from derive.parameters import PARAMETERS
from derive.polynomial.graph_equations import UnitSumEquations, UnitTerm

Lines = list[tuple[str, str]]


def indexed(letter: str, *indices: int | str) -> str:
    """A letter with its indices, with commas where one is longer than a character; T* has its star last."""
    texts = [str(index) for index in indices]
    separator = "" if all(len(text) == 1 for text in texts) else ","
    base, star, _ = letter.partition("^*")
    return f"{base}_{{{separator.join(texts)}}}{star}"


def powered(text: str, power: int) -> str:
    """A power; a star stays beside its number."""
    if power == 1:
        return text
    base, star, _ = text.partition("^*")
    return f"{base}^{{*{power}}}" if star else f"{text}^{power}"


def check_no_jacobian(model: Model, what: str) -> None:
    """Raise InputError for the Jacobian, which is not written out for graphs."""
    if what == "jacobian":
        raise InputError(
            "what",
            f"'jacobian' is not printed for the activation {model.activation}, where the product rule makes"
            " pages of each line; the generated module has it as the functions tangent and jacobian",
        )


def graph_form(model: Model, what: str, any_widths: bool = False) -> str:
    """LaTeX of "odes" or "loss" as sums over units, with symbolic p and p* for `any_widths`."""
    check_no_jacobian(model, what)
    equations = UnitSumEquations(model)
    text = readout_display(model, any_widths)
    text += align([*moment_lines(model, equations), *_units(model)])
    loss = (r"\varepsilon", _sum(equations.loss()))
    return text + align([loss] if what == "loss" else _odes(model, equations))


def moment_lines(model: Model, equations: UnitSumEquations) -> Iterator[tuple[str, str]]:
    """The lines of h_k(q) = E[σ^(k)(z)], z ~ N(0, q), and of those of the teacher where they differ."""
    student, teacher = model.activations
    for order in equations.orders():
        yield f"h_{order}(q)", _moment(student, order)
        if teacher != student:
            yield f"h_{order}^*(q)", _moment(teacher, order)


def _moment(activation: Activation, order: int) -> str:
    return polynomial_latex(activation.moment(order), "q")


def _units(model: Model) -> Lines:
    """The lines of h_k,i and c_k,m for every k."""
    student, teacher = model.activations
    v, vstar = ("v_i", "v_r^*") if model.weighted else ("", "")
    letter = "h_k" if student == teacher else "h_k^*"
    argument = "T_{rr}" if model.teacher == "general" else "1"
    return [
        ("h_{k,i}", "h_k(Q_{ii})"),
        ("c_{k,i}", rf"a{v}\,h_{{k,i}}"),
        ("c_{k,r}", rf"-b{vstar}\,{letter}({argument})"),
    ]


def moment(letter: str, order: int, index: int | str) -> str:
    """A moment h_k,i or c_k,m."""
    return f"{letter}_{{{order},{index}}}"


def term_text(term: UnitTerm) -> tuple[Fraction, str]:
    """A term as a coefficient and a product, with the sum before what depends on its letters."""
    inside = [moment("c", *unit) for unit in term.units]
    outside = [symbol(name) for name in term.scalars] + [moment("h", *student) for student in term.students]
    for first, second, power in term.overlaps:
        summed = {first, second} & {"m", "n"}
        factor = powered(indexed("C" if summed else "Q", first, second), power)
        (inside if summed else outside).append(factor)
    text = ""
    for factor in outside:
        text = product_text(text, factor)
    if term.summed:
        text += rf"\sum_{{{','.join(term.summed)}}} "
    return term.coefficient, text + "".join(inside)


def _sum(terms: Iterable[UnitTerm]) -> str:
    return join(map(term_text, terms))


def step_text(model: Model, second: str) -> str:
    """κ of a student, whose second-layer weight is `second`."""
    return product_text(product_text("a", PARAMETERS["eta"].latex), second if model.weighted else "")


def _odes(model: Model, equations: UnitSumEquations) -> Lines:
    bends = list(equations.bends())
    mean = r"\sum_m H_{im}C_{mn}" + (" + u_iC_{in}" if bends else "")
    kappa = r"\kappa_i" if model.weighted else r"\kappa"
    lines: Lines = [(kappa, step_text(model, "v_i")), ("H_{im}", _sum(equations.slopes()))]
    if bends:
        lines.append(("u_i", _sum(bends)))
    lines.append(("M_{in}", rf"\mathrm{{E}}[e\,\sigma'(\lambda_i)\,z_n] = {mean}"))
    if model.flow == "sgd":
        noise = _sum(equations.noise())
        lines.append(("S_{ij}", rf"\mathrm{{E}}[e^2\sigma'(\lambda_i)\sigma'(\lambda_j)] = {noise}"))
    return lines + drift_lines(model, _sum(equations.errors()))


# On the sphere the growth of norms is removed from the drift F and G of Q and R.
_PROJECTION = (
    ("g_i", r"\frac{F_{ii}}{2Q_{ii}}"),
    (derivative("R_{ir}"), "G_{ir} - g_iR_{ir}"),
    (derivative("Q_{ij}"), "F_{ij} - (g_i + g_j)Q_{ij}"),
)


def drift_lines(model: Model, errors: str) -> Lines:
    """The lines of the drift in M and S; `errors` is the mean of e σ(λᵢ)."""
    sphere = model.constraint == "sphere"
    left, right = (r"\kappa_i", r"\kappa_j") if model.weighted else (r"\kappa", r"\kappa")
    both = r"\kappa_i\kappa_j" if model.weighted else r"\kappa^2"
    dR = "G_{ir}" if sphere else derivative("R_{ir}")
    dQ = "F_{ij}" if sphere else derivative("Q_{ij}")
    norms = f"-{product_text(left, 'M_{ij}')} - {product_text(right, 'M_{ji}')}"
    if model.flow == "sgd":
        norms += rf" + \frac{{{both}}}{{B}}S_{{ij}}"
    lines = [
        (dR, rf"-{product_text(left, 'M_{ir}')} - \eta\gamma R_{{ir}}"),
        (dQ, rf"{norms} - 2\eta\gamma Q_{{ij}}"),
    ]
    if model.trained:
        lines.append((derivative("v_i"), rf"-\eta_va\bigl[{errors}\bigr]"))
    return lines + list(_PROJECTION if sphere else ())
