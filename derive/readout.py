"""The readout: the weights a and b of student and teacher as powers of their widths, in all forms.

A network of k units adds up its units with the weight k^power. Everything that the rest of the program
does with a readout follows from this power, so that another readout is one more entry of `READOUTS`.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derive.model import Model

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Readout:
    """One readout: a = p^power and b = p*^power.

    name
        The value of the option, and the word in names of folders: lower-case letters and dashes.
    power
        A multiple of ½, ValueError otherwise.
    """

    name: str
    power: Fraction

    def __post_init__(self) -> None:
        if (2 * self.power).denominator != 1:
            raise ValueError(f"{self.name}: the power {self.power} is not a multiple of 1/2")

    # --- numbers -------------------------------------------------------------------------

    def value(self, width: float) -> float:
        """The weight as a float, equal to the last bit to what `code` evaluates to."""
        size = width ** _exponent(abs(self.power))
        return 1.0 / size if self.power < 0 else 1.0 * size

    def inverse(self, width: float) -> float:
        """1 / weight as a float; 1/(ab) is that of the width p p*, and b/a that of p/p*."""
        return dataclasses.replace(self, power=-self.power).value(width)

    def parts(self, width: int) -> tuple[Fraction, int]:
        """The weight as (r, n): the rational number r times 1/√n; n is 1 where the weight is rational."""
        halves = int(2 * self.power)
        root = isqrt(width)
        if halves % 2 == 0:
            return Fraction(width) ** (halves // 2), 1
        if root * root == width:
            return Fraction(root) ** halves, 1
        return Fraction(width) ** ((halves + 1) // 2), width

    def exact(self, width: int) -> Fraction | None:
        """The weight if it is rational, else None."""
        rational, below = self.parts(width)
        return rational if below == 1 else None

    # --- text ----------------------------------------------------------------------------

    def code(self, width: int | str) -> str:
        """The weight as a Python expression whose value is a float; `width` is a number or a name."""
        if not self.power:
            return "1.0"
        exponent = _exponent(abs(self.power))
        size = str(width) if exponent == 1 else f"{width} ** {exponent}"
        return f"1.0 {'/' if self.power < 0 else '*'} {size}"

    def expression(self, width: Any) -> Any:
        """The weight as an expression of SymPy; `width` is an integer or a symbol."""
        import sympy

        return sympy.sympify(width) ** sympy.Rational(self.power.numerator, self.power.denominator)

    def latex(self, student: str, teacher: str) -> str:
        """LaTeX of a and b for these widths, numbers or symbols, for a line of its own."""
        if not self.power:
            return "a = b = 1"
        sizes = (self._size(width, r"\sqrt{{{}}}") for width in (student, teacher))
        a, b = (rf"\frac{{1}}{{{size}}}" if self.power < 0 else size for size in sizes)
        return rf"a = {a},\qquad b = {b}"

    @property
    def inline(self) -> str:
        """LaTeX of a and b within a line of text, as in "$a = 1/p$, $b = 1/p^*$"."""
        if not self.power:
            return "$a = b = 1$"
        a, b = (self._weight(self._size(width, r"\sqrt{{{}}}")) for width in ("p", "p^*"))
        return f"$a = {a}$, $b = {b}$"

    @property
    def words(self) -> str:
        """The weights in ASCII, as in "a = 1/p, b = 1/p*"."""
        if not self.power:
            return "a = b = 1"
        a, b = (self._weight(self._size(width, "sqrt({})", " ")) for width in ("p", "p*"))
        return f"a = {a}, b = {b}"

    @property
    def pair(self) -> str:
        """The pair (a, b) in Unicode, as in "(1/√p, 1/√p*)"."""
        a, b = (self._weight(self._size(width, "√{}")) for width in ("p", "p*"))
        return re.sub(r"\^\d+", lambda raised: raised[0][1:].translate(_SUPERSCRIPTS), f"({a}, {b})")

    def _size(self, width: str, root: str, times: str = "") -> str:
        """The text of width^|power|, a product of a whole power and a root."""
        whole, half = divmod(int(2 * abs(self.power)), 2)
        base = width if width.isalnum() else f"({width})"
        factors = [width if whole == 1 else f"{base}^{whole}"] * (whole > 0)
        return times.join([*factors, *[root.format(width)] * half]) or "1"

    def _weight(self, size: str) -> str:
        """The size, or one over it; a product below the line is in parentheses."""
        if self.power >= 0:
            return size
        return f"1/({size})" if abs(self.power) > 1 and self.power.denominator == 2 else f"1/{size}"


def _exponent(power: Fraction) -> int | float:
    """The power as Python writes it."""
    return power.numerator if power.denominator == 1 else float(power)


# In the order of help texts; the first is the default.
READOUTS = {
    readout.name: readout
    for readout in (
        Readout("mean", Fraction(-1)),
        Readout("sum", Fraction(0)),
        Readout("sqrt", Fraction(-1, 2)),
    )
}


def weights(model: Model) -> tuple[float, float]:
    """The readout weights a and b of a model."""
    readout = READOUTS[model.readout]
    return readout.value(model.p), readout.value(model.pstar)
