"""Names the program by version and numerical code, so that no sweep mixes the results of two programs.

The numerical code is `task_kinds` and all modules that it imports, apart from the writers of LaTeX. The
rest of the program, comments and docstrings may change while a sweep is half done, and so may the version
of Python.
"""

from pathlib import Path

from derive.version import VERSION
from runtime.system.code_digests import code_digest, modules_behind

_SHOWN = 12


def numerical_code(root: Path) -> set[Path]:
    """The source files, in a tree of this project, that can change the numbers of a sweep."""
    kinds = root / "runtime" / "sweep" / "task_kinds.py"
    return modules_behind(kinds, apart_from=lambda path: path.match("latex_*.py"))


PROGRAM = f"overlap-ode {VERSION} (code {code_digest(numerical_code(Path(__file__).parents[2]))[:_SHOWN]})"
