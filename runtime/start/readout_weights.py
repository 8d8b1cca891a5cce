"""The readout weights a and b of a model, as numbers."""

from __future__ import annotations

from derive.model import Model


def readout(model: Model) -> tuple[float, float]:
    """Readout weights a and b of students and teachers."""
    power = {"mean": -1.0, "sum": 0.0, "sqrt": -0.5}[model.readout]
    return float(model.p**power), float(model.pstar**power)
