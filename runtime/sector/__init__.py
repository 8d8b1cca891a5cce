"""Integrates aligned starts at any width p: their whole state is 2p* + 1 numbers, the invariant sector."""

from runtime.sector.aligned_starts import SectorStart
from runtime.sector.sector_run import integrate_sector, sector_overlaps
from runtime.sector.sector_system import SectorSystem, load_sector

__all__ = ["SectorStart", "SectorSystem", "integrate_sector", "load_sector", "sector_overlaps"]
