"""`SectorModel` states which sector to derive: the number of directions and the conventions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from derive.activation import QUADRATIC
from derive.arguments import whole_number
from derive.errors import InputError, shown
from derive.model import OPTIONS, DerivableModel, Model, require_quadratic
from derive.parameters import PARAMETERS

# The manifest of a sector lists all of its 2p* + 1 names.
MAX_DIRECTIONS = 4096

_NOT_INVARIANT = {
    "constraint": (
        "sphere",
        "has no invariant sector: rescaling single students breaks their O(p) symmetry",
    ),
    "teacher": (
        "general",
        "has no invariant sector: a T that is not 1 mixes the directions",
    ),
    "second_layer": (
        "trained",
        "has no invariant sector: each v_i follows the norm Q_ii of its student, and these differ",
    ),
}


@dataclasses.dataclass(frozen=True, repr=False)
class SectorModel(DerivableModel):
    """The invariant sector of a quadratic teacher-student problem, for any number of students.

    The teacher is orthonormal, norms are free, and Q0 is in the algebra of R0R0ᵀ and 1, above all Q0 ∝ 1.
    Then Q = Σₖ qₖ ûₖûₖᵀ + q_⊥ (1 − Σₖ ûₖûₖᵀ) and R = Σₖ mₖ ûₖv̂ₖᵀ with constant singular vectors, and these
    2p* + 1 numbers obey closed ODEs. `derive.sector.sector_program` says why. p is a run-time parameter.
    With ``second_layer="fixed"`` all students have one weight v and all teachers one weight v*, which are
    run-time parameters too.

    Parameters
    ----------
    pstar
        Teacher width p*, an integer from 1 to ``MAX_DIRECTIONS``: the number of directions k.
    flow, readout
        As in `derive.Model`.
    constraint, teacher, second_layer
        Only ``"free"``, ``"orthonormal"``, and ``"ones"`` or ``"fixed"``, since nothing else leaves the
        sector invariant.

    Raises
    ------
    InputError
        A value is not allowed, or has no invariant sector.
    """

    kind: ClassVar[str] = "sector"

    pstar: int
    constraint: str = OPTIONS["constraint"].default
    flow: str = OPTIONS["flow"].default
    teacher: str = OPTIONS["teacher"].default
    readout: str = OPTIONS["readout"].default
    second_layer: str = OPTIONS["second_layer"].default

    def __post_init__(self) -> None:
        object.__setattr__(self, "pstar", whole_number("pstar", self.pstar, 1, MAX_DIRECTIONS))
        # This validates the options.
        self.with_widths(1, 1)
        for option, (value, problem) in _NOT_INVARIANT.items():
            if getattr(self, option) == value:
                raise InputError(option, f"{shown(value)} {problem}")

    @classmethod
    def of(cls, model: Model) -> SectorModel:
        """The sector of a full model; raises InputError if the model has none."""
        options = model.to_dict()
        del options["p"]
        return cls.of_options(**options)

    @classmethod
    def of_options(
        cls, pstar: int, *, activation: Any = QUADRATIC.name, teacher_activation: Any = None, **options: str
    ) -> SectorModel:
        """The sector of full models with these options; raises InputError unless they are quadratic."""
        chosen = Model(1, 1, activation=activation, teacher_activation=teacher_activation)
        require_quadratic(chosen, "the invariant sector is known")
        return cls(pstar, **options)

    def with_widths(self, p: int, pstar: int | None = None) -> Model:
        """The full model of the same conventions with p students and p* (or `pstar`) teachers."""
        options = self.to_dict()
        options["pstar"] = self.pstar if pstar is None else pstar
        return Model(p, **options)

    @property
    def state_size(self) -> int:
        """The number of order parameters, 2p* + 1."""
        return 2 * self.pstar + 1

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the order parameters in order: every qₖ, every mₖ, then q_⊥."""
        directions = range(1, self.pstar + 1)
        return (*(f"q_{k}" for k in directions), *(f"m_{k}" for k in directions), "q_perp")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the run-time parameters in order: p, then those of the table: η, Δ …, v, v*."""
        packed = (parameter for parameter in PARAMETERS.values() if parameter.is_packed_for(self))
        return ("p", *(parameter.code for parameter in packed))
