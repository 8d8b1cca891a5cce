"""The version of the package and digests of its own source."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

VERSION = "0.1.1"


def generator_digest() -> str:
    """`source_digest` of this package."""
    return source_digest(Path(__file__).parent)


@lru_cache
def source_digest(folder: Path) -> str:
    """sha256 over the Python files of a package, names and contents, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(folder).as_posix()}:{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
