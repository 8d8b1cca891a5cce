"""The table of the options of runs: what a run takes beside the options of its model and the parameters.

Each option is declared once. The options of commands, the axes of sweeps, the defaults of Python functions,
JSON schemas and the tables of the docs are read from here. `derive.model` declares the options of models,
`derive.parameters` the parameters that the equations take; `MODEL_OPTIONS` and `numbers_of` bring both into
the form of this table. Nothing heavy is imported, since help and completion read the tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from derive.activation import ALLOWED, QUADRATIC
from derive.model import OPTIONS
from derive.parameters import NUMBERS, VECTORS

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
# What is kept of each trajectory of an ensemble, or instead statistics of all.
OUTPUTS = ("all", "final", "loss")
STATISTICS = "statistics"
# Kinds of options whose values may have commas, so that semicolons separate the values of an axis.
LISTS = ("weights", "schedule", "activation")
# The folder of derived systems.
GENERATED = "generated"
# The number of evenly spaced output times if only their end is given.
EVEN_TIMES = 201
# States at which `cli hessian` finds the spectrum.
HESSIAN_PLACES = ("plateau", "solution", "start")
# Input dimension N of random starts, unless one is given or the start is ideal.
RANDOM_N = 10**6
# Activations whose mediocre start `cli exponent` follows, of the information exponents 1, 2 and 3.
MEDIOCRE = ("he1", "he2", "he3")

# --- the table ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RunOption:
    """One option of runs; `of` makes the option as one command takes it.

    name
        The keyword argument, and with dashes the option.
    kind
        ``"integer"``, ``"integers"``, ``"number"``, ``"numbers"``, ``"times"`` (an end, or ascending
        times), ``"weights"`` (numbers, or a word for them), ``"matrix"`` (a file of one), ``"schedule"``,
        ``"activation"`` (the name of a polynomial, or its coefficients), ``"path"``, ``"flag"``,
        ``"choice"``, or ``"method"``: a choice of too many for a line of help.
    group
        The heading of the help under which it is listed.
    help
        A sentence for the help and the tables of the docs.
    default
        The value that Python functions and commands take if none is given; None if there is no such value,
        or if they choose it from other options.
    choices
        The words that are allowed.
    commands
        The commands that take it, each with the fields that differ there.
    swept
        What a sweep does with it: ``"axis"``, it may vary; ``"fixed"``, it is the same for all tasks, since
        it changes the shape of results; ``"never"``, it is no option of a task.
    alone
        Whether its values can be checked without other options.
    """

    name: str
    kind: str
    group: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    commands: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    swept: str = "axis"
    alone: bool = False

    def of(self, command: str) -> RunOption:
        """The option as a command takes it."""
        return dataclasses.replace(self, **self.commands[command])


def _by_name(*options: RunOption) -> dict[str, RunOption]:
    return {option.name: option for option in options}


def _like(*commands: str, **differing: Any) -> dict[str, Mapping[str, Any]]:
    """These commands, which all take the option with the same fields."""
    return dict.fromkeys(commands, differing)


_INTEGRATED = ("integrate", "ensemble", "report")
_STARTED = (*_INTEGRATED, "fluctuations", "simulate", "compare", "escape", "bias", "hessian", "plateau")
_TOLERANT = _like(*_INTEGRATED, "sector", "fluctuations", "escape")
_OWN_STEPPER = ("ensemble", "sector", "fluctuations")
# These take no parameter that the simulations of SGD do not know.
_SIMULATING = ("simulate", "compare", "bias")
# The options that say what T is: name, kind, default, what a sweep does with it, help.
_TEACHERS = (
    ("teacher_correlation", "number", 0.0, "axis", "Off-diagonal entries of T, with --teacher general."),
    ("teacher_spectrum", "weights", None, "axis", "T = diag(1,0.5,0.33), or power:1 for norms 1/r."),
    ("T", "matrix", None, "fixed", "Teacher overlaps T from a file .npy, .npz or .nc, or a text of rows."),
)
_EVEN = f"{EVEN_TIMES} evenly spaced ones, or a list: 0,50,100 or 10, (one time)"
_ESCAPED = "A trajectory has escaped when its loss is below this part of the plateau's."
_UNEQUAL = "for starts with unequal norms"
_CONDITIONS = f"Condition numbers of Q0 {_UNEQUAL}."
_THREADS = "Number of threads.  [default: one per processor]"
_THREADED = _like("ensemble", "simulate", "compare", "escape", "bias")
_SPREAD = "Covariance at the start: none, random (weights; R0 = 0), or a file of N times it."
_BIAS = "Integrate N times the bias of means too, for quadratic networks."
# The options of single analyses: name, kind, default, command, help.
_ANALYSES = (
    ("conditions", "numbers", (1.0, 3.0, 10.0, 30.0, 100.0), "bias", _CONDITIONS),
    ("simulate", "flag", False, "escape", "Simulate SGD too, from the same starts."),
    ("scale", "number", 1e-6, "bias", f"Size of R0 {_UNEQUAL}."),
    ("overlap", "number", 0.5, "exponent", "The overlap R that is waited for."),
    ("covariance", "matrix", "none", "fluctuations", _SPREAD),
    ("tolerance", "number", 1e-6, "hessian", "Eigenvalues below this part of the largest are flat."),
)
_IDEAL = "Start at Q0 = q0·1 with R0 of this size"

# The order is that of the axes of a sweep: what changes the size of results comes first.
RUN_OPTIONS: Mapping[str, RunOption] = _by_name(
    *(
        RunOption(name, kind, "Model", words, default, commands=_like(*_STARTED), swept=swept)
        for name, kind, default, swept, words in _TEACHERS
    ),
    *(
        RunOption(
            vector.name,
            "weights",
            "Model",
            f"{vector.help} Give 1,-0.5, or power:1 for 1/r, or random.  [default: ones]",
            commands=_like(*_STARTED)
            | {"sector": {"kind": "number", "help": f"The {vector.words}, one number for all."}},
        )
        for vector in VECTORS
    ),
    RunOption(
        "alpha",
        "times",
        "Training",
        f"Output times α = steps/N: the end of {_EVEN}.",
        default=200.0,
        commands=_like(*_INTEGRATED, "fluctuations")
        | {
            "simulate": {"default": 100.0},
            "compare": {"default": 20.0},
            "bias": {"kind": "number", "help": "End of the runs, in α = steps/N."},
            "sector": {
                "default": None,
                "help": f"Output times α: the end of {_EVEN}.  [default: 10/(abη)]",
            },
        },
        swept="fixed",
    ),
    RunOption(
        "schedule",
        "schedule",
        "Training",
        "Factor of the learning rates: exponential:50, inverse:50, inverse-sqrt:50, or steps 0:1,50:0.5.",
        default="constant",
        commands=_like(*_INTEGRATED, "sector", "fluctuations", "simulate", "compare"),
        alone=True,
    ),
    RunOption(
        "method",
        "method",
        "Solver",
        "Method of integration or simulation.",
        default=DEFAULT_METHOD,
        choices=tuple(OWN_METHODS),
        commands=_like(
            *_OWN_STEPPER,
            help="prince8, dop853 (fastest to a final state) or tsit5 (for loose tolerances).",
        )
        | _like(
            "integrate",
            "report",
            choices=METHODS,
            help="prince8, dop853 (fastest to a final state), tsit5, or one of SciPy such as scipy:LSODA.",
        )
        | _like(
            "simulate",
            kind="choice",
            default="chain",
            choices=tuple(SIMULATION_METHODS),
            help="Exact Markov chain of the overlaps, or N-dimensional weights.",
            alone=False,
        ),
        alone=True,
    ),
    *(
        RunOption(name, "number", "Solver", f"{words} of a step.", value, commands=_TOLERANT, alone=True)
        for name, words, value in (
            ("rtol", "Relative tolerance", 1e-8),
            ("atol", "Absolute tolerance", 1e-10),
        )
    ),
    RunOption(
        "output",
        "choice",
        "Output",
        "Keep mean and quantiles of the loss, or the last state, losses or all states of each trajectory.",
        default=STATISTICS,
        choices=(STATISTICS, "final", "loss", "all"),
        commands=_like("ensemble"),
        swept="fixed",
    ),
    RunOption(
        "trajectories",
        "integer",
        "Start",
        "Number of random starts or of runs.",
        default=1000,
        commands={
            "ensemble": {"help": "Number of random starts."},
            "escape": {"help": "Number of starts at each N."},
            "simulate": {"default": 64, "help": "Number of independent runs."},
            "compare": {"default": 256, "help": "Number of runs at each N."},
            "bias": {"default": 128, "help": "Number of starts of each kind."},
            "report": {
                "default": 200,
                "help": "Random starts whose losses are shown beside the trajectory; 0 for none.",
            },
        },
    ),
    RunOption(
        "stop_loss",
        "number",
        "Solver",
        "Stop each trajectory when its loss comes down to this.",
        commands=_like("ensemble") | _like("integrate", help="Stop when the loss comes down to this."),
        alone=True,
    ),
    RunOption("fraction", "number", "Analysis", _ESCAPED, 0.5, commands=_like("escape"), alone=True),
    RunOption(
        "ideal",
        "number",
        "Start",
        f"{_IDEAL}.",
        commands=_like(*_INTEGRATED, help=f"{_IDEAL}, instead of --n.")
        | {
            "simulate": {"help": f"{_IDEAL} instead of random weights."},
            "compare": {"default": 0.1},
            "fluctuations": {"default": 0.1},
            "sector": {"default": 1e-6, "help": f"{_IDEAL} in random directions."},
        },
    ),
    RunOption(
        "n",
        "integer",
        "Start",
        "Input dimension N.",
        commands=_like(*_INTEGRATED, help=f"Input dimension N of the random start.  [default: {RANDOM_N}]")
        | {
            "simulate": {"default": 10_000},
            "hessian": {"default": 1000},
            "fluctuations": {"default": 10_000, "help": "Input dimension N of the bands."},
            "compare": {
                "kind": "integers",
                "default": (1000, 2000, 4000),
                "help": "Input dimensions N: multiples of the first, ascending.",
            },
            "bias": {"kind": "integers", "default": (100, 1000, 10_000), "help": "Input dimensions N."},
            "escape": {
                "kind": "integers",
                "default": (10**3, 10**4, 10**5, 10**6),
                "help": "Input dimensions N of the random starts.",
            },
            "exponent": {
                "kind": "integers",
                "default": (10**2, 10**3, 10**4, 10**5, 10**6),
                "help": "Input dimensions N, each with the start R0 = 1/√N.",
            },
        },
    ),
    RunOption(
        "q0",
        "number",
        "Start",
        "Norm |w|²/N of each student at the start.",
        default=1.0,
        commands=_like(*_STARTED, "sector")
        | {"plateau": {"help": "Norm |w|²/N of each student on the sphere."}},
    ),
    RunOption(
        "seed",
        "integer",
        "Start",
        "Random seed.",
        default=0,
        commands=_like(*_STARTED, "sector", "reproduce"),
        alone=True,
    ),
    RunOption(
        "overlaps",
        "path",
        "Start",
        "Start from Q, R (T, v, alpha) of this .npz file, or go on from the last state of this .nc file.",
        commands=_like("integrate", "fluctuations", "report", "simulate", "compare", "hessian"),
        swept="never",
    ),
    *(
        RunOption(name, kind, "Analysis", words, value, commands=_like(command), swept="fixed")
        for name, kind, value, command, words in _ANALYSES
    ),
    RunOption("bias", "flag", "Analysis", _BIAS, False, commands=_like("fluctuations"), swept="fixed"),
    RunOption("threads", "integer", "Solver", _THREADS, commands=_THREADED, swept="never"),
)
# What a `ChosenStart` is made of, in the order of the help.
OF_STARTS = (
    *("n", "ideal", "overlaps", "seed", "q0"),
    *("teacher_correlation", "teacher_spectrum", "T", *(vector.name for vector in VECTORS)),
)
_OF_TEACHERS = "Polynomial σ* of the teachers, in the same words.  [default: that of the students]"
# The options of models that are polynomials.
ACTIVATIONS: Mapping[str, RunOption] = _by_name(
    RunOption(
        "activation", "activation", "Model", f"Polynomial σ of the students: {ALLOWED}.", QUADRATIC.name
    ),
    RunOption("teacher_activation", "activation", "Model", _OF_TEACHERS),
)
WIDTHS = ("p", "pstar")
# The widths, of commands that say nothing else, and the options of models.
MODEL_OPTIONS: Mapping[str, RunOption] = _by_name(
    RunOption("p", "integer", "Model", "Width p of the student.", default=4),
    RunOption("pstar", "integer", "Model", "Width p* of the teacher.", default=2),
    *(
        RunOption(name, "choice", "Model", option.help, option.default, tuple(option.values))
        for name, option in OPTIONS.items()
    ),
    *ACTIVATIONS.values(),
)
# The kinds of tasks of a sweep, and the commands that do such a task once.
JOB_COMMANDS = {"ode": "integrate", "ensemble": "ensemble", "chain": "simulate", "escape": "escape"}
DEFAULT_JOB = "ode"
# Where the tasks of a sweep run.
ENGINES = ("threads", "processes", "dask")


def default(name: str, command: str | None = None) -> Any:
    """The default of an option, in general or where a function does what this command does."""
    option = RUN_OPTIONS[name]
    return (option if command is None else option.of(command)).default


# Defaults that many functions share.
ALPHA, RTOL, ATOL = default("alpha"), default("rtol"), default("atol")
Q0_NORM, SEED = default("q0"), default("seed")


def options_of(command: str) -> dict[str, RunOption]:
    """The options of this table that a command takes, as it takes them, by name."""
    return {name: option.of(command) for name, option in RUN_OPTIONS.items() if command in option.commands}


def numbers_of(command: str) -> dict[str, RunOption]:
    """The run-time parameters that are numbers and options of a command, by name."""
    known = [number for number in NUMBERS if number.at_finite_n or command not in _SIMULATING]
    kinds = {True: "integer", False: "number"}
    # Models that lack a parameter take no other value than its default.
    defaults = {n.name: n.usual if n.only_with is None else n.default for n in known}
    return _by_name(
        *(
            RunOption(n.name, kinds[n.whole], "Training", n.help, defaults[n.name], alone=True)
            for n in known
        )
    )


def axes_of(job: str) -> dict[str, RunOption]:
    """All options of the tasks of a sweep by name, in the order of its axes."""
    command = JOB_COMMANDS[job]
    run = {name: option for name, option in options_of(command).items() if option.swept != "never"}
    # What changes only numbers comes last, the seed at the end.
    last = {name: run.pop(name) for name in ("q0", "seed")}
    return {**MODEL_OPTIONS, **run, **numbers_of(command), **last}
