"""Generated modules without Numba and without a disk: executed as plain Python."""

from __future__ import annotations

import dataclasses
import inspect
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
from closed_form import Point

from derive import Model
from derive.emit import numba_module
from derive.pipeline import Pipeline

_IMPORT = "from numba import njit\n"
_IDENTITY = "def njit(**options):\n    return lambda function: function\n"
_NO_LIMIT = 10**9


def source(model: Model, unrolled: bool | None = None) -> str:
    """The text of the module; `unrolled` forces one line per entry, or loops."""
    with pytest.MonkeyPatch.context() as patch:
        if unrolled is not None:
            for budget in ("UNROLL_BUDGET", "POLYNOMIAL_UNROLL_BUDGET"):
                patch.setattr(numba_module, budget, _NO_LIMIT if unrolled else 0)
        return Pipeline(model).python


@lru_cache(maxsize=256)
def load(model: Model, unrolled: bool | None = None) -> SimpleNamespace:
    """The names of the generated module, its functions in plain Python."""
    return execute(source(model, unrolled))


def execute(text: str) -> SimpleNamespace:
    """The names of a generated module, its functions in plain Python."""
    assert text.count(_IMPORT) == 1
    namespace: dict[str, object] = {}
    exec(text.replace(_IMPORT, _IDENTITY), namespace)  # noqa: S102
    return SimpleNamespace(**namespace)


def arguments(model: Model, module: SimpleNamespace, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """State and parameter vectors of `point` in the module's own layout."""
    given = dataclasses.asdict(point)
    given |= {"student_weights": point.v, "teacher_weights": point.vstar}
    taken = inspect.signature(module.pack_parameters).parameters
    parameters = module.pack_parameters(**{name: given[name] for name in taken})
    return module.pack(*point.state(model)), parameters


def rhs(model: Model, module: SimpleNamespace, point: Point) -> np.ndarray:
    y, parameters = arguments(model, module, point)
    dy = np.full(module.STATE_SIZE, np.nan)
    module.rhs(y, parameters, dy)
    return dy


def drift(model: Model, point: Point) -> tuple[np.ndarray, ...]:
    """dQ and dR by the generated code, as matrices, and dv of a trained second layer."""
    module = load(model)
    return module.unpack(rhs(model, module, point))


def jacobian(model: Model, module: SimpleNamespace, point: Point) -> np.ndarray:
    y, parameters = arguments(model, module, point)
    out = np.full((module.STATE_SIZE, module.STATE_SIZE), np.nan)
    module.jacobian(y, parameters, out)
    return out
