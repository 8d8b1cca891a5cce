"""Which module may import which, and that docs/architecture.md knows all of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "derive").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")])
ON_TOP = ("sgd", "sector", "analysis")
# What may not be imported by what is below it; the core is what lies in runtime itself.
FORBIDDEN = {
    "simd": ON_TOP,
    "tableaux": (*ON_TOP, "simd"),
    "sgd": ("sector", "analysis"),
    "sector": ("sgd", "analysis"),
}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path, anywhere: bool = True) -> Iterator[str]:
    """Modules that a file imports, at its top or anywhere; not what only a type checker reads."""
    tree = ast.parse(path.read_text())
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree) if anywhere else tree.body:
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield node.module or ""
            # `from runtime import x` imports runtime.x if that is a module.
            for alias in node.names:
                inner = ROOT.joinpath(*(node.module or "").split("."), alias.name)
                if inner.is_dir() or inner.with_suffix(".py").exists():
                    yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", [p for p in MODULES if dotted(p).startswith("derive")], ids=dotted)
def test_derive_imports_the_standard_library_and_sympy(path):
    searching = {"flint"} if "invariants" in path.parts or path.stem == "polynomials" else set()
    allowed = {*sys.stdlib_module_names, "derive", *searching}
    assert {name.split(".")[0] for name in imports(path, anywhere=False)} <= allowed
    assert {name.split(".")[0] for name in imports(path)} <= allowed | {"sympy"}


@pytest.mark.parametrize("path", [p for p in MODULES if dotted(p).startswith("runtime")], ids=dotted)
def test_runtime_keeps_to_the_arrows(path):
    assert "cli" not in {name.split(".")[0] for name in imports(path)}
    inside = path.relative_to(ROOT / "runtime").parts
    package = inside[0] if len(inside) > 1 else "core"
    forbidden = ON_TOP if package == "core" else FORBIDDEN.get(package, ())
    # Of the core only the top counts: inside functions it reaches what is above on demand.
    for name in imports(path, anywhere=package != "core"):
        parts = name.split(".")
        assert not (parts[0] == "runtime" and len(parts) > 1 and parts[1] in forbidden), name


@pytest.mark.parametrize(
    "path", [ROOT / "cli.py", *sorted((ROOT / "runtime/commands").glob("*.py"))], ids=dotted
)
def test_commands_import_click_and_nothing_heavier_at_their_top(path):
    """Help and completion import the modules of commands."""
    if path.stem == "installation_checks":
        return
    allowed = {*sys.stdlib_module_names, "click"}
    for name in imports(path, anywhere=False):
        assert name.split(".")[0] in allowed or name.startswith("runtime.commands."), name


def test_nothing_but_tests_imports_tests():
    for path in [*MODULES, ROOT / "cli.py"]:
        assert "tests" not in {name.split(".")[0] for name in imports(path)}


def test_modules_import_without_each_other_s_help():
    """No cycle that works only in one order: each package alone, in a process of its own."""
    for name in ("derive", "derive.sector", "derive.invariants"):
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True, cwd=ROOT, timeout=120)


def test_every_module_is_on_the_page():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", page)) | set(re.findall(r"`(\w+/\w+)`", page))
    for path in MODULES:
        relative = path.relative_to(ROOT).as_posix()
        above = {f"{folder.as_posix()}/" for folder in Path(relative).parents if len(folder.parts) > 1}
        known = relative in named or above & named
        if path.parent.name == "simd" and path.name != "__init__.py":
            known = path.name in named
        assert known or path.name == "__init__.py", f"docs/architecture.md does not name {relative}"


def test_every_file_on_the_page_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:derive|runtime|tests|generated)/[\w/]*(?:\.py)?)`", page):
        assert (ROOT / name).exists(), name
