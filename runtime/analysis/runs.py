"""Runs from files: what the analysis commands read, and the model that is written in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derive.model import Model
from runtime.errors import InputError
from runtime.files import NETCDF, read_file
from runtime.states import Array

if TYPE_CHECKING:
    import xarray

_CONVENTIONS = tuple(field.name for field in dataclasses.fields(Model))


def read_run(path: str | Path, option: str) -> xarray.Dataset:
    """The dataset in a ``.nc`` file; InputError, naming the option, if there is none."""
    import xarray

    run: xarray.Dataset = read_file(path, option, NETCDF, xarray.load_dataset)
    return run


def model_of_run(run: xarray.Dataset) -> Model:
    """The model in the attributes of a dataset of ours; InputError if they hold none."""
    missing = [name for name in _CONVENTIONS if name not in run.attrs]
    if missing:
        raise InputError("run", f"has no attribute {missing[0]}: it is not a result of overlap-ode")
    return Model.from_dict({name: run.attrs[name] for name in _CONVENTIONS})


def teacher_of_run(run: xarray.Dataset, model: Model) -> Array | None:
    """T (p*, p*) of a general teacher, None for an orthonormal one; InputError if there is none."""
    if model.teacher == "orthonormal":
        return None
    if "T" not in run:
        raise InputError("run", "has no T, which a general teacher needs")
    return np.asarray(run["T"].values, dtype=np.float64)
