"""What a user writes: mypy checks that it sees the names, and which of them do not exist."""

from __future__ import annotations

import derive
import overlap_ode as oo
import runtime
from overlap_ode import InputError, load

system: oo.System = load(oo.Model(2, 1))
error: type[ValueError] = InputError
version: str = oo.__version__
oo.load(model=1)  # type: ignore[call-arg]
missing = (oo.nothing, derive.nothing, runtime.nothing)  # type: ignore[attr-defined]
