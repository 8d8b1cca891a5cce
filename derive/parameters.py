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
    *"abcdefgiklmnpqrstuvwxyzCDFGNQRVWXYZ",
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
        symmetric, and its upper triangle is packed by rows.
    per_trajectory
        Whether each trajectory of an ensemble may have its own value.
    in_loss
        Whether the generalisation error depends on it.
    at_finite_n
        Whether the simulations of SGD, in `runtime.sgd`, compute with it. Where they do not, its default is
        the only value that they accept.
    only_with
        The option of the model and its value with which the parameter exists; None if it always does.
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
    only_with: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for taken in {self.name, self.printed} & _TAKEN:
            raise ValueError(f"{self.name}: {taken} is the name of another quantity")

    @property
    def printed(self) -> str:
        """The name of its SymPy symbol, which is that of its letter in LaTeX: eta, Delta."""
        return self.latex.removeprefix("\\")

    def belongs_to(self, model: DerivableModel) -> bool:
        """Whether the equations of `model` have this parameter."""
        return self.only_with is None or getattr(model, self.only_with[0]) == self.only_with[1]

    def packed_names(self, model: Model) -> Iterator[str]:
        """The names of its numbers in the packed vector: eta, or T_1_1, T_1_2 …"""
        if not self.shape:
            yield self.name
            return
        rows, columns = (getattr(model, width) for width in self.shape)
        for r in range(1, rows + 1):
            for s in range(r, columns + 1):
                yield f"{self.name}_{r}_{s}"


class ParameterValues(TypedDict, total=False):
    """The keyword arguments of functions that take run-time parameters, for type checkers."""

    eta: Any
    label_noise: Any
    T: Any


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
            only_with=("teacher", "general"),
        ),
    )
}
# The parameters that are numbers: each is an option of the commands that integrate.
NUMBERS = tuple(parameter for parameter in PARAMETERS.values() if not parameter.shape)


def packed_names(model: Model) -> tuple[str, ...]:
    """The names of the numbers that the generated functions take, in order."""
    return tuple(
        name
        for parameter in PARAMETERS.values()
        if parameter.belongs_to(model)
        for name in parameter.packed_names(model)
    )
