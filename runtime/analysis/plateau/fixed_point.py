"""Finds the plateau, the fixed point without alignment, and the rate at which trajectories leave it.

At R = 0 the drift of R vanishes. With free norms and equal second-layer weights Q = q 1 stays of this form,
and the norm q is where the generated drift vanishes: d ln q / dα along Q = q 1 is a polynomial of second
degree in q (chains C(DC)ᵐ up to m = 2), so three values of the right-hand side define it. Its smaller root
is the plateau: q grows below it and shrinks above. The larger root is unstable, and beyond it the norms run
away; where the roots meet, at the largest η, the plateau ends. There is none either if weight decay makes
q = 0 attract.

With fixed second-layer weights that differ Q = diag(q), and `weighted_norms` finds q. With a trained second
layer v moves as long as q does, and stationary states with R = 0 form a family; they are no plateau.

`linear_modes` finds the linear dynamics around the plateau. The model is that of arXiv:2604.03068; its
plateau in gradient flow: q = p/(p+2), ε = 1/(p+2) + 1/p*, R ~ exp(4abηα), whatever p, for T = 1 and a mean
readout.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive import readout
from derive.errors import InputError
from derive.model import Model, require_quadratic
from derive.plain_formulas import plain_text
from runtime.analysis.plateau.bisection import largest_where
from runtime.analysis.plateau.linear_modes import (
    ALIGNMENT,
    FIXED_NORMS,
    LinearDynamics,
    Mode,
    linear_dynamics,
)
from runtime.analysis.plateau.weighted_norms import NormDynamics
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.parameter_values import RunParameters
from runtime.system.compiled_system import System

# At most this many Newton steps follow the closed root; rounding leaves nothing to do after two.
_POLISH = 5
# The drift at the fixed point is zero up to this part of its single terms, and a norm below this part of
# the natural one is no norm.
_STATIONARY = 1e-11


class NoPlateauError(InputError):
    """There is no plateau with these arguments; `reason` is a clause that says what happens instead.

    The reason may hold LaTeX between dollars, which the message has as plain text.
    """

    def __init__(self, option: str, problem: str, reason: str) -> None:
        super().__init__(option, f"{problem}, {plain_text(reason)}")
        self.reason = reason


@dataclasses.dataclass(frozen=True, eq=False)
class Plateau:
    """The fixed point with R = 0, from `plateau`.

    parameters
        The run-time parameters that it was computed for.
    Q, R
        Overlaps (p, p), diagonal, and (p, p*), zero.
    loss
        Generalisation error ε.
    rate
        Escape rate per unit of α: the largest of R; negative where the plateau is an attractor.
    multiplicity
        Number of directions of R that grow at this rate: p times the teacher's largest eigenvalue's, if
        all second-layer weights are 1.
    modes
        All rates, those of Q first.
    residual
        Largest entry of the drift, which is zero up to rounding.
    dynamics
        The linear dynamics that the modes belong to.
    """

    parameters: RunParameters
    Q: Array
    R: Array
    loss: float
    rate: float
    multiplicity: int
    modes: tuple[Mode, ...]
    residual: float
    dynamics: LinearDynamics

    def __repr__(self) -> str:
        norms = f"q = {self.q:.6g}" if self.equal_norms else f"mean q = {self.q:.6g}"
        return (
            f"<plateau of {self.model.name} at eta = {self.eta:g}: {norms}, loss {self.loss:.6g},"
            f" rate {self.rate:.6g} ({self.multiplicity} directions),"
            f" {'stable' if self.stable else 'not stable'} within R = 0>"
        )

    @property
    def model(self) -> Model:
        return self.parameters.model

    @property
    def eta(self) -> float:
        return self.parameters["eta"]

    @property
    def label_noise(self) -> float:
        return self.parameters["label_noise"]

    @property
    def T(self) -> Array:
        """Teacher overlaps (p*, p*), the identity for an orthonormal teacher."""
        return self.parameters.T

    @property
    def stable(self) -> bool:
        """Whether it attracts within R = 0, or at least nothing grows there.

        In gradient flow the overlaps of active students with inactive ones neither grow nor decay.
        """
        within = [m.rate for m in self.modes if m.name not in (ALIGNMENT, FIXED_NORMS)]
        return all(rate <= 0.0 if self.model.weighted else rate < 0.0 for rate in within)

    @property
    def q(self) -> float:
        """Mean norm of a student, tr Q / p."""
        return float(np.trace(self.Q)) / self.model.p

    @property
    def norms(self) -> Array:
        """The norm Q_ii of each student (p,); zero for students that shrink to zero."""
        return np.diagonal(self.Q).copy()

    @property
    def equal_norms(self) -> bool:
        """Whether all students have the same norm."""
        return bool(np.all(self.norms == self.Q[0, 0]))

    @cached_property
    def spectrum(self) -> Array | NDArray[np.complex128]:
        """All eigenvalues of the Jacobian of the packed state (n,), descending.

        They are real, unless norms of students with different second-layer weights oscillate.
        """
        values = np.repeat(
            [complex(mode.rate, mode.frequency) for mode in self.modes],
            [mode.multiplicity for mode in self.modes],
        )
        return np.sort(values)[::-1] if np.any(values.imag) else np.sort(values.real)[::-1]

    def rate_of(self, name: str) -> float:
        """The largest rate of the modes of this name; minus infinity if there is none."""
        return max((mode.rate for mode in self.modes if mode.name == name), default=-np.inf)


def plateau_at(system: System, parameters: RunParameters, norms: Array | None = None) -> Plateau:
    """The plateau for checked parameters and norms (p,); NoPlateauError if there is none."""
    found = find_plateau(system, parameters, norms)
    if found is None:
        raise _no_plateau(system, parameters)
    return found


def find_plateau(system: System, parameters: RunParameters, norms: Array | None = None) -> Plateau | None:
    """As `plateau_at`, but None where norms run away or shrink to zero."""
    model = system.model
    require_plateau(model)
    if model.constraint == "sphere":
        q = np.ones(model.p) if norms is None else norms
    else:
        found = plateau_norms(system, parameters)
        if found is None or not np.max(found) > _STATIONARY * _scale(parameters):
            return None
        q = found
    Q, R = np.diag(q), np.zeros((model.p, model.pstar))
    y, packed = system.pack(Q, R), parameters.packed[0]
    dynamics = linear_dynamics(system, y, parameters)
    modes = dynamics.modes
    drift = np.empty_like(y)
    system.compiled_rhs(y, packed, drift)
    residual = float(np.max(np.abs(drift)))
    terms = NormDynamics.of(parameters)
    d = np.abs(terms.students)
    # The size of a single term: κ s Q with κ = 2aη and s = tr(aQ) − b tr T.
    size = 2.0 * float(np.max(d)) * parameters["eta"] * (float(d @ q) + terms.scale) * float(np.max(q))
    if residual > _STATIONARY * size:
        raise RuntimeError(
            f"the drift at the plateau is {residual:.3g}, not zero: a defect of this program"
        )
    escape = max((mode for mode in modes if mode.name == ALIGNMENT), key=lambda mode: mode.rate)
    return Plateau(
        parameters=parameters,
        Q=Q,
        R=R,
        loss=float(system.packed_losses(y[None], packed)[0]),
        rate=escape.rate,
        multiplicity=escape.multiplicity,
        modes=modes,
        residual=residual,
        dynamics=dynamics,
    )


def require_plateau(model: Model) -> None:
    """Raise NoPlateauError for a model that never has a plateau, InputError where none is known."""
    require_quadratic(model, "the plateau is known")
    if model.trained and model.constraint == "sphere":
        raise NoPlateauError(
            "second_layer",
            "'trained': the plateau is that of a fixed second layer",
            r"on the sphere $v$ relaxes to"
            r" $v_i = b\operatorname{tr}(\operatorname{diag}(v^*)T)/(a(p + 2)Q_{ii})$",
        )
    if model.trained:
        raise NoPlateauError(
            "second_layer",
            "'trained': there is no plateau",
            "the second layer moves with the norms, and stationary states with $R = 0$ are a family",
        )


def _no_plateau(system: System, parameters: RunParameters) -> NoPlateauError:
    """Why there is no plateau with free norms."""
    if plateau_norms(system, parameters) is None:
        return NoPlateauError(
            "eta",
            f"{parameters['eta']:g} has no plateau",
            "the norms of the students run away; the largest learning rate is"
            f" {largest_plateau_eta_of(system, parameters):.6g}",
        )
    shrink = "the norms of the students shrink to zero"
    if not np.any(parameters.T):
        return NoPlateauError("T", "is zero: there is no plateau", shrink)
    norms, decay = NormDynamics.of(parameters), parameters["weight_decay"]
    balanced = abs(norms.output) <= _STATIONARY * norms.scale
    if not balanced and not np.any(norms.students * norms.output > 0.0):
        return NoPlateauError(
            "student_weights",
            f"have none with the sign of b tr(D_v* T) = {norms.output:g}: there is no plateau",
            shrink,
        )
    if decay > 0.0:
        return NoPlateauError("weight_decay", f"{decay:g} leaves no plateau", shrink)
    return NoPlateauError(
        "teacher_weights",
        "have tr(D_v* T) = 0: there is no plateau",
        "the norms of the students decay as 1/α",
    )


def plateau_norms(system: System, parameters: RunParameters) -> Array | None:
    """The norms (p,) that attract at R = 0 with free norms, which may be zero; None if they run away."""
    if system.model.weighted:
        norms = NormDynamics.of(parameters)
        if parameters["weight_decay"] == 0.0 and not np.all(norms.students):
            raise NoPlateauError(
                "student_weights",
                "hold a 0: there is no plateau",
                "a student without weight keeps the norm that it starts with",
            )
        return norms.norms(parameters["eta"] / parameters["batch"])
    q = _equal_norm(system, parameters)
    return None if q is None else np.full(system.model.p, q)


def largest_plateau_eta_of(system: System, parameters: RunParameters) -> float:
    """The largest η at which norms do not run away; the η of the parameters does not matter.

    Infinity in gradient flow. Below it there may be η at which weight decay shrinks the norms to zero.
    """
    require_plateau(system.model)
    if system.model.weighted:
        return parameters["batch"] * NormDynamics.of(parameters).largest_noise
    a, _ = readout.weights(system.model)

    def exists(eta: float) -> bool:
        return _equal_norm(system, parameters.replaced(eta=eta)) is not None

    return largest_where(exists, 1.0 / (a * a * system.model.p * _scale(parameters)))


def _scale(parameters: RunParameters) -> float:
    """A scale of q: the norm at which the student's mean output is that of the teacher, or the noise."""
    if parameters.model.weighted:
        return NormDynamics.of(parameters).norm_scale
    model = parameters.model
    a, b = readout.weights(model)
    output = b * float(np.trace(parameters.T))
    if model.flow == "sgd":
        output += float(np.sqrt(parameters["label_noise"]))
    # With T = 0 and without noise there is no scale; any will do.
    return output / (a * model.p) if output > 0.0 else 1.0


def checked_norms(model: Model, norms: ArrayLike) -> Array:
    """Norms (p,) of students on the sphere; InputError if they are not positive, or free."""
    if model.constraint != "sphere":
        raise InputError("norms", "are given, but the norms are free")
    given = checked_arrays.real_array("norms", norms, (model.p,))
    if np.min(given) <= 0.0:
        raise InputError("norms", f"{np.min(given):g} is not greater than 0")
    return given


def _equal_norm(system: System, parameters: RunParameters) -> float | None:
    """The smaller root q of d ln q / dα along Q = q 1, R = 0, 0 if that attracts, None without a root."""
    packed, scale = parameters.packed[0], _scale(parameters)
    y = np.zeros(system.model.state_size)
    diagonal = np.flatnonzero(
        system.pack(np.eye(system.model.p), np.zeros((system.model.p, system.model.pstar)))
    )
    drift = np.empty_like(y)

    def growth(q: float) -> float:
        y[diagonal] = q
        system.compiled_rhs(y, packed, drift)
        return float(drift[0]) / q

    # The polynomial c₂x² + c₁x + c₀ of x = q/scale through its values at 1/2, 1 and 3/2.
    low, middle, high = (growth(x * scale) for x in (0.5, 1.0, 1.5))
    c2 = 2.0 * (low - 2.0 * middle + high)
    c0 = 3.0 * low - 3.0 * middle + high
    c1 = middle - c2 - c0
    discriminant = c1 * c1 - 4.0 * c2 * c0
    if not (discriminant >= 0.0 and c1 < 0.0):
        return None
    # In this form nothing cancels, and c₂ may vanish, as it does in gradient flow.
    q = scale * 2.0 * c0 / (np.sqrt(discriminant) - c1)
    if not q > 0.0:
        return 0.0
    best = abs(growth(q))
    for _ in range(_POLISH):
        slope = (2.0 * c2 * q / scale + c1) / scale
        # Where the two roots meet the slope vanishes, and q is known to half the digits only.
        if slope >= 0.0:
            break
        better = q - growth(q) / slope
        remains = abs(growth(better)) if better > 0.0 else np.inf
        if not remains < best:
            break
        q, best = better, remains
    return float(q)
