"""The same examples each time, unless OVERLAP_ODE_FUZZ asks for new ones."""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("new", derandomize=False)
settings.load_profile("new" if os.environ.get("OVERLAP_ODE_FUZZ") else "same")
