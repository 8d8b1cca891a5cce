"""Runs the text of a verified model as a module, whose functions Numba compiles and caches."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType
from typing import Any

from derive.generated_files import GeneratedFiles
from runtime.system.compile_cache import cache_folder, caching_in


def module_of(files: GeneratedFiles[Any]) -> ModuleType:
    """The module of a verified model's files; the same text is imported once per process."""
    # The text comes from the generator and not from the file, so that exactly what was verified is run.
    text = files.python
    cache = cache_folder(text)
    name = f"{files.model.name}_{cache.name}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = f"<{name}>"
    # This lets tracebacks show the lines, though no file of this name holds them.
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    with caching_in(cache):
        exec(compile(text, module.__file__, "exec"), module.__dict__)  # noqa: S102
    # Numba looks up the globals of cached functions in sys.modules.
    sys.modules[name] = module
    return module
