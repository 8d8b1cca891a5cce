r"""Turns words with LaTeX between dollars into plain text for terminals and JSON.

So a law that pages typeset and terminals print is written once. In plain text ' is the transpose, d the
derivative by α, and v and v* are the diagonal matrices of second-layer weights: with them
$\dot{R} = 4ab\eta D_vRD_{v^*}$ becomes dR = 4ab eta v R v*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MATHEMATICS = re.compile(r"\$([^$]+)\$")
_TOKENS = re.compile(r"\\[A-Za-z]+|\\,|\s+|\S")
# What a command prints. Letters are separate words, so that 2a\eta Q is 2a eta Q.
_WORDS = {
    **{f"\\{name}": name for name in ("eta", "gamma", "alpha", "sum")},
    r"\Delta": "Delta",
    r"\varepsilon": "epsilon",
}
_SIGNS = {r"\,": " ", r"\top": "'", r"\to": "->", r"\cdot": " "}
# A power that needs no parentheses.
_SIMPLE = re.compile(r"-?(\d+|[A-Za-z])")


def plain_text(marked: str) -> str:
    """The text with each formula between dollars in plain letters; ValueError if one is not understood."""
    return _MATHEMATICS.sub(lambda match: _formula(match[1]), marked)


class _Item(NamedTuple):
    """A part of a formula, and whether it needs a space from what it would join before and after it.

    After the name of a function a parenthesis needs none.
    """

    text: str
    before: bool = False
    after: bool = False
    function: bool = False


def _formula(latex: str) -> str:
    return _joined(_items(iter(_TOKENS.findall(latex)), latex))


def _joined(items: Iterable[_Item]) -> str:
    found, last = "", _Item("")
    for item in items:
        left, right = found[-1:], item.text[:1]
        joins = item.before and (left.isalnum() or left in tuple("')*"))
        if joins or (last.after and (right.isalnum() or (right == "(" and not last.function))):
            found += " "
        found, last = found + item.text, item
    return found


def _items(tokens: Iterator[str], latex: str) -> Iterator[_Item]:
    """The items of a formula up to its end, or up to the brace that closes this group of it."""
    held: _Item | None = None
    for token in tokens:
        if token == "}":
            break
        if token in ("_", "^"):
            if held is None:
                raise ValueError(f"{latex!r} has a script without a letter")
            held = _with_script(held, token, _argument(tokens, latex))
            continue
        if held is not None:
            yield held
        held = _item(token, tokens, latex)
    if held is not None:
        yield held


def _item(token: str, tokens: Iterator[str], latex: str) -> _Item:
    if token in (r"\operatorname", r"\mathrm", r"\text"):
        return _Item(_argument(tokens, latex), before=True, after=True, function=True)
    if token in (r"\det", r"\exp"):
        return _Item(token[1:], before=True, after=True, function=True)
    if token == r"\dot":
        return _Item(f"d{_argument(tokens, latex)}", before=True, after=True)
    if token in _WORDS:
        return _Item(_WORDS[token], before=True, after=True)
    if token.isspace():
        return _Item(" ")
    if token in _SIGNS or not (token.startswith("\\") or token in "{&"):
        return _Item(_SIGNS.get(token, token))
    raise ValueError(f"{token!r} of {latex!r} has no plain form")


def _argument(tokens: Iterator[str], latex: str) -> str:
    """The next group of a formula, or its next token."""
    token = next(tokens, "}")
    if token == "}":
        raise ValueError(f"{latex!r} lacks an argument")
    return _joined(_items(tokens, latex)) if token == "{" else _item(token, tokens, latex).text


def _with_script(base: _Item, sign: str, script: str) -> _Item:
    """A letter with its index or power; diagonal matrices D_v are printed as their weights v."""
    if sign == "_":
        if base.text == "D" and script in ("v", "v*"):
            return _Item(script, before=True, after=True)
        return base._replace(text=f"{base.text}_{script}", after=True)
    if script in ("'", "*"):
        return base._replace(text=base.text + script)
    power = script if _SIMPLE.fullmatch(script) else f"({script})"
    return base._replace(text=f"{base.text}^{power}", after=True)
