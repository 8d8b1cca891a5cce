"""Derivation of overlap ODEs: Model, both routes, proof, and generation of code and LaTeX."""

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
