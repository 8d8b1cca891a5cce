"""Converts overlaps, rates and times between the conventions of the README and those of other papers.

Each map follows from one SGD step: weights are rescaled until the outputs f and y are the same,
and the learning rate until the step is; docs/conventions.md derives all three. Outputs and
labels are the same numbers in all of them, and so is the variance of the label noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from derive import readout
from derive.arguments import one_of, whole_number
from derive.errors import InputError, shown
from derive.model import Model, require_quadratic
from derive.parameters import NUMBERS
from derive.readout import READOUTS
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import made_attributes
from runtime.start.checked_arrays import as_model, axis_count, real_array, real_number
from runtime.start.schedules import Schedule

if TYPE_CHECKING:
    import xarray

QUANTITIES = (
    *("Q", "R", "T", "student_weights", "teacher_weights"),
    *("eta", "eta_second", "weight_decay", "label_noise", "time", "rate", "loss"),
)
# The quantities that the variables of a run are. Means over runs, deviations and biases are such too.
_OF_VARIABLES = {
    **{name: name for name in ("Q", "R", "T", "loss", "student_weights", "teacher_weights")},
    "v": "student_weights",
    "alpha_end": "time",
    "escape_alpha": "time",
    "linear_until": "time",
}
_STATISTICS = ("_mean", "_error", "_std", "_bias")
# Variables that are the same numbers in every convention.
_SAME = ("status", "steps", "rejected", "evaluations", "runs", "linear_n")
# The quantities that the attributes of a run are; one trajectory of many may have them as variables.
_OF_ATTRIBUTES = {
    **{number.name: number.name for number in NUMBERS if number.name in QUANTITIES},
    "stop_loss": "loss",
    "start_alpha": "time",
    "q0": "Q",
    "ideal": "R",
}
_NEEDED = ("Q", "R", "T", "loss", "alpha_end", "status", "eta")


@dataclasses.dataclass(frozen=True)
class Convention:
    """How the quantities of another convention follow from ours, for one model.

    name
        The convention's name here.
    model
        The model whose widths and readout the factors are for.
    student, teacher
        Their weights over ours, with the norms of x and of the fields the same.
    second_student, second_teacher
        Their second-layer weights over ours.
    learning_rate, loss
        Their learning rate over ours, their loss over ours.
    time, time_eta
        Their time is time · η^time_eta · α, with our learning rate η.
    network
        The options of the model that are others in theirs, such as the readout.
    """

    name: str
    model: Model
    student: float = 1.0
    teacher: float = 1.0
    learning_rate: float = 1.0
    loss: float = 1.0
    time: float = 1.0
    time_eta: int = 0
    second_student: float = 1.0
    second_teacher: float = 1.0
    network: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        factors = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("name", "model", "network") and getattr(self, field.name) != field.default
        }
        text = ", ".join(f"{name} {value:g}" for name, value in factors.items())
        return f"<{type(self).__name__} {self.name} for {self.model.name}: {text or 'all factors 1'}>"

    def to(self, **ours: Any) -> dict[str, Any]:
        """Convert our quantities, given by name, to this convention.

        Names are Q (…, p, p), R (…, p, p*), T (p*, p*), eta, eta_second, weight_decay, label_noise (the
        variance Δ), student_weights, teacher_weights, time (ours is α), rate (anything per unit of time)
        and loss; numbers or arrays.

        Raises InputError for another name, or for a time or rate without the eta that it needs.
        """
        eta = ours.get("eta")
        return {name: self._factor(name, eta) * _numbers(name, value) for name, value in ours.items()}

    def from_(self, **theirs: Any) -> dict[str, Any]:
        """Convert quantities of this convention, given by name, to ours: the inverse of `to`."""
        eta = theirs.get("eta")
        ours = None if eta is None else _numbers("eta", eta) / self.learning_rate
        return {name: _numbers(name, value) / self._factor(name, ours) for name, value in theirs.items()}

    def dataset(self, run: xarray.Dataset) -> xarray.Dataset:
        """A trajectory in this convention, against ``time`` instead of ``alpha``.

        The run is a result of `integrate`, or one trajectory of `simulate` or of an ensemble with all
        outputs. All of its quantities are converted: variables, and attributes such as eta, stop_loss, q0
        and the times of the schedule. Names of times change: ``escape_time``, ``time_end``, ``start_time``.
        Tolerances are those of the computation, in our units. Variables that no run has are left out, as is
        the covariance of `fluctuations`; its standard deviations are converted.

        Raises InputError for a run of another model, or one that is not a single trajectory; or with a
        schedule, if their time depends on the learning rate.
        """
        self._check(run)
        eta = float(_setting(run, "eta"))
        schedule = Schedule.of(_setting(run, "schedule"))
        if self.time_eta and not schedule.constant:
            raise InputError("run", f"has a schedule: the time of {self.name} would be an integral over it")
        time = self._factor("time", eta)

        def converted(name: str) -> tuple[tuple[str, ...], Any, Mapping[Any, Any]]:
            dims = tuple("time" if axis == "alpha" else str(axis) for axis in run[name].dims)
            quantity = _quantity_of(name)
            values = run[name].values
            return dims, values * self._factor(quantity, eta) if quantity else values, run[name].attrs

        names = [str(name) for name in run.data_vars]
        variables = {
            _theirs(name): converted(name) for name in names if name in _SAME or _quantity_of(name)
        }
        if not self.model.weighted and ("second_layer", "fixed") in self.network:
            ones = {"student_weights": ("i", self.model.p), "teacher_weights": ("r", self.model.pstar)}
            for name, (axis, width) in ones.items():
                variables[name] = ((axis,), np.full(width, self._factor(name, eta)), {})
        words = {"long_name": f"time, {self.name}"}
        coordinates: dict[str, Any] = {"time": ("time", time * run["alpha"].values, words)}
        moved = {"alpha", "schedule", *_OF_ATTRIBUTES}
        coordinates |= {str(name): converted(str(name)) for name in run.coords if name not in moved}
        attributes = self._attributes(run, eta) | schedule.stretched(time).attributes
        return PlainResult(variables, coordinates, attributes).dataset()

    def _check(self, run: xarray.Dataset) -> None:
        """Raise InputError unless a run is a single trajectory of this model."""
        defaults = {field.name: field.default for field in dataclasses.fields(self.model)}
        for name, value in self.model.to_dict().items():
            # Runs of earlier versions do not name newer options.
            there = _setting(run, name, defaults[name])
            if there != value:
                raise InputError("run", f"has {name} = {shown(there)}, the convention {value!r}")
        if missing := [name for name in _NEEDED if name not in run and name not in run.attrs]:
            raise InputError("run", f"has no {' and no '.join(missing)}")
        if set(run["loss"].dims) != {"alpha"}:
            raise InputError("run", "is not a single trajectory: select one, or convert arrays with `to`")

    def _attributes(self, run: xarray.Dataset, eta: float) -> dict[str, Any]:
        """The attributes of a run in this convention, but for the schedule."""
        found = {name: value for name, value in run.attrs.items() if name not in _OF_ATTRIBUTES}
        for name, quantity in {**_OF_ATTRIBUTES, "batch": None}.items():
            value = _setting(run, name)
            if value is not None:
                factor = 1.0 if quantity is None else self._factor(quantity, eta)
                found[_theirs(name)] = factor * float(value)
        title = f"{run.attrs['title']}, {self.name}" if "title" in run.attrs else self.name
        made = made_attributes(self.name.replace("-", "_"), run.attrs)
        return {**found, **dict(self.network), "title": title, "convention": self.name, **made}

    def _factor(self, name: str, eta: Any) -> Any:
        """The factor from our value of a quantity to theirs; `eta` is our learning rate, or None."""
        match name:
            case "Q":
                return self.student**2
            case "R":
                return self.student * self.teacher
            case "T":
                return self.teacher**2
            case "student_weights":
                return self.second_student
            case "teacher_weights":
                return self.second_teacher
            case "eta":
                return self.learning_rate
            case "weight_decay":
                # A step multiplies weights by 1 − ηγ/N in each of them.
                return 1.0 / self.learning_rate
            case "eta_second":
                return self.second_student**2 / self.loss
            case "label_noise":
                return 1.0
            case "loss":
                return self.loss
            case "time" | "rate":
                if self.time_eta and eta is None:
                    raise InputError("eta", f"is needed: the {name} of {self.name} depends on it")
                factor = self.time * (_numbers("eta", eta) ** self.time_eta if self.time_eta else 1.0)
                return factor if name == "time" else 1.0 / factor
        raise InputError(name, f"is not one of {', '.join(QUANTITIES)}")


def _quantity_of(name: str) -> str | None:
    """The quantity that a variable of a run is; None for any other."""
    for statistic in _STATISTICS:
        name = name.removesuffix(statistic)
    return _OF_VARIABLES.get(name)


def _theirs(name: str) -> str:
    """The name of a variable or attribute where time is not called α."""
    return name.replace("alpha", "time")


def _setting(run: xarray.Dataset, name: str, default: Any = None) -> Any:
    """What an attribute of a run says, which is a variable where runs differ; else the default."""
    if name in run.variables and not run[name].dims:
        return run[name].item()
    return run.attrs.get(name, default)


def saad_solla(model: Model, activation: float = 1.0) -> Convention:
    """Soft committee machine with the activation g(x) = activation · x², readouts of one.

    Output Σᵢ g(Jᵢ·ξ), teacher Σₙ g(Bₙ·ξ), error ½(σ − ζ)², J ← J + (η/N) δ ξ, α = samples/N, and
    overlaps Q = JJᵀ, R = JBᵀ, T = BBᵀ (D. Saad and S. A. Solla, Phys. Rev. E 52, 4225 (1995),
    for an activation that they do not study). Raises InputError unless activation > 0.
    """
    scale = real_number("activation", activation, least=0.0, strict=True)
    model = as_model(model)
    require_quadratic(model, "weights absorb the readout")
    a, b = readout.weights(model)
    teacher, network = math.sqrt(b / scale), _absorbed(model, b / scale)
    if scale != 1.0:
        network = (*network, ("activation", f"0,0,{scale!r}"))
    return Convention(
        "saad-solla", model, math.sqrt(a / scale), teacher, learning_rate=a / scale, network=network
    )


def readout_free(model: Model) -> Convention:
    """f = Σᵢ uᵢ², y = Σᵣ u*ᵣ² + √Δ ξ with u = v·x/√N, loss (f − y)² without ½, v ← v − η ∂ℓ/∂v."""
    model = as_model(model)
    require_quadratic(model, "weights absorb the readout")
    a, b = readout.weights(model)
    student, teacher, network = math.sqrt(a), math.sqrt(b), _absorbed(model, b)
    return Convention(
        "readout-free", model, student, teacher, learning_rate=a / 2.0, loss=2.0, network=network
    )


def _absorbed(model: Model, teacher: float) -> tuple[tuple[str, str], ...]:
    """The network whose weights absorb the readout, those of the teacher with this factor in T."""
    given = model.teacher == "general" or teacher != 1.0
    return ("readout", "sum"), ("teacher", "general" if given else model.teacher)


def committee(
    model: Model,
    readout: str = "sum",
    *,
    loss: float = 1.0,
    step: float = 1.0,
    time: float = 1.0,
    time_eta: int = 0,
) -> Convention:
    """Committee machine f = a' Σᵢ v'ᵢ σ(λᵢ), y = b' Σᵣ v*'ᵣ σ*(λ*ᵣ) + √Δ ξ with any activation.

    First-layer weights and the fields λ are ours, since an activation need not be homogeneous. So Q, R and
    T are the covariances of the fields in both. The second layers absorb the other readout.

    Parameters
    ----------
    readout
        Theirs, as for `oo.Model`: ``"sum"`` is that of Saad and Solla (with v' = 1), ``"mean"`` and
        ``"sqrt"`` those of mean-field papers.
    loss
        Their loss over ½(f − y)², 2 for (f − y)².
    step
        Their update is w ← w − η' · step · ∂ℓ'/∂w; p where learning rates are multiplied by the width.
    time, time_eta
        Their time is time · η'^time_eta · α: with ``time_eta=1`` the learning rate is part of it.

    Raises
    ------
    InputError
        A value is not allowed.
    """
    model = as_model(model)
    one_of("readout", readout, READOUTS)
    numbers = {"loss": loss, "step": step, "time": time}
    scales = {name: real_number(name, value, least=0.0, strict=True) for name, value in numbers.items()}
    power = whole_number("time_eta", time_eta, 0, 1)
    ours, theirs = READOUTS[model.readout], READOUTS[readout]
    rate = 1.0 / (scales["loss"] * scales["step"])
    second_student = ours.value(model.p) / theirs.value(model.p)
    second_teacher = ours.value(model.pstar) / theirs.value(model.pstar)
    ones = model.second_layer == "ones" and (second_student, second_teacher) == (1.0, 1.0)
    layer = "fixed" if model.second_layer == "ones" and not ones else model.second_layer
    return Convention(
        "committee",
        model,
        learning_rate=rate,
        loss=scales["loss"],
        time=scales["time"] * rate**power,
        time_eta=power,
        second_student=second_student,
        second_teacher=second_teacher,
        network=(("readout", readout), ("second_layer", layer)),
    )


def rescaled_time(model: Model) -> Convention:
    """The convention of the README, but with the time t = αη/p of gradient flow with a mean readout."""
    model = as_model(model)
    return Convention("rescaled-time", model, time=1.0 / model.p, time_eta=1)


CONVENTIONS: Mapping[str, Callable[[Model], Convention]] = {
    "saad-solla": saad_solla,
    "readout-free": readout_free,
    "committee": committee,
    "rescaled-time": rescaled_time,
}


def _numbers(name: str, value: Any) -> Any:
    """A float, or an array of floats; else InputError."""
    axes = axis_count(name, value)
    array = real_array(name, value, np.shape(value), finite=False)
    return array if axes else float(array)
