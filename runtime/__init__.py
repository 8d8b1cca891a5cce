"""Loads generated systems, integrates, simulates and analyses their trajectories."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derive.errors import InputError
    from runtime.analysis.bias.closest_solutions import closest_solution, implicit_bias
    from runtime.analysis.escape.escape_measurement import escape_times
    from runtime.analysis.landscape.hessian_spectra import hessian_spectrum, spectra_along
    from runtime.analysis.landscape.solution_stability import largest_stable_eta, solution_spectrum
    from runtime.analysis.plateau.fixed_point import plateau
    from runtime.analysis.plateau.plateau_formulas import closed_form
    from runtime.analysis.riccati import gradient_flow
    from runtime.ensemble.ensemble_run import integrate_ensemble
    from runtime.ensemble.ensemble_statistics import ensemble_statistics
    from runtime.output.netcdf_files import save_netcdf
    from runtime.run_options import METHODS
    from runtime.sector import SectorStart, integrate_sector, load_sector, sector_overlaps
    from runtime.sgd.comparison import compare
    from runtime.sgd.simulation import simulate
    from runtime.start.initial_overlaps import OverlapSampler, overlaps_from_file, random_overlaps
    from runtime.start.paper_conventions import Convention, readout_free, rescaled_time, saad_solla
    from runtime.sweep.whole_sweeps import merge_sweep, run_sweep
    from runtime.system.compiled_system import System
    from runtime.system.load_error import LoadError
    from runtime.system.loading import load
    from runtime.trajectory.single_run import final_state, integrate

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

# Each name is imported when it is first used: the help of commands needs none of them, and a new
# installation would compile the ensemble's loop, some seconds, for a single trajectory.
_ON_DEMAND = {
    "METHODS": "runtime.run_options",
    "Convention": "runtime.start.paper_conventions",
    "InputError": "derive.errors",
    "LoadError": "runtime.system.load_error",
    "OverlapSampler": "runtime.start.initial_overlaps",
    "SectorStart": "runtime.sector",
    "System": "runtime.system.compiled_system",
    "closed_form": "runtime.analysis.plateau.plateau_formulas",
    "closest_solution": "runtime.analysis.bias.closest_solutions",
    "compare": "runtime.sgd.comparison",
    "ensemble_statistics": "runtime.ensemble.ensemble_statistics",
    "escape_times": "runtime.analysis.escape.escape_measurement",
    "final_state": "runtime.trajectory.single_run",
    "gradient_flow": "runtime.analysis.riccati",
    "hessian_spectrum": "runtime.analysis.landscape.hessian_spectra",
    "implicit_bias": "runtime.analysis.bias.closest_solutions",
    "integrate": "runtime.trajectory.single_run",
    "integrate_ensemble": "runtime.ensemble.ensemble_run",
    "integrate_sector": "runtime.sector",
    "largest_stable_eta": "runtime.analysis.landscape.solution_stability",
    "load": "runtime.system.loading",
    "load_sector": "runtime.sector",
    "merge_sweep": "runtime.sweep.whole_sweeps",
    "overlaps_from_file": "runtime.start.initial_overlaps",
    "plateau": "runtime.analysis.plateau.fixed_point",
    "random_overlaps": "runtime.start.initial_overlaps",
    "readout_free": "runtime.start.paper_conventions",
    "rescaled_time": "runtime.start.paper_conventions",
    "run_sweep": "runtime.sweep.whole_sweeps",
    "saad_solla": "runtime.start.paper_conventions",
    "save_netcdf": "runtime.output.netcdf_files",
    "sector_overlaps": "runtime.sector",
    "simulate": "runtime.sgd.simulation",
    "solution_spectrum": "runtime.analysis.landscape.solution_stability",
    "spectra_along": "runtime.analysis.landscape.hessian_spectra",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
