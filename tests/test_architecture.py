"""Which module may import which, and that docs/architecture.md describes the house as it is."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "derive").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")])
# Rooms of `runtime` from the lowest layer to the highest; rooms of one layer do not know each other.
LAYERS = (
    ("run_options",),
    ("concurrency", "output", "vector"),
    ("start",),
    ("system", "problem"),
    ("trajectory",),
    ("ensemble", "covariance"),
    ("sgd", "sector"),
    ("analysis",),
    ("plot",),
    ("report", "sweep"),
    ("commands",),
)
LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LARGEST_FILE, LARGEST_FUNCTION = 400, 60


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path, anywhere: bool = True) -> Iterator[str]:
    """Modules that a file imports, at its top or anywhere; also those that only a type checker reads."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if anywhere else tree.body:
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


def against_the_arrow(room: str, imported: str) -> bool:
    """Whether a module of this room of `runtime` may not import that module."""
    parts = imported.split(".")
    if parts[0] != "runtime":
        return parts[0] == "cli"
    if len(parts) == 1:
        # The facade `runtime` itself knows every room.
        return room != "commands"
    other = parts[1]
    return other != room and LAYER_OF[other] >= LAYER_OF[room]


@pytest.mark.parametrize("path", [p for p in MODULES if dotted(p).startswith("derive")], ids=dotted)
def test_derive_imports_little_and_never_runtime(path):
    exact = {"flint"} if "invariants" in path.parts or path.stem == "flint_polynomials" else set()
    numeric = ("component_moments", "component_drift", "modular_bias", "modular_moments", "plain_diffusion")
    if path.stem in numeric:
        # They are imported when something is proved.
        exact = {"numpy"}
    facade = {"lazy_loader"} if path.name == "__init__.py" else set()
    allowed = {*sys.stdlib_module_names, "derive", *exact, *facade}
    assert {name.split(".")[0] for name in imports(path, anywhere=False)} <= allowed
    assert {name.split(".")[0] for name in imports(path)} <= allowed | {"sympy", "flint"}


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if dotted(p).startswith("runtime.") and p.name != "__init__.py"],
    ids=dotted,
)
def test_a_room_imports_lower_ones_only(path):
    room = path.relative_to(ROOT / "runtime").with_suffix("").parts[0]
    wrong = [name for name in imports(path) if against_the_arrow(room, name)]
    assert not wrong


def test_what_goes_against_the_arrow_is_found():
    assert against_the_arrow("vector", "runtime.start.seeds")
    assert against_the_arrow("sgd", "runtime.sector.sector_run")
    assert against_the_arrow("sweep", "runtime.commands.integrate")
    assert against_the_arrow("analysis", "runtime")
    assert not against_the_arrow("sweep", "runtime.analysis.riccati")
    assert not against_the_arrow("start", "runtime.start.seeds")


def test_runtime_is_rooms_and_nothing_else():
    folders = {path.name for path in (ROOT / "runtime").iterdir() if path.is_dir()} - {"__pycache__"}
    files = {path.stem for path in (ROOT / "runtime").glob("*.py")} - {"__init__"}
    assert folders | files == set(LAYER_OF)
    assert files == {"problem", "run_options"}


def test_nothing_but_tests_imports_tests():
    for path in [*MODULES, ROOT / "cli.py"]:
        assert "tests" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("name", ["derive", "derive.sector", "derive.invariants", "runtime.commands"])
def test_packages_import_alone(name):
    """No cycle works only because another package was imported before."""
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True, cwd=ROOT, timeout=120)


def test_module_and_class_names_are_not_shared():
    """Two modules, or two public classes, of one name are told apart only by their folders."""
    modules = [path.stem for path in MODULES if path.name != "__init__.py" and "commands" not in path.parts]
    classes = [
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for names in (modules, classes):
        assert not {name for name, same in itertools.groupby(sorted(names)) if len(list(same)) > 1}


def test_files_of_tests_have_names_of_their_own():
    """Pytest imports them by their names alone, and stops at the second of one name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_no_file_is_too_long():
    for path in [*MODULES, ROOT / "cli.py"]:
        assert len(path.read_text().splitlines()) <= LARGEST_FILE, path.relative_to(ROOT)


def test_no_function_is_too_long():
    """The lines of a function count without its docstring."""
    for path in [*MODULES, ROOT / "cli.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                words = node.body[0] if ast.get_docstring(node) is not None else None
                docstring = 0 if words is None else (words.end_lineno or 0) - words.lineno + 1
                lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
                assert lines <= LARGEST_FUNCTION, f"{path.relative_to(ROOT)}: {node.name} has {lines}"


def test_every_module_says_what_it_is_for():
    for path in MODULES:
        words = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert words.split("\n")[0].endswith((".", ":", "?")), path.relative_to(ROOT)


def test_every_module_is_on_the_page():
    """A module is named on the page, or its folder is and the folder's docstring says what its files do."""
    named = set(re.findall(r"`((?:derive|runtime)/[\w/]*(?:\.py)?)`", PAGE)) - {"derive/", "runtime/"}
    for path in MODULES:
        relative = path.relative_to(ROOT).as_posix()
        above = {f"{folder.as_posix()}/" for folder in Path(relative).parents if len(folder.parts) > 1}
        assert path.name == "__init__.py" or relative in named or above & named, relative


def test_every_file_on_the_page_is_there():
    for name in re.findall(r"`((?:derive|runtime|tests|generated|benchmarks)/[\w/]*(?:\.py)?)`", PAGE):
        assert (ROOT / name).exists(), name


def test_the_layers_on_the_page_are_those_of_the_tests():
    found = re.search(r"```text\n(run_options.*?)```", PAGE, re.DOTALL)
    assert found
    page = [re.findall(r"\w+", line) for line in found[1].splitlines()]
    assert page == [list(layer) for layer in LAYERS]
