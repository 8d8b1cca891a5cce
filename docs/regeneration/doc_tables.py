"""The tables of README and docs that are written from the tables of the code.

In a page each is between the lines `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from derive.activation import ACTIVATION_NAMES
from derive.model import OPTIONS
from derive.parameters import PARAMETERS, RuntimeParameter
from derive.readout import READOUTS
from regeneration.api_tables import TABLES_OF_NAMES, summary
from runtime.run_options import (
    ACTIVATIONS,
    DEFAULT_METHOD,
    OWN_METHODS,
    RUN_OPTIONS,
    SCIPY_METHODS,
    SCIPY_PREFIX,
    SIMULATION_METHODS,
    RunOption,
)

PSTAR = "p*"
_MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The text of a page with its tables as they are now; KeyError if a table is not known."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]}\n{found[3]}", page)


def _table(*heads: str, rows: Iterable[Iterable[str]]) -> str:
    lines = [heads, *rows]
    body = [f"| {' | '.join(cells)} |\n" for cells in lines]
    return "".join([body[0], "|" + "---|" * len(heads) + "\n", *body[1:]])


def _plain(words: str) -> str:
    """Words in which Markdown finds nothing to set but code between backquotes."""
    parts = words.split("`")
    return "`".join(
        [re.sub(r"([*|_])", r"\\\1", part) if k % 2 == 0 else part for k, part in enumerate(parts)]
    )


def _option(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"


def _model_options() -> str:
    rows = (
        (_option(name), ", ".join(f"`{value}`" for value in option.values), _plain(option.help))
        for name, option in OPTIONS.items()
    )
    return _table("option", "values (default first)", "meaning", rows=[*rows, *_activations()])


def _activations() -> Iterable[tuple[str, str, str]]:
    """The rows of the options that are polynomials, whose values cannot be listed."""
    names = ", ".join(f"`{name}`" for name in ACTIVATION_NAMES)
    values = (f"{names}, sums, coefficients", "that of the students, or as there")
    for (name, option), allowed in zip(ACTIVATIONS.items(), values, strict=True):
        yield _option(name), allowed, _plain(option.help.split("  [")[0])


def _readouts() -> str:
    rows = ((f"`{name}`", _plain(readout.pair)) for name, readout in READOUTS.items())
    return _table("readout", "(a, b)", rows=rows)


def _parameters() -> str:
    def values(parameter: RuntimeParameter) -> str:
        if parameter.shape:
            widths = [_plain(PSTAR if width == "pstar" else width) for width in parameter.shape]
            return f"{' × '.join(widths)} numbers"
        if parameter.least == float("-inf"):
            return "any"
        return f"{'>' if parameter.strict else '≥'} {parameter.least:g}"

    def default(parameter: RuntimeParameter) -> float | None:
        return parameter.default if parameter.usual is None else parameter.usual

    rows = (
        (
            f"`{name}`",
            _plain(parameter.symbol),
            parameter.words,
            values(parameter),
            "" if default(parameter) is None else f"{default(parameter):g}",
            "yes" if parameter.per_trajectory else "no",
        )
        for name, parameter in PARAMETERS.items()
    )
    heads = ("parameter", "symbol", "meaning", "values", "default of commands", "one per trajectory")
    return _table(*heads, rows=rows)


def _run_options() -> str:
    rows = (
        (_option(name), meaning(option), defaults(option), ", ".join(option.commands))
        for name, option in RUN_OPTIONS.items()
    )
    return _table("option", "meaning", "default", "commands", rows=rows)


def meaning(option: RunOption) -> str:
    """What an option is, then what it is for the commands whose values are of another kind."""
    own: dict[str, list[str]] = {}
    for command in option.commands:
        taken = option.of(command)
        if taken.kind != option.kind and taken.help != option.help:
            own.setdefault(_plain(taken.help.split("  [")[0]), []).append(command)
    others = [f"For {', '.join(commands)}: {words}" for words, commands in own.items()]
    return " ".join([_plain(option.help.split("  [")[0]), *others])


def defaults(option: RunOption) -> str:
    """The defaults of an option: the general one, then others with the commands that have them."""
    general = _default(option)
    own: dict[str, list[str]] = {}
    for command in option.commands:
        own.setdefault(_default(option.of(command)), []).append(command)
    others = [
        f"{text} ({', '.join(commands)})" for text, commands in own.items() if text not in ("", general)
    ]
    return ", ".join([general, *others] if general else others)


def _default(option: RunOption) -> str:
    """The default as text; where the command chooses it, the help says how."""
    stated = re.search(r"\[default: (.*?)\]", option.help)
    if stated or option.default is None:
        return stated[1] if stated else ""
    if option.kind == "flag":
        return "on" if option.default else "off"
    values = option.default if isinstance(option.default, tuple) else (option.default,)
    return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _methods() -> str:
    rows = [
        *((f"`{name}`" + " (default)" * (name == DEFAULT_METHOD), w) for name, w in OWN_METHODS.items()),
        *((f"`{SCIPY_PREFIX}{name}`", "SciPy's solver; single runs only") for name in SCIPY_METHODS),
        *((f"`{name}`", f"{words}; `cli simulate`") for name, words in SIMULATION_METHODS.items()),
    ]
    return _table("method", "what it is", rows=rows)


def _names(names: Iterable[str]) -> str:
    return _table("name", "what it is", rows=((f"`{name}`", _plain(summary(name))) for name in names))


TABLES = {
    "model-options": _model_options(),
    "readouts": _readouts(),
    "parameters": _parameters(),
    "run-options": _run_options(),
    "methods": _methods(),
    **{table: _names(names) for table, names in TABLES_OF_NAMES.items()},
}
