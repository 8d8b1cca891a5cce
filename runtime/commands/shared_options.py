"""Options that several commands share, and the values that commands receive for them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.commands.grouped_help import Decorator, collected, completing, given_options, option, options
from runtime.commands.printing import Talk, echo
from runtime.commands.value_types import Integer, Real, Times

if TYPE_CHECKING:
    import xarray

    from derive.model import Model
    from runtime.start.chosen_start import ChosenStart

# The methods and the choices below are repeated here, since importing them from the library would slow down
# --help and completion; tests keep both equal.
METHODS = ("prince8", "dop853", "tsit5")
SCIPY_METHODS = ("LSODA", "DOP853", "RK45", "RK23", "Radau", "BDF")
A_PATH = click.Path(path_type=Path)


# --- model -----------------------------------------------------------------------------------


def width_options(p: int | None, pstar: int | None) -> Decorator:
    return options(
        option("Model", "--p", type=Integer(), default=p, help="Width p of the student."),
        option("Model", "--pstar", type=Integer(), default=pstar, help="Width p* of the teacher."),
    )


def _choice(name: str, choices: list[str], words: str) -> Decorator:
    return option("Model", name, type=click.Choice(choices), default=choices[0], help=words)


convention_options = options(
    _choice(
        "--constraint", ["free", "sphere"], "Let the norms of the students change, or keep each as it is."
    ),
    _choice("--flow", ["sgd", "gradient"], "One-pass SGD with its η² noise, or gradient flow without it."),
    _choice("--teacher", ["orthonormal", "general"], "Teacher overlaps T = 1, or any T given at run time."),
    _choice(
        "--readout",
        ["mean", "sum", "sqrt"],
        "Readout weights (a, b) = (1/p, 1/p*), (1, 1) or (1/√p, 1/√p*).",
    ),
)


def _model(**choices: Any) -> Model:
    from derive.model import Model

    return Model(**choices)


def model_options(p: int, pstar: int) -> Decorator:
    """Widths and conventions; the command receives a `model`."""
    return collected("model", _model, width_options(p, pstar), convention_options)


# --- training --------------------------------------------------------------------------------

eta_option = option("Training", "--eta", type=Real(), default=0.4, help="Learning rate η.")
noise_option = option(
    "Training", "--label-noise", type=Real(), default=0.0, help="Variance Δ of the label noise."
)


def alpha_option(default: float) -> Decorator:
    return option(
        "Training",
        "--alpha",
        type=Times(),
        default=default,
        help="Output times α = samples/N: the end of 200 evenly spaced ones, or a list: 0,50,100.",
    )


def training_options(alpha: float) -> Decorator:
    """The command receives eta, label_noise and alpha together as `training`."""
    return collected("training", dict, eta_option, noise_option, alpha_option(alpha))


# --- start -----------------------------------------------------------------------------------

correlation_option = option(
    "Model",
    "--teacher-correlation",
    type=Real(),
    default=0.0,
    help="Off-diagonal entries of T, with --teacher general.",
)
random_n_option = option(
    "Start", "--n", type=Integer(), help="Input dimension N of the random start.  [default: 1000000]"
)
seed_option = option("Start", "--seed", type=Integer(), default=0, help="Random seed.")
norm_option = option(
    "Start", "--q0", type=Real(), default=1.0, help="Norm |w|²/N of each student at the start."
)
overlaps_option = option(
    "Start",
    "--overlaps",
    type=A_PATH,
    help="Start from Q, R (and T) of this .npz file, or the last state of this .nc file.",
)


def ideal_option(default: float | None, instead: str) -> Decorator:
    return option(
        "Start",
        "--ideal",
        type=Real(),
        metavar="SIZE",
        default=default,
        help=f"Start at Q0 = q0·1 with R0 of this size{instead}.",
    )


def _start(**choices: Any) -> ChosenStart:
    from runtime.start.chosen_start import ChosenStart

    return ChosenStart(**choices, given=given_options())


def start_options(*decorators: Decorator) -> Decorator:
    """The given options, and --seed, --q0 and --teacher-correlation; the command receives a `start`."""
    return collected("start", _start, *decorators, seed_option, norm_option, correlation_option)


any_start_options = start_options(random_n_option, ideal_option(None, ", instead of --n"), overlaps_option)
random_start_options = start_options(random_n_option, ideal_option(None, ", instead of --n"))

# --- solver ----------------------------------------------------------------------------------

tolerance_options = options(
    option("Solver", "--rtol", type=Real(), default=1e-8, help="Relative tolerance of a step."),
    option("Solver", "--atol", type=Real(), default=1e-10, help="Absolute tolerance of a step."),
)
single_method_option = option(
    "Solver",
    "--method",
    default=METHODS[0],
    shell_complete=completing(*METHODS, *(f"scipy:{name}" for name in SCIPY_METHODS)),
    help="prince8, dop853 (fastest to a final state), tsit5, or one of SciPy such as scipy:LSODA.",
)
method_option = option(
    "Solver",
    "--method",
    default=METHODS[0],
    shell_complete=completing(*METHODS),
    help="prince8, dop853 (fastest to a final state) or tsit5 (for loose tolerances).",
)


def solver_options(method: Decorator) -> Decorator:
    """The command receives rtol, atol and method together as `solver`."""
    return collected("solver", dict, tolerance_options, method)


threads_option = option(
    "Solver", "--threads", type=Integer(), help="Number of threads.  [default: one per processor]"
)

# --- output ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Printer:
    """Writes the result of a command to files and to stdout, and messages and progress to stderr.

    out, plot
        A netCDF file and a figure; InputError unless both can be written.
    """

    out: Path | None
    plot: Path | None
    as_json: bool
    quiet: bool

    def __post_init__(self) -> None:
        from runtime.output.figures import SUFFIXES
        from runtime.output.output_files import check_outputs

        check_outputs(("out", self.out, (".nc",)), ("plot", self.plot, SUFFIXES))

    def say(self, message: str) -> None:
        """Print a line on stderr, unless quiet."""
        Talk(self.quiet)(message)

    def progress(self, label: str) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        """A function of (finished, all) that draws a bar where one can be drawn."""
        from runtime.output.progress import progress_bar

        return progress_bar(label, self.quiet)

    def write(self, result: xarray.Dataset, draw: Callable[[xarray.Dataset, Path], Path]) -> None:
        """Write the files that were asked for; `draw` makes the figure."""
        from runtime.output.netcdf_files import save_netcdf

        if self.out is not None:
            save_netcdf(result, self.out)
            self.say(f"wrote {self.out}")
        if self.plot is not None:
            draw(result, self.plot)
            self.say(f"wrote {self.plot}")

    def show(self, result: xarray.Dataset, table: Callable[[], str]) -> None:
        """Print the dataset as JSON for programs, or its `table` for people."""
        from runtime.output import run_summaries

        echo(json.dumps(run_summaries.as_json(result)) if self.as_json else table())


json_option = option("Output", "--json", "as_json", is_flag=True, help="Print JSON to stdout.")
quiet_flag = option("Output", "--quiet", is_flag=True, help="Print nothing but errors on stderr.")
# The command receives a `printer`.
output_options = collected(
    "printer",
    Printer,
    option("Output", "--out", type=A_PATH, help="Write the results to this .nc file."),
    option("Output", "--plot", type=A_PATH, help="Draw the results to this .png, .pdf or .svg file."),
    json_option,
    quiet_flag,
)
generated_option = option(
    "Output", "--generated", type=A_PATH, default="generated", help="Folder of the derived systems."
)
# The command receives a `talk`, which prints nothing if --quiet is given.
quiet_option = collected("talk", Talk, quiet_flag)


def run_of_file(option: str, path: Path, *allowed: str) -> xarray.Dataset:
    """The run in the file of an option; InputError if options are given whose values are in the file.

    Only options of the output and those that are `allowed` go with the file.
    """
    from derive.errors import InputError
    from runtime.analysis.recorded_runs import read_run

    superfluous = sorted(given_options() - {option, "out", "as_json", "quiet", *allowed})
    if superfluous:
        raise InputError(superfluous[0], f"does not go with --{option}: the file says what it is a run of")
    return read_run(path, option)
