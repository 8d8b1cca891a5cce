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
    from runtime.ensemble import integrate_ensemble
    from runtime.sgd.comparison import compare
    from runtime.sgd.simulation import simulate
    from runtime.streaming import ensemble_statistics

__all__ = [
    "METHODS",
    "InputError",
    "LoadError",
    "OverlapSampler",
    "System",
    "compare",
    "ensemble_statistics",
    "final_state",
    "integrate",
    "integrate_ensemble",
    "load",
    "overlaps_from_file",
    "random_overlaps",
    "save_netcdf",
    "simulate",
]

# Why not imported above: a new installation would compile the ensemble engine, some seconds,
# for a single trajectory.
_ON_DEMAND = {
    "integrate_ensemble": "runtime.ensemble",
    "ensemble_statistics": "runtime.streaming",
    "simulate": "runtime.sgd.simulation",
    "compare": "runtime.sgd.comparison",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
