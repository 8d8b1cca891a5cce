"""The JSON schema of each command; `python docs/regenerate.py` writes them to docs/schema."""

from __future__ import annotations

from regeneration import schemas_of_results as results
from regeneration import schemas_of_systems as systems
from regeneration.schema_parts import document, listed

SCHEMAS = {
    "bias": document("bias", results.BIAS),
    "compare": document("compare", results.COMPARE),
    "derive": document("derive", systems.DERIVE),
    "doctor": document("doctor", systems.DOCTOR),
    "ensemble": document("ensemble", results.ENSEMBLE, attributes=results.ENSEMBLE_ATTRIBUTES),
    "escape": document("escape", results.ESCAPE),
    "exponent": document("exponent", results.EXPONENT),
    "fluctuations": document("fluctuations", results.FLUCTUATIONS),
    "hessian": document("hessian", results.HESSIAN),
    "integrate": document("integrate", results.INTEGRATE),
    "invariants": document("invariants", systems.INVARIANTS),
    "list": document("list", systems.LIST),
    "merge": document("merge", systems.MERGE),
    "plateau": document("plateau", results.PLATEAU),
    "report": document("report", systems.REPORT),
    "reproduce": document("reproduce", listed(systems.CLAIM, "The claims of `cli reproduce --json`.")),
    "sector": document("sector", results.SECTOR),
    "simulate": document("simulate", results.SIMULATE),
    "sweep": document("sweep", systems.SWEEP),
}
