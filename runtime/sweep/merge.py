"""Merges the results of a sweep into one netCDF file, task by task, so that memory does not grow.

The dimensions of the file are the axes of the sweep, followed by those of a single result. Where results
differ in size, since widths vary, the smaller ones are filled with NaN. Coordinates that differ in their
values, as the times of SGD do with N, become variables over the axes and a counted dimension, alpha_index.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.atomic_files import replacing
from derive.errors import InputError
from derive.symbolic_links import behind_links
from runtime.output.netcdf_files import netcdf_errors
from runtime.output.output_files import check_output
from runtime.output.plain_result import CONVENTIONS, WORDS, described, is_cf_coordinate
from runtime.output.result_attributes import made_attributes
from runtime.sweep import shard_netcdf
from runtime.sweep.estimate import readable_bytes
from runtime.sweep.program_version import PROGRAM
from runtime.sweep.shard import DamagedShardError, verified
from runtime.sweep.sweep_errors import SweepError
from runtime.sweep.sweep_folder import SweepFolder
from runtime.sweep.task_kinds import coordinate_of
from runtime.sweep.task_plan import Plan

if TYPE_CHECKING:
    import xarray

# Attributes of each result for which the merged dataset has values of its own.
_OWN_ATTRIBUTES = ("title", "version", "history", "Conventions", "job")
_DONE = "done"


@dataclasses.dataclass
class _Variable:
    """A variable of the results: a value of its type, its dimensions and its attributes."""

    like: Any
    dims: tuple[str, ...]
    attributes: dict[str, Any]


class _Layout:
    """What the results have in common and where they differ, and the largest size of each dimension."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.coordinates: dict[str, Any] = {}
        self.coordinate_attributes: dict[str, dict[str, Any]] = {}
        self.counted: set[str] = set()
        self.variables: dict[str, _Variable] = {}
        self.attributes: dict[str, Any] = {}
        self.varying: dict[str, Any] = {}
        self.uneven: set[str] = set()
        self._first = True

    def add(self, number: int, result: xarray.Dataset) -> None:
        """Take one more result into account; raises SweepError if it has other variables."""
        names = {str(name): tuple(map(str, variable.dims)) for name, variable in result.data_vars.items()}
        if self._first:
            self.variables = {
                name: _Variable(result[name].values.dtype.type(), dims, dict(result[name].attrs))
                for name, dims in names.items()
            }
            self.attributes = dict(result.attrs)
        elif names != {name: variable.dims for name, variable in self.variables.items()}:
            raise SweepError(
                f"task {number} has other variables than the first task, so they cannot be merged"
            )
        for name, size in result.sizes.items():
            self._dimension(str(name), size, result.coords.get(name))
        for name in {*self.attributes, *result.attrs}:
            if name in _OWN_ATTRIBUTES:
                continue
            here, there = result.attrs.get(name), self.attributes.get(name)
            if here is None or there is None or not np.array_equal(here, there):
                self.varying[str(name)] = here if here is not None else there
        self._first = False

    def _dimension(self, name: str, size: int, coordinate: Any) -> None:
        if self._first:
            self.sizes[name] = size
            if coordinate is not None:
                self.coordinates[name] = coordinate.values
                self.coordinate_attributes[name] = dict(coordinate.attrs)
            return
        if size != self.sizes[name]:
            self.uneven.add(name)
        if coordinate is not None:
            values, before = coordinate.values, self.coordinates[name]
            shared = min(len(values), len(before))
            if not np.array_equal(values[:shared], before[:shared]):
                self.counted.add(name)
            if len(values) > len(before):
                self.coordinates[name] = values
        self.sizes[name] = max(size, self.sizes[name])

    def dimension(self, name: str) -> str:
        """The name of a result's dimension in the merged dataset."""
        return f"{name}_index" if name in self.counted else name


def merge(path: Path, out: Path, partial: bool) -> dict[str, int]:
    """Write one netCDF file with the results of all tasks; returns its dimensions and sizes.

    The same results give the same bytes. With `partial`, tasks that are not done have NaN and empty text,
    and the variable ``done`` says which tasks are done.

    Raises InputError if there is no sweep or `out` cannot be written, SweepError if the sweep is not
    complete (unless `partial`) or its results do not fit together, OSError if writing fails.
    """
    target = check_output(out, (".nc",))
    folder = SweepFolder(path)
    try:
        folder.check_usable()
        plan = folder.stored_plan()
    except InputError as error:
        raise InputError("folder", error.problem) from None
    if plan is None:
        raise InputError("folder", f"{path} holds no sweep")
    layout, there = _Layout(), []
    for number, result in _results(folder, plan, range(plan.count), partial, outline=True):
        layout.add(number, result)
        there.append(number)
    if not there:
        raise SweepError(f"{path}: no task is done yet")
    needed = _check_space(target, plan, layout)
    with replacing(target, durable=True) as temporary, netcdf_errors(temporary, needed):
        return _write(temporary, folder, plan, layout, there)


def _results(
    folder: SweepFolder, plan: Plan, numbers: Any, partial: bool, outline: bool = False
) -> Iterator[tuple[int, xarray.Dataset]]:
    lost = 0
    for number in numbers:
        try:
            content = verified(folder.shard(number), plan.task(number).digest)
        except DamagedShardError:
            content = None
        if content is not None:
            yield number, shard_netcdf.decode(content, outline)
        else:
            lost += 1
    if lost and not partial:
        raise SweepError(
            f"{folder.path}: {lost} of {plan.count} tasks are not done;"
            f" `cli sweep --out {folder.path} --status` says why, and --partial merges the others"
        )


def _check_space(target: Path, plan: Plan, layout: _Layout) -> int:
    """Bytes of the merged data; raises SweepError if the disk has no room for them."""
    each = sum(
        np.prod([layout.sizes[name] for name in variable.dims], dtype=float)
        for variable in layout.variables.values()
    )
    needed, free = int(8 * each * plan.count), shutil.disk_usage(behind_links(target).parent).free
    if needed > free:
        raise SweepError(f"{target} needs {readable_bytes(needed)}, but {readable_bytes(free)} are free")
    return needed


def _fill(like: Any, gaps: bool) -> Any:
    """The value where there is no result; None, for text or without gaps, leaves that to netCDF."""
    kind = np.asarray(like).dtype
    if kind.kind == "f":
        return np.nan
    return np.iinfo(shard_netcdf.storable(like).dtype).min if gaps and kind.kind in "iub" else None


def _write(
    temporary: Path, folder: SweepFolder, plan: Plan, layout: _Layout, there: list[int]
) -> dict[str, int]:
    import netCDF4

    complete = len(there) == plan.count
    axes = tuple(axis.dimension for axis in plan.axes)
    with shard_netcdf.hdf5_lock, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        for axis in plan.axes:
            file.createDimension(axis.dimension, len(axis))
        for name, size in layout.sizes.items():
            file.createDimension(layout.dimension(name), size)
        _write_coordinates(file, plan, layout)

        def variable(name: str, like: Any, dims: tuple[str, ...], attributes: dict[str, Any]) -> Any:
            inner = tuple(layout.dimension(dim) for dim in dims)
            gaps = not complete or not layout.uneven.isdisjoint(dims)
            made = shard_netcdf.create(file, name, like, axes + inner, attributes, _fill(like, gaps))
            made.set_auto_maskandscale(False)
            return made

        targets: dict[str, Any] = {}
        for name, found in layout.variables.items():
            targets[name] = variable(name, found.like, found.dims, found.attributes)
        for name in sorted(layout.counted):
            like = layout.coordinates[name].dtype.type()
            targets[name] = variable(name, like, (name,), layout.coordinate_attributes[name])
        swept = {coordinate_of(name) for axis in plan.axes for name in axis.names}
        # Attributes that differ between tasks, such as the method that was used, become variables.
        for name in sorted(set(layout.varying) - swept - set(targets)):
            targets[name] = variable(
                name, layout.varying[name], (), _about(plan, name, layout.varying[name])
            )
        done = None if complete else file.createVariable(_DONE, np.int8, axes)
        if done is not None:
            done[...] = np.zeros(plan.shape, dtype=np.int8)
            shard_netcdf.set_attributes(done, {"long_name": "1 if the task is done, else 0", "units": "1"})
        for number, result in _results(folder, plan, there, partial=False):
            place = plan.place(number)
            for name, target in targets.items():
                values = result[name].values if name in result.variables else result.attrs.get(name)
                _put(target, place, values)
            if done is not None:
                done[place if place else ...] = 1
        shard_netcdf.set_attributes(file, _attributes(plan, layout))
        return {name: len(dimension) for name, dimension in file.dimensions.items()}


def _put(target: Any, place: tuple[int, ...], values: Any) -> None:
    if values is None:
        return
    stored = shard_netcdf.storable(values)
    where = (*place, *(slice(0, size) for size in stored.shape))
    target[where if where else ...] = stored if stored.ndim else stored[()]


def _write_coordinates(file: Any, plan: Plan, layout: _Layout) -> None:
    beside = []
    for axis in plan.axes:
        for name, column in zip(axis.names, axis.columns, strict=True):
            coordinate = coordinate_of(name)
            values = np.array(column)
            shard_netcdf.add(file, coordinate, values, (axis.dimension,), _about(plan, name, values))
            if coordinate != axis.dimension:
                beside.append(coordinate)
    for name, values in layout.coordinates.items():
        if name not in layout.counted:
            shard_netcdf.add(file, name, values, (name,), layout.coordinate_attributes[name])
    if beside:
        # This attribute tells xarray that they are coordinates.
        file.setncattr("coordinates", " ".join(beside))


def _about(plan: Plan, name: str, values: Any) -> dict[str, Any]:
    """The attributes of a variable that holds an axis, or what was an attribute of each task."""
    option = plan.job.options.get(name)
    words = f"attribute {name} of each task" if option is None else option.help.split("  [")[0].rstrip(".")
    return described({name: ((), values, WORDS.get(name, words))})[name].attributes


def _attributes(plan: Plan, layout: _Layout) -> dict[str, Any]:
    common = {
        name: value
        for name, value in layout.attributes.items()
        if name not in layout.varying and name not in _OWN_ATTRIBUTES
    }
    own = {"title": f"sweep of {plan.count} tasks", "job": plan.job.name, "version": PROGRAM}
    history = made_attributes("merge_sweep", made_attributes("run_sweep"))["history"]
    found = {**own, **common, "sweep": plan.to_dict()["digest"], "history": history}
    axes = [np.array(column) for axis in plan.axes for column in axis.columns]
    inner = [values for name, values in layout.coordinates.items() if name not in layout.counted]
    # Parameters that vary together are along a dimension of another name, and CF knows them as no axis.
    alone = all(axis.dimension == coordinate_of(axis.names[0]) for axis in plan.axes)
    if alone and all(map(is_cf_coordinate, [*axes, *inner])):
        found["Conventions"] = CONVENTIONS
    return found
