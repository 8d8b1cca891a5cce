"""Compiles the loops of this package with Numba, and keeps their machine code by `compile_cache`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import types

from runtime.system.code_digests import code_digest, modules_behind
from runtime.system.compile_cache import cache_folder, caching_in

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

# The type of a generated right-hand side in Numba: rhs(y, parameters, dy).
_VECTOR = types.float64[::1]
RIGHT_HAND_SIDE = types.void(_VECTOR, _VECTOR, _VECTOR)


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile a function of this package for the given signatures, and keep its machine code.

    The key of the machine code holds the options above and the code of the function's module and of all
    modules that it imports, since Numba compiles their functions and constants into it. The signatures
    are part of Numba's own key.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        modules = modules_behind(Path(function.__code__.co_filename), apart_from=Path(__file__).__eq__)
        with caching_in(cache_folder(f"{_OPTIONS} {code_digest(modules)}")):
            return numba.njit(list(signatures), **_OPTIONS)(function)

    return decorate
