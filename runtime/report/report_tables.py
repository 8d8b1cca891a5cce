"""The tables of a report; words in them may hold $math$ and `code`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from derive.invariants import Law
from runtime.analysis.claims import Claim
from runtime.analysis.landscape.hessian_spectra import HessianSpectrum
from runtime.analysis.plateau.fixed_point import Plateau
from runtime.analysis.plateau.linear_modes import (
    ALIGNMENT,
    FIXED_NORMS,
    NORM,
    NORM_DIFFERENCES,
    STUDENTS,
)
from runtime.output.result_table import Cell, Column, Table
from runtime.output.run_summaries import trajectory_rows
from runtime.report.findings import Unavailable
from runtime.report.printed_numbers import integer, number

if TYPE_CHECKING:
    import xarray

ROWS = 11
# The format of numbers in plain text; on the page, `printed_numbers.number` writes them.
_FORM = "12.6g"
# Eigenvalues below this part of the largest are rounding, and are shown as zero.
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


def trajectory_table(run: xarray.Dataset) -> Table:
    """Some outputs of the trajectory."""
    titles = (r"time $\alpha$", r"loss $\varepsilon$", "mean norm $Q_{ii}$", "largest $|R_{ir}|$")
    columns = [Column(title, _FORM) for title in titles]
    return Table(columns, trajectory_rows(run, ROWS), "The trajectory at some of its outputs.")


def modes_table(point: Plateau) -> Table:
    """The rates of small deviations from the plateau."""
    columns = [Column("deviation"), Column("rate", _FORM), Column("directions", _FORM)]
    words = _MODES | ({NORM: "norms $Q_{ii}$"} if point.model.weighted else {})
    rows: list[list[Cell]] = [[words[mode.name], mode.rate, mode.multiplicity] for mode in point.modes]
    # Norms of students with different second-layer weights may oscillate.
    if any(mode.frequency for mode in point.modes):
        columns.append(Column("frequency", _FORM))
        for row, mode in zip(rows, point.modes, strict=True):
            row.append(mode.frequency)
    caption = r"Linear dynamics at the plateau: small deviations grow as $e^{\text{rate}\cdot\alpha}$."
    return Table(columns, rows, caption)


def limits_table(limits: Mapping[str, float | Unavailable]) -> Table:
    """The largest learning rates, or the reasons why there are none."""
    rows = [
        (_LIMITS[where], limit.reason if isinstance(limit, Unavailable) else limit)
        for where, limit in limits.items()
    ]
    known = not any(isinstance(limit, Unavailable) for limit in limits.values())
    columns = (Column("up to it"), Column(r"largest $\eta$", _FORM if known else None))
    return Table(columns, rows, r"Largest learning rates $\eta$, all else as here.")


def hessian_table(spectrum: HessianSpectrum, place: str) -> Table:
    """The eigenvalues of a Hessian; values that are rounding are shown as zero."""
    values = spectrum.eigenvalues
    rounding = _ROUNDING * float(np.max(np.abs(values), initial=0.0))
    rows = [
        (0.0 if abs(value) <= rounding else value, count, _BLOCKS[block])
        for value, count, block in zip(values, spectrum.multiplicities, spectrum.blocks, strict=True)
    ]
    columns = (
        Column("eigenvalue", _FORM),
        Column("multiplicity", _FORM),
        Column("directions of the students"),
    )
    caption = f"Hessian at {place}, $N$ = {integer(spectrum.n)}: {integer(spectrum.size)} eigenvalues."
    return Table(columns, rows, caption)


def laws_table(laws: Sequence[Law]) -> Table:
    """The conservation laws with verdicts; what one is restricted to stands beside its states."""
    rows = [
        (
            law.name,
            law.statement_latex,
            "; ".join(filter(None, (law.on_latex, law.restrictions_latex))),
            law.verdict.status,
        )
        for law in laws
    ]
    caption = r"Conservation laws, proved or refuted exactly for any $\eta$, $\Delta$, $\gamma$ and $B$"
    caption += ", unless a value stands beside." if any(law.restrictions_latex for law in laws) else "."
    titles = ("name", "statement", "claimed for", "verdict")
    return Table([Column(title) for title in titles], rows, caption)


def checks_table(claims: Sequence[Claim]) -> Table:
    """The claims that were checked for this report, with verdicts."""
    columns = (
        Column("claim"),
        Column("prediction", _FORM),
        Column("measured", _FORM),
        Column("allowed difference", _FORM),
        Column("verdict"),
    )
    rows = [
        (
            claim.claim,
            _value(claim, claim.prediction),
            _value(claim, claim.measured),
            number(claim.allowed, 2),
            "holds" if claim.holds else "fails",
        )
        for claim in claims
    ]
    return Table(columns, rows, "Checks of this very model, computed for this report.")


def _value(claim: Claim, value: float) -> str:
    """The number as text: counts are exact, and two digits are enough for what should be zero."""
    if claim.allowed == 0.0 and value.is_integer():
        return integer(int(value))
    return number(value, 2 if claim.prediction == 0.0 else 8)
