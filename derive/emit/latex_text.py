"""Prints pieces of LaTeX: symbols, sums and products."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from derive.equations import LOOP_NAMES, NOISE, READOUT_STUDENT, READOUT_TEACHER, STEP
from derive.model import Model
from derive.parameters import PARAMETERS
from derive.readout import READOUTS
from derive.scalar_polynomials import Monomial, ScalarPolynomial

# The tilde marks the changes of the loops, as in "~s".
CHANGE = "~"
# A derivative by the order parameter in question has the name of what changes after this word.
PARTIAL = "partial "
# A trace of a product of matrices has the LaTeX of these after this word.
TRACE = "trace "
# The symbol p*, which comes first in a product.
TEACHER_WIDTH = "pstar"
_SYMBOLS = {
    STEP: r"\kappa",
    **{parameter.code: parameter.latex for parameter in PARAMETERS.values()},
    TEACHER_WIDTH: "p^*",
    "fQ": "F",
    "fR": "G",
    # This is E[e² λλᵀ]/B; the letter N is that of the number of inputs.
    "N": "S",
    **{f"{CHANGE}{loop}": rf"\,\delta {loop}" for loop in LOOP_NAMES.values()},
}
_READOUT = {READOUT_STUDENT, READOUT_TEACHER}
_RECIPROCALS = {parameter.code for parameter in PARAMETERS.values() if parameter.reciprocal}
# The names inside the brackets of a drift; others, as κ, stand before them.
_INSIDE = {NOISE, *LOOP_NAMES.values(), *(f"{CHANGE}{loop}" for loop in LOOP_NAMES.values())}


@lru_cache(maxsize=4096)
def symbol(name: str) -> str:
    """LaTeX of a name such as "kappa", "Q_1_2" or "g_3", with commas if an index has two digits."""
    if name.startswith(PARTIAL):
        return rf"\,\partial {symbol(name.removeprefix(PARTIAL))}"
    if name.startswith(TRACE):
        return rf"\operatorname{{tr}}({name.removeprefix(TRACE)})"
    base, *indices = name.split("_") if name not in _SYMBOLS else [name]
    base = _SYMBOLS.get(base, base)
    if not indices:
        return base
    separator = "" if all(len(index) == 1 for index in indices) else ","
    letter, star, _ = base.partition("^*")
    return f"{letter}_{{{separator.join(indices)}}}{star}"


def number(value: Fraction) -> str:
    """LaTeX of a positive rational number."""
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _place(name: str) -> tuple[int, str, int]:
    """Where a factor stands in a product: κ, numbers, entries of vectors, of matrices, derivatives."""
    if name.startswith(TRACE):
        return 3, "", 0
    base, *indices = name.split("_") if name not in _SYMBOLS else [name]
    if base == TEACHER_WIDTH:
        return 0, "", 0
    if base == STEP:
        return 0, "", int(indices[0]) if indices else 0
    if name.startswith((PARTIAL, CHANGE)):
        return 4, "", 0
    # Numbers and the entries of matrices keep their order.
    vector = len(indices) == 1 and indices[0].isdigit()
    return len(indices) + 1, base if vector else "", int(indices[0]) if vector else 0


def product(names: Iterable[str]) -> str:
    """LaTeX of a product of names, equal ones as powers; κ stands above what divides, as in κ²/B."""
    return _product(tuple(names))


# The same products occur in many entries.
@lru_cache(maxsize=4096)
def _product(names: tuple[str, ...]) -> str:
    ordered = sorted(names, key=_place)
    below = [name for name in ordered if name in _RECIPROCALS]
    if not below:
        return _powers(map(symbol, ordered))
    steps = [name for name in ordered if _steps([name])]
    others = [name for name in ordered if name not in (*below, *steps)]
    fraction = rf"\frac{{{_powers(map(symbol, steps)) or 1}}}{{{_powers(map(symbol, below))}}}"
    return fraction + _powers(map(symbol, others))


def _powers(factors: Iterable[str]) -> str:
    """A product of LaTeX symbols, equal ones collected into powers."""
    counted: dict[str, int] = {}
    for factor in factors:
        counted[factor] = counted.get(factor, 0) + 1
    text = ""
    for factor, power in counted.items():
        starred = factor.endswith("^*")
        raised = f"{factor.removesuffix('*')}{{*{power}}}" if starred else f"{factor}^{power}"
        text = product_text(text, factor if power == 1 else raised)
    return text


def join(terms: Iterable[tuple[Fraction, str]]) -> str:
    """LaTeX of Σ coefficient · text; each text is a product, and an empty one stands for 1."""
    pieces: list[str] = []
    for coefficient, text in terms:
        if not coefficient:
            continue
        negative = coefficient.numerator < 0
        body = _multiple(-coefficient if negative else coefficient, text)
        if not pieces:
            pieces.append(f"-{body}" if negative else body)
        else:
            pieces.append(f"{'-' if negative else '+'} {body}")
    return " ".join(pieces) or "0"


def _multiple(size: Fraction, text: str) -> str:
    """LaTeX of size · text; a whole number goes above the line of a fraction such as 1/B or κ/B."""
    if size == 1 and text:
        return text.removeprefix(r"\,")
    above, separator, below = text.partition("}{")
    if size.denominator == 1 and separator and above.startswith(r"\frac{"):
        factors = above.removeprefix(r"\frac{")
        numerator = f"{size.numerator}{'' if factors == '1' else factors}"
        return rf"\frac{{{numerator}{separator}{below}"
    return number(size) + text


def polynomial(value: ScalarPolynomial) -> str:
    """LaTeX of a polynomial in scalars, the highest degree first."""
    return join((c, product(m)) for m, c in reversed(value.sorted_terms()))


def common_factor(values: Sequence[Fraction]) -> Fraction:
    """The greatest common divisor, with the sign of the first value."""
    size = Fraction(
        math.gcd(*(value.numerator for value in values)),
        # All denominators are powers of two here, so the largest is a multiple of the others.
        max(value.denominator for value in values),
    )
    return -size if values[0] < 0 else size


def combination(parts: Mapping[str, ScalarPolynomial]) -> str:
    """LaTeX of Σ polynomial · text, with brackets as in −2κ[sQ + 2X] + κ²/B[…] − 2ηγQ."""
    groups: dict[Monomial, list[tuple[str, ScalarPolynomial]]] = {}
    for text, value in parts.items():
        names = [name for name in value.names if name not in _INSIDE]
        for monomial, part in value.collect(names).items():
            groups.setdefault(monomial, []).append((text, part))
    found: dict[tuple[Fraction, str], list[str]] = {}
    # The terms with κ come first, then those with κ², then others.
    for monomial, members in sorted(groups.items(), key=lambda group: _steps(group[0]) or math.inf):
        factor = common_factor([c for _, part in members for _, c in part.sorted_terms()])
        inside = [scaled(part if factor == 1 else part * (1 / factor), text) for text, part in members]
        if not monomial:
            found |= {(factor * coefficient, text): [""] for coefficient, text in inside}
            continue
        alone = len(inside) == 1 and inside[0][0] == 1
        body = inside[0][1] if alone else f"[{join(inside)}]"
        # The factors of equal bodies are added up, as in (κ₁ + κ₂)M₁₂.
        found.setdefault((factor, body), []).append(product(monomial))
    return join(
        (factor, product_text(texts[0] if len(texts) == 1 else f"({' + '.join(texts)})", body))
        for (factor, body), texts in found.items()
    )


def _steps(names: Iterable[str]) -> int:
    """How many of the names are κ or one of κ_1, κ_2 …"""
    return sum(name.partition("_")[0] == STEP for name in names)


def scaled(value: ScalarPolynomial, text: str) -> tuple[Fraction, str]:
    """polynomial · text as a term for `join`, in parentheses if the polynomial has several terms."""
    if len(value.terms) == 1:
        ((monomial, coefficient),) = value.terms.items()
        return coefficient, product_text(product(monomial), text)
    return Fraction(1), f"({polynomial(value)}){text}"


def product_text(left: str, right: str) -> str:
    """LaTeX of left · right, with a space where a command would swallow a letter."""
    if re.search(r"\\delta [st]$", left):
        return rf"{left}\,{right}"
    needs_space = re.search(r"\\[a-zA-Z]+$", left) and right[:1].isalpha()
    return f"{left} {right}" if needs_space else left + right


class ReadoutSums:
    """Prints sums with a and b as numbers; terms with the same powers of a and b share a parenthesis.

    So do those with the same factor κ²/B.
    """

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

    def sum(self, terms: Iterable[tuple[Fraction, tuple[str, ...]]]) -> str:
        """LaTeX of Σ coefficient · Π factors."""
        groups: dict[tuple[str, ...], list[tuple[Fraction, tuple[str, ...]]]] = {}
        for coefficient, factors in terms:
            before = _READOUT
            if not _RECIPROCALS.isdisjoint(factors):
                before = _READOUT | _RECIPROCALS | {f for f in factors if _steps([f])}
            outside = tuple(f for f in factors if f in before)
            rest = tuple(f for f in factors if f not in before)
            groups.setdefault(outside, []).append((coefficient, rest))
        printed: list[tuple[Fraction, str]] = []
        for outside, members in groups.items():
            scale, width = self._readout([f for f in outside if f in _READOUT])
            others = [f for f in outside if f not in _READOUT]
            if len(members) == 1 or not outside:
                for coefficient, rest in members:
                    printed.append(self._scaled(scale * coefficient, width, product((*others, *rest))))
                continue
            common = common_factor([coefficient for coefficient, _ in members])
            inside = join((c if common == 1 else c / common, product(rest)) for c, rest in members)
            printed.append(self._scaled(scale * common, width, f"{product(others)}({inside})"))
        return join(printed)


def derivative(of: str) -> str:
    """d/dα of a symbol."""
    return rf"\frac{{\mathrm{{d}}{of}}}{{\mathrm{{d}}\alpha}}"
