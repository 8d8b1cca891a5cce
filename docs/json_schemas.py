"""The JSON schema of each command; `python docs/regenerate.py` writes them to docs/schema."""

from __future__ import annotations

import schemas_of_results as results
import schemas_of_systems as systems
from schema_parts import document, listed

SCHEMAS = {
    command: document(command, schema)
    for command, schema in {
        "bias": results.BIAS,
        "compare": results.COMPARE,
        "derive": systems.DERIVE,
        "doctor": systems.DOCTOR,
        "ensemble": results.ENSEMBLE,
        "escape": results.ESCAPE,
        "hessian": results.HESSIAN,
        "integrate": results.INTEGRATE,
        "invariants": systems.INVARIANTS,
        "list": systems.LIST,
        "merge": systems.MERGE,
        "report": systems.REPORT,
        "reproduce": listed(systems.CLAIM, "The claims of `cli reproduce --json`."),
        "sector": results.SECTOR,
        "simulate": results.SIMULATE,
        "sweep": systems.SWEEP,
    }.items()
}
