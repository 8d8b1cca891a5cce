"""Writes the diffusion matrix and the ODE of the covariance as LaTeX."""

from __future__ import annotations

from derive.fluctuations.fluctuation_model import FluctuationModel


def fluctuation_document(model: FluctuationModel) -> str:
    """The document odes.tex."""
    return f"% Fluctuations of {model.base.name}\n"
