"""Command line of overlap-ode: parse, call, print. `cli COMMAND --help` explains each command."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

# Why no further imports here: `cli --help` would wait for NumPy, SymPy and Numba.

PROGRAM, OTHER_PROGRAM = "cli", "overlap-ode"
# click's name of the variable in which a shell asks for completions.
COMPLETION_VARIABLE = "_CLI_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
# Solvers, for completion; a test keeps them equal to those of runtime.
METHODS = ("prince8", "dop853", "tsit5")
SCIPY_METHODS = ("LSODA", "DOP853", "RK45", "RK23", "Radau", "BDF")
EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
_TABLE_ROWS = 11


class Integer(click.ParamType):
    """A decimal integer in ASCII digits; int() alone would take "１６", "1_6" and " 16"."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            self.fail(f"{value!r} is not an integer of up to 19 digits", param, ctx)
        return int(value)


class Real(click.ParamType):
    """A finite decimal number in ASCII; "nan", "inf" and what overflows are refused."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        number = float(value)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Times(click.ParamType):
    """A number, or numbers separated by commas."""

    name = "number[,number…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | list[float]:
        if isinstance(value, float):
            return value
        numbers = [Real().convert(part, param, ctx) for part in str(value).split(",")]
        return numbers if len(numbers) > 1 else numbers[0]


class Integers(click.ParamType):
    """Integers separated by commas."""

    name = "integer[,integer…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        return [Integer().convert(part, param, ctx) for part in str(value).split(",")]


class InOrder(click.Group):
    """A group that lists its commands as they are defined here, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Why here: click itself would print an empty line, into files and pipes too.
            raise click.Abort() from None


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def completing(*values: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Offers these values to a shell that completes an option."""
    return lambda _context, _parameter, start: [value for value in values if value.startswith(start)]


def options(*decorators: Decorator) -> Decorator:
    """One decorator of several options, shown by --help in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def width_options(default_p: int | None, default_pstar: int | None) -> Decorator:
    return options(
        click.option(
            "--p", type=Integer(), default=default_p, show_default=True, help="Width p of the student."
        ),
        click.option(
            "--pstar",
            type=Integer(),
            default=default_pstar,
            show_default=True,
            help="Width p* of the teacher.",
        ),
    )


# Why the choices again: importing derive here would slow --help; a test keeps them equal.
convention_options = options(
    click.option(
        "--constraint",
        type=click.Choice(["free", "sphere"]),
        default="free",
        show_default=True,
        help="Free norms of the students, or each kept at its norm.",
    ),
    click.option(
        "--flow",
        type=click.Choice(["sgd", "gradient"]),
        default="sgd",
        show_default=True,
        help="One-pass SGD with its η² noise, or population gradient flow without it.",
    ),
    click.option(
        "--teacher",
        type=click.Choice(["orthonormal", "general"]),
        default="orthonormal",
        show_default=True,
        help="Teacher overlaps T = 1, or any T, given at run time.",
    ),
    click.option(
        "--readout",
        type=click.Choice(["mean", "sum", "sqrt"]),
        default="mean",
        show_default=True,
        help="Readout weights (a, b): (1/p, 1/p*), (1, 1) or (1/√p, 1/√p*).",
    ),
)
dynamics_options = options(
    click.option("--eta", type=Real(), default=0.4, show_default=True, help="Learning rate η."),
    click.option(
        "--label-noise", type=Real(), default=0.0, show_default=True, help="Variance Δ of the label noise."
    ),
    click.option(
        "--teacher-correlation",
        type=Real(),
        default=0.0,
        show_default=True,
        help="Off-diagonal entries of T, with --teacher general.",
    ),
)


def alpha_option(default: float) -> Decorator:
    return click.option(
        "--alpha",
        type=Times(),
        default=default,
        show_default=True,
        help="Times α = samples/N: the end of 200 even ones, or the times themselves: 0,50,100.",
    )


seed_option = click.option("--seed", type=Integer(), default=0, show_default=True, help="Random seed.")
norm_option = click.option(
    "--q0", type=Real(), default=1.0, show_default=True, help="Norm |w|²/N of each student at the start."
)


def ideal_option(default: float | None, instead: str) -> Decorator:
    return click.option(
        "--ideal",
        type=Real(),
        metavar="SIZE",
        default=default,
        show_default=default is not None,
        help=f"Start at Q0 = q0·1 with R0 of this size{instead}.",
    )


overlaps_option = click.option(
    "--overlaps",
    type=click.Path(path_type=Path),
    help="Start from Q, R (and T) of this .npz file, or the last state of this .nc file.",
)
start_options = options(
    dynamics_options,
    alpha_option(200.0),
    click.option("--n", type=Integer(), help="Input dimension N of the random start.  [default: 1000000]"),
    seed_option,
    norm_option,
    ideal_option(None, ", instead of --n"),
    click.option(
        "--rtol", type=Real(), default=1e-8, show_default=True, help="Relative tolerance of a step."
    ),
    click.option(
        "--atol", type=Real(), default=1e-10, show_default=True, help="Absolute tolerance of a step."
    ),
)
single_method_option = click.option(
    "--method",
    default="prince8",
    show_default=True,
    shell_complete=completing(*METHODS, *(f"scipy:{name}" for name in SCIPY_METHODS)),
    help="prince8, dop853 (fastest to a final state), tsit5, or scipy:LSODA and the like.",
)
method_option = click.option(
    "--method",
    default="prince8",
    show_default=True,
    shell_complete=completing(*METHODS),
    help="prince8, dop853 (fastest to a final state) or tsit5 (for loose tolerances).",
)
threads_option = click.option("--threads", type=Integer(), help="Threads.  [default: one per processor]")
output_options = options(
    click.option("--out", type=click.Path(path_type=Path), help="Write the results to this .nc file."),
    click.option("--plot", type=click.Path(path_type=Path), help="Draw to this .png, .pdf or .svg file."),
)
generated_option = click.option(
    "--generated",
    type=click.Path(path_type=Path),
    default="generated",
    show_default=True,
    help="Folder of the derived systems.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")
quiet_option = click.option("--quiet", is_flag=True, help="Say nothing on stderr but errors.")


@click.group(
    cls=InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`cli COMMAND --help` explains a command, with examples; `cli doctor` checks the installation; "
    "`cli completion bash` (zsh, fish) prints what completes commands and options.",
)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def cli(context: click.Context, version: bool) -> None:
    """Overlap ODEs of quadratic teacher-student networks: derive, generate, integrate.

    \b
    Examples:
      cli derive --p 4 --pstar 2               derive, prove, write generated/p4_pstar2
      cli integrate --plot escape.png          a trajectory that leaves its plateau
      cli latex                                the equations for any p, p*
    """
    if version:
        from derive.version import VERSION

        # The metadata of an editable installation may be those of an earlier version.
        echo(f"overlap-ode, version {VERSION}")
        context.exit()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(short_help="Derive the ODEs, prove them, generate code and LaTeX.")
@width_options(4, 2)
@convention_options
@click.option("--sector", is_flag=True, help="The invariant sector of aligned starts, for any p, instead.")
@generated_option
@json_option
@quiet_option
@click.pass_context
def derive(
    context: click.Context, /, sector: bool, generated: Path, as_json: bool, quiet: bool, **conventions: Any
) -> None:
    """Derive the ODEs by two routes, prove them equal and generate code and LaTeX.

    \b
    Examples:
      cli derive --p 4 --pstar 2 --constraint sphere
      cli derive --sector --pstar 2
    """
    import derive as derivation
    from derive.generated_folder import check_target

    if sector:
        if "p" in given_on(context):
            raise click.UsageError("--p does not go with --sector: a sector holds for any p")
        del conventions["p"]
        model: Any = derivation.SectorModel(**conventions)
        by_proof: Any = derivation.sector_odes
        proved = "equal to the full system"
    else:
        model, by_proof = derivation.Model(**conventions), derivation.overlap_odes
        proved = "two derivations agree"
    check_target(generated / model.name)
    odes = by_proof(model)
    folder = odes.write(generated)
    manifest = json.loads((folder / "manifest.json").read_text())
    if as_json:
        echo(json.dumps({"folder": str(folder), **manifest}, indent=1))
        return
    echo(str(folder), kept="")
    size = " for any p" if sector else f", {manifest['operations']['rhs']} operations"
    say(
        quiet,
        f"{odes.model.name}: {odes.model.state_size} order parameters{size}; "
        f"{proved} in {odes.proof.compared} entries ({odes.proof.method})",
    )


@cli.command(short_help="Print the equations as LaTeX.")
@width_options(None, None)
@convention_options
@click.option(
    "--form",
    type=click.Choice(["matrix", "components"]),
    default="matrix",
    show_default=True,
    help="Matrices, or every entry (needs widths).",
)
@click.option(
    "--what",
    type=click.Choice(["odes", "loss", "jacobian"]),
    default="odes",
    show_default=True,
    help="Which equations.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write to this .tex file, not to stdout.")
def latex(
    p: int | None, pstar: int | None, form: str, what: str, out: Path | None, **conventions: Any
) -> None:
    """Print the equations as LaTeX (amsmath); with symbolic p and p* when no widths are given.

    \b
    Examples:
      cli latex
      cli latex --p 4 --pstar 2 --form components --what loss --out loss.tex
    """
    import derive as derivation

    if out is not None:
        from derive.atomic_files import replacing
        from runtime.output.netcdf_files import check_output

        check_output(out, (".tex",))
    if p is None and pstar is None:
        if form == "components":
            raise click.UsageError("--form components needs --p and --pstar")
        text = derivation.latex_for_any_widths(what, **conventions)
    elif p is None or pstar is None:
        raise click.UsageError(f"--{'p' if p is None else 'pstar'} is missing: give both widths or none")
    else:
        text = derivation.latex(derivation.Model(p, pstar, **conventions), form, what)
    if out is None:
        echo(text.removesuffix("\n"))
        return
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


@cli.command(short_help="Integrate one trajectory.")
@width_options(4, 2)
@convention_options
@start_options
@overlaps_option
@single_method_option
@output_options
@generated_option
@json_option
@quiet_option
def integrate(**arguments: Any) -> None:
    """Integrate one trajectory from random weights; derives the system if it is not there.

    \b
    Examples:
      cli integrate --plot escape.png
      cli integrate --p 8 --pstar 4 --eta 0.3 --alpha 400 --out run.nc
      cli integrate --ideal 1e-3 --flow gradient --method scipy:LSODA --json
    """
    from runtime.commands import integrate
    from runtime.output import text_tables

    run = integrate.integrate(arguments, talk(arguments), given=given_on(click.get_current_context()))
    show(arguments["as_json"], run, lambda: text_tables.as_table(run, _TABLE_ROWS))


@cli.command(short_help="Integrate aligned starts at any p: 2p* + 1 numbers.")
@width_options(1_000_000, 2)
@convention_options
@click.option("--eta", type=Real(), default=0.4, show_default=True, help="Learning rate η.")
@click.option(
    "--label-noise", type=Real(), default=0.0, show_default=True, help="Variance Δ of the label noise."
)
@click.option(
    "--alpha", type=Times(), help="Times α: the end of 200 even ones, or the times.  [default: 10/(abη)]"
)
@click.option(
    "--singular-values", type=Times(), help="Singular values of R0: one for all, or all min(p, p*)."
)
@ideal_option(1e-6, ", random")
@seed_option
@norm_option
@click.option("--rtol", type=Real(), default=1e-8, show_default=True, help="Relative tolerance of a step.")
@click.option("--atol", type=Real(), default=1e-10, show_default=True, help="Absolute tolerance of a step.")
@method_option
@output_options
@generated_option
@json_option
@quiet_option
def sector(**arguments: Any) -> None:
    """Integrate 2p* + 1 numbers that are the whole state if Q0 = q0·1: any p costs the same.

    \b
    Examples:
      cli sector --p 1000000 --plot wide.png
      cli sector --p 1000 --singular-values 1e-3,5e-4 --flow gradient --json
    """
    from runtime.commands import sector

    run = sector.integrate(arguments, talk(arguments), given_on(click.get_current_context()))
    show(arguments["as_json"], run, lambda: sector.sector_table(run, _TABLE_ROWS))


@cli.command(short_help="Integrate many random starts at once.")
@width_options(4, 2)
@convention_options
@click.option("--trajectories", type=Integer(), default=1000, show_default=True, help="Random starts.")
@start_options
@method_option
@click.option(
    "--output",
    type=click.Choice(["statistics", "final", "loss", "all"]),
    default="statistics",
    show_default=True,
    help="Mean and quantiles of the loss; or of each trajectory the last state, losses, or all states.",
)
@click.option("--stop-loss", type=Real(), help="Stop each trajectory when its loss comes down to this.")
@threads_option
@output_options
@generated_option
@json_option
@quiet_option
def ensemble(**arguments: Any) -> None:
    """Integrate many random starts at once, on all processors.

    \b
    Examples:
      cli ensemble --trajectories 10000 --plot losses.png
      cli ensemble --trajectories 1000000 --output final --out final.nc
      cli ensemble --stop-loss 0.1 --n 100000 --json
    """
    from runtime.commands import integrate
    from runtime.output import text_tables
    from runtime.output.progress import progress_bar

    with progress_bar("trajectories", arguments["quiet"]) as progress:
        runs = integrate.ensemble(arguments, talk(arguments), progress)
    show(arguments["as_json"], runs, lambda: text_tables.ensemble_table(runs, _TABLE_ROWS))


@cli.command(short_help="Run one-pass SGD at finite N, many times.")
@width_options(4, 2)
@convention_options
@click.option("--n", type=Integer(), default=10_000, show_default=True, help="Input dimension N.")
@click.option("--trajectories", type=Integer(), default=64, show_default=True, help="Independent runs.")
@dynamics_options
@alpha_option(100.0)
@seed_option
@norm_option
@ideal_option(None, " instead of random weights")
@overlaps_option
@click.option(
    "--method",
    type=click.Choice(["chain", "weights"]),
    default="chain",
    show_default=True,
    help="Exact Markov chain of the overlaps, or N-dimensional weights.",
)
@threads_option
@output_options
@json_option
@quiet_option
def simulate(**arguments: Any) -> None:
    """Run one-pass SGD at finite N, many times: the exact chain of the overlaps, or weights.

    \b
    Examples:
      cli simulate --n 1000 --plot runs.png
      cli simulate --n 1000000 --alpha 0,10,20 --trajectories 16 --out runs.nc
      cli simulate --method weights --n 500 --constraint sphere --json
    """
    from runtime.commands import simulate
    from runtime.output import text_tables
    from runtime.output.progress import progress_bar

    with progress_bar("steps", arguments["quiet"]) as progress:
        runs = simulate.simulate(
            arguments, talk(arguments), progress, given_on(click.get_current_context())
        )
    show(arguments["as_json"], runs, lambda: text_tables.runs_table(runs, _TABLE_ROWS))


@cli.command(short_help="Compare the ODE with SGD at several N.")
@width_options(4, 2)
@convention_options
@click.option(
    "--n",
    type=Integers(),
    default="1000,2000,4000",
    show_default=True,
    help="Input dimensions N: multiples of the first, ascending.",
)
@click.option("--trajectories", type=Integer(), default=256, show_default=True, help="Runs at each N.")
@dynamics_options
@alpha_option(20.0)
@seed_option
@norm_option
@ideal_option(0.1, "")
@overlaps_option
@click.option(
    "--weights/--no-weights",
    default=None,
    help="Also run weights at the smallest N.  [default: if it takes less than a minute or so]",
)
@threads_option
@output_options
@generated_option
@json_option
@quiet_option
@click.pass_context
def compare(context: click.Context, /, **arguments: Any) -> int:
    """Compare the ODE with SGD at several N, from the same start; exit code 1 unless they agree.

    \b
    Examples:
      cli compare --plot compare.png
      cli compare --n 100,400,1600 --trajectories 1000 --alpha 30 --constraint sphere
    """
    from runtime.commands import simulate
    from runtime.output import text_tables
    from runtime.output.progress import progress_bar

    if arguments["overlaps"] is not None and "ideal" not in given_on(context):
        arguments["ideal"] = None
    with progress_bar("steps", arguments["quiet"]) as progress:
        result = simulate.compare(arguments, talk(arguments), progress, given_on(context))
    if arguments["as_json"]:
        echo(json.dumps(text_tables.as_json(result)))
    else:
        echo(text_tables.comparison_table(result, _TABLE_ROWS))
        echo(simulate.line_of(result))
    return 0 if result.attrs["verdict"] == "agree" else EXIT_FAILURE


@cli.command(short_help="Spectrum of the Hessian: saddle or minimum.")
@width_options(4, 2)
@convention_options
@click.option("--n", type=Integer(), default=1000, show_default=True, help="Input dimension N.")
@click.option(
    "--at",
    type=click.Choice(["plateau", "solution", "start"]),
    help="The plateau at R = 0, a global minimum, or random weights.  [default: plateau]",
)
@overlaps_option
@click.option(
    "--along", type=click.Path(path_type=Path), help="All states of the trajectory in this .nc file."
)
@dynamics_options
@seed_option
@norm_option
@click.option(
    "--tolerance",
    type=Real(),
    default=1e-6,
    show_default=True,
    help="Eigenvalues below this part of the largest are flat.",
)
@output_options
@generated_option
@json_option
@quiet_option
@click.pass_context
def hessian(context: click.Context, /, **arguments: Any) -> None:
    """Spectrum of the Hessian of the population loss in w/√N: saddle or minimum, flat directions.

    \b
    Examples:
      cli hessian --flow gradient                  the plateau of gradient flow
      cli hessian --at solution --n 1000000        a point of the zero-loss manifold
      cli hessian --along run.nc --plot spectrum.png
    """
    from runtime.commands import hessian
    from runtime.output import text_tables

    spectrum, result = hessian.hessian(arguments, given_on(context), talk(arguments))
    if arguments["as_json"]:
        echo(json.dumps(text_tables.as_json(result)))
    elif spectrum is None:
        echo(hessian.spectra_table(result, _TABLE_ROWS))
    else:
        echo(hessian.spectrum_table(spectrum))
        echo(hessian.verdict_of(spectrum, result))


@cli.command(short_help="Is the solution found the closest to the start?")
@width_options(4, 2)
@convention_options
@click.option(
    "--n", type=Integers(), default="100,1000,10000", show_default=True, help="Input dimensions N."
)
@click.option("--trajectories", type=Integer(), default=128, show_default=True, help="Starts of each kind.")
@dynamics_options
@click.option("--alpha", type=Real(), default=200.0, show_default=True, help="End of the runs.")
@seed_option
@norm_option
@click.option(
    "--conditions",
    type=Times(),
    default="1,3,10,30,100",
    show_default=True,
    help="Condition numbers of Q0, of starts with unequal norms.",
)
@click.option(
    "--scale",
    type=Real(),
    default=1e-6,
    show_default=True,
    help="Size of R0 in the starts with unequal norms.",
)
@click.option("--run", type=click.Path(path_type=Path), help="Judge the runs in this .nc file instead.")
@threads_option
@output_options
@generated_option
@json_option
@quiet_option
@click.pass_context
def bias(context: click.Context, /, **arguments: Any) -> None:
    """Implicit bias: is the solution that is found the one closest to the start?

    \b
    Examples:
      cli bias --plot bias.png
      cli bias --p 6 --pstar 3 --eta 0.1 --alpha 2000 --n 1000
      cli bias --run runs.nc
    """
    from runtime.commands import bias
    from runtime.output.progress import progress_bar

    with progress_bar("steps", arguments["quiet"]) as progress:
        result = bias.bias(arguments, given_on(context), talk(arguments), progress)
    if arguments["run"] is not None:
        show(arguments["as_json"], result, lambda: bias.run_table(result, _TABLE_ROWS))
    else:
        show(arguments["as_json"], result, lambda: bias.study_table(result))


@cli.command(short_help="Escape times from the plateau, beside the theory.")
@width_options(4, 2)
@convention_options
@click.option(
    "--n",
    type=Integers(),
    default="1000,10000,100000,1000000",
    show_default=True,
    help="Input dimensions N of the random starts.",
)
@click.option("--trajectories", type=Integer(), default=1000, show_default=True, help="Starts at each N.")
@click.option(
    "--eta", type=Times(), default=0.4, show_default=True, help="Learning rate η, or several: 0.1,0.2,0.4."
)
@click.option(
    "--fraction",
    type=Real(),
    default=0.5,
    show_default=True,
    help="Escaped is a loss below this part of the plateau's.",
)
@click.option(
    "--label-noise", type=Real(), default=0.0, show_default=True, help="Variance Δ of the label noise."
)
@click.option(
    "--teacher-correlation",
    type=Real(),
    default=0.0,
    show_default=True,
    help="Off-diagonal entries of T, with --teacher general.",
)
@seed_option
@norm_option
@click.option("--rtol", type=Real(), default=1e-8, show_default=True, help="Relative tolerance of a step.")
@click.option("--atol", type=Real(), default=1e-10, show_default=True, help="Absolute tolerance of a step.")
@threads_option
@output_options
@generated_option
@json_option
@quiet_option
def escape(**arguments: Any) -> None:
    """Escape times from the plateau over random starts, against N, beside the theory.

    \b
    Examples:
      cli escape --plot escape_times.png
      cli escape --p 8 --pstar 4 --eta 0.2,0.4,0.8 --plot rates.png
      cli escape --n 1000000 --trajectories 10000 --fraction 0.9 --json
    """
    from runtime.commands import escape
    from runtime.output.progress import progress_bar

    with progress_bar("trajectories", arguments["quiet"]) as progress:
        result = escape.escape(arguments, talk(arguments), progress)
    show(arguments["as_json"], result, lambda: escape.escape_table(result))


# Why again: importing runtime here would slow --help; a test keeps them equal to those of the jobs.
_SWEPT = {
    "p": "Students.",
    "pstar": "Teachers.",
    "constraint": "free, sphere.",
    "flow": "sgd, gradient.",
    "teacher": "orthonormal, general.",
    "readout": "mean, sum, sqrt.",
    "teacher_correlation": "Off-diagonal entries of T.",
    "n": "Input dimensions N.",
    "eta": "Learning rates η.",
    "label_noise": "Variances Δ.",
    "q0": "Norms of the start.",
    "ideal": "Sizes of R0 at Q0 = q0·1, instead of --n.",
    "seed": "Random seeds.",
    "trajectories": "Starts or runs of a task.",
    "fraction": "Of escape.",
    "stop_loss": "Of ensemble.",
    "method": "As for the single command.",
    "rtol": "Relative tolerances.",
    "atol": "Absolute tolerances.",
    "alpha": "End of 200 even times, or the times; never varied.",
    "output": "Of ensemble: statistics, final, loss, all; never varied.",
}
swept_options = options(
    *(
        click.option(f"--{name.replace('_', '-')}", metavar="VALUES", help=words)
        for name, words in _SWEPT.items()
    )
)


@cli.command(short_help="Every combination of parameters, on many workers.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the sweep.")
@click.option("--job", help="ode, ensemble, chain or escape.  [default: ode]")
@swept_options
@click.option("--zip", "zip", metavar="NAMES", help="Vary these together: --zip p,pstar.")
@click.option("--engine", help="threads, processes or dask.  [default: threads]")
@click.option("--workers", type=Integer(), help="Tasks at once.  [default: one per processor]")
@click.option("--threads", type=Integer(), help="Threads of a task.  [default: 1]")
@click.option("--scheduler", metavar="FILE|ADDRESS", help="Of Dask, which you must trust.")
@click.option("--task-index", type=Integer(), help="Part of a job array, from 0.")
@click.option("--task-count", type=Integer(), help="Number of parts of the job array.")
@click.option("--generated", type=click.Path(path_type=Path), help="Folder of the derived systems.")
@click.option("--status", is_flag=True, help="Say what is done, failed and missing; compute nothing.")
@click.option("--dry-run", is_flag=True, help="Count the tasks, estimate disk and memory; write nothing.")
@json_option
@quiet_option
def sweep(status: bool, dry_run: bool, as_json: bool, **arguments: Any) -> int:
    """Vary parameters: every task a file in a folder, on threads, processes, Dask or a job array.

    Values are 0.4 (fixed), 0.1,0.2,0.4 or 0:9 (integers, both ends) or 0.1:0.5:5 (start:end:count)
    or log:1e3:1e6:4. The same command again computes what is missing; with --out alone, too.

    \b
    Examples:
      cli sweep --eta 0.1:0.5:5 --seed 0:9 --out runs
      cli sweep --job escape --n log:1e3:1e6:4 --seed 0:3 --engine processes --out escapes
      cli sweep sweep.toml --task-index 0 --task-count 4
      cli sweep --out runs --status
    """
    from runtime.sweep import whole_sweeps
    from runtime.sweep.sweep_errors import SweepInterrupted

    arguments["parameters"] = {name: arguments.pop(name) for name in _SWEPT}
    if status and dry_run:
        raise click.UsageError("--status does not go with --dry-run")
    if status or dry_run:
        facts = whole_sweeps.status(arguments) if status else whole_sweeps.dry_run(arguments)
        text = whole_sweeps.status_text if status else whole_sweeps.dry_run_text
        echo(json.dumps(facts) if as_json else text(facts))
        return 0
    try:
        result = whole_sweeps.sweep(arguments, talk(arguments))
    except SweepInterrupted as interrupted:
        return fail(str(interrupted), EXIT_INTERRUPTED)
    facts = whole_sweeps.summary(result)
    echo(json.dumps(facts) if as_json else f"{result.folder}: {result.done} of {result.tasks} tasks done")
    return fail(whole_sweeps.failure(result), EXIT_FAILURE) if result.failed else 0


@cli.command(short_help="Make one dataset of a sweep.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Write to this .nc file.")
@click.option("--partial", is_flag=True, help="Also if tasks are missing: they are NaN.")
@json_option
def merge(folder: Path, out: Path, partial: bool, as_json: bool) -> None:
    """Merge the results of a sweep into one netCDF file, with the parameters as dimensions.

    \b
    Example:
      cli merge runs --out runs.nc
    """
    from runtime.sweep.whole_sweeps import merge_sweep

    sizes = merge_sweep(folder, out, partial)
    shape = ", ".join(f"{name} {size}" for name, size in sizes.items())
    echo(json.dumps({"file": str(out), "sizes": sizes}) if as_json else f"{out}: {shape}", kept="")


@cli.command(short_help="Regenerate the claims of the paper.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="reproduction",
    show_default=True,
    help="Folder of the figures (PDF and PNG) and claims.json.",
)
@click.option("--quick", is_flag=True, help="Fewer runs and widths: about a minute.")
@seed_option
@generated_option
@json_option
@quiet_option
def reproduce(**arguments: Any) -> int:
    """Regenerate the claims of arXiv:2604.03068 as figures and verdicts; exit code 1 if any fails.

    \b
    Example:
      cli reproduce --quick --out figures
    """
    from runtime.analysis.claims import claims_table
    from runtime.analysis.reproduction import all_claims

    found = all_claims.reproduce(arguments, talk(arguments))
    if arguments["as_json"]:
        echo(json.dumps([claim.to_dict() for claim in found]))
    else:
        echo(claims_table(found).as_text())
    return 0 if all(claim.holds for claim in found) else EXIT_FAILURE


@cli.command(short_help="Conserved quantities: proved, searched, monitored.")
@width_options(2, 1)
@convention_options
@click.option(
    "--degree",
    type=Integer(),
    help="Search polynomials up to this degree; 0 for none.  [default: 3, or what is quick]",
)
@click.option(
    "--monitor",
    type=click.Path(path_type=Path),
    help="Measure the drift along the run in this .nc file, and prove for its model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the monitors to this .nc file.")
@json_option
@quiet_option
@click.pass_context
def invariants(context: click.Context, /, **arguments: Any) -> None:
    """Conserved quantities: exact proofs, a search for polynomial ones, and their drift along a run.

    \b
    Examples:
      cli invariants --flow gradient               K, the commutator's integral, Darboux polynomials
      cli invariants --p 2 --pstar 2 --degree 4
      cli invariants --monitor run.nc              how well a run keeps what its equations conserve
    """
    from runtime.analysis.conservation import conservation_text
    from runtime.commands import invariants

    report = invariants.invariants(arguments, given_on(context), talk(arguments))
    if arguments["as_json"]:
        echo(json.dumps(conservation_text.as_json(report)))
    else:
        echo(conservation_text.as_text(report, _TABLE_ROWS))


@cli.command(short_help="One page on a model, to hand on: HTML.")
@width_options(4, 2)
@convention_options
@start_options
@overlaps_option
@single_method_option
@click.option(
    "--trajectories",
    type=Integer(),
    default=200,
    show_default=True,
    help="Random starts whose losses are shown beside the trajectory; 0 for none.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="Write to this .html file.",
)
@click.option("--date", is_flag=True, help="Put today's date in; without it the same bytes each time.")
@generated_option
@json_option
@quiet_option
def report(**arguments: Any) -> int:
    """One file on a model: equations, a trajectory, plateau, Hessian, checks; exit code 1 if one fails.

    Any browser prints it, or saves it as PDF, in a layout of its own.

    \b
    Examples:
      cli report --p 4 --pstar 2 --out report.html
      cli report --constraint sphere --eta 0.2 --label-noise 0.1 --alpha 400
      cli report --overlaps run.nc --out from_run.html
    """
    from runtime.commands import report

    found = report.report(arguments, talk(arguments), given_on(click.get_current_context()))
    failed = [claim for claim in found.claims if not claim.holds]
    if arguments["as_json"]:
        echo(json.dumps(report.as_json(found, arguments)))
    else:
        echo(str(arguments["out"]), kept="")
    held = len(found.claims) - len(failed)
    say(arguments["quiet"], f"{held} of {len(found.claims)} checks hold")
    return EXIT_FAILURE if failed else 0


@cli.command("list", short_help="What is derived, and whether it can be loaded.")
@generated_option
@json_option
def list_systems(generated: Path, as_json: bool) -> None:
    """List the derived systems, and what is wrong with those that cannot be loaded.

    \b
    Example:
      cli list --generated generated
    """
    from runtime.system import catalogue

    systems = catalogue.systems(generated)
    if as_json:
        echo(json.dumps(systems, indent=1))
        return
    if not systems:
        say(False, f"{generated} holds no derived system; `cli derive --p 4 --pstar 2` makes one")
    for system in systems:
        echo(catalogue.line(system), kept="")


@cli.command(short_help="Check the installation and say what to do.")
@generated_option
@click.option("--trial", is_flag=True, help="Also integrate a small system, alone and in vector code.")
@json_option
def doctor(generated: Path, trial: bool, as_json: bool) -> int:
    """Check versions, processor, threads, folders and terminal; exit code 1 if there is a problem.

    \b
    Examples:
      cli doctor
      cli doctor --trial --json                    for a report of a problem
    """
    with warnings.catch_warnings():
        # Why: what the cache has to warn of is a line of the report.
        warnings.simplefilter("ignore")
        from runtime.commands import doctor as examination

        checks = examination.examine(generated, trial)
    if as_json:
        echo(json.dumps(examination.as_json(checks), indent=1))
    else:
        for check in checks:
            status = colour(f"{check.status:<8}", _COLOURS[check.status])
            echo(f" {check.name}: {check.found}", lead=status, kept="")
            if check.next:
                echo(f"{'':8}   next: {check.next}", kept="")
    return EXIT_FAILURE if examination.worst(checks) == "problem" else 0


@cli.command(short_help="Print a script that completes commands and options.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that lets a shell complete commands, options and their values.

    \b
    Examples:
      eval "$(cli completion bash)"                in ~/.bashrc
      eval "$(cli completion zsh)"                 in ~/.zshrc, after compinit
      cli completion fish | source                 in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    # Why not source(): it would run the shell to ask for its version.
    for program in (PROGRAM, OTHER_PROGRAM):
        script = found(cli, {}, program, COMPLETION_VARIABLE)
        echo(script.source_template % script.source_vars())


_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def coloured(stream: Any) -> bool:
    """Whether a stream takes colours: a terminal, without NO_COLOR (no-color.org) or TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour(text: str, name: str) -> str:
    """Text for stdout, in a colour where that is wanted."""
    return click.style(text, fg=name) if coloured(sys.stdout) else text


def given_on(context: click.Context) -> frozenset[str]:
    """Names of the options on the command line."""
    default = click.core.ParameterSource.DEFAULT
    return frozenset(name for name in context.params if context.get_parameter_source(name) != default)


def show(as_json: bool, result: Any, table: Callable[[], str]) -> None:
    """A dataset on stdout, for programs or for people."""
    from runtime.output import text_tables

    echo(json.dumps(text_tables.as_json(result)) if as_json else table())


def talk(arguments: dict[str, Any]) -> Callable[[str], None]:
    """A function that talks unless --quiet was given."""
    return lambda message: say(arguments["quiet"], message)


def echo(text: str, lead: str = "", kept: str = "\n") -> None:
    """Lines on stdout, in which all but `lead` is escaped that no text holds but the characters `kept`.

    Files, names and arguments may hold commands for the terminal. An OSError has a name: "standard output".
    """
    from derive.errors import printable

    try:
        click.echo(lead + printable(text, kept))
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def say(quiet: bool, message: str) -> None:
    """Talk, on stderr, in one line."""
    if not quiet:
        from derive.errors import one_line

        # Where nobody can listen, the work matters more.
        with contextlib.suppress(OSError):
            click.echo(one_line(message), err=True)


def fail(message: str, code: int) -> int:
    say(False, f"{PROGRAM}: {message}")
    return code


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as one line on stderr, without the place in the source."""
    say(False, f"{PROGRAM}: warning: {message}")


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Every error is one line on stderr."""
    try:
        result = cli.main(
            arguments, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.MissingParameter as error:
        parameter = error.param
        positional = parameter is None or isinstance(parameter, click.Argument)
        name = parameter.opts[-1] if parameter else "argument"
        allowed = parameter.type if parameter else None
        choice = f"; one of {', '.join(allowed.choices)}" if isinstance(allowed, click.Choice) else ""
        return fail(f"{name.upper() if positional else name}: is missing{choice}", EXIT_USAGE)
    except click.BadParameter as error:
        option = error.param.opts[-1] if error.param and error.param.opts else "argument"
        option = option.upper() if isinstance(error.param, click.Argument) else option
        return fail(f"{option}: {(error.message or error.format_message()).rstrip('.')}", EXIT_USAGE)
    except click.UsageError as error:
        hint = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
        return fail(error.format_message().rstrip(".") + hint, EXIT_USAGE)
    except click.ClickException as error:
        return fail(error.format_message(), EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        # What a terminal shows for Ctrl-C has a line of its own.
        if sys.stderr.isatty():
            click.echo(err=True)
        return fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of the pipe has what it wanted.
        return EXIT_FAILURE
    except ImportError as error:
        missing = error.name or str(error)
        return fail(
            f"{missing} cannot be imported: pip install --force-reinstall overlap-ode", EXIT_FAILURE
        )
    except Exception as error:
        from derive.errors import InputError

        if isinstance(error, InputError):
            # Why capitals: these are named so in the help, and have no dashes.
            positional = error.option in ("file", "folder")
            name = error.option.upper() if positional else f"--{error.option.replace('_', '-')}"
            return fail(f"{name}: {error.problem}", EXIT_USAGE)
        if isinstance(error, OSError) and error.strerror:
            # All that writes files names them; help is printed by click, which does not name its stream.
            unnamed = "standard output" if error.errno == errno.ENOSPC else "input or output"
            return fail(f"{error.filename or unnamed}: {error.strerror}", EXIT_FAILURE)
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            # Why before the import: without compilation it does not work either.
            return fail(
                "NUMBA_DISABLE_JIT is set, but this runs compiled code only: unset it", EXIT_FAILURE
            )
        from runtime.system.load_error import LoadError

        if isinstance(error, (LoadError, OSError, MemoryError)):
            return fail(str(error) or "out of memory", EXIT_FAILURE)
        raise


def main() -> None:
    """Entry point of the console scripts."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Where the shell has closed one, Python has None, and files would get its number.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        else:
            # Help and tables have letters that not every character set has.
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = warn
    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # It was told, or cannot be: Python must not complain again at exit, with a code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
