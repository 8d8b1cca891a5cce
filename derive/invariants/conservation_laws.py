"""Lists what the overlap ODEs conserve: claims, each proved or refuted for one model."""

from __future__ import annotations

from derive.invariants.model_matrices import Law, ModelMatrices
from derive.invariants.singular_vector_laws import singular_vector_laws
from derive.invariants.stationary_laws import stationary_laws
from derive.invariants.transport_laws import transport_laws
from derive.model import Model


def laws(model: Model) -> list[Law]:
    """Every claim that makes sense for the model, with its verdict; this takes seconds up to p = 4.

    Verdicts are exact and hold for all a, b, η, Δ and T. Claims that hold for another flow or constraint
    are tried too, so that the list also says what is *not* conserved by this model.
    """
    matrices = ModelMatrices(model)
    return [*transport_laws(matrices), *singular_vector_laws(matrices), *stationary_laws(matrices)]
