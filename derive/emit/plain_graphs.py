"""Prints the equations of any polynomial activation as plain text: sums over units, for any widths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from derive.emit.activation_text import has_teacher_activation, polynomial_text
from derive.emit.header import option_lines, problem_text
from derive.emit.plain_text import SPHERE_LINES, parameter_lines, sum_of
from derive.model import Model
from derive.polynomial.graph_equations import UnitSumEquations, UnitTerm

_UNITS = """\
# C is the covariance of z = (lambda, lambda*) = (Wx, W*x)/sqrt(N). Indices i and j are students, r is a
# teacher, and m and n are units of either kind. ^k after an entry is its k-th power.
C = [[Q, R], [R', T]]"""


def graph_equations_text(model: Model) -> str:
    """The drift and the loss as sums over units, which hold for any widths; `model` has the options."""
    equations = UnitSumEquations(model)
    sphere = model.constraint == "sphere"
    lines = [
        f"{problem_text(model)}, T = W*W*'/N.",
        "",
        option_lines(model),
        *parameter_lines(model),
        "",
        _UNITS,
        "",
        "# moments of the activation and of its derivatives: hk(q) = E[sigma^(k)(z)] for z ~ N(0, q)",
        *_moments(model, equations),
        "",
        "# hk of a student, and ck = d hk of a unit with its weight d in the error f - y",
        *_units(model),
        "",
        "# means of products: each term is a graph, whose edges are the powers of C",
        *_means(model, equations),
        "",
        f"# the drift{' before rescaling, fR and fQ' if sphere else ''}",
        *_drift(model, equations),
        *(SPHERE_LINES if sphere else ()),
        "",
        "# the generalisation error, which leaves out the label noise",
        *_sum("loss", equations.loss()),
    ]
    return "\n".join(lines) + "\n"


def _moments(model: Model, equations: UnitSumEquations) -> Iterator[str]:
    student, teacher = model.activations
    for order in equations.orders():
        yield f"h{order}(q) = {polynomial_text(student.moment(order), 'q')}"
        if has_teacher_activation(model):
            yield f"h*{order}(q) = {polynomial_text(teacher.moment(order), 'q')}"


def _units(model: Model) -> Iterator[str]:
    v, vstar = ("v_i ", "v*_r ") if model.weighted else ("", "")
    star = "*" if has_teacher_activation(model) else ""
    norm = "T_rr" if model.teacher == "general" else "1"
    yield "hk_i = hk(Q_ii)"
    yield f"ck_i = a {v}hk(Q_ii) of students, ck_r = -b {vstar}h{star}k({norm}) of teachers"


def _means(model: Model, equations: UnitSumEquations) -> Iterator[str]:
    bends = list(equations.bends())
    yield from _sum("H_im", equations.slopes())
    if bends:
        yield from _sum("u_i", bends)
    yield f"M_in = E[e sigma'_i z_n] = sum_m(H_im C_mn){' + u_i C_in' if bends else ''}"
    if model.flow == "sgd":
        yield from _sum("N_ij = E[e^2 sigma'_i sigma'_j]", equations.noise())


def _sum(left: str, terms: Iterable[UnitTerm]) -> Iterator[str]:
    """A sum with one term on each line."""
    first = True
    for term in terms:
        coefficient, text = _term(term)
        line = sum_of([(abs(coefficient), text)])
        sign = "-" if coefficient < 0 else "" if first else "+"
        yield f"{left} = {sign}{line}" if first else f"    {sign} {line}"
        first = False
    if first:
        yield f"{left} = 0"


def _term(term: UnitTerm) -> tuple[Fraction, str]:
    inside = [f"c{order}_{letter}" for order, letter in term.units]
    outside = [*term.scalars, *(f"h{order}_{letter}" for order, letter in term.students)]
    for first, second, power in term.overlaps:
        summed = {first, second} & {"m", "n"}
        entry = f"{'C' if summed else 'Q'}_{first}{second}" + (f"^{power}" if power > 1 else "")
        (inside if summed else outside).append(entry)
    if term.summed:
        outside.append(f"sum_{''.join(term.summed)}({' '.join(inside)})")
    else:
        outside += inside
    return term.coefficient, " ".join(outside)


def _drift(model: Model, equations: UnitSumEquations) -> Iterator[str]:
    left, right = ("kappa_i", "kappa_j") if model.weighted else ("kappa", "kappa")
    both = "kappa_i kappa_j" if model.weighted else "kappa^2"
    dR, dQ = ("fR_ir", "fQ_ij") if model.constraint == "sphere" else ("dR_ir/dalpha", "dQ_ij/dalpha")
    yield f"{left} = a eta{' v_i' if model.weighted else ''}"
    yield "decay = eta weight_decay"
    yield f"{dR} = -{left} M_ir - decay R_ir"
    noise = f" + {both} N_ij / batch" if model.flow == "sgd" else ""
    yield f"{dQ} = -{left} M_ij - {right} M_ji{noise} - 2 decay Q_ij"
    if model.trained:
        yield from _sum("E[e sigma_i]", equations.errors())
        yield "dv_i/dalpha = -eta_second a E[e sigma_i]"
