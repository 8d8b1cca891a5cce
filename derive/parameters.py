"""The table of run-time parameters: what the equations of a model take as numbers when they are evaluated.

Everything that the rest of the program says about a parameter is read from here: the order in which
parameters are packed, the manifest, the keyword arguments of Python functions, the options of commands,
the axes of sweeps, the attributes of results, JSON schemas, reports, figures, and the tables of the docs.
`derive.equations` says what a parameter does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from derive.model import DerivableModel, Model

# What the letters of programs, of LaTeX and of closed forms mean already.
_TAKEN = {
    *"abcdefgiklmnpqrstuwxyzCDFGNQRVWXYZ",
    *("alpha", "delta", "Gamma", "kappa", "lambda", "tau", "varepsilon", "xi"),
    *("inverse", "loss", "pstar", "q_perp", "rest", "T1", "T2"),
}


@dataclasses.dataclass(frozen=True)
class RuntimeParameter:
    """One run-time parameter.

    name
        The keyword argument, and with dashes the option.
    symbol, latex
        The letter in text and in LaTeX; ValueError if it is that of another quantity.
    words
        What it is, in lower case: the long name in results.
    help
        A sentence for the option and the tables of the docs.
    default
        The value that Python functions take if none is given; None if one has to be given.
    usual
        The default of commands.
    least, strict
        Values are at least `least`, or with `strict` greater than it; they are finite.
    shape
        Names of the widths of a model that are the lengths of its axes; empty for a number. A matrix is
        symmetric, and its upper triangle is packed by rows. All entries of a vector have the default.
    per_trajectory
        Whether each trajectory of an ensemble may have its own value.
    in_loss
        Whether the generalisation error depends on it.
    at_finite_n
        Whether the simulations of SGD, in `runtime.sgd`, compute with it. Where they do not, its default is
        the only value that they accept.
    only_with
        The option of the model and the values with which the parameter exists; None if it always does.
    whole
        Whether values are whole numbers.
    code
        Its letter in programs and in packed names; empty if that is the name.
    reciprocal
        Whether the packed number is one over the value, which is what equations multiply with.
    state_with
        The option of the model and its value with which the parameter is where an order parameter of this
        letter starts, and is not packed.
    scheduled
        Whether a learning-rate schedule multiplies it with its factor g(α).
    """

    name: str
    symbol: str
    latex: str
    words: str
    help: str
    default: float | None = None
    usual: float | None = None
    least: float = -math.inf
    strict: bool = False
    shape: tuple[str, ...] = ()
    per_trajectory: bool = True
    in_loss: bool = False
    at_finite_n: bool = False
    only_with: tuple[str, tuple[str, ...]] | None = None
    whole: bool = False
    code: str = ""
    reciprocal: bool = False
    state_with: tuple[str, str] | None = None
    scheduled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self.code or self.name)
        for taken in {self.name, self.printed, self.code} & _TAKEN:
            raise ValueError(f"{self.name}: {taken} is the name of another quantity")

    @property
    def printed(self) -> str:
        """The name of its SymPy symbol, which is that of its letter in LaTeX: eta, Delta."""
        return self.latex.removeprefix("\\")

    def belongs_to(self, model: DerivableModel) -> bool:
        """Whether the equations of `model` have this parameter."""
        return self.only_with is None or getattr(model, self.only_with[0]) in self.only_with[1]

    def is_state_of(self, model: DerivableModel) -> bool:
        """Whether it is where an order parameter of `model` starts."""
        return self.state_with is not None and getattr(model, self.state_with[0]) == self.state_with[1]

    def is_packed_for(self, model: DerivableModel) -> bool:
        """Whether the generated functions of `model` take it as a parameter."""
        return self.belongs_to(model) and not self.is_state_of(model)

    def packed_names(self, model: Model) -> Iterator[str]:
        """The names of its numbers in the packed vector: eta, or v_1, v_2 …, or T_1_1, T_1_2 …"""
        lengths = [getattr(model, width) for width in self.shape]
        if not lengths:
            yield self.code
        elif len(lengths) == 1:
            yield from (f"{self.code}_{i}" for i in range(1, lengths[0] + 1))
        else:
            for r in range(1, lengths[0] + 1):
                yield from (f"{self.code}_{r}_{s}" for s in range(r, lengths[1] + 1))


class ParameterValues(TypedDict, total=False):
    """The keyword arguments of functions that take run-time parameters, for type checkers."""

    eta: Any
    label_noise: Any
    T: Any
    weight_decay: Any
    batch: Any
    student_weights: Any
    teacher_weights: Any
    eta_second: Any


PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        RuntimeParameter(
            name="eta",
            symbol="η",
            latex=r"\eta",
            words="learning rate",
            help="Learning rate η.",
            usual=0.4,
            least=0.0,
            strict=True,
            at_finite_n=True,
            scheduled=True,
        ),
        RuntimeParameter(
            name="label_noise",
            symbol="Δ",
            latex=r"\Delta",
            words="variance of the label noise",
            help="Variance Δ of the label noise.",
            default=0.0,
            usual=0.0,
            least=0.0,
            at_finite_n=True,
        ),
        RuntimeParameter(
            name="T",
            symbol="T",
            latex="T",
            words="teacher-teacher overlap",
            help="Teacher overlaps (p*, p*), with a general teacher.",
            shape=("pstar", "pstar"),
            per_trajectory=False,
            in_loss=True,
            at_finite_n=True,
            only_with=("teacher", ("general",)),
        ),
        RuntimeParameter(
            name="weight_decay",
            symbol="γ",
            latex=r"\gamma",
            words="weight decay",
            help="Weight decay γ of the first layer: w ← (1 − ηγ/N) w after each step.",
            default=0.0,
            usual=0.0,
            least=0.0,
            at_finite_n=True,
        ),
        RuntimeParameter(
            name="batch",
            symbol="B",
            latex="B",
            words="batch size",
            help="Fresh samples of a step, B; time α counts steps/N.",
            default=1.0,
            usual=1,
            least=1.0,
            whole=True,
            code="inverse_batch",
            reciprocal=True,
            at_finite_n=True,
        ),
        RuntimeParameter(
            name="student_weights",
            symbol="v",
            latex="v",
            words="second-layer weights of the students",
            help="Second-layer weights v of the students (p,); trained ones start there.",
            default=1.0,
            shape=("p",),
            in_loss=True,
            code="v",
            at_finite_n=True,
            only_with=("second_layer", ("fixed", "trained")),
            state_with=("second_layer", "trained"),
        ),
        RuntimeParameter(
            name="teacher_weights",
            symbol="v*",
            latex="v^*",
            words="second-layer weights of the teachers",
            help="Second-layer weights v* of the teachers (p*,).",
            default=1.0,
            shape=("pstar",),
            in_loss=True,
            code="vstar",
            at_finite_n=True,
            only_with=("second_layer", ("fixed", "trained")),
        ),
        RuntimeParameter(
            name="eta_second",
            symbol="η_v",
            latex=r"\eta_v",
            words="learning rate of the second layer",
            help="Learning rate η_v of a trained second layer.",
            least=0.0,
            at_finite_n=True,
            only_with=("second_layer", ("trained",)),
            scheduled=True,
        ),
    )
}
# The parameters that are numbers: each is an option of the commands that integrate.
NUMBERS = tuple(parameter for parameter in PARAMETERS.values() if not parameter.shape)
# Those that are vectors: second layers.
VECTORS = tuple(parameter for parameter in PARAMETERS.values() if len(parameter.shape) == 1)


def packed_names(model: Model) -> tuple[str, ...]:
    """The names of the numbers that the generated functions take, in order."""
    return tuple(
        name
        for parameter in PARAMETERS.values()
        if parameter.is_packed_for(model)
        for name in parameter.packed_names(model)
    )


def scheduled_places(model: Model) -> tuple[int, ...]:
    """Where in the packed vector the numbers are that a learning-rate schedule multiplies."""
    multiplied = {
        name
        for parameter in PARAMETERS.values()
        if parameter.scheduled
        for name in parameter.packed_names(model)
    }
    return tuple(place for place, name in enumerate(packed_names(model)) if name in multiplied)
