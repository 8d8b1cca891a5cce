"""Derives the ODEs of the invariant sector of aligned starts for any p, with proof, code and LaTeX."""

from derive.sector.derived_sector import SectorODEs, sector_odes
from derive.sector.sector_model import SectorModel
from derive.sector.sector_proof import SectorProof

__all__ = ["SectorModel", "SectorODEs", "SectorProof", "sector_odes"]
