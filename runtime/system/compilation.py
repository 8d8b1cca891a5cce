"""Compiles the loops of this package with Numba when they are first used, and keeps their machine code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numba
from numba import types

from runtime.concurrency.interrupts import remembered_interrupts
from runtime.system.code_digests import code_digest, modules_behind
from runtime.system.compile_cache import cache_folder, caching_in, compiler_lock

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
# Numba counts references to arrays, in code that makes none too. In the loop over steps, that took a third
# of the time of a small system.
_WITHOUT_ARRAYS: dict[str, Any] = {"_nrt": False}

# The types of generated functions in Numba: rhs(y, parameters, dy) and loss(y, parameters).
_VECTOR = types.float64[::1]
RIGHT_HAND_SIDE = types.void(_VECTOR, _VECTOR, _VECTOR)
LOSS = types.float64(_VECTOR, _VECTOR)


class Kernel:
    """A function of this package that is compiled when it is first called, or used by another kernel.

    The key of the machine code holds the options above and the code of the function's module and of all
    modules that it imports, since Numba compiles their functions and constants into it. The signatures
    are part of Numba's own key.
    """

    def __init__(
        self, function: Callable[..., Any], signatures: tuple[Any, ...], options: Mapping[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._signatures = signatures
        self._compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return self.compile()(*arguments)

    def compile(self) -> Any:
        """Numba's function, compiled for all signatures and for no others."""
        if self._compiled is None:
            # One lock for Numba and this package, so that no two threads wait for each other.
            with compiler_lock:
                if self._compiled is None:
                    self._compiled = self._compile()
        return self._compiled

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes this object for where another compiled function calls it."""
        return self.compile()._numba_type_

    def _compile(self) -> Any:
        place = Path(self._function.__code__.co_filename)
        modules = modules_behind(place, apart_from=Path(__file__).__eq__)
        with caching_in(cache_folder(f"{self._options} {code_digest(modules)}")):
            dispatcher = numba.njit(**self._options)(self._function)
        with remembered_interrupts():
            for signature in self._signatures:
                dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher


def kernel(*signatures: Any, makes_arrays: bool = True) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorator: a function of this package that is compiled for these signatures, on first use.

    One that makes no arrays is faster, and does not compile if it makes one after all.
    """
    options = _OPTIONS if makes_arrays else {**_OPTIONS, **_WITHOUT_ARRAYS}
    return lambda function: Kernel(function, signatures, options)


_PART_OPTIONS: dict[str, Any] = {
    **_OPTIONS,
    **_WITHOUT_ARRAYS,
    "cache": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


class KernelPart:
    """Decorator: a function that kernels call, compiled with each of them; it makes no arrays.

    Python calls the function as it was written, since the compiled one has no wrapper for that.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self._compiled: Any = numba.njit(**_PART_OPTIONS)(function)

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)

    @property
    def _numba_type_(self) -> Any:
        return self._compiled._numba_type_


part = KernelPart
# Decorator: a function that is copied into its caller by Numba. That takes less time than a part that has
# parts, since LLVM optimises a part with all of its own parts, and again with its caller.
inlined: Any = numba.njit(inline="always")


def compile_now(*functions: Any) -> None:
    """Compile those that are kernels, so that Ctrl-C, held back while they run, need not wait for that."""
    for function in functions:
        if isinstance(function, Kernel):
            function.compile()
