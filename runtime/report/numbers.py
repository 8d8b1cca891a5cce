"""Numbers as text for `blocks.words`."""

from __future__ import annotations

import math

DIGITS = 5
# Outside these a power of ten reads better.
_SMALL, _LARGE = 1e-3, 1e5
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_NONE = "–"


def number(value: float, digits: int = DIGITS) -> str:
    """So many significant digits; powers of ten, signs and infinity as mathematics."""
    if math.isnan(value):
        return _NONE
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    if value == 0.0 or _SMALL <= abs(value) < _LARGE:
        text = f"{value:.{digits}g}"
        # Why: 12345.6 with five digits is 12346, but 99999.6 is 1e+05.
        if "e" not in text:
            return f"${text}$" if value < 0 else text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    factor = "" if mantissa == "1" else "-" if mantissa == "-1" else rf"{mantissa}\times "
    return f"${factor}10^{{{int(exponent)}}}$"


def integer(value: int) -> str:
    """Digits in groups of three where there are more than four."""
    text = f"{abs(value):,}".replace(",", _NARROW_SPACE) if abs(value) >= 10_000 else str(abs(value))
    return f"$-${text}" if value < 0 else text


def plain(value: float) -> str:
    """For alternative texts, which cannot hold mathematics."""
    return _NONE if math.isnan(value) else f"{value:.4g}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """ "1 student", "4 students"."""
    return f"{integer(count)} {one if count == 1 else many or one + 's'}"
