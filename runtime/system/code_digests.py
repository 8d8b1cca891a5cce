"""Digests of the code that a result depends on: modules found by their imports, without the words in them.

Comments, docstrings and the layout of lines do not count. The digests are the same under every version of
Python that parses the sources alike.
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
    """sha256 over what the source files do."""
    return hashlib.sha256(
        "".join(sorted(_code(path.read_bytes())[0] for path in modules)).encode()
    ).hexdigest()


def modules_behind(start: Path, apart_from: Callable[[Path], bool]) -> set[Path]:
    """A source file and those of this project that it imports, at its top or in functions, directly or not.

    Files for which `apart_from` is true are left out, with what only they import, and so are imports for
    type checkers.
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
    """The digest of the text of a file, and the names of what it imports."""
    parts: list[str] = []
    imports: list[str] = []
    _take(ast.parse(content), parts, imports)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), tuple(imports)


def _take(value: Any, parts: list[str], imports: list[str]) -> None:
    """Append a part of a syntax tree as words, and the names of what it imports.

    Empty fields are left out: versions of Python differ in which there are.
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
            # What is imported from a package may be a module itself.
            imports += [value.module, *(f"{value.module}.{alias.name}" for alias in value.names)]
        parts.append(type(value).__name__)
        for name in value._fields:
            field = getattr(value, name, None)
            if field is not None and field != []:
                parts.append(name)
                _take(field, parts, imports)


def _is_silent(node: ast.AST) -> bool:
    """Whether this is a docstring, or code that only type checkers read."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
