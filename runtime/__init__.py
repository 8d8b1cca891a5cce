"""Loads generated systems and integrates their trajectories."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError, LoadError
from runtime.initial import OverlapSampler, overlaps_from_file, random_overlaps
from runtime.integrate import METHODS, final_state, integrate
from runtime.load import load
from runtime.results import save_netcdf
from runtime.system import System

if TYPE_CHECKING:
    from runtime.analysis.riccati import gradient_flow
    from runtime.ensemble import integrate_ensemble
    from runtime.sector import SectorStart, integrate_sector, load_sector, sector_overlaps
    from runtime.sgd.comparison import compare
    from runtime.sgd.simulation import simulate
    from runtime.streaming import ensemble_statistics

__all__ = [
    "METHODS",
    "InputError",
    "LoadError",
    "OverlapSampler",
    "SectorStart",
    "System",
    "compare",
    "ensemble_statistics",
    "final_state",
    "gradient_flow",
    "integrate",
    "integrate_ensemble",
    "integrate_sector",
    "load",
    "load_sector",
    "overlaps_from_file",
    "random_overlaps",
    "save_netcdf",
    "sector_overlaps",
    "simulate",
]

# Why not imported above: a new installation would compile the ensemble engine, some seconds,
# for a single trajectory.
_ON_DEMAND = {
    "SectorStart": "runtime.sector",
    "gradient_flow": "runtime.analysis.riccati",
    "integrate_ensemble": "runtime.ensemble",
    "integrate_sector": "runtime.sector",
    "load_sector": "runtime.sector",
    "sector_overlaps": "runtime.sector",
    "ensemble_statistics": "runtime.streaming",
    "simulate": "runtime.sgd.simulation",
    "compare": "runtime.sgd.comparison",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
