"""Loads generated systems and integrates their trajectories."""

from runtime.ensemble import integrate_ensemble
from runtime.errors import InputError, LoadError
from runtime.initial import overlaps_from_file, random_overlaps
from runtime.integrate import METHODS, final_state, integrate
from runtime.load import load
from runtime.results import save_netcdf
from runtime.system import System

__all__ = [
    "METHODS",
    "InputError",
    "LoadError",
    "System",
    "final_state",
    "integrate",
    "integrate_ensemble",
    "load",
    "overlaps_from_file",
    "random_overlaps",
    "save_netcdf",
]
