"""Derives the ODEs of the overlaps of a teacher-student problem, proves them, and writes code and LaTeX.

Each stage is a module. `model` says what to derive. `wick` writes the moments as diagrams, `equations`
the drift in terms of these, and `overlap_program` the statements on matrices that compute it. `emit`
prints these statements. `proof` compares them with the moments of `isserlis`, which are written out
component by component. `odes` does all of this for one model. `sector` does the same for aligned starts,
and `invariants` finds what the equations conserve.
"""

from derive.errors import InputError
from derive.model import Model
from derive.odes import OverlapODEs, latex, latex_for_any_widths, overlap_odes
from derive.proof import Proof, ProofError
from derive.sector import SectorModel, sector_odes
from derive.version import VERSION

__all__ = [
    "VERSION",
    "InputError",
    "Model",
    "OverlapODEs",
    "Proof",
    "ProofError",
    "SectorModel",
    "latex",
    "latex_for_any_widths",
    "overlap_odes",
    "sector_odes",
]
