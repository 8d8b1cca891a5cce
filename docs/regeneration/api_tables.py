"""The public names by subject, and the tables of them on the page of the Python interface.

`docs/conf.py` sets the full entry of each name below the table that has it. A test fails unless the tables
have every public name.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

import overlap_ode

# Subject, and its names in `overlap_ode`; a function of a module in it is "module.function".
SUBJECTS = {
    "equations": (
        *("Model", "overlap_odes", "OverlapODEs", "latex", "latex_for_any_widths"),
        *("Proof", "ProofError", "load", "System"),
    ),
    "starts": ("random_overlaps", "OverlapSampler", "overlaps_from_file", "final_state", "final_weights"),
    "runs": ("integrate", "integrate_ensemble", "ensemble_statistics", "gradient_flow", "METHODS"),
    "sgd": ("simulate", "compare", "fluctuations"),
    "sector": (
        *("SectorModel", "sector_odes", "SectorODEs", "SectorProof", "load_sector", "SectorSystem"),
        *("SectorStart", "integrate_sector", "sector_overlaps"),
    ),
    "plateau": (
        *("plateau", "closed_form", "escape_times", "largest_stable_eta", "solution_spectrum"),
        "information_exponent",
    ),
    "landscape": ("hessian_spectrum", "spectra_along", "closest_solution", "implicit_bias"),
    "figures": (
        *("plot.result", "plot.trajectory", "plot.ensemble", "plot.simulation", "plot.comparison"),
        *("plot.plateau", "plot.escape", "plot.hessian", "plot.bias", "plot.exponent", "plot.sector"),
        *("plot.fluctuations", "plot.conservation"),
    ),
    "files": ("save_netcdf", "run_sweep", "merge_sweep"),
    "conventions": ("committee", "saad_solla", "readout_free", "rescaled_time", "Convention"),
    "errors": ("InputError", "LoadError", "VERSION"),
}
# Classes of values that these functions return, in full, since `overlap_ode` does not offer them.
RETURNED = (
    "runtime.analysis.plateau.fixed_point.Plateau",
    "runtime.analysis.plateau.fixed_point.NoPlateauError",
    "runtime.analysis.plateau.plateau_formulas.ClosedForm",
    "runtime.analysis.landscape.hessian_spectra.HessianSpectrum",
    "runtime.analysis.landscape.solution_stability.StabilitySpectrum",
    "runtime.analysis.bias.closest_solutions.ClosestSolution",
    "runtime.analysis.bias.closest_solutions.ImplicitBias",
)
# What a value has no docstring to say.
VALUES = {
    "METHODS": "The names of all methods of `integrate`.",
    "VERSION": "The version of the program, which is also `__version__`.",
}
TABLES_OF_NAMES = {f"api-{subject}": names for subject, names in SUBJECTS.items()} | {
    "api-returned": RETURNED
}


def public_names() -> set[str]:
    """All names of `overlap_ode`, with those of a module in it instead of the module."""
    names = set()
    offered: Any = overlap_ode
    for name in offered.__all__:
        value = getattr(offered, name)
        inner = [f"{name}.{part}" for part in value.__all__] if isinstance(value, ModuleType) else [name]
        names.update(inner)
    return names


def full_name(name: str) -> str:
    """The dotted path of a name of the tables."""
    return name if name in RETURNED else f"overlap_ode.{name}"


def public_object(name: str) -> Any:
    """What a name of the tables stands for."""
    return pkgutil.resolve_name(full_name(name))


def summary(name: str) -> str:
    """The first sentence of the docstring."""
    words = VALUES.get(name) or inspect.getdoc(public_object(name)) or ""
    return re.split(r"(?<=\.)\s", words.split("\n\n")[0].replace("\n", " "))[0].replace("``", "`")
