"""The invariant sector at run time: load it, start in it, integrate any p, rebuild Q and R."""

from runtime.sector.aligned_starts import SectorStart
from runtime.sector.sector_run import integrate_sector, sector_overlaps
from runtime.sector.sector_system import SectorSystem, load_sector

__all__ = ["SectorStart", "SectorSystem", "integrate_sector", "load_sector", "sector_overlaps"]
