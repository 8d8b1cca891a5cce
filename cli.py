"""The command line, part of overlap-ode: lists commands and turns every error into a line and an exit code.

Each command is a file in runtime/commands: its options, its call of the library, what it prints.
`cli COMMAND --help` explains a command.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

try:
    # It finds out whether the packages below are ours.
    import overlap_ode  # noqa: F401
except ImportError as error:
    raise SystemExit(f"overlap-ode: {error}") from None

# Nothing heavier is imported here, since `cli --help` would wait for NumPy, SymPy and Numba.
from derive.errors import InputError
from derive.version import VERSION
from runtime.commands.grouped_help import naming_root
from runtime.commands.printing import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    LogLines,
    fail,
    program,
    warn,
)
from runtime.system.load_error import LoadError

# The commands under the headings of the help, in order, with a line about each. A command has the name of
# its module in runtime/commands, except for those in _MODULES.
SECTIONS = {
    "Derive": {
        "derive": "Derive the ODEs, prove them, generate code and LaTeX.",
        "latex": "Print the equations as LaTeX.",
    },
    "Run": {
        "integrate": "Integrate one trajectory.",
        "sector": "Integrate aligned starts at any p: 2p* + 1 numbers.",
        "fluctuations": "Integrate the covariance at order 1/N beside the ODE.",
        "ensemble": "Integrate many random starts at once.",
        "simulate": "Run one-pass SGD at finite N, many times.",
        "sweep": "Run every combination of parameters, on many workers.",
        "merge": "Merge the results of a sweep into one dataset.",
    },
    "Analyse": {
        "compare": "Compare the ODE with SGD at several N.",
        "plateau": "Find the plateau over learning rates, and where it ends.",
        "hessian": "Compute the spectrum of the Hessian: saddle or minimum.",
        "bias": "Test whether SGD finds the solution closest to the start.",
        "escape": "Measure escape times from the plateau, beside the theory.",
        "exponent": "Measure how long the mediocre start takes, against N.",
        "invariants": "Prove, search and monitor conserved quantities.",
        "reproduce": "Regenerate the claims of the paper.",
        "plot": "Draw a result from its file.",
        "report": "Write one HTML page on a model, to share.",
    },
    "Manage": {
        "list": "List the derived systems, and whether they can be loaded.",
        "doctor": "Check the installation and say what to do.",
        "completion": "Print a script that completes commands and options.",
        "help": "Print the help of a command.",
    },
}
COMMANDS = {name: words for commands in SECTIONS.values() for name, words in commands.items()}
_MODULES = {"list": "list_systems", "help": "help_pages"}


class LazyGroup(click.Group):
    """The commands above, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(f"runtime.commands.{module}"), module)
        command.name, command.short_help = cmd_name, COMMANDS[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            begun = [command for command in COMMANDS if name and command.startswith(name)]
            similar = begun or get_close_matches(name, COMMANDS)
            hint = f"; perhaps you mean {' or '.join(similar)}" if similar else ""
            ctx.fail(f"{name!r} is not a command{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:<{width}}", words) for name, words in commands.items()])

    def get_help(self, ctx: click.Context) -> str:
        return naming_root(ctx, super().get_help(ctx))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click itself would print an empty line, into files and pipes too.
            raise click.Abort() from None


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`cli help COMMAND` explains a command, with examples; `cli doctor` checks the installation; "
    "`cli completion bash` (zsh, fish) prints what completes commands and options.",
)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def cli(context: click.Context, version: bool) -> None:
    """Overlap ODEs of polynomial teacher-student networks: derive, generate, integrate.

    \b
    Examples:
      cli derive --p 4 --pstar 2               derive, prove, write generated/p4_pstar2
      cli integrate --plot escape.png          a trajectory that leaves its plateau
      cli latex                                the equations for any p, p*
      cli integrate --activation he3 --eta 0.005    the third Hermite polynomial instead of λ²
    """
    if version:
        # The metadata of an editable installation may be those of an earlier version, so they are not read.
        click.echo(f"overlap-ode, version {VERSION}")
        context.exit()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Every error is one line on stderr."""
    try:
        result = cli.main(
            arguments, prog_name=program(), complete_var="_CLI_COMPLETE", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        return fail(_usage_problem(error), EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        # A terminal shows ^C, which gets a line of its own.
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
        if isinstance(error, InputError):
            # As in the help, the names of these arguments are in capitals, without dashes.
            positional = error.option in ("file", "folder")
            name = error.option.upper() if positional else f"--{error.option.replace('_', '-')}"
            return fail(f"{name}: {error.problem}", EXIT_USAGE)
        if isinstance(error, OSError) and error.strerror:
            # Errors of files name the file; click, which prints help, does not name its stream.
            unnamed = "standard output" if error.errno == errno.ENOSPC else "input or output"
            return fail(f"{error.filename or unnamed}: {error.strerror}", EXIT_FAILURE)
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            return fail("NUMBA_DISABLE_JIT is set, but only compiled code is run: unset it", EXIT_FAILURE)
        if isinstance(error, (LoadError, OSError, MemoryError)):
            return fail(str(error) or "out of memory", EXIT_FAILURE)
        raise


def _usage_problem(error: click.ClickException) -> str:
    """What is wrong with a command line: the option, then the problem."""
    parameter = getattr(error, "param", None)
    positional = parameter is None or isinstance(parameter, click.Argument)
    name = parameter.opts[-1] if parameter is not None and parameter.opts else "argument"
    name = name.upper() if positional else name
    if isinstance(error, click.MissingParameter):
        allowed = parameter.type if parameter is not None else None
        choice = f"; one of {', '.join(allowed.choices)}" if isinstance(allowed, click.Choice) else ""
        return f"{name}: is missing{choice}"
    if isinstance(error, click.BadParameter):
        return f"{name}: {(error.message or error.format_message()).rstrip('.')}"
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"; see `{context.command_path} --help`" if context else ""
    return error.format_message().rstrip(".") + hint


def main() -> None:
    """Entry point of the console scripts."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Python has None for a stream that the shell has closed, and files would get its number.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        else:
            # Help and tables have letters that some character sets lack.
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = warn
    log = logging.getLogger("overlap_ode")
    log.setLevel(logging.INFO)
    log.addHandler(LogLines())
    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # The error was printed, or cannot be. Python must not report it at exit with a code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
