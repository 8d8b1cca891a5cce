"""Solves gradient flow by its matrix Riccati equation, to check the integrators.

With V = W/√N (p × N) and V* likewise, the overlap ODEs without the η² term follow from the flow
(arXiv:2604.03068; conventions in the README)

    dV/dα = −2aη (s V + 2 V E) − ηγ V,    E = aVᵀV − bV*ᵀV*,    s = tr E.

If all students have the second-layer weight v and all teachers v*, then a and b stand for av and bv*. A
schedule of the learning rate g(α) only changes the time, to ∫g dα.

**The scalar s only rescales, and so does decay.** Put V = cZ with c(0) = 1 and dc/dα = −2aηsc − ηγc. Then
dZ/dα = −4aη Z (ac²ZᵀZ − bV*ᵀV*), and G = ZᵀZ obeys a Riccati equation,
dG/dα = 4abη (V*ᵀV*G + GV*ᵀV*) − 8a²ηc²G². It is solved through its linear problem: with
L(α) = exp(4abηα V*ᵀV*), Z₀ = V(0) and the p × p matrix

    A(α) = 1 + 8a²η ∫₀^α c² Z₀L²Z₀ᵀ dα',    G = L Z₀ᵀ A⁻¹ Z₀ L.

In the eigenbasis of T (eigenvalues τᵣ, student coordinates yᵣ along the teacher's unit
eigenvectors, Z₀Z₀ᵀ = Σᵣ yᵣyᵣᵀ + FFᵀ) the integral needs one number for each τᵣ and one for the
rest of space, τ = 0: A = 1 + 8a²η (h₀FFᵀ + Σᵣ hᵣyᵣyᵣᵀ), dhᵣ/dα = c² exp(8abητᵣα).

**The scalar.** tr(ZZᵀ) = tr(A⁻¹Z₀L²Z₀ᵀ) = (d log det A/dα) / (8a²ηc²), so the equation of c with
s = ac² tr ZZᵀ − b tr T integrates to

    c² = det(A)^(−1/2) exp(4abηα tr T − 2ηγα).

This closes the equations in the numbers hᵣ: c is a function of integrals of c², a scalar Volterra
equation. For T = 1 there are two numbers, hence one scalar equation of second order. Where one
number is enough (R0 = 0, or students in the span of an orthonormal teacher) it is a quadrature:
for R0 = 0, ∫ det(1 + 8a²ηh Q0)^(1/2) dh = ∫ exp(4abηα tr T − 2ηγα) dα.

**The frame.** G says how the weights lie relative to each other and the teacher up to a common
rotation of all students, so spectra, the loss and RᵀR follow from A alone. Q and R in
the frame of the students need V = cSZ₀L with

    dS/dα = −½ S (dA/dα) A⁻¹,    S(0) = 1,    SASᵀ = 1:

A^(−1/2) up to a rotation, and equal to it where dA/dα commutes with A (one student; or T = 1
with Q0 a function of R0R0ᵀ). In general the rotation is the holonomy of a horizontal lift and
has no closed form, but the equation for S is linear.

**Numbers.** Time is cut into segments in which no exponent exceeds a few units. In each, c² is
the fixed point of the Volterra equation at Chebyshev points, S likewise, both with
spectral accuracy; SASᵀ = 1 checks the resolution. Weights' coordinates [Y, F] are multiplied
from segment to segment, never subtracted, so that what is left of a student outside the teacher's
span keeps its digits however small. No Runge-Kutta method is involved.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike

from derive.errors import InputError
from derive.model import Model, require_quadratic
from runtime.analysis.equal_layers import equal_readouts
from runtime.output.value_ranges import span
from runtime.run_options import ALPHA
from runtime.sgd.weight_coordinates import coordinates
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher

_UNSOLVED = {
    "flow": ("sgd", "only 'gradient' has"),
    "constraint": ("sphere", "only 'free' has"),
    "second_layer": ("trained", "its weights follow the norms of the students, which differ"),
}
# Degree of the interpolants; with exponents up to LONGEST_EXPONENT their last coefficients are
# below 1e-17 of the first.
_DEGREE = 24
_LONGEST_EXPONENT = 2.0
# Fixed-point iterations contract like a Volterra equation, exponentᵏ/k!.
_ITERATIONS = 60
_CONVERGED = 4e-16
# Changes below this that no longer decrease are rounding.
_ROUNDING = 1e-11
# SASᵀ = 1 must hold up to this times p.
_RESOLVED = 2e-14
# A segment shorter than this part of the time that has passed no longer moves it.
_SHORTEST = 1e-15


class GradientFlow(NamedTuple):
    """Overlaps and loss at the requested times.

    Q, R
        Shapes (times, p, p) and (times, p, p*).
    loss
        Generalisation error, shape (times,): a sum of squares of entries of E, so never negative
        and small values right to about 1e-14 √loss.
    """

    Q: Array
    R: Array
    loss: Array

    def __repr__(self) -> str:
        times, p, pstar = self.R.shape
        return f"<{type(self).__name__} of p = {p}, p* = {pstar} at {times} times: loss {span(self.loss)}>"


def gradient_flow(
    model: Model,
    Q0: ArrayLike,
    R0: ArrayLike,
    T: ArrayLike | None = None,
    *,
    eta: float,
    alpha: ArrayLike = ALPHA,
    weight_decay: float = 0.0,
    student_weights: ArrayLike | None = None,
    teacher_weights: ArrayLike | None = None,
    schedule: Any = None,
    start_alpha: float = 0.0,
) -> GradientFlow:
    """The solution of gradient flow from Q0, R0 at the times α, to nearly machine precision.

    Parameters
    ----------
    model
        Free norms, ``flow="gradient"`` and no trained second layer; any widths, teacher and readout. Or a
        System of it.
    Q0, R0
        Overlaps (p, p) and (p, p*) that some weights have together with T; ranks may be deficient.
    T
        Teacher overlaps (p*, p*), for a general teacher only.
    eta
        Learning rate η > 0.
    alpha
        End of 201 even output times from 0, or the ascending times themselves. The cost grows
        with abηα: about a millisecond per unit of 8abηα.
    weight_decay, schedule, start_alpha
        As in `oo.integrate`.
    student_weights, teacher_weights
        Second-layer weights of a model that has them, all equal in each layer; ones by default.

    Raises
    ------
    InputError
        An argument is not allowed, or the model is not one of free gradient flow; or second-layer weights
        differ, with which s and E no longer rescale all students alike.
    """
    model = checked_arrays.as_model(model)
    require_quadratic(model, "gradient flow is solved exactly")
    for option, (value, problem) in _UNSOLVED.items():
        if getattr(model, option) == value:
            raise InputError(option, f"{value!r} has no Riccati equation; {problem}")
    given = {
        "T": T,
        "eta": eta,
        "weight_decay": weight_decay,
        "student_weights": student_weights,
        "teacher_weights": teacher_weights,
    }
    parameters = RunParameters.of(model, given)
    Q, R = checked_arrays.overlaps(model, Q0, R0, parameters.T)
    begin = checked_arrays.real_number("start_alpha", start_alpha, least=0.0)
    rates = Schedule.of(schedule)
    requested = checked_arrays.output_times(alpha, begin)
    # Time passes at the rate g; it stands still where g = 0.
    passed = rates.integral(requested) - rates.integral(np.array(begin))
    times, where = np.unique(passed, return_inverse=True)
    equation = _RiccatiEquation.of(parameters)
    Y, F = equation.coordinates(0.5 * Q + 0.5 * Q.T, R)
    outputs = [np.empty((times.size, *x.shape)) for x in (Y, F)]
    reached, done = 0.0, int(times[0] == 0.0)
    if done:
        outputs[0][0], outputs[1][0] = Y, F
    while done < times.size:
        segment = equation.segment(Y, F, times[-1] - reached)
        end = reached + segment.length
        # The final segment reaches all outputs, since rounding of the sum must not leave one behind.
        last = times.size if segment.final else int(np.searchsorted(times, end, side="right"))
        if last > done:
            inside = np.minimum(times[done:last] - reached, segment.length)
            outputs[0][done:last], outputs[1][done:last] = segment.at(inside)
        (Y,), (F,) = segment.at(np.array([segment.length]))
        reached, done = end, last
        if not segment.length > _SHORTEST * reached:
            raise InputError("Q0", "leads to changes too fast to be resolved")
    return equation.overlaps(*(x[where] for x in outputs))


@lru_cache(maxsize=1)
def _grid() -> tuple[Array, Array, Array]:
    """Points of [0, 1], the matrix of ∫₀ˣ for values there, and the matrix of Chebyshev coefficients."""
    points = np.sort(chebyshev.chebpts2(_DEGREE + 1))
    coefficients = np.linalg.inv(chebyshev.chebvander(points, _DEGREE)).astype(np.float64)
    integrals = chebyshev.chebint(np.eye(_DEGREE + 1), lbnd=-1.0, axis=0)
    integrate = 0.5 * chebyshev.chebvander(points, _DEGREE + 1) @ integrals @ coefficients
    return 0.5 * (points + 1.0), integrate.astype(np.float64), coefficients


@dataclasses.dataclass(frozen=True, eq=False)
class _Segment:
    """c and S on Chebyshev points of one piece of time, and the coordinates at its beginning."""

    equation: _RiccatiEquation
    Y: Array
    F: Array
    length: float
    final: bool
    log_scale: Array
    frame: Array

    def at(self, x: Array) -> tuple[Array, Array]:
        """Coordinates Y (times, p, r) and F (times, p, f) at times x (times,) after the beginning."""
        _, _, coefficients = _grid()
        values = chebyshev.chebvander(2.0 * x / self.length - 1.0, _DEGREE) @ coefficients
        scale = np.exp(0.5 * values @ self.log_scale)
        frame = scale[:, None, None] * np.einsum("xn,nij->xij", values, self.frame)
        growth = np.exp(0.5 * self.equation.growth * x[:, None])
        return frame @ self.Y * growth[:, None, :], frame @ self.F


@dataclasses.dataclass(frozen=True, eq=False)
class _RiccatiEquation:
    """a, b, η, ηγ and the teacher's directions, with eigenvalues τ > 0 (r,) of T.

    With second layers a and b are av and bv*.
    """

    a: float
    b: float
    eta: float
    decay: float
    teacher: Teacher

    @classmethod
    def of(cls, parameters: RunParameters) -> _RiccatiEquation:
        eta = parameters["eta"]
        a, b = equal_readouts(parameters, "differ: the Riccati equation needs")
        return cls(a, b, eta, eta * parameters["weight_decay"], Teacher.from_overlaps(parameters.T))

    @property
    def tau(self) -> Array:
        return self.teacher.weights

    @property
    def growth(self) -> Array:
        """8abητᵣ, the rates of L²."""
        return 8.0 * self.a * self.b * self.eta * self.tau

    def coordinates(self, Q: Array, R: Array) -> tuple[Array, Array]:
        """Weights along the teacher's directions Y (p, r), and outside of its span F (p, f)."""
        Y, F = coordinates(Q, R, self.teacher, len(Q))
        return Y, F[:, np.any(F != 0.0, axis=0)]

    def overlaps(self, Y: Array, F: Array) -> GradientFlow:
        """Q, R and the loss ½s² + tr E² from coordinates (times, p, r) and (times, p, f)."""
        Q = Y @ np.swapaxes(Y, 1, 2) + F @ np.swapaxes(F, 1, 2)
        R = Y @ self.teacher.factor.T
        inside = self.a * np.swapaxes(Y, 1, 2) @ Y - self.b * np.diag(self.tau)
        mixed = self.a * np.swapaxes(Y, 1, 2) @ F
        outside = self.a * np.swapaxes(F, 1, 2) @ F
        s = np.trace(inside, axis1=1, axis2=2) + np.trace(outside, axis1=1, axis2=2)
        squares = [np.sum(x * x, axis=(1, 2)) for x in (inside, mixed, outside)]
        return GradientFlow(Q, R, 0.5 * s * s + squares[0] + 2.0 * squares[1] + squares[2])

    def segment(self, Y: Array, F: Array, remaining: float) -> _Segment:
        """The solution on the longest piece of time, at most `remaining`, that is resolved."""
        Q = Y @ Y.T + F @ F.T
        s = self.a * float(np.trace(Q)) - self.b * float(np.sum(self.tau))
        a, b = abs(self.a), abs(self.b)
        fastest = a * float(np.linalg.norm(Q, 2)) + b * float(np.max(self.tau, initial=0.0))
        rate = 8.0 * a * self.eta * (fastest + 0.5 * abs(s)) + 4.0 * self.decay
        # The time is divided evenly, so that no sliver is left at the end.
        pieces = max(1.0, float(np.ceil(rate * remaining / _LONGEST_EXPONENT)))
        while True:
            length = remaining / pieces
            # A piece that is too long may overflow before it is rejected.
            with np.errstate(over="ignore", invalid="ignore"):
                found = self._solve(Y, F, s, length)
            if found is not None:
                return _Segment(self, Y, F, length, pieces == 1.0, *found)
            pieces *= 2.0
            if not length > 0.0 or not np.isfinite(pieces):
                raise InputError("Q0", "leads to changes too fast to be resolved")

    def _solve(self, Y: Array, F: Array, s: float, length: float) -> tuple[Array, Array] | None:
        """log c² (n,) and S (n, p, p) at the Chebyshev points, None if they are not resolved."""
        points, integrate, _ = _grid()
        x, integrate = length * points, length * integrate
        strength = 8.0 * self.a**2 * self.eta
        products = strength * np.concatenate([Y.T[:, :, None] * Y.T[:, None, :], (F @ F.T)[None]])
        rates = np.append(self.growth, 0.0)
        linear = (0.5 * float(np.sum(self.growth)) - 2.0 * self.decay) * x
        log_scale = (-4.0 * self.a * self.eta * s - 2.0 * self.decay) * x
        identity = np.eye(len(Y))
        change = np.inf
        for _ in range(_ITERATIONS):
            slopes = np.exp(log_scale[:, None] + x[:, None] * rates)
            A = identity + np.einsum("nr,rij->nij", integrate @ slopes, products)
            before, log_scale = log_scale, linear - 0.5 * np.linalg.slogdet(A)[1]
            previous, change = change, float(np.max(np.abs(log_scale - before)))
            if change <= _CONVERGED or previous <= change < _ROUNDING:
                break
        else:
            return None
        slope = np.einsum("nr,rij->nij", slopes, products)
        # ½ (dA/dα) A⁻¹, both symmetric.
        generator = 0.5 * np.swapaxes(np.linalg.solve(A, slope), 1, 2)
        frame = np.broadcast_to(identity, A.shape)
        for _ in range(_ITERATIONS):
            before, frame = frame, identity - np.einsum("mn,nij->mij", integrate, frame @ generator)
            if float(np.max(np.abs(frame - before))) <= _CONVERGED:
                break
        defect = frame @ A @ np.swapaxes(frame, 1, 2) - identity
        resolved = float(np.max(np.abs(defect))) <= _RESOLVED * len(identity)
        return (log_scale, frame) if resolved else None
