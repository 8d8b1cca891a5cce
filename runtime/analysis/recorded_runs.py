"""Reads runs for the analysis, also from files, and checks every attribute and state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derive.errors import InputError, shown
from derive.model import Model
from derive.parameters import NUMBERS, VECTORS
from runtime.output.input_files import NETCDF, UnreadableError, read_file
from runtime.output.memory_limit import LARGEST_ARRAYS
from runtime.run_options import ACTIVATIONS
from runtime.start import checked_arrays
from runtime.start.checked_arrays import Array
from runtime.start.schedules import Schedule

if TYPE_CHECKING:
    import xarray

# Runs of earlier versions name no second layer and no activation: they have none, and λ². A run whose
# teacher has the students' activation does not name it either.
_NEWER = frozenset({"second_layer", *ACTIVATIONS})
_CONVENTIONS = tuple(field.name for field in dataclasses.fields(Model))
# Attributes that analysis, tables and figures use as numbers, as whole numbers, and as text, beside the
# run-time parameters.
_NUMBERS = ("rtol", "atol")
_COUNTS = ("trajectories",)
_TEXTS = ("method",)
# Powers of larger entries overflow; runs that grow have stopped long before.
_LARGEST = 1e50


def read_run(path: str | Path, option: str) -> xarray.Dataset:
    """The dataset in a ``.nc`` file; InputError, naming the option, if there is none."""
    run: xarray.Dataset = read_file(path, option, NETCDF, _loaded)
    return run


def _loaded(path: Path) -> xarray.Dataset:
    import xarray

    with xarray.open_dataset(path) as run:
        # What was compressed may be thousands of times as large as the file.
        if run.nbytes > LARGEST_ARRAYS:
            raise UnreadableError(f"its arrays are larger than {LARGEST_ARRAYS // 2**30} GiB")
        return run.load()


def model_of_run(run: xarray.Dataset) -> Model:
    """The model in the attributes of a dataset of ours; InputError if they hold none."""
    named = {name: run.attrs[name] for name in _CONVENTIONS if name in run.attrs}
    missing = [name for name in _CONVENTIONS if name not in named and name not in _NEWER]
    if missing:
        raise InputError("run", f"has no attribute {missing[0]}: it is not a result of overlap-ode")
    try:
        return Model.from_dict(named)
    except InputError as error:
        raise InputError("run", f"has a wrong attribute {error.option}: {error.problem}") from None


def settings_of_run(run: xarray.Dataset) -> dict[str, Any]:
    """The attributes of a run, with the parameters that all trajectories of an ensemble share."""
    values = {number.name: np.unique(run[number.name].values) for number in NUMBERS if number.name in run}
    return {**run.attrs, **{name: float(found[0]) for name, found in values.items() if found.size == 1}}


@dataclasses.dataclass(frozen=True, eq=False)
class RunStates:
    """All states of a run, checked; they are NaN after the end of a trajectory that ended early.

    front
        Names of the axes in front of alpha: none, or those of trajectories.
    Q, R, loss
        (…, alpha, p, p), (…, alpha, p, p*) and (…, alpha); loss is None where the run has none.
    T
        (p*, p*), the identity for an orthonormal teacher.
    parameters
        By name the run-time parameters that are numbers, as far as the run has them or they have defaults:
        (), or (…) where each trajectory has its own.
    weights
        By name the second-layer weights that do not change: (p,) and (p*,), or (…, p) and (…, p*) where
        each trajectory has its own; ones where the model has no second layer.
    v
        A trained second layer (…, alpha, p); None where there is none.
    schedule, start_alpha
        How the learning rates changed, and the time of the start, which may be before the first output.
    """

    model: Model
    front: tuple[str, ...]
    alpha: Array
    Q: Array
    R: Array
    T: Array
    parameters: Mapping[str, Array]
    weights: Mapping[str, Array]
    v: Array | None
    loss: Array | None
    schedule: Schedule
    start_alpha: float

    @cached_property
    def there(self) -> NDArray[np.bool_]:
        """Where the run got to: (…, alpha)."""
        return np.asarray(np.isfinite(self.Q).all(axis=(-1, -2)))


def states_of_run(run: xarray.Dataset) -> RunStates:
    """States, times, teacher and attributes of a result of ours, also one from a file.

    Raises InputError, naming ``run``, for anything that no run has.
    """
    model = model_of_run(run)
    try:
        return _checked(model, run)
    except InputError as error:
        problem = error.problem if error.option == "run" else f"has wrong {error.option}: {error.problem}"
        raise InputError("run", problem) from None


def _checked(model: Model, run: xarray.Dataset) -> RunStates:
    _check_attributes(run.attrs)
    if "Q" not in run or "R" not in run:
        raise InputError("run", "has no Q and R: an ensemble needs --output all")
    dimensions = tuple(map(str, run["Q"].dims))
    if "alpha" not in dimensions:
        raise InputError("run", "has no states over time, only the last ones")
    if "alpha" not in run.coords:
        raise InputError("run", "has no times alpha")
    front = dimensions[: dimensions.index("alpha")]
    sizes = tuple(run.sizes[name] for name in (*front, "alpha"))
    Q = _values(run, "Q", (*front, "alpha", "i", "j"), (*sizes, model.p, model.p), model)
    R = _values(run, "R", (*front, "alpha", "i", "r"), (*sizes, model.p, model.pstar), model)
    loss = _values(run, "loss", (*front, "alpha"), sizes, model) if "loss" in run else None
    v = _values(run, "v", (*front, "alpha", "i"), (*sizes, model.p), model) if model.trained else None
    alpha = checked_arrays.output_times(_values(run, "alpha", ("alpha",), sizes[-1:], model))
    T = None
    if model.teacher == "general":
        if "T" not in run:
            raise InputError("run", "has no T, which a general teacher needs")
        T = _values(run, "T", ("r", "s"), (model.pstar, model.pstar), model)
    T = checked_arrays.teacher_overlaps(model, T)
    checked = RunStates(
        model,
        front,
        alpha,
        Q,
        R,
        T,
        _parameters(run, model, front),
        _weights(run, model, front),
        v,
        loss,
        Schedule.of(run.attrs.get("schedule")),
        checked_arrays.real_number("start_alpha", run.attrs.get("start_alpha", 0.0), least=0.0),
    )
    _check_ends(checked)
    return checked


def _parameters(run: xarray.Dataset, model: Model, front: tuple[str, ...]) -> dict[str, Array]:
    """The parameters of a run, from its variables or its attributes."""
    found = {}
    for parameter in NUMBERS:
        name, bounds = parameter.name, (parameter.least, parameter.strict)
        if not parameter.belongs_to(model):
            continue
        if name in run:
            values, axes = run[name].values, run[name].dims
            if axes not in ((), front):
                raise InputError(name, f"has the axes {axes}, not {front}")
            checked = checked_arrays.per_trajectory(name, values.ravel(), values.size, *bounds)
            found[name] = checked.reshape(values.shape)
        elif name in run.attrs:
            number = checked_arrays.real_number(name, run.attrs[name], least=bounds[0], strict=bounds[1])
            found[name] = np.array(number)
        elif parameter.default is not None:
            # Runs of earlier versions do not name it.
            found[name] = np.array(parameter.default)
    return found


def _weights(run: xarray.Dataset, model: Model, front: tuple[str, ...]) -> dict[str, Array]:
    """The second-layer weights of a run that do not change, from its variables."""
    found = {}
    for parameter in VECTORS:
        name, (width,) = parameter.name, parameter.shape
        size = getattr(model, width)
        if not parameter.belongs_to(model):
            found[name] = np.ones(size)
        elif not parameter.is_state_of(model):
            own = {"p": "i", "pstar": "r"}[width]
            axes = (*front, own) if name in run and run[name].ndim > 1 else (own,)
            shape = (*(run.sizes[axis] for axis in axes[:-1]), size)
            found[name] = _values(run, name, axes, shape, model, missing=False)
    return found


def _check_attributes(attributes: Any) -> None:
    for name in (*_NUMBERS, *_COUNTS):
        if name in attributes:
            number = checked_arrays.real_number(name, attributes[name], least=0.0)
            if name in _COUNTS and number != int(number):
                raise InputError(name, f"{shown(attributes[name])} is not a whole number")
    for name in _TEXTS:
        if name in attributes and not isinstance(attributes[name], str):
            raise InputError(name, f"{shown(attributes[name])} is not text")


def _values(
    run: xarray.Dataset,
    name: str,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    model: Model,
    *,
    missing: bool = True,
) -> Array:
    """A variable with these axes, whose numbers are finite and not too large, or NaN where `missing`."""
    if name not in run.variables:
        raise InputError("run", f"has no {name}, which {model.name} needs")
    variable = run[name]
    if variable.dims != dims or variable.shape != shape:
        raise InputError("run", f"has Q and R of other shapes than {model.name}, or no such {name}")
    values = checked_arrays.real_array(name, variable.values, shape, finite=not missing)
    if np.any(np.abs(values) > _LARGEST):
        raise InputError(name, f"has entries above {_LARGEST:g}")
    return values


def _check_ends(run: RunStates) -> None:
    """Reject states that are NaN in part, or that come back after the end of a trajectory."""
    there = run.there
    lost = np.isnan(run.Q).all(axis=(-1, -2)) & np.isnan(run.R).all(axis=(-1, -2))
    wrong = (there != np.isfinite(run.R).all(axis=(-1, -2))) | (~there & ~lost)
    wrong[..., 1:] |= there[..., 1:] & ~there[..., :-1]
    if run.v is not None:
        wrong |= np.isfinite(run.v).all(axis=-1) != there
    if run.loss is not None:
        wrong |= np.isfinite(run.loss) & ~there
    if wrong.any():
        first = run.alpha[np.nonzero(wrong)[-1].min()]
        raise InputError("run", f"has states that are not finite at alpha = {first:g}, before its end")
