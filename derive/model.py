"""`Model` states what to derive: the widths and the conventions of one teacher-student problem."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from derive.activation import QUADRATIC, Activation
from derive.arguments import alternatives, one_of, whole_number
from derive.errors import InputError
from derive.parameters import packed_names
from derive.readout import READOUTS

# The proof evaluates every entry of the matrix products in exact integer arithmetic, about
# (p + p*)·p² operations, which takes minutes at (256, 256). Aligned starts of wider students are
# integrated in the invariant sector (`derive.sector`), whose equations do not grow with p.
MAX_WIDTH = 256

_WIDTHS = ("p", "pstar")
_ACTIVATIONS = ("activation", "teacher_activation")


@dataclasses.dataclass(frozen=True)
class ModelOption:
    """One structural option of a model: its allowed values, and what is said about them everywhere.

    name
        The field of `Model`, and with dashes the option of commands.
    help
        A sentence for commands and for the tables of the docs.
    values
        The words about each allowed value, ASCII, as in the docstrings of generated modules. The first
        value is the default.
    """

    name: str
    help: str
    values: Mapping[str, str]

    @property
    def default(self) -> str:
        """The value of a model that does not name one."""
        return next(iter(self.values))


OPTIONS = {
    option.name: option
    for option in (
        ModelOption(
            "constraint",
            "Let the norms of the students change, or keep each as it is.",
            {"free": "free norms", "sphere": "sphere: rescaling keeps each |w_i| constant"},
        ),
        ModelOption(
            "flow",
            "One-pass SGD with its η² noise, or gradient flow without it.",
            {
                "sgd": "one-pass SGD, with its eta^2 noise",
                "gradient": "gradient flow, without the eta^2 terms; label noise has no effect",
            },
        ),
        ModelOption(
            "teacher",
            "Teacher overlaps T = 1, or any T given at run time.",
            {"orthonormal": "orthonormal, T = 1", "general": "general, T is a parameter"},
        ),
        ModelOption(
            "readout",
            f"Readout weights (a, b) = {alternatives(readout.pair for readout in READOUTS.values())}.",
            {name: f"{name}: {readout.words}" for name, readout in READOUTS.items()},
        ),
        ModelOption(
            "second_layer",
            "Second-layer weights: all 1, any fixed ones, or trained ones beside a fixed teacher's.",
            {
                "ones": "ones: all second-layer weights are 1",
                "fixed": "fixed: the second-layer weights v and v* are parameters",
                "trained": "trained: v is trained with its own learning rate, v* is a parameter",
            },
        ),
    )
}


@dataclasses.dataclass(frozen=True, repr=False)
class DerivableModel(abc.ABC):
    """What ODEs can be derived for: a frozen record of widths and of options, which have defaults.

    kind
        ``"system"`` for all overlaps, ``"sector"`` for those of aligned starts, ``"fluctuations"`` for the
        covariance of all overlaps.
    """

    kind: ClassVar[str]

    def __repr__(self) -> str:
        given = (f"{option}={value!r}" for option, value in self.given_options().items())
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def trained(self) -> bool:
        """Whether the second layer is trained, so that v is an order parameter."""
        return getattr(self, "second_layer", None) == "trained"

    @property
    def weighted(self) -> bool:
        """Whether units have second-layer weights that need not be 1."""
        return getattr(self, "second_layer", None) != "ones"

    @property
    @abc.abstractmethod
    def state(self) -> tuple[str, ...]:
        """The names of the order parameters in order."""

    @property
    @abc.abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """The names of the run-time parameters in order."""

    def given_options(self) -> dict[str, Any]:
        """The widths, and the options that differ from their defaults, in the order of the fields."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {option: value for option, value in self.to_dict().items() if value != defaults[option]}

    @property
    def name(self) -> str:
        """Folder name: the widths, then every option that is not the default."""
        words = [self._word(option, value) for option, value in self.given_options().items()]
        return "_".join(words if self.kind == "system" else [self.kind, *words])

    def _word(self, option: str, value: Any) -> str:
        """What a folder's name says about an option."""
        if option in _WIDTHS:
            return f"{option}{value}"
        if option in _ACTIVATIONS:
            return option.removesuffix("activation").replace("_", "-") + Activation.of(value).folder
        return str(value)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def attributes(self) -> dict[str, Any]:
        """The options that have a value, as results state them: a file of results holds no None."""
        return {option: value for option, value in self.to_dict().items() if value is not None}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises InputError on missing or unknown options."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for option in options:
            if option not in fields:
                raise InputError(str(option), f"is not an option of a {cls.kind}")
        for option, field in fields.items():
            if field.default is dataclasses.MISSING and option not in options:
                raise InputError(option, "is missing")
        return cls(**options)


@dataclasses.dataclass(frozen=True, repr=False)
class Model(DerivableModel):
    """A teacher-student problem; immutable, validated and hashable.

    Student f = a Σᵢ vᵢ σ(λᵢ), teacher y = b Σᵣ v*ᵣ σ*(λ*ᵣ) + √Δ ξ, loss ½(f − y)², one-pass SGD
    w ← w − η ∂ℓ/∂w, time α = steps / N. By default σ(λ) = λ² and all second-layer weights are 1
    (arXiv:2604.03068; conventions in the README).

    Parameters
    ----------
    p, pstar
        Student and teacher widths, integers from 1 to ``MAX_WIDTH``.
    constraint
        ``"free"`` norms, or ``"sphere"``: weights are rescaled to their norm after each step.
    flow
        ``"sgd"`` keeps the η² noise term; ``"gradient"`` drops it (population gradient flow).
    teacher
        ``"orthonormal"``: T = I. ``"general"``: T is given at run time.
    readout
        A name in `derive.readout.READOUTS`, by default ``"mean"``: a = 1/p, b = 1/p*.
    second_layer
        ``"ones"``: all vᵢ and v*ᵣ are 1; ``"fixed"``: they are weights of any sign that are given at run
        time; ``"trained"``: SGD trains v too.
    activation
        The polynomial σ: ``"quadratic"``; ``"he1"`` to ``"he6"``, Hermite polynomials; sums such as
        ``"he2+he3"``; or rational coefficients from the constant term up, ``"0,1/2,0,1/6"`` or a
        sequence of integers, Fractions and decimal strings. Equal polynomials make equal models.
    teacher_activation
        The polynomial σ*; None is that of the student.

    Raises
    ------
    InputError
        A value is not allowed; the message names the option, the value and the allowed ones.
    """

    kind: ClassVar[str] = "system"

    p: int
    pstar: int
    constraint: str = OPTIONS["constraint"].default
    flow: str = OPTIONS["flow"].default
    teacher: str = OPTIONS["teacher"].default
    readout: str = OPTIONS["readout"].default
    second_layer: str = OPTIONS["second_layer"].default
    activation: str | Activation | Sequence[Any] = QUADRATIC.name
    teacher_activation: str | Activation | Sequence[Any] | None = None

    def __post_init__(self) -> None:
        for width in _WIDTHS:
            object.__setattr__(self, width, whole_number(width, getattr(self, width), 1, MAX_WIDTH))
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, one_of(name, getattr(self, name), option.values))
        student = Activation.of(self.activation, "activation")
        object.__setattr__(self, "activation", student.name)
        if self.teacher_activation is not None:
            teacher = Activation.of(self.teacher_activation, "teacher_activation")
            object.__setattr__(self, "teacher_activation", None if teacher == student else teacher.name)

    @property
    def activations(self) -> tuple[Activation, Activation]:
        """The activations of student and teacher."""
        student = Activation.of(self.activation)
        teacher = self.teacher_activation
        return student, student if teacher is None else Activation.of(teacher)

    @property
    def quadratic(self) -> bool:
        """Whether student and teacher have the activation λ²."""
        return self.activations == (QUADRATIC, QUADRATIC)

    @property
    def state_size(self) -> int:
        """The number of order parameters: the upper triangle of Q, then R, then a trained v."""
        overlaps = self.p * (self.p + 1) // 2 + self.p * self.pstar
        return overlaps + self.p if self.trained else overlaps

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the order parameters in order: upper triangle of Q and R by rows, a trained v."""
        students = range(1, self.p + 1)
        names = [f"Q_{i}_{j}" for i in students for j in range(i, self.p + 1)]
        names += [f"R_{i}_{r}" for i in students for r in range(1, self.pstar + 1)]
        names += [f"v_{i}" for i in students if self.trained]
        return tuple(names)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the packed run-time parameters in the order of the table: η, Δ, T …"""
        return packed_names(self)


def require_quadratic(model: Model, what: str) -> None:
    """Raise InputError for another activation than λ²; `what` says what is done for quadratic ones only."""
    for option, activation in zip(_ACTIVATIONS, model.activations, strict=True):
        if activation != QUADRATIC:
            raise InputError(option, f"{activation.name!r}: {what} for quadratic networks only")
