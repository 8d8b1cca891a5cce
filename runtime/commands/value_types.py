"""Types of the values that options take: numbers and lists of numbers, strictly parsed."""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import click

from runtime.run_options import DEFAULT_JOB, JOB_COMMANDS, axes_of


class Integer(click.ParamType):
    """A decimal integer in ASCII digits; int() alone would take "１６", "1_6" and " 16"."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            _refuse(self, value, "an integer of up to 19 digits", param, ctx)
        return int(value)


class Real(click.ParamType):
    """A finite decimal number in ASCII; "nan", "inf" and numbers that overflow are rejected."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value):
            _refuse(self, value, "a finite number", param, ctx)
        number = float(value)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def _refuse(
    kind: click.ParamType,
    value: str,
    wanted: str,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> NoReturn:
    """Raise the error of a value that is not the one that is wanted; several lead to `cli sweep`."""
    parts = value.split(",")
    if len(parts) == 1 or not all(_is(kind, part) for part in parts):
        kind.fail(f"{value!r} is not {wanted}", param, ctx)
    instead = ""
    for job, command in JOB_COMMANDS.items():
        axes = axes_of(job) if param is not None and ctx is not None and ctx.info_name == command else {}
        if param is not None and param.name in axes and axes[param.name].swept == "axis":
            chosen = "" if job == DEFAULT_JOB else f"--job {job} "
            instead = f": `cli sweep {chosen}{param.opts[-1]} {value} --out FOLDER` runs each of them"
    kind.fail(f"takes one value, not {value!r}{instead}", param, ctx)


def _is(kind: click.ParamType, part: str) -> bool:
    """Whether text is a value of a kind."""
    try:
        kind.convert(part, None, None)
    except click.BadParameter:
        return False
    return True


class Times(click.ParamType):
    """A number, or a list of numbers separated by commas; a list of one ends with a comma."""

    name = "number[,number…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | list[float]:
        if isinstance(value, float):
            return value
        if isinstance(value, list):
            return value
        numbers = [Real().convert(part, param, ctx) for part in str(value).removesuffix(",").split(",")]
        return numbers if "," in str(value) else numbers[0]


class Integers(click.ParamType):
    """Integers separated by commas."""

    name = "integer[,integer…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        return [Integer().convert(part, param, ctx) for part in str(value).split(",")]
