"""Formulas for the plateau: q, loss and rates as SymPy expressions with symbolic widths.

The derived equations are sums of chains C(DC)ᵐ with coefficients in the loops s = tr DC and
t = tr DCDC (`derive.equations`). At R = 0, Q = q 1 and to first order around it a chain is

    aᵐ qᵐ⁺¹ 1                             (students)
    (m + 1) (aq)ᵐ δQ                      (a traceless deviation; s and t do not change)
    R v Σⱼ (aq)ʲ (−bτ)ᵐ⁻ʲ                  (along an eigenvector v of T with eigenvalue τ)

and everything below follows by algebra. The model is that of arXiv:2604.03068.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from derive.equations import READOUT_STUDENT, overlap_equations
from derive.model import OPTIONS, Model
from derive.parameters import NUMBERS, PARAMETERS, RuntimeParameter
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial
from runtime.start.checked_arrays import real_number

if TYPE_CHECKING:
    import sympy


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """Expressions in `symbols`, from `closed_form`.

    symbols
        By name: ``p``, ``pstar``, ``q``, and the run-time parameters ``eta``, ``Delta``, and ``gamma`` and
        ``B`` if they were asked for; ``a`` and ``b`` unless a readout was chosen; for a general teacher
        ``T1`` = tr T, ``T2`` = tr T² and ``tau``, an eigenvalue of T.
    equation
        Polynomial in the symbol q that vanishes at the plateau; 0 on the sphere, where q = 1.
    q
        Norm Q_ii at the plateau. Where it is not positive, weight decay shrinks the norms to zero instead.
    loss
        Generalisation error ε.
    rate
        The escape rate: that of R along the eigenvector of T with eigenvalue tau (for T = 1, of all R).
    norm_rate
        The rate of the trace of Q; 0 on the sphere, where it does not move.
    overlap_rate
        The rate of traceless deviations of Q.
    largest_eta
        The largest η with a plateau that is stable within R = 0; infinity in gradient flow. On the
        sphere a negative value means that there is no such limit.
    in_q
        ``loss``, ``rate``, ``norm_rate`` and ``overlap_rate`` as short expressions in the symbol q.
    """

    symbols: Mapping[str, sympy.Symbol]
    equation: sympy.Expr
    q: sympy.Expr
    loss: sympy.Expr
    rate: sympy.Expr
    norm_rate: sympy.Expr
    overlap_rate: sympy.Expr
    largest_eta: sympy.Expr
    in_q: Mapping[str, sympy.Expr]

    def __repr__(self) -> str:
        symbols = ", ".join(map(str, self.symbols.values()))
        return f"<{type(self).__name__} of the plateau in {symbols}: rate = {self.in_q['rate']}>"


def closed_form(
    constraint: str = "free",
    flow: str = "sgd",
    teacher: str = "orthonormal",
    readout: str | None = "mean",
    *,
    weight_decay: Any = 0,
    batch: Any = 1,
) -> ClosedForm:
    """Solve the plateau equation for any p, p*, η and Δ (and T), where all second-layer weights are 1.

    With a mean readout, T = 1 and gradient flow: q = p/(p+2), ε = 1/(p+2) + 1/p*, rate 4η/(p p*); weight
    decay multiplies this q with 1 − γp/2, and leaves the rate as it is.

    Parameters
    ----------
    constraint, flow, teacher
        As for `oo.Model`. On the sphere norms are 1.
    readout
        As for `oo.Model`; None leaves a and b as symbols.
    weight_decay, batch
        Numbers γ and B, of any kind that SymPy takes; None leaves γ and B as symbols.

    Raises
    ------
    InputError
        Another value.
    """
    import sympy as sp

    any_readout = OPTIONS["readout"].default if readout is None else readout
    model = Model(1, 1, constraint, flow, teacher, any_readout)
    positive = {name: sp.Symbol(name, positive=True) for name in ("p", "pstar", "q", "a", "b")}
    others = {name: sp.Symbol(name, nonnegative=True) for name in ("T1", "T2", "tau")}
    numbers = {number.name: _symbol(number) for number in NUMBERS if number.belongs_to(model)}
    symbols = positive | others | {symbol.name: symbol for symbol in numbers.values()}
    eta, q, a = (symbols[name] for name in ("eta", "q", "a"))
    known = _known(symbols, numbers, {"weight_decay": weight_decay, "batch": batch}, teacher, readout)
    parts = _drift_near_plateau(flow, symbols, numbers)
    if constraint == "sphere":
        # A step's relative growth of norms, d ln |w| = dQ_ii / (2 Q_ii), is taken from each index.
        growth = parts["norm"] / (2 * q)
        known[q], root, equation = sp.Integer(1), sp.Integer(1), sp.Integer(0)
        in_q = {
            "loss": parts["loss"],
            "rate": parts["alignment"] - growth,
            "norm_rate": sp.Integer(0),
            "overlap_rate": parts["traceless"] - 2 * growth,
        }
        edge = in_q["overlap_rate"]
    else:
        # The factor q is the state without students, 4aη the unit of time.
        norm = parts["norm"]
        equation = sp.expand(norm / (4 * a * eta * q))
        c0, c1, c2 = (sp.factor(equation.coeff(q, k)) for k in range(3))
        edge = c1**2 - 4 * c2 * c0
        # The root that stays finite as η → 0, in the form without cancellations.
        root = 2 * c0 / (sp.sqrt(sp.factor(edge)) - c1) if c2 != 0 else sp.factor(-c0 / c1)
        # At the plateau norm = 0, so norm / q may be taken from rates to make them short.
        in_q = {
            "loss": parts["loss"],
            "rate": parts["alignment"],
            "norm_rate": sp.diff(norm, q) - norm / q,
            "overlap_rate": parts["traceless"] - norm / q,
        }

    in_q = {name: sp.factor(sp.sympify(value).subs(known)) for name, value in in_q.items()}
    root = sp.factor(root.subs(known))
    explicit = {name: value.subs(q, root) for name, value in in_q.items()}
    if not root.has(eta):
        explicit = {name: sp.factor(value) for name, value in explicit.items()}
    return ClosedForm(
        symbols={name: symbol for name, symbol in symbols.items() if symbol not in known},
        equation=sp.collect(sp.expand(equation.subs(known)), q),
        q=root,
        largest_eta=sp.factor(_edge(edge, eta).subs(known)),
        in_q=in_q,
        **explicit,
    )


def _symbol(number: RuntimeParameter) -> sympy.Symbol:
    """The symbol of a run-time parameter, with the sign that its bound allows."""
    import sympy as sp

    if number.least < 0.0:
        return sp.Symbol(number.printed, real=True)
    assumption = {"positive" if number.strict or number.least > 0.0 else "nonnegative": True}
    return sp.Symbol(number.printed, **assumption)


def _known(
    symbols: Mapping[str, Any],
    numbers: Mapping[str, Any],
    given: Mapping[str, Any],
    teacher: str,
    readout: str | None,
) -> dict[Any, Any]:
    """What is put in place of symbols: given numbers, an orthonormal teacher, a readout."""
    import sympy as sp

    p, pstar = symbols["p"], symbols["pstar"]
    known = {numbers[name]: _exact(name, value) for name, value in given.items() if value is not None}
    if teacher == "orthonormal":
        known |= {symbols["T1"]: pstar, symbols["T2"]: pstar, symbols["tau"]: sp.Integer(1)}
    if readout is not None:
        weight = READOUTS[readout].expression
        known |= {symbols["a"]: weight(p), symbols["b"]: weight(pstar)}
    return known


def _exact(name: str, value: Any) -> Any:
    """A number as an exact one, within the bounds of the parameter."""
    import sympy as sp

    if not isinstance(value, sp.Basic):
        real_number(name, value, least=PARAMETERS[name].least)
    return sp.nsimplify(value, rational=True)


def _drift_near_plateau(
    flow: str, symbols: Mapping[str, Any], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    """The derived drift at R = 0, Q = q 1 and its derivatives, and the loss.

    ``norm``: dq/dα. ``traceless``, ``alignment``: rates of these deviations; their loops do not change.
    """
    import sympy as sp

    a, b, p, q, tau = (symbols[name] for name in ("a", "b", "p", "q", "tau"))
    equations = overlap_equations(flow)
    values = {
        READOUT_STUDENT: a,
        **{
            PARAMETERS[name].code: 1 / symbol if PARAMETERS[name].reciprocal else symbol
            for name, symbol in numbers.items()
        },
        "s": a * p * q - b * symbols["T1"],
        "t": a**2 * p * q**2 + b**2 * symbols["T2"],
    }

    def value(polynomial: ScalarPolynomial) -> Any:
        return polynomial.evaluate(values, lambda c: sp.Rational(c.numerator, c.denominator))

    for name, scalar in equations.scalars.items():
        values[name] = value(scalar)

    def aligned(chain: int) -> Any:
        return sp.Add(*((a * q) ** j * (-b * tau) ** (chain - j) for j in range(chain + 1)))

    return {
        "norm": sp.Add(*(value(c) * a**m * q ** (m + 1) for m, c in equations.dQ.items())),
        "traceless": sp.Add(*(value(c) * (m + 1) * (a * q) ** m for m, c in equations.dQ.items())),
        "alignment": sp.Add(*(value(c) * aligned(m) for m, c in equations.dR.items())),
        "loss": value(equations.loss),
    }


def _edge(expression: Any, eta: Any) -> Any:
    """The η > 0 at which an expression, a polynomial of second degree times a power of η, is zero.

    It has a sign at η → 0 and, unless the result is infinity, the other at large η.
    """
    import sympy as sp

    polynomial = sp.Poly(sp.numer(sp.together(expression)), eta)
    while not polynomial.coeff_monomial(1):
        polynomial = sp.Poly(sp.cancel(polynomial.as_expr() / eta), eta)
    c0, c1, c2 = (sp.factor(polynomial.coeff_monomial(eta**k)) for k in range(3))
    if c2 != 0:
        # c₀ and c₂ have opposite signs: of the two roots one is positive.
        c0, c1, c2 = (-c0, -c1, -c2) if c0.could_extract_minus_sign() else (c0, c1, c2)
        return 2 * c0 / (sp.sqrt(sp.factor(c1**2 - 4 * c2 * c0)) - c1)
    return sp.factor(-c0 / c1) if c1 != 0 else sp.oo
