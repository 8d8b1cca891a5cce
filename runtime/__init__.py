"""Loads generated systems, integrates, simulates and analyses their trajectories."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError, LoadError
from runtime.initial import OverlapSampler, overlaps_from_file, random_overlaps
from runtime.integrate import METHODS, final_state, integrate
from runtime.load import load
from runtime.results import save_netcdf
from runtime.system import System

if TYPE_CHECKING:
    from runtime.analysis.bias import closest_solution, implicit_bias
    from runtime.analysis.closed_form import closed_form
    from runtime.analysis.escape import escape_times
    from runtime.analysis.hessian import hessian_spectrum, spectra_along
    from runtime.analysis.plateau import plateau
    from runtime.analysis.riccati import gradient_flow
    from runtime.analysis.stability import largest_stable_eta, solution_spectrum
    from runtime.conventions import Convention, readout_free, rescaled_time, saad_solla
    from runtime.ensemble import integrate_ensemble
    from runtime.sector import SectorStart, integrate_sector, load_sector, sector_overlaps
    from runtime.sgd.comparison import compare
    from runtime.sgd.simulation import simulate
    from runtime.streaming import ensemble_statistics
    from runtime.sweep.command import merge_sweep, run_sweep

__all__ = [
    "METHODS",
    "Convention",
    "InputError",
    "LoadError",
    "OverlapSampler",
    "SectorStart",
    "System",
    "closed_form",
    "closest_solution",
    "compare",
    "ensemble_statistics",
    "escape_times",
    "final_state",
    "gradient_flow",
    "hessian_spectrum",
    "implicit_bias",
    "integrate",
    "integrate_ensemble",
    "integrate_sector",
    "largest_stable_eta",
    "load",
    "load_sector",
    "merge_sweep",
    "overlaps_from_file",
    "plateau",
    "random_overlaps",
    "readout_free",
    "rescaled_time",
    "run_sweep",
    "saad_solla",
    "save_netcdf",
    "sector_overlaps",
    "simulate",
    "solution_spectrum",
    "spectra_along",
]

# Why not imported above: a new installation would compile the ensemble engine, some seconds,
# for a single trajectory.
_ON_DEMAND = {
    "Convention": "runtime.conventions",
    "SectorStart": "runtime.sector",
    "closed_form": "runtime.analysis.closed_form",
    "closest_solution": "runtime.analysis.bias",
    "compare": "runtime.sgd.comparison",
    "ensemble_statistics": "runtime.streaming",
    "escape_times": "runtime.analysis.escape",
    "gradient_flow": "runtime.analysis.riccati",
    "hessian_spectrum": "runtime.analysis.hessian",
    "implicit_bias": "runtime.analysis.bias",
    "integrate_ensemble": "runtime.ensemble",
    "integrate_sector": "runtime.sector",
    "largest_stable_eta": "runtime.analysis.stability",
    "load_sector": "runtime.sector",
    "merge_sweep": "runtime.sweep.command",
    "plateau": "runtime.analysis.plateau",
    "readout_free": "runtime.conventions",
    "rescaled_time": "runtime.conventions",
    "saad_solla": "runtime.conventions",
    "run_sweep": "runtime.sweep.command",
    "sector_overlaps": "runtime.sector",
    "simulate": "runtime.sgd.simulation",
    "solution_spectrum": "runtime.analysis.stability",
    "spectra_along": "runtime.analysis.hessian",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
