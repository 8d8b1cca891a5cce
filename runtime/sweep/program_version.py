"""Which program computes: its version and its source, so that no dataset mixes the results of two."""

import hashlib
from pathlib import Path

import derive
import runtime
from derive.version import VERSION

_SHOWN = 12


def _digest(package: str | None) -> str:
    """sha256 over the Python files of a package, names and contents, in sorted order."""
    assert package is not None
    folder, digest = Path(package).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}:{len(content)}\n".encode() + content)
    return digest.hexdigest()[:_SHOWN]


PROGRAM = f"overlap-ode {VERSION} (source {_digest(derive.__file__)} {_digest(runtime.__file__)})"
