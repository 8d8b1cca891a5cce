"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from derive.invariants import Law
from runtime.analysis.claims import Claim
from runtime.analysis.landscape.hessian_spectra import HessianSpectrum
from runtime.analysis.plateau.fixed_point import (
    ALIGNMENT,
    FIXED_NORMS,
    NORM,
    NORM_DIFFERENCES,
    STUDENTS,
    Plateau,
)
from runtime.output.result_table import evenly
from runtime.report.findings import Content, Unavailable
from runtime.report.numbers import integer, number
from runtime.report.page_elements import Code, Table, Words, words

ROWS = 11
# Eigenvalues below this part of the largest are rounding.
_ROUNDING = 1e-13
_MODES = {
    NORM: "all norms $Q_{ii}$ together",
    NORM_DIFFERENCES: "differences of norms",
    FIXED_NORMS: "norms, which are kept",
    STUDENTS: "overlaps $Q_{ij}$ of students",
    ALIGNMENT: "overlaps $R$ with the teachers",
}
_LIMITS = {
    "plateau": "the plateau exists, and attracts within $R = 0$",
    "escape": "the plateau also repels along $R$, so SGD leaves it",
    "solution": "solutions without loss are stable",
}
_BLOCKS = {
    "teachers": "along the teachers",
    "students": "along the students, beyond the teachers",
    "mixed": "along both",
    "complement": "orthogonal to all weights",
}


def _table(caption: str, columns: Sequence[str], numeric: str, rows: Sequence[Sequence[str]]) -> Table:
    """Cells as in `words`; `numeric` has an "n" for a column of numbers."""
    return Table(
        words(caption),
        [words(column) for column in columns],
        [[words(cell) for cell in row] for row in rows],
        [kind == "n" for kind in numeric],
    )


def trajectory_table(content: Content) -> Table:
    run = content.run
    alpha, loss, Q, R = (run[name].values for name in ("alpha", "loss", "Q", "R"))
    rows = [
        [
            number(alpha[k]),
            number(loss[k]),
            number(float(np.trace(Q[k])) / Q.shape[1]),
            number(float(np.max(np.abs(R[k])))),
        ]
        for k in evenly(alpha.size, ROWS)
    ]
    columns = [r"time $\alpha$", r"loss $\varepsilon$", "mean norm $Q_{ii}$", "largest $|R_{ir}|$"]
    return _table("The trajectory at some of its outputs.", columns, "nnnn", rows)


def modes_table(point: Plateau) -> Table:
    rows = [[_MODES[mode.name], number(mode.rate), integer(mode.multiplicity)] for mode in point.modes]
    caption = r"Linear dynamics at the plateau: small deviations grow as $e^{\text{rate}\cdot\alpha}$."
    return _table(caption, ["deviation", "rate", "directions"], "tnn", rows)


def limits_table(content: Content) -> Table:
    rows = [
        [_LIMITS[where], limit.reason if isinstance(limit, Unavailable) else number(limit)]
        for where, limit in content.limits.items()
    ]
    caption = r"Largest learning rates $\eta$, all else as here."
    return _table(caption, ["up to it", r"largest $\eta$"], "tn", rows)


def hessian_table(spectrum: HessianSpectrum, place: str) -> Table:
    values = spectrum.eigenvalues
    rounding = _ROUNDING * float(np.max(np.abs(values), initial=0.0))
    rows = [
        [number(0.0 if abs(value) <= rounding else float(value)), integer(int(count)), _BLOCKS[block]]
        for value, count, block in zip(values, spectrum.multiplicities, spectrum.blocks, strict=True)
    ]
    caption = f"Hessian at {place}, $N$ = {integer(spectrum.n)}: {integer(spectrum.size)} eigenvalues."
    return _table(caption, ["eigenvalue", "multiplicity", "directions of the students"], "nnt", rows)


def laws_table(laws: Sequence[Law]) -> Table:
    """Statements are text of ours in the notation of `cli invariants`."""
    rows: list[list[Words]] = [
        [words(law.name), (Code(law.statement),), (Code(law.on),), words(law.verdict.status)]
        for law in laws
    ]
    return Table(
        words("Conservation laws, proved or refuted exactly for this model and any $\\eta$ and $\\Delta$."),
        [words(column) for column in ("name", "statement", "on", "verdict")],
        rows,
        [False] * 4,
    )


def claims_table(claims: Sequence[Claim]) -> Table:
    rows = [
        [
            claim.claim,
            _value(claim, claim.prediction),
            _value(claim, claim.measured),
            number(claim.allowed, 2),
            "holds" if claim.holds else "fails",
        ]
        for claim in claims
    ]
    columns = ["claim", "prediction", "measured", "allowed difference", "verdict"]
    return _table("Checks of this very model, computed for this report.", columns, "tnnnt", rows)


def _value(claim: Claim, value: float) -> str:
    """Numbers of things are exact; of what should be zero two digits say enough."""
    if claim.allowed == 0.0 and value.is_integer():
        return integer(int(value))
    return number(value, 2 if claim.prediction == 0.0 else 8)
