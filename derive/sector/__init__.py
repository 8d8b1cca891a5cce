"""The invariant sector of aligned starts: its ODEs for any p, their proof, code and LaTeX."""

from derive.sector.model import SectorModel
from derive.sector.odes import SectorODEs, sector_odes
from derive.sector.proof import SectorProof

__all__ = ["SectorModel", "SectorODEs", "SectorProof", "sector_odes"]
