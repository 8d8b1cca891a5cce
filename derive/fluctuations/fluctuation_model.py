"""`FluctuationModel` states the model whose fluctuations at order 1/N are derived."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from derive.fluctuations.cubature_points import check_cubature
from derive.model import Model


@dataclasses.dataclass(frozen=True)
class FluctuationModel(Model):
    """A model, of which the ODE of the covariance of its order parameters is derived.

    The parameters are those of `derive.Model`, and so are the errors; SGD with another activation than λ²
    is refused too if its cubature has too many points. `state` has the names of the order
    parameters, which are the rows and the columns of the covariance.
    """

    kind: ClassVar[str] = "fluctuations"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flow != "gradient" and not self.quadratic:
            check_cubature(self)

    @classmethod
    def of(cls, model: Model) -> FluctuationModel:
        """The fluctuations of a model."""
        return cls(**model.to_dict())

    @property
    def base(self) -> Model:
        """The model itself, with the ODE of the order parameters."""
        return Model(**self.to_dict())

    @property
    def extended_size(self) -> int:
        """The length of a state with its covariance: the order parameters, then the upper triangle of Σ."""
        return self.state_size + self.state_size * (self.state_size + 1) // 2
