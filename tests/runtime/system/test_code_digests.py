"""What changes the digest of code: what it does, and not the words in it."""

from __future__ import annotations

import pytest

from runtime.system import code_digests
from runtime.system.code_digests import code_digest, module_path, modules_behind

SOURCE = '''"""A module."""

from typing import TYPE_CHECKING

import numpy as np

from runtime.constants import TWO

if TYPE_CHECKING:
    from runtime.types import Number


def twice(x: "Number") -> float:
    """Two times x."""
    # TWO is 2.
    return TWO * x + np.float64(0.0)
'''


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """``digest(text, constants)`` of a module and of the one that it imports."""
    monkeypatch.setattr(code_digests, "_ROOT", tmp_path)
    package = tmp_path / "runtime"
    package.mkdir()
    (package / "types.py").write_text("Number = float\n")

    def digest(text, constants="TWO = 2.0\n"):
        (package / "module.py").write_text(text)
        (package / "constants.py").write_text(constants)
        return code_digest(modules_behind(package / "module.py", lambda _: False))

    return digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# TWO is 2.", "# It is doubled."),
        ("    # TWO is 2.\n", ""),
        ("A module", "Some module"),
        ("Two times x", "2 x"),
        ('    """Two times x."""\n', ""),
        ("\n\n\n", "\n\n"),
        ("import Number", "import Number as Other"),
        ("TWO * x", "(TWO * x)"),
    ],
)
def test_words_do_not_count(digest, old, new):
    assert SOURCE.count(old) == 1 or old.isspace()
    assert digest(SOURCE.replace(old, new)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TWO * x", "x * TWO"),
        ("TWO * x", "TWO / x"),
        ("0.0", "1.0"),
        ("float64", "float32"),
        ("def twice", "def doubled"),
        ("import TWO", "import TWO as TEN"),
    ],
)
def test_what_is_done_counts(digest, old, new):
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


def test_imported_modules_count(digest):
    assert digest(SOURCE, "TWO = 3.0\n") != digest(SOURCE)
    assert digest(SOURCE, "TWO = 2.0  # exactly\n") == digest(SOURCE)


def test_imports_are_followed_in_functions_and_packages_but_not_for_type_checkers(tmp_path, monkeypatch):
    monkeypatch.setattr(code_digests, "_ROOT", tmp_path)
    files = {
        "runtime/start.py": "def f():\n    import derive.far, math\n    from runtime import inner\n",
        "runtime/__init__.py": "",
        "runtime/inner.py": "from runtime.left_out import x\nfrom runtime import start\n",
        "runtime/left_out.py": "import derive.behind\nx = 1\n",
        "runtime/other.py": "import runtime.start\n",
        "derive/far.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import derive.behind\n",
        "derive/behind.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = modules_behind(tmp_path / "runtime/start.py", lambda path: path.name == "left_out.py")
    expected = {"runtime/start.py", "runtime/__init__.py", "runtime/inner.py", "derive/far.py"}
    assert {path.relative_to(tmp_path).as_posix() for path in found} == expected


def test_modules_of_others_have_no_path():
    assert module_path("numpy") is module_path("runtime.nothing") is None
    assert module_path("runtime") is not None
