r"""Reads printed equations back into numbers: scalars, or matrices with their own product.

Only what the printer may write is understood; anything else is an error, so a typo in a
formula cannot pass as a symbol. Names are LaTeX: values["Q_{11}"], values["v_{1}^*"], values[r"\delta X"].
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from derive.parameters import NUMBERS

_SUBSCRIPT = r"(?:_(?:\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}|[a-z0-9]))?"
# A command ends where its letters end: \kappa before Q without a space is another command.
_WORD_END = r"(?![A-Za-z])"
_PARAMETERS = "|".join(re.escape(number.latex) for number in NUMBERS)
_TOKEN = re.compile(
    rf"""(?P<number>\d+)
    | (?P<symbol>(?:\\(?:delta|partial){_WORD_END}\s*)?
        (?:(?:{_PARAMETERS}|\\(?:kappa|varepsilon|Gamma)){_WORD_END}|[A-Za-z]){_SUBSCRIPT}
        (?:\^\*|\^\{{\*\d\}})?)
    | (?P<command>\\(?:frac|sqrt|operatorname|top){_WORD_END})
    | (?P<block>_\{{(?:\\mathrm\{{(?:ss|st)\}}|ii)\}})
    | (?P<mark>[-+^(){{}}\[\]])
    | (?P<space>\s+|\\,)""",
    re.VERBOSE,
)
_BREAKS = {" \\\\\n  &\\quad ": " ", " \\\\\n  &= ": " = "}


def equations(text: str) -> list[tuple[str, str]]:
    """(left, right) of every line of every align* environment in `text`."""
    found = []
    for body in re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", text, re.DOTALL):
        for line_end, space in _BREAKS.items():
            body = body.replace(line_end, space)
        for line in body.split(" \\\\\n"):
            left, right = line.split(" &= ")
            found.append((left.strip(), right.strip()))
    return found


def evaluate(text: str, values: Mapping[str, object]) -> object:
    """The value of one expression."""
    reader = _Reader(text, values)
    result = reader.sum()
    assert reader.next is None, f"{reader.next!r} left over in {text}"
    return result


class _Reader:
    """A recursive descent over tokens; `next` is the token that comes."""

    def __init__(self, text: str, values: Mapping[str, object]) -> None:
        self._values = values
        self._tokens = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            assert match, f"not understood: {text[position:]!r}"
            if match.lastgroup != "space":
                self._tokens.append(match.group())
            position = match.end()
        self._position = 0

    @property
    def next(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self, expected: str | None = None) -> str:
        token = self.next
        assert token is not None
        assert expected is None or token == expected, f"{token!r} where {expected!r} was expected"
        self._position += 1
        return token

    def sum(self) -> object:
        total = -self._product() if self.next == "-" and self._take() else self._product()
        while self.next in ("+", "-"):
            total = total + self._product() if self._take() == "+" else total - self._product()
        return total

    def _product(self) -> object:
        result = self._power()
        while self.next is not None and self.next not in ("+", "-", ")", "]", "}"):
            result = _multiply(result, self._power())
        return result

    def _power(self) -> object:
        value = self._atom()
        if self.next is not None and self.next.startswith("_{"):
            value = _block(value, self._take(), self._values)
        while self.next == "^":
            self._take()
            exponent = self._take()
            if exponent == r"\top":
                value = value.T
            else:
                base = value
                for _ in range(int(exponent) - 1):
                    value = _multiply(value, base)
        return value

    def _group(self, opening: str, closing: str) -> object:
        self._take(opening)
        value = self.sum()
        self._take(closing)
        return value

    def _atom(self) -> object:
        token = self.next
        if token == "(":
            return self._group("(", ")")
        if token == "[":
            return self._group("[", "]")
        self._take()
        if token == r"\frac":
            return self._group("{", "}") / self._group("{", "}")
        if token == r"\sqrt":
            return np.sqrt(self._group("{", "}"))
        if token == r"\operatorname":
            for letter in ("{", "t", "r", "}"):
                self._take(letter)
            # A parenthesis is the whole argument, and a power of it is one of the trace.
            return np.trace(self._group("(", ")") if self.next == "(" else self._product())
        if token.isdigit():
            return int(token)
        starred = re.fullmatch(r"(.*\^)\{\*(\d)\}", token)
        if starred:
            return self._values[f"{starred[1]}*"] ** int(starred[2])
        return self._values[re.sub(r"(\\(?:delta|partial))\s*", r"\1 ", token)]


def _multiply(left: object, right: object) -> object:
    return left @ right if np.ndim(left) == np.ndim(right) == 2 else left * right


def _block(value: np.ndarray, name: str, values: Mapping[str, object]) -> np.ndarray:
    """The student-student or student-teacher block of a matrix like C, or the diagonal of a matrix."""
    if name == "_{ii}":
        return np.diag(value)
    p = len(values["Q"])
    return value[:p, :p] if "ss" in name else value[:p, p:]
