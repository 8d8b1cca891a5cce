"""Runs the text of a verified model as a module, whose functions Numba compiles and caches."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType

from derive.generated_files import AnyModel, GeneratedFiles
from runtime.system.compile_cache import cache_folder, caching_in


def module_of(model: AnyModel, files: GeneratedFiles[AnyModel]) -> ModuleType:
    """The generated module of a verified model; the same text is imported once per process."""
    # The text comes from the generator and not from the file, so that exactly what was verified is run.
    text = files.module(model)
    cache = cache_folder(text)
    name = f"{model.name}_{cache.name}"
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
