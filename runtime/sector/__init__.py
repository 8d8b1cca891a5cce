"""The invariant sector at run time: load it, start in it, integrate any p, rebuild Q and R."""

from runtime.sector.integrate import integrate_sector, sector_overlaps
from runtime.sector.load import SectorSystem, load_sector
from runtime.sector.start import SectorStart

__all__ = ["SectorStart", "SectorSystem", "integrate_sector", "load_sector", "sector_overlaps"]
