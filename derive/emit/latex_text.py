"""Prints pieces of LaTeX: symbols, sums, products and wrapped lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import gcd

from derive.equations import STEP
from derive.model import Model
from derive.parameters import PARAMETERS
from derive.readout import READOUTS
from derive.scalar_polynomials import ScalarPolynomial

LINE_CHARACTERS = 72

_SYMBOLS = {
    STEP: r"\kappa",
    **{name: parameter.latex for name, parameter in PARAMETERS.items()},
    "fQ": "F",
    "fR": "G",
    # These are the changes of the loops; the tilde sorts them behind every other factor.
    "~s": r"\,\delta s",
    "~t": r"\,\delta t",
}


def symbol(name: str) -> str:
    """LaTeX of a name such as "kappa", "Q_1_2" or "g_3", with commas if an index has two digits."""
    base, *indices = name.split("_") if name not in _SYMBOLS else [name]
    base = _SYMBOLS.get(base, base)
    if not indices:
        return base
    separator = "" if all(len(index) == 1 for index in indices) else ","
    return f"{base}_{{{separator.join(indices)}}}"


def number(value: Fraction) -> str:
    """LaTeX of a positive rational number."""
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _powers(factors: Iterable[str]) -> str:
    """A product of LaTeX symbols, equal neighbours collected into powers."""
    counted: dict[str, int] = {}
    for factor in factors:
        counted[factor] = counted.get(factor, 0) + 1
    pieces: list[str] = []
    for text, power in counted.items():
        piece = text if power == 1 else f"{text}^{power}"
        # "\kappa" directly before a letter would be another command, so a space comes between.
        joined = pieces and re.search(r"\\[a-zA-Z]+$", pieces[-1]) and piece[0].isalpha()
        pieces.append(f" {piece}" if joined else piece)
    return "".join(pieces)


def join(terms: Iterable[tuple[Fraction, str]]) -> str:
    """LaTeX of Σ coefficient · text; each text is a product, and an empty one stands for 1."""
    pieces: list[str] = []
    for coefficient, text in terms:
        if coefficient == 0:
            continue
        size = abs(coefficient)
        body = text.removeprefix(r"\,") if size == 1 and text else number(size) + text
        if not pieces:
            pieces.append(f"-{body}" if coefficient < 0 else body)
        else:
            pieces.append(f"{'-' if coefficient < 0 else '+'} {body}")
    return " ".join(pieces) or "0"


def polynomial(value: ScalarPolynomial) -> str:
    """LaTeX of a polynomial in scalars, the highest degree first."""
    return join((c, _powers(map(symbol, m))) for m, c in reversed(value.sorted_terms()))


def _common_factor(values: Sequence[Fraction]) -> Fraction:
    """The greatest common divisor, with the sign of the first value."""
    size = Fraction(
        gcd(*(value.numerator for value in values)),
        # All denominators are powers of two here, so the largest is a multiple of the others.
        max(value.denominator for value in values),
    )
    return -size if values[0] < 0 else size


def combination(parts: Mapping[str, ScalarPolynomial]) -> str:
    """LaTeX of Σ polynomial · matrix, grouped by powers of κ as in −2κ[sQ + 2X] + κ²[…]."""
    powers: dict[int, list[tuple[str, ScalarPolynomial]]] = {}
    for text, value in parts.items():
        for monomial, part in value.collect([STEP]).items():
            powers.setdefault(len(monomial), []).append((text, part))
    groups: list[tuple[Fraction, str]] = []
    for power, members in sorted(powers.items()):
        factor = _common_factor([c for _, part in members for _, c in part.sorted_terms()])
        inside: list[tuple[Fraction, str]] = []
        for text, part in members:
            scaled = part * (1 / factor)
            if len(scaled.terms) == 1:
                ((monomial, coefficient),) = scaled.terms.items()
                inside.append((coefficient, product_text(_powers(map(symbol, monomial)), text)))
            else:
                inside.append((Fraction(1), f"({polynomial(scaled)}){text}"))
        kappa = _powers([_SYMBOLS[STEP]] * power)
        if len(inside) == 1 and inside[0][0] == 1:
            groups.append((factor, product_text(kappa, inside[0][1])))
        else:
            groups.append((factor, f"{kappa}[{join(inside)}]"))
    return join(groups)


def product_text(left: str, right: str) -> str:
    """LaTeX of left · right, with a space where a command would swallow a letter."""
    if re.search(r"\\delta [st]$", left):
        return rf"{left}\,{right}"
    needs_space = re.search(r"\\[a-zA-Z]+$", left) and right[:1].isalpha()
    return f"{left} {right}" if needs_space else left + right


def _printed_width(text: str) -> int:
    """About how many characters `text` takes on the page."""
    return len(re.sub(r"\\[a-zA-Z]+\{?|[{}_^\\,&]", "", text).replace(" + ", "+++").replace(" - ", "+++"))


def _wrap(text: str) -> str:
    """Break a long right-hand side before "+" and "-", also inside parentheses, which do not stretch."""
    pieces = re.split(r" (?=[+-] )", text)
    lines, current = [], pieces[0]
    for piece in pieces[1:]:
        if _printed_width(current) + _printed_width(piece) > LINE_CHARACTERS:
            lines.append(current)
            current = piece
        else:
            current += f" {piece}"
    return " \\\\\n  &\\qquad ".join([*lines, current])


def align(lines: Sequence[tuple[str, str]]) -> str:
    """An align* environment of left = right lines."""
    body = " \\\\\n".join(f"  {left} &= {_wrap(right)}" for left, right in lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}\n"


class ReadoutSums:
    """Prints sums with a and b as numbers; terms with the same powers of a and b share a parenthesis."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def _readout(self, factors: Sequence[str]) -> tuple[Fraction, int]:
        """A product of a and b as (rational, w): the rational times 1/√w."""
        width = 1
        for name in factors:
            width *= self._model.p if name == "a" else self._model.pstar
        return READOUTS[self._model.readout].parts(width)

    @staticmethod
    def _scaled(value: Fraction, width: int, text: str) -> tuple[Fraction, str]:
        """value/√width · text as a signed term for `join`."""
        if width == 1:
            return value, text
        size = abs(value)
        below = rf"\sqrt{{{width}}}" if size.denominator == 1 else rf"{size.denominator}\sqrt{{{width}}}"
        sign = Fraction(-1 if value < 0 else 1)
        return sign, rf"\frac{{{size.numerator}}}{{{below}}}{text}"

    def sum(self, terms: Iterable[tuple[Fraction, tuple[str, ...]]], rename: Mapping[str, str]) -> str:
        """LaTeX of Σ coefficient · Π factors; `rename` has that of factors unknown to `symbol`."""
        groups: dict[tuple[str, ...], list[tuple[Fraction, tuple[str, ...]]]] = {}
        for coefficient, factors in terms:
            readout = tuple(f for f in factors if f in ("a", "b"))
            rest = tuple(f for f in factors if f not in ("a", "b"))
            groups.setdefault(readout, []).append((coefficient, rest))
        printed: list[tuple[Fraction, str]] = []
        for readout, members in groups.items():
            scale, width = self._readout(readout)
            if len(members) == 1 or not readout:
                for coefficient, rest in members:
                    product = _powers(rename.get(f, symbol(f)) for f in rest)
                    printed.append(self._scaled(scale * coefficient, width, product))
                continue
            common = _common_factor([coefficient for coefficient, _ in members])
            inside = join(
                (c / common, _powers(rename.get(f, symbol(f)) for f in rest)) for c, rest in members
            )
            printed.append(self._scaled(scale * common, width, f"({inside})"))
        return join(printed)


def derivative(of: str) -> str:
    """d/dα of a symbol."""
    return rf"\frac{{\mathrm{{d}}{of}}}{{\mathrm{{d}}\alpha}}"
