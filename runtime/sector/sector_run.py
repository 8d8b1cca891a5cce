"""Integrates the 2p* + 1 numbers of the invariant sector, at a cost that does not depend on p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import one_of
from derive.errors import InputError
from derive.parameters import scheduled_places
from derive.readout import READOUTS
from runtime.output.memory_limit import LARGEST_ARRAYS
from runtime.output.plain_result import PlainResult
from runtime.output.result_attributes import result_attributes
from runtime.run_options import ALPHA, ATOL, DEFAULT_METHOD, RTOL
from runtime.sector.aligned_starts import SectorStart
from runtime.sector.sector_system import SectorSystem, numbers_of
from runtime.start import checked_arrays
from runtime.start.parameter_keywords import takes_parameters
from runtime.start.schedules import Schedule
from runtime.trajectory.solver import DIVERGENCE_GROWTH, OdeSolution, SolverRules, solve
from runtime.trajectory.tableaux import TABLEAUX
from runtime.trajectory.trajectory_dataset import solver_variables

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]


@takes_parameters(without=("T",))
def integrate_sector(
    system: SectorSystem,
    start: SectorStart,
    *,
    alpha: ArrayLike = ALPHA,
    rtol: float = RTOL,
    atol: float = ATOL,
    method: str = DEFAULT_METHOD,
    schedule: Any = None,
    start_alpha: float = 0.0,
    **parameters: Any,
) -> xarray.Dataset:
    """Integrate the ODEs of the sector from `start`, with the number p of students of the start.

    Parameters
    ----------
    system
        From `load_sector`.
    start
        Its p* must be that of the system.
    eta, label_noise, alpha, rtol, atol
        As in `oo.integrate`, and so all other run-time parameters; second-layer weights are numbers, or
        vectors of equal ones. The natural time is α ~ 1/(abη), so p/η with the readout "mean".
    method
        ``"prince8"``, ``"dop853"`` or ``"tsit5"``.
    schedule
        How η changes with α, as in `oo.integrate`.
    start_alpha
        The time α of the start.

    Returns
    -------
    xarray.Dataset
        ``q`` and ``m`` (alpha, k), ``q_perp`` (alpha) if p > p*, ``loss`` (alpha); ``left`` (i, k) and
        ``right`` (r, k) if the start has them; ``status``, ``alpha_end``, ``steps``, ``rejected``
        and ``evaluations`` as in `oo.integrate`. Outputs after the end of a trajectory that
        failed are NaN.

    Raises
    ------
    InputError
        An argument is not allowed; the message names it.
    """
    if not isinstance(system, SectorSystem):
        raise InputError(
            "system", f"is of the type {type(system).__name__}, not a SectorSystem of load_sector"
        )
    if not isinstance(start, SectorStart):
        raise InputError("start", f"is of the type {type(start).__name__}, not a SectorStart")
    model = system.model
    if start.pstar != model.pstar:
        raise InputError("start", f"has p* = {start.pstar}, but the system has p* = {model.pstar}")
    one_of("method", method, TABLEAUX)
    numbers = numbers_of(model, start.p, parameters)
    rtol, atol = checked_arrays.tolerances(rtol, atol)
    rates = Schedule.of(schedule)
    begin = checked_arrays.real_number("start_alpha", start_alpha, least=0.0)
    times = checked_arrays.output_times(alpha, begin)
    checked_arrays.warn_if_unresolved(start.m[:, None], atol, stacklevel=3)
    empty = np.zeros(model.pstar - start.directions)
    y0 = system.module.pack(
        np.concatenate([start.q, empty]), np.concatenate([start.m, empty]), start.q_perp
    )
    packed = system.module.pack_parameters(start.p, **numbers)
    norm = _solution_norm(system, start.p, numbers)
    bound = DIVERGENCE_GROWTH * max(1.0, float(np.max(np.abs(y0))), norm)
    rules = SolverRules(TABLEAUX[method], rtol, atol, bound)
    # The parameters are p, and those of a full system.
    places = [1 + place for place in scheduled_places(model.with_widths(1, 1))]
    solution = solve(system, y0, times, packed, rules, schedule=rates, scheduled=places, start=begin)
    settings = {**numbers, **rates.attributes, "rtol": rtol, "atol": atol, "method": method}
    if begin:
        settings["start_alpha"] = begin
    losses = system.packed_losses(solution.states, packed)
    return _result(system, start, solution, losses, settings).dataset()


def _solution_norm(system: SectorSystem, p: int, numbers: Mapping[str, float]) -> float:
    """|bv*/(av)|, the size of the eigenvalues of Q at zero loss, which are large for many students."""
    student, teacher = (numbers.get(name, 1.0) for name in ("student_weights", "teacher_weights"))
    ratio = READOUTS[system.model.readout].inverse(p / system.model.pstar)
    return abs(ratio * teacher / student) if student else 0.0


def _result(
    system: SectorSystem,
    start: SectorStart,
    solution: OdeSolution,
    loss: Array,
    settings: Mapping[str, Any],
) -> PlainResult:
    model, count = system.model, start.directions
    q, m, q_perp = system.module.unpack(solution.states)
    variables: dict[str, Any] = {
        "q": (("alpha", "k"), q[:, :count], "student norm along a direction"),
        "m": (("alpha", "k"), m[:, :count], "student-teacher overlap along a direction"),
        "loss": (("alpha",), loss),
        **solver_variables(solution),
    }
    if start.p > start.pstar:
        variables["q_perp"] = (("alpha",), q_perp, "student norm outside all directions")
    coordinates: dict[str, Any] = {
        "alpha": solution.times,
        "k": ("k", np.arange(1, count + 1), "singular direction of R, counted from 1"),
    }
    if start.left is not None and start.right is not None:
        variables["left"] = (("i", "k"), start.left, "left singular vectors of R")
        variables["right"] = (("r", "k"), start.right, "right singular vectors of R")
        coordinates |= {"i": np.arange(1, start.p + 1), "r": np.arange(1, start.pstar + 1)}
    title, settings = f"sector trajectory of {model.name}", {"p": start.p, **settings}
    attributes = result_attributes(title, model, settings, "integrate_sector")
    return PlainResult(variables, coordinates, attributes)


def sector_overlaps(run: xarray.Dataset) -> tuple[Array, Array]:
    """Q (alpha, p, p) and R (alpha, p, p*) of a run, in the frame of its start.

    A start from singular values has no frame; then the directions are unit vectors.

    Raises
    ------
    InputError
        p is so large that the matrices would take more than 16 GiB.
    """
    p, pstar = int(run.attrs["p"]), int(run.attrs["pstar"])
    times, count = run["q"].shape
    needed = 8 * times * p * (p + pstar)
    if needed > LARGEST_ARRAYS:
        raise InputError(
            "p", f"{p} is too large: Q and R at {times} times would take {needed / 2**30:.0f} GiB"
        )
    left = run["left"].values if "left" in run else np.eye(p, count)
    right = run["right"].values if "right" in run else np.eye(pstar, count)
    perp = run["q_perp"].values if "q_perp" in run else np.zeros(times)
    q, m = run["q"].values, run["m"].values
    Q = np.einsum("ik,tk,jk->tij", left, q - perp[:, None], left)
    Q += perp[:, None, None] * np.eye(p)
    return Q, np.einsum("ik,tk,rk->tir", left, m, right)
