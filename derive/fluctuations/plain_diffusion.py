"""Runs the generated function of a diffusion matrix as plain Python, for its proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.readout import READOUTS


def run_diffusion(
    model: FluctuationModel, texts: Sequence[str], values: Mapping[str, Fraction]
) -> NDArray[np.float64]:
    """𝓓 (n, n) by the texts of the function and of what it uses, at values by the names of programs."""
    readout, size = READOUTS[model.readout], model.state_size
    names: dict[str, Any] = {"np": np, "_compiled": lambda function: function}
    names |= {"P": model.p, "PSTAR": model.pstar, "UNITS": model.p + model.pstar, "STATE_SIZE": size}
    names |= {"a": readout.value(model.p), "b": readout.value(model.pstar)}
    exec("\n\n".join(texts), names)  # noqa: S102
    state, parameters = (
        np.array([float(values[name]) for name in given]) for given in (model.state, model.parameters)
    )
    out = np.full((size, size), np.nan)
    names["diffusion"](state, parameters, out)
    return out
