"""Options that several commands share, and the values that commands receive for them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derive.activation import ACTIVATION_NAMES, ALLOWED
from derive.arguments import one_of
from derive.errors import InputError
from derive.model import Model
from runtime import run_options
from runtime.commands.grouped_help import Decorator, collected, completing, given_options, option, options
from runtime.commands.printing import Talk, echo, log_level
from runtime.commands.value_types import Integer, Integers, Real, Times
from runtime.output.netcdf_files import save_netcdf
from runtime.output.output_files import check_outputs
from runtime.output.progress import progress_bar
from runtime.run_options import MODEL_OPTIONS, OF_STARTS, WIDTHS, RunOption
from runtime.start.schedule_kinds import SMOOTH

if TYPE_CHECKING:
    import xarray

    from runtime.output.run_summaries import Result
    from runtime.start.chosen_start import ChosenStart

A_PATH = click.Path(path_type=Path)
_TYPES = {
    "integer": Integer(),
    "integers": Integers(),
    "number": Real(),
    "numbers": Times(),
    "times": Times(),
    "path": A_PATH,
    "matrix": A_PATH,
    # Their values are read where the width of the model is known.
    "weights": click.STRING,
    "schedule": click.STRING,
    "activation": click.STRING,
}
_METAVARS = {"weights": "NUMBERS", "matrix": "FILE", "schedule": "SCHEDULE", "activation": "POLYNOMIAL"}
_COMPLETIONS = {
    "schedule": (run_options.default("schedule"), *(f"{name}:" for name in SMOOTH)),
    "activation": ACTIVATION_NAMES,
}


# --- options of the tables ---------------------------------------------------------------------


def run_option(command: str, name: str) -> Decorator:
    """An option of `runtime.run_options` as a command takes it."""
    return _declared(run_options.RUN_OPTIONS[name].of(command))


def _declared(declared: RunOption) -> Decorator:
    kind: dict[str, Any] = {}
    if declared.kind == "flag":
        return option(declared.group, dashed(declared.name), is_flag=True, help=declared.help)
    if declared.kind == "method":
        kind["shell_complete"] = completing(*declared.choices)
        # The library would name methods that other commands take.
        kind["callback"] = lambda _context, _parameter, value: one_of("method", value, declared.choices)
    else:
        kind["type"] = click.Choice(declared.choices) if declared.choices else _TYPES[declared.kind]
    default = declared.default
    if isinstance(default, tuple):
        default = ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in default)
    if declared.kind in _METAVARS:
        kind["metavar"] = _METAVARS[declared.kind]
    if declared.kind in _COMPLETIONS:
        kind["shell_complete"] = completing(*_COMPLETIONS[declared.kind])
    # The library would write the name of an option such as --T in lower case.
    names = (dashed(declared.name), declared.name)
    return option(declared.group, *names, help=declared.help, default=default, **kind)


def dashed(name: str) -> str:
    """The option of this name as it is typed."""
    return f"--{name.replace('_', '-')}"


# --- model -----------------------------------------------------------------------------------


def width_options(**widths: int | None) -> Decorator:
    """The widths, with the defaults of most commands or these."""
    declared = [MODEL_OPTIONS[name] for name in WIDTHS]
    return options(
        *(_declared(dataclasses.replace(o, default=widths.get(o.name, o.default))) for o in declared)
    )


convention_options = options(*(_declared(o) for name, o in MODEL_OPTIONS.items() if name not in WIDTHS))


def several_activations(*names: str) -> Decorator:
    """An activation or several, with semicolons in between, these by default."""
    words = f"Polynomials with semicolons in between: {ALLOWED}."
    return _declared(dataclasses.replace(MODEL_OPTIONS["activation"], default=";".join(names), help=words))


def model_options(**widths: int) -> Decorator:
    """Widths and conventions; the command receives a `model`."""
    return collected("model", Model, width_options(**widths), convention_options)


# --- training --------------------------------------------------------------------------------


def number_options(command: str, *several: str, **unset: str) -> Decorator:
    """The run-time parameters of a command that are numbers; of those in `several` it takes a list too.

    So it does of those in `unset`, which have no default but words that say what the command does then.
    """
    declared = run_options.numbers_of(command)
    for name in (*several, *unset):
        words = f"{declared[name].help.rstrip('.')}, or several: 0.1,0.2,0.4."
        declared[name] = dataclasses.replace(declared[name], kind="numbers", help=words)
    for name, words in unset.items():
        words = f"{declared[name].help}  [default: {words}]"
        declared[name] = dataclasses.replace(declared[name], default=None, help=words)
    return options(*map(_declared, declared.values()))


def training_options(command: str) -> Decorator:
    """The command receives the run-time parameters, alpha and schedule together as `training`."""
    taken = [name for name in ("alpha", "schedule") if name in run_options.options_of(command)]
    own = [run_option(command, name) for name in taken]
    return collected("training", dict, number_options(command), *own)


# --- start -----------------------------------------------------------------------------------


def _start(**choices: Any) -> ChosenStart:
    from runtime.start.chosen_start import ChosenStart

    return ChosenStart(**choices, given=given_options())


def start_options(command: str) -> Decorator:
    """The options that say how a command starts; it receives a `start`.

    An input dimension that has a default is an option of its own.
    """
    taken = run_options.options_of(command)
    if "n" in taken and taken["n"].default is not None:
        del taken["n"]
    return collected("start", _start, *(_declared(taken[name]) for name in OF_STARTS if name in taken))


# --- solver ----------------------------------------------------------------------------------


def solver_options(command: str) -> Decorator:
    """The command receives tolerances, method and the like together as `solver`, without threads."""
    taken = [o for o in run_options.options_of(command).values() if o.group == "Solver"]
    return collected("solver", dict, *(_declared(o) for o in taken if o.name != "threads"))


# --- output ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Printer:
    """Writes the result of a command to files and to stdout, and messages and progress to stderr.

    out, plot
        A netCDF file and a figure; InputError unless both can be written.
    log_x
        Whether the figure has a logarithmic axis of time.
    """

    out: Path | None
    plot: Path | None
    as_json: bool
    quiet: bool
    log_x: bool = False

    def __post_init__(self) -> None:
        from runtime.output.figures import SUFFIXES

        if self.log_x and self.plot is None:
            raise InputError("log_x", "is about the figure of --plot")
        check_outputs(("out", self.out, (".nc",)), ("plot", self.plot, SUFFIXES))

    def say(self, message: str) -> None:
        """Print a line on stderr, unless quiet."""
        Talk(self.quiet)(message)

    def progress(self, label: str) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        """A function of (finished, all) that draws a bar where one can be drawn."""
        return progress_bar(label, self.quiet)

    def write(self, result: Result, beside: Callable[[], dict[str, Any]] = dict) -> None:
        """Write the files that were asked for; for a figure, `beside` computes what else is drawn in it."""
        if self.out is None and self.plot is None:
            return
        from runtime.output.plain_result import PlainResult

        dataset = result.dataset() if isinstance(result, PlainResult) else result
        if self.out is not None:
            save_netcdf(dataset, self.out)
            self.say(f"wrote {self.out}")
        if self.plot is not None:
            from runtime.plot.kinds_of_results import drawing_of

            drawing_of(dataset, log_x=self.log_x, **beside()).save(self.plot)
            self.say(f"wrote {self.plot}")

    def outcome(self, problem: str | None, finished: bool) -> int:
        """As `Talk.outcome`."""
        return Talk(self.quiet).outcome(problem, finished)

    def show(self, result: Result, table: Callable[[], str]) -> None:
        """Print the result as JSON for programs, or its `table` for people."""
        from runtime.output import run_summaries

        echo(json.dumps(run_summaries.as_json(result)) if self.as_json else table())


json_option = option("Output", "--json", "as_json", is_flag=True, help="Print JSON to stdout.")
quiet_flag = option(
    "Output",
    "--quiet",
    is_flag=True,
    callback=log_level,
    help="Print nothing but errors on stderr.",
)
log_x_option = option(
    "Output", "--log-x", is_flag=True, help="Draw time, or the learning rate, on a logarithmic axis."
)
_files = (
    option("Output", "--out", type=A_PATH, help="Write the results to this .nc file."),
    option("Output", "--plot", type=A_PATH, help="Draw the results to this .png, .pdf or .svg file."),
)
# The command receives a `printer`.
output_options = collected("printer", Printer, *_files, log_x_option, json_option, quiet_flag)
# The same for results that have no axis of time.
timeless_output_options = collected("printer", Printer, *_files, json_option, quiet_flag)
generated_option = option(
    "Output",
    "--generated",
    type=A_PATH,
    default=run_options.GENERATED,
    help="Folder of the derived systems.",
)
# The command receives a `talk`, which prints nothing if --quiet is given.
quiet_option = collected("talk", Talk, quiet_flag)


def run_of_file(option: str, path: Path, *allowed: str) -> xarray.Dataset:
    """The run in the file of an option; InputError if options are given whose values are in the file.

    Only options of the output and those that are `allowed` go with the file.
    """
    from runtime.analysis.recorded_runs import read_run

    superfluous = sorted(given_options() - {option, "out", "as_json", "quiet", *allowed})
    if superfluous:
        raise InputError(superfluous[0], f"does not go with --{option}: the file says what it is a run of")
    return read_run(path, option)
