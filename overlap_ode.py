"""The overlap ODEs of quadratic teacher-student networks: ``import overlap_ode as oo`` offers all of it.

The names are those of the packages `derive` and `runtime`; each is imported when it is first used:

    system = oo.load(oo.Model(p=4, pstar=2))
    run = oo.integrate(system, *oo.random_overlaps(4, 2, n=10_000), eta=0.4)

``python -m overlap_ode`` is the command line.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGES = ("derive", "runtime")
_FILES = {"cli": "cli.py", **{name: os.path.join(name, "__init__.py") for name in _PACKAGES}}
# The docstring of each of these files has these words.
_MARK = b"part of overlap-ode"
_CLEAN = "install overlap-ode in a clean environment, where no other distribution has files of this name"


def _found(name: str) -> str | None:
    """The file that Python imports, or has imported, as this top-level module."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None)
    spec = importlib.util.find_spec(name)
    return spec.origin if spec is not None else None


def _shadow(name: str) -> str | None:
    """What is imported in place of one of our modules, and what to do; None if ours is imported.

    Nothing of a foreign module is run.
    """
    ours, found = os.path.join(_HERE, _FILES[name]), _found(name)
    if found is None:
        return f"{ours} is missing; {_CLEAN}"
    if os.path.realpath(found) != os.path.realpath(ours):
        installed = {"site-packages", "dist-packages"} & set(found.split(os.sep))
        remedy = _CLEAN if installed else "rename it, or work in another folder"
        return f"{found} is imported in place of overlap-ode's {name!r} ({ours}): {remedy}"
    if not os.path.isfile(found):
        return f"{found} is in an archive, from which overlap-ode cannot be imported: install it"
    with open(found, "rb") as file:
        if _MARK not in file.read():
            return f"{found} is not overlap-ode's: another distribution has overwritten it; {_CLEAN}"
    return None


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("derive.version").VERSION
    packages = [importlib.import_module(package) for package in _PACKAGES]
    if name == "__all__":
        return sorted({public for package in packages for public in package.__all__})
    for package in packages:
        if name in package.__all__:
            return getattr(package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__getattr__("__all__"), "__version__"])


_as_program = __name__ == "__main__"
for _name in (*_PACKAGES, *(["cli"] if _as_program else [])):
    _problem = _shadow(_name)
    if _problem is not None:
        # A program says so in one line, without a traceback.
        raise SystemExit(f"overlap-ode: {_problem}") if _as_program else ImportError(_problem, name=_name)

if _as_program:
    from cli import main

    main()
