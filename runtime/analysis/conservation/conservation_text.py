"""Writes conservation laws, findings of a search and drift monitors as text, and as plain values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from derive.invariants import Darboux, Findings, Invariant, Law, as_expression
from derive.model import Model
from derive.version import VERSION
from runtime.output import run_summaries
from runtime.output.result_table import Cell, Column, Table, evenly

if TYPE_CHECKING:
    import xarray

# The terms of longer polynomials are counted, not printed.
_LONGEST = 10


@dataclasses.dataclass(frozen=True, eq=False)
class ConservationReport:
    """Laws of a model, the findings of a search and the monitors of a run, or None where there are none."""

    model: Model
    laws: list[Law]
    findings: Findings | None
    monitors: xarray.Dataset | None


def as_text(report: ConservationReport, rows: int) -> str:
    """The laws with their verdicts, the findings of the search, and the monitors, for people."""
    title = f"{report.model.name}, for all a, b, eta, Delta, B (' = transpose, d = d/dalpha"
    title += ", v and v* = diagonal matrices):" if report.model.weighted else "):"
    width = max((len(law.on) for law in report.laws), default=0)
    lines = [title] if report.laws else []
    for law in report.laws:
        restrictions = f"  [{law.restrictions}]" if law.restrictions else ""
        lines.append(f"{law.verdict.status:9}  {law.on:{width}}  {law.statement}{restrictions}")
        if not law.verdict.proved:
            why = "; ".join(filter(None, (law.verdict.reason, law.otherwise)))
            lines.append(f"{'':9}  {'':{width}}    {why}")
    if report.findings is not None:
        lines += ["", *_search_lines(report.findings)]
    if report.monitors is not None:
        lines += [*([""] if lines else []), *_monitor_lines(report.monitors)]
        if "trajectory" not in report.monitors.dims:
            lines += _drift_lines(report.monitors, rows)
    return "\n".join(lines)


def _search_lines(findings: Findings) -> list[str]:
    numbers = ", ".join(f"{name} = {value}" for name, value in findings.values.items())
    lines = [f"search up to degree {findings.degree}, at {numbers}:"]
    for polynomial in findings.polynomials:
        lines.append(f"  conserved polynomial: {_text(polynomial)}")
    if not findings.polynomials:
        lines.append("  no polynomial is conserved")
    for number, found in enumerate(findings.darboux, start=1):
        scope = "" if found.symbolic else "  (at these numbers only)"
        name = found.label or _text(found.polynomial)
        lines.append(f"  f{number} = {name}:  df{number} = ({_text(found.cofactor)}) f{number}{scope}")
    if not findings.darboux:
        lines.append(
            "  no polynomial divides its derivative" + ("" if findings.complete else ", in the ansatz")
        )
    elif not findings.complete:
        lines.append("  (there may be others, with cofactors of another form)")
    for integral in findings.first_integrals:
        lines.append(f"  conserved: {_product(integral)}{_scope(integral)}")
    if findings.growing is not None:
        rate = _text(findings.growing.rate)
        lines.append(
            f"  grows as exp({rate} alpha): {_product(findings.growing)}{_scope(findings.growing)}"
        )
    return lines


def _scope(integral: Invariant) -> str:
    return "" if integral.symbolic else "  (at these numbers only)"


def _text(polynomial: Any) -> str:
    count = len(polynomial)
    return f"polynomial of {count} terms" if count > _LONGEST else _full(polynomial)


def _product(integral: Invariant) -> str:
    return " ".join(f"f{i + 1}" + (f"^{n}" if n != 1 else "") for i, n in integral.powers)


def _monitor_lines(monitors: xarray.Dataset) -> list[str]:
    """For each monitor the largest value, the last one, and up to which α it is determined."""
    numeric = (Column("largest", "12.4e"), Column("last", "12.4e"), Column("until alpha", "12.6g"))
    rows: list[tuple[Cell, ...]] = []
    alpha = monitors["alpha"].values
    for name, variable in monitors.data_vars.items():
        values = variable.values.reshape(-1, alpha.size)
        determined = np.isfinite(values)
        there = np.flatnonzero(determined.any(axis=0))
        found = (np.nan, np.nan, np.nan)
        if there.size:
            last = values[determined[:, there[-1]], there[-1]]
            largest = values[determined][np.argmax(np.abs(values[determined]))]
            found = (largest, last[np.argmax(np.abs(last))], alpha[there[-1]])
        rows.append((str(name), "yes" if variable.attrs["conserved"] else "no", *found))
    lines = [Table((Column("monitor"), Column("conserved"), *numeric), rows).as_text()]
    if "expected" in monitors.get("K_rate", monitors).attrs:
        expected = np.unique(np.atleast_1d(monitors["K_rate"].attrs["expected"]))
        if expected.size == 1 and monitors["K_rate"].attrs["conserved"]:
            weights = "" if monitors.attrs["second_layer"] == "ones" else " v v*"
            lines.append(f"K_rate in theory: 8ab eta{weights} = {expected[0]:.6g}")
    return lines


def _drift_lines(monitors: xarray.Dataset, rows: int) -> list[str]:
    """The conserved monitors against α."""
    names = [str(name) for name, variable in monitors.data_vars.items() if variable.attrs["conserved"]]
    if not names:
        return []
    alpha = monitors["alpha"].values
    columns = (Column("alpha", "12.6g"), *(Column(name, "14.6g") for name in names))
    found = [(alpha[k], *(monitors[name].values[k] for name in names)) for k in evenly(alpha.size, rows)]
    return ["", "what is conserved, against alpha:", Table(columns, found).as_text()]


def as_json(report: ConservationReport) -> dict[str, Any]:
    """The same as plain values; polynomials as text."""
    result: dict[str, Any] = {
        "version": f"overlap-ode {VERSION}",
        "model": report.model.to_dict(),
        "laws": [
            {"name": law.name, "statement": law.statement, "on": law.on}
            | {"status": law.verdict.status, "reason": law.verdict.reason}
            | {"conditions": dict(law.conditions), "otherwise": law.otherwise}
            for law in report.laws
        ],
    }
    findings, monitors = report.findings, report.monitors
    if findings is not None:
        result["search"] = {
            "degree": findings.degree,
            "values": {name: str(value) for name, value in findings.values.items()},
            "complete": findings.complete,
            "polynomials": [_full(polynomial) for polynomial in findings.polynomials],
            "darboux": [_darboux(found) for found in findings.darboux],
            "first_integrals": [_integral(integral) for integral in findings.first_integrals],
            "growing": None if findings.growing is None else _integral(findings.growing),
        }
    if monitors is not None:
        conserved = {str(name): bool(v.attrs["conserved"]) for name, v in monitors.data_vars.items()}
        result["monitors"] = run_summaries.as_json(monitors) | {"conserved": conserved}
    return result


def _full(polynomial: Any) -> str:
    return str(as_expression(polynomial)).replace("label_noise", "Delta")


def _darboux(found: Darboux) -> dict[str, Any]:
    return {
        "polynomial": _full(found.polynomial),
        "label": found.label,
        "cofactor": _full(found.cofactor),
        "symbolic": found.symbolic,
    }


def _integral(integral: Invariant) -> dict[str, Any]:
    return {
        "powers": [{"darboux": i, "power": n} for i, n in integral.powers],
        "rate": _full(integral.rate),
        "symbolic": integral.symbolic,
    }
