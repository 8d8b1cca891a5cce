"""Digests of the source code that a result depends on; comments and docstrings do not count.

A result depends on a module and on every module of this project that it imports. The layout of lines does
not count either. The digests are the same under all versions of Python that parse the sources alike.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("derive", "runtime")


def code_digest(modules: Iterable[Path]) -> str:
    """The sha256 of the code in these source files."""
    return hashlib.sha256(
        "".join(sorted(_code(path.read_bytes())[0] for path in modules)).encode()
    ).hexdigest()


def modules_behind(start: Path, apart_from: Callable[[Path], bool]) -> set[Path]:
    """A source file and the files of this project that it imports, directly or indirectly.

    Imports in functions count, imports for type checkers do not. Files for which `apart_from` is true are
    left out, with all that only they import.
    """
    found: set[Path] = set()
    pending = [start]
    while pending:
        path = pending.pop()
        if path not in found and not apart_from(path):
            found.add(path)
            pending += filter(None, map(module_path, _code(path.read_bytes())[1]))
    return found


def module_path(name: str) -> Path | None:
    """The source file of a module of this project; None for any other name."""
    if name.split(".")[0] not in _PACKAGES:
        return None
    place = _ROOT.joinpath(*name.split("."))
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _code(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The digest of the code in a source file, and the names of the modules that it may import."""
    parts: list[str] = []
    imports: list[str] = []
    _take(ast.parse(content), parts, imports)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), tuple(imports)


def _take(value: Any, parts: list[str], imports: list[str]) -> None:
    """Append a part of a syntax tree to `parts` as words, and the names that it imports to `imports`.

    Empty fields are left out, since versions of Python differ in them.
    """
    if isinstance(value, list):
        parts.append("[")
        for item in value:
            _take(item, parts, imports)
        parts.append("]")
    elif not isinstance(value, ast.AST):
        parts.append(ascii(value))
    elif not _is_silent(value):
        if isinstance(value, ast.Import):
            imports += [alias.name for alias in value.names]
        elif isinstance(value, ast.ImportFrom) and value.module:
            # A name that is imported from a package may be a module itself.
            imports += [value.module, *(f"{value.module}.{alias.name}" for alias in value.names)]
        parts.append(type(value).__name__)
        for name in value._fields:
            field = getattr(value, name, None)
            if field is not None and field != []:
                parts.append(name)
                _take(field, parts, imports)


def _is_silent(node: ast.AST) -> bool:
    """Whether a node is a docstring, or code that only type checkers read."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
