"""Values of the numbers among the run-time parameters: what a test chooses, else the defaults."""

from __future__ import annotations

from typing import Any

from derive.model import DerivableModel
from derive.parameters import NUMBERS


def numbers(model: DerivableModel, eta: Any, label_noise: Any) -> dict[str, Any]:
    """η, Δ, and the default of every other number that the model has, by packed name and in order."""
    others = {
        number.code: 1.0 / number.default if number.reciprocal else number.default
        for number in NUMBERS
        if number.belongs_to(model) and number.default is not None
    }
    return {"eta": eta} | others | {"label_noise": label_noise}
