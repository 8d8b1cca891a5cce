"""The table of the options of runs: what a run takes beside the options of its model and the parameters.

Each option is declared once. The options of commands, the axes of sweeps, the defaults of Python functions,
JSON schemas and the tables of the docs are read from here. `derive.model` declares the options of models,
`derive.parameters` the parameters that the equations take. Nothing heavy is imported, since help and
completion read the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from derive.parameters import NUMBERS, RuntimeParameter

# Widths of commands that say nothing else.
P, PSTAR = 4, 2

# --- words that are allowed --------------------------------------------------------------------

# Runge-Kutta methods of this program, whose coefficients are in `runtime.trajectory.tableaux`.
OWN_METHODS = {
    "prince8": "order 8, with the most accurate outputs between steps",
    "dop853": "order 8, the fastest to a final state",
    "tsit5": "order 5, for loose tolerances",
}
# Below errors of about 1e-8, outputs of this method need the fewest evaluations at equal error. Final
# states of DOP853 need fewer still, but its dense output is a hundred times less accurate than its steps.
DEFAULT_METHOD = "prince8"
SCIPY_METHODS = ("LSODA", "DOP853", "RK45", "RK23", "Radau", "BDF")
SCIPY_PREFIX = "scipy:"
# All methods of a single trajectory.
METHODS = (*OWN_METHODS, *(SCIPY_PREFIX + name for name in SCIPY_METHODS))
SIMULATION_METHODS = {
    "chain": "the exact Markov chain of the overlaps",
    "weights": "N-dimensional weights",
}
# Input dimension N of random starts, unless one is given or the start is ideal.
RANDOM_N = 10**6
STATISTICS = "statistics"
# What is kept of each trajectory of an ensemble, beside statistics of all.
OUTPUTS = ("all", "final", "loss")


# --- the table ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RunOption:
    """One option of runs, or with `of` that option as a single command takes it.

    name
        The keyword argument, and with dashes the option.
    kind
        ``"integer"``, ``"integers"``, ``"number"``, ``"numbers"``, ``"times"`` (an end, or ascending
        times), ``"path"``, ``"choice"``, or ``"method"``: a choice that the library checks, of too many
        for a line.
    group
        The heading of the help under which it is listed.
    help
        A sentence for the help and the tables of the docs.
    default
        The value that Python functions and commands take if none is given; None leaves it to them.
    choices
        The words that are allowed.
    commands
        The commands that take it, each with the fields that differ there.
    axis, alone
        Whether a sweep may vary it, and whether its values can be checked without other options.
    """

    name: str
    kind: str
    group: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    commands: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    axis: bool = True
    alone: bool = False

    def of(self, command: str) -> RunOption:
        """The option as a command takes it."""
        return dataclasses.replace(self, **self.commands[command])


def _taken_by(*commands: str, **differing: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {**{name: {} for name in commands}, **differing}


_INTEGRATED = ("integrate", "ensemble", "report")
_STARTED = (*_INTEGRATED, "simulate", "compare", "escape", "bias", "hessian")
# These take no parameter that the simulations of SGD do not know.
_SIMULATING = ("simulate", "compare", "bias")

_ANY_METHOD = {
    "choices": METHODS,
    "help": "prince8, dop853 (fastest to a final state), tsit5, or one of SciPy such as scipy:LSODA.",
}

# The order is that of the axes of a sweep: what changes the size of results comes first.
RUN_OPTIONS: Mapping[str, RunOption] = {
    option.name: option
    for option in (
        RunOption(
            "teacher_correlation",
            "number",
            "Model",
            "Off-diagonal entries of T, with --teacher general.",
            default=0.0,
            commands=_taken_by(*_STARTED),
        ),
        RunOption(
            "alpha",
            "times",
            "Training",
            "Output times α = samples/N: the end of 200 evenly spaced ones, or a list: 0,50,100.",
            default=200.0,
            commands=_taken_by(
                *_INTEGRATED,
                simulate={"default": 100.0},
                compare={"default": 20.0},
                bias={"kind": "number", "help": "End of the runs, in α = samples/N."},
                sector={
                    "default": None,
                    "help": "Output times α: the end of 200 evenly spaced ones, or a list."
                    "  [default: 10/(abη)]",
                },
            ),
            axis=False,
        ),
        RunOption(
            "method",
            "method",
            "Solver",
            "Runge-Kutta method: prince8, dop853 (fastest to a final state) or tsit5 (for loose"
            " tolerances).",
            default=DEFAULT_METHOD,
            choices=tuple(OWN_METHODS),
            commands=_taken_by(
                "ensemble",
                "sector",
                integrate=_ANY_METHOD,
                report=_ANY_METHOD,
                simulate={
                    "kind": "choice",
                    "default": "chain",
                    "choices": tuple(SIMULATION_METHODS),
                    "help": "Exact Markov chain of the overlaps, or N-dimensional weights.",
                    "alone": False,
                },
            ),
            alone=True,
        ),
        RunOption(
            "rtol",
            "number",
            "Solver",
            "Relative tolerance of a step.",
            default=1e-8,
            commands=_taken_by(*_INTEGRATED, "sector", "escape"),
            alone=True,
        ),
        RunOption(
            "atol",
            "number",
            "Solver",
            "Absolute tolerance of a step.",
            default=1e-10,
            commands=_taken_by(*_INTEGRATED, "sector", "escape"),
            alone=True,
        ),
        RunOption(
            "output",
            "choice",
            "Output",
            "Keep mean and quantiles of the loss, or the last state, losses or all states of each"
            " trajectory.",
            default=STATISTICS,
            choices=(STATISTICS, "final", "loss", "all"),
            commands=_taken_by("ensemble"),
            axis=False,
        ),
        RunOption(
            "trajectories",
            "integer",
            "Start",
            "Number of random starts.",
            default=1000,
            commands=_taken_by(
                "ensemble",
                escape={"help": "Number of starts at each N."},
                simulate={"default": 64, "help": "Number of independent runs."},
                compare={"default": 256, "help": "Number of runs at each N."},
                bias={"default": 128, "help": "Number of starts of each kind."},
                report={
                    "default": 200,
                    "help": "Random starts whose losses are shown beside the trajectory; 0 for none.",
                },
            ),
        ),
        RunOption(
            "stop_loss",
            "number",
            "Solver",
            "Stop each trajectory when its loss comes down to this.",
            commands=_taken_by("ensemble"),
            alone=True,
        ),
        RunOption(
            "fraction",
            "number",
            "Analysis",
            "A trajectory has escaped when its loss is below this part of the plateau's.",
            default=0.5,
            commands=_taken_by("escape"),
            alone=True,
        ),
        RunOption(
            "ideal",
            "number",
            "Start",
            "Start at Q0 = q0·1 with R0 of this size, instead of --n.",
            commands=_taken_by(
                *_INTEGRATED,
                simulate={"help": "Start at Q0 = q0·1 with R0 of this size instead of random weights."},
                compare={"default": 0.1, "help": "Start at Q0 = q0·1 with R0 of this size."},
                sector={
                    "default": 1e-6,
                    "help": "Start at Q0 = q0·1 with R0 of this size in random directions.",
                },
            ),
        ),
        RunOption(
            "n",
            "integer",
            "Start",
            f"Input dimension N of the random start.  [default: {RANDOM_N}]",
            commands=_taken_by(
                *_INTEGRATED,
                simulate={"default": 10_000, "help": "Input dimension N."},
                hessian={"default": 1000, "help": "Input dimension N."},
                compare={
                    "kind": "integers",
                    "default": (1000, 2000, 4000),
                    "help": "Input dimensions N: multiples of the first, ascending.",
                },
                bias={
                    "kind": "integers",
                    "default": (100, 1000, 10_000),
                    "help": "Input dimensions N.",
                },
                escape={
                    "kind": "integers",
                    "default": (10**3, 10**4, 10**5, 10**6),
                    "help": "Input dimensions N of the random starts.",
                },
            ),
        ),
        RunOption(
            "q0",
            "number",
            "Start",
            "Norm |w|²/N of each student at the start.",
            default=1.0,
            commands=_taken_by(*_STARTED, "sector"),
        ),
        RunOption(
            "seed",
            "integer",
            "Start",
            "Random seed.",
            default=0,
            commands=_taken_by(*_STARTED, "sector", "reproduce"),
            alone=True,
        ),
        RunOption(
            "overlaps",
            "path",
            "Start",
            "Start from Q, R (and T) of this .npz file, or the last state of this .nc file.",
            commands=_taken_by("integrate", "report", "simulate", "compare", "hessian"),
            axis=False,
        ),
        RunOption(
            "conditions",
            "numbers",
            "Analysis",
            "Condition numbers of Q0 for starts with unequal norms.",
            default=(1.0, 3.0, 10.0, 30.0, 100.0),
            commands=_taken_by("bias"),
        ),
        RunOption(
            "scale",
            "number",
            "Analysis",
            "Size of R0 for starts with unequal norms.",
            default=1e-6,
            commands=_taken_by("bias"),
        ),
        RunOption(
            "tolerance",
            "number",
            "Analysis",
            "Eigenvalues below this part of the largest are flat.",
            default=1e-6,
            commands=_taken_by("hessian"),
        ),
        RunOption(
            "threads",
            "integer",
            "Solver",
            "Number of threads.  [default: one per processor]",
            commands=_taken_by("ensemble", "simulate", "compare", "escape", "bias"),
            axis=False,
        ),
    )
}


def options_of(command: str) -> dict[str, RunOption]:
    """The options that a command takes, as it takes them, by name and in the order of the table."""
    return {name: option.of(command) for name, option in RUN_OPTIONS.items() if command in option.commands}


def numbers_of(command: str) -> tuple[RuntimeParameter, ...]:
    """The run-time parameters that are options of a command."""
    return tuple(number for number in NUMBERS if number.at_finite_n or command not in _SIMULATING)


def default(name: str, command: str | None = None) -> Any:
    """The default of an option, for functions that do what a command does or for all others."""
    option = RUN_OPTIONS[name]
    return (option if command is None else option.of(command)).default


# Defaults that many functions share.
ALPHA, RTOL, ATOL = default("alpha"), default("rtol"), default("atol")
Q0_NORM, SEED = default("q0"), default("seed")
