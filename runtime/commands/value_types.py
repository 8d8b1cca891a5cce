"""Types of the values that options take: numbers and lists of numbers, strictly parsed."""

from __future__ import annotations

import math
import re
from typing import Any

import click


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
    """A finite decimal number in ASCII; "nan", "inf" and numbers that overflow are rejected."""

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
