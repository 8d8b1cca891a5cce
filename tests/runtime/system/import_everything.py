"""Child process of a test: imports all modules of the project, and fails if one compiles anything."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from numba.core import event

import derive
import runtime
from runtime.vector import jit


class Refusing(event.Listener):  # type: ignore[misc]
    """Numba has one of these told when it compiles."""

    def on_start(self, found: event.Event) -> None:
        raise SystemExit(f"compiled at import: {found.data}")

    def on_end(self, found: event.Event) -> None:
        pass


def refuse(*_: Any) -> None:
    raise SystemExit("vector code is compiled at import")


event.register("numba:compile", Refusing())
jit.CompiledModule.__init__ = refuse  # type: ignore[method-assign]
for package in (derive, runtime):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
