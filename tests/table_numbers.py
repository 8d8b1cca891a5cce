"""Values of the numbers among the run-time parameters: what a test chooses, else the defaults."""

from __future__ import annotations

from typing import Any

from derive.parameters import NUMBERS


def numbers(eta: Any, label_noise: Any) -> dict[str, Any]:
    """η, Δ, and the default of every other number of the table, by name and in its order."""
    return {number.name: number.default for number in NUMBERS} | {"eta": eta, "label_noise": label_noise}
