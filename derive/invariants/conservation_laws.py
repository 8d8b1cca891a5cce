"""Lists what the overlap ODEs conserve: claims, each proved or refuted for one model."""

from __future__ import annotations

from derive.invariants.singular_laws import singular_laws
from derive.invariants.stationary_laws import stationary_laws
from derive.invariants.transport_laws import transport_laws
from derive.invariants.workbench import Law, Workbench
from derive.model import Model


def laws(model: Model) -> list[Law]:
    """Every claim that makes sense for the model, with its verdict; it takes seconds up to p = 4.

    Verdicts are exact and hold for all a, b, η, Δ and T. Claims that are known to hold for another
    flow or constraint are tried too, so that the list says what is *not* conserved here.
    """
    bench = Workbench(model)
    return [*transport_laws(bench), *singular_laws(bench), *stationary_laws(bench)]
