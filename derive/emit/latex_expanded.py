"""Prints the equations in Q, R and T alone as LaTeX, without letters for loops, chains and moments.

Chains and loops are multiplied out as sums of products of matrices that do not commute (docs/theory.md).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import groupby

from derive.emit.latex_lines import align
from derive.emit.latex_matrix import (
    CHANGE_OF_PROJECTION,
    LEFT_SIDES,
    PROJECTION,
    readout_display,
    second_layer,
    side_by_side,
)
from derive.emit.latex_text import (
    TEACHER_WIDTH,
    TRACE,
    common_factor,
    join,
    product,
    product_text,
    symbol,
)
from derive.emit.printed_program import put_in
from derive.equations import (
    INVERSE_BATCH,
    LEARNING_RATE,
    LOOP_NAMES,
    NOISE,
    READOUT_STUDENT,
    READOUT_TEACHER,
    SECOND_RATE,
    STEP,
    WEIGHT_DECAY,
    OverlapEquations,
)
from derive.model import Model
from derive.overlap_program import DQ, DR, DV, FREE_DQ, FREE_DR
from derive.scalar_polynomials import Monomial, ScalarPolynomial

# A product of matrices by their letters, of which the empty one is 1.
_Word = tuple[str, ...]
# A sum of products with coefficients.
_Sum = dict[_Word, ScalarPolynomial]
# The scalars before a bracket, and what is in it.
_Bracket = tuple[Fraction, tuple[str, ...], _Sum]

_CHANGE = "d"
_LETTERS = {"V": "D_v", "V*": "D_{v^*}", "Q": "Q", "R": "R", "R'": r"R^\top", "T": "T"}
_LETTERS |= {_CHANGE + letter: rf"\delta {latex}" for letter, latex in _LETTERS.items()}
_LETTERS_IN_ORDER = tuple(_LETTERS)
_TRANSPOSED = {"R": "R'", "R'": "R", f"{_CHANGE}R": f"{_CHANGE}R'", f"{_CHANGE}R'": f"{_CHANGE}R"}
_STUDENT, _TEACHER = 0, 1


# --- sums of products --------------------------------------------------------------------


def _plus(*parts: _Sum) -> _Sum:
    total: _Sum = {}
    for part in parts:
        for word, value in part.items():
            total[word] = total.get(word, ScalarPolynomial()) + value
    return {word: value for word, value in total.items() if value}


def _times(left: _Sum, right: _Sum) -> _Sum:
    return _plus(*({(*u, *v): x * y} for u, x in left.items() for v, y in right.items()))


def _multiple(factor: ScalarPolynomial, part: _Sum) -> _Sum:
    return {word: factor * value for word, value in part.items()}


def _letter(*letters: str) -> _Sum:
    return {letters: ScalarPolynomial.constant(1)}


def _order(word: _Word) -> list[int]:
    """Where a product stands among others of its length."""
    return [_LETTERS_IN_ORDER.index(letter) for letter in word]


def _trace_name(word: _Word) -> str:
    """The name of tr(word), the same for cyclic permutations and for the transpose; a change comes last."""
    transposed = tuple(_TRANSPOSED.get(letter, letter) for letter in reversed(word))
    turned = [w[k:] + w[:k] for w in (word, transposed) for k in range(len(w))]
    changes = [w for w in turned if w[-1].startswith(_CHANGE)]
    chosen = min(changes, key=lambda w: (_order(w[-1:]), _order(w))) if changes else min(turned, key=_order)
    return TRACE + " ".join(chosen)


class _Expansion:
    """The loops and chains of one model as sums of products.

    width
        The teacher's width: a number, or a symbol for any widths.
    """

    def __init__(self, model: Model, equations: OverlapEquations, any_widths: bool) -> None:
        self.model = model
        self.equations = equations
        self.width = (
            ScalarPolynomial.name(TEACHER_WIDTH) if any_widths else ScalarPolynomial.constant(model.pstar)
        )
        teacher = _letter("T") if model.teacher == "general" else _letter()
        self._covariance = ((_letter("Q"), _letter("R")), (_letter("R'"), teacher))
        self._weights = tuple(
            _multiple(ScalarPolynomial.name(name) * sign, _letter(letter) if model.weighted else _letter())
            for name, sign, letter in ((READOUT_STUDENT, 1, "V"), (READOUT_TEACHER, -1, "V*"))
        )
        self._loops = {
            name: self._trace(_times(self._weights[u], self._chain(length - 1, u, u)) for u in (0, 1))
            for length, name in LOOP_NAMES.items()
        }

    def _chain(self, length: int, row: int, column: int) -> _Sum:
        """A block of C(DC)^length."""
        if not length:
            return self._covariance[row][column]
        return _plus(
            *(
                _times(
                    _times(self._chain(length - 1, row, u), self._weights[u]), self._covariance[u][column]
                )
                for u in (_STUDENT, _TEACHER)
            )
        )

    def _trace(self, parts: Iterable[_Sum]) -> ScalarPolynomial:
        total = ScalarPolynomial()
        for part in parts:
            for word, value in part.items():
                # Only products of teachers are 1, whose trace is p*.
                trace = ScalarPolynomial.name(_trace_name(word)) if word else self.width
                total = total + value * trace
        return total

    def scalar(self, value: ScalarPolynomial) -> ScalarPolynomial:
        """A polynomial in the loops as one in traces."""
        return put_in(value, self._loops)

    def moment(self, chains: Mapping[int, ScalarPolynomial], column: int) -> _Sum:
        """A block of Σ coefficient · C(DC)^m in the row of students."""
        return _plus(
            *(
                _multiple(self.scalar(value), self._chain(m, _STUDENT, column))
                for m, value in chains.items()
            )
        )

    def drift(self) -> Iterator[tuple[str, list[_Bracket]]]:
        """The parts of the drift as sums of brackets, in the order of their lines."""
        model, equations = self.model, self.equations
        mean, noise = equations.mean, self.moment(equations.noise, _STUDENT)
        step = _letter("V") if model.weighted else _letter()
        students = self.moment(mean, _STUDENT)
        decay = (LEARNING_RATE, WEIGHT_DECAY)
        sphere = model.constraint == "sphere"
        one = Fraction(1)
        yield (
            (FREE_DR if sphere else DR).name,
            [(-one, (STEP,), _times(step, self.moment(mean, _TEACHER))), (-one, decay, _letter("R"))],
        )
        brackets: list[_Bracket] = [(-one, (STEP,), _plus(_times(step, students), _times(students, step)))]
        if not model.weighted:
            brackets = [(Fraction(-2), (STEP,), students)]
        if noise:
            brackets.append((one, (STEP, STEP, INVERSE_BATCH), _times(_times(step, noise), step)))
        yield (FREE_DQ if sphere else DQ).name, [*brackets, (Fraction(-2), decay, _letter("Q"))]
        if model.trained:
            yield DV.name, [(-one, (READOUT_STUDENT, SECOND_RATE), students)]

    def change(self, part: _Sum) -> _Sum:
        """The product rule for changes of the order parameters."""
        letters = {"Q", "R", "R'", *("V" * self.model.trained)}

        def changed(word: _Word) -> Iterator[_Word]:
            for k, letter in enumerate(word):
                if letter in letters:
                    yield (*word[:k], _CHANGE + letter, *word[k + 1 :])

        def scalar(value: ScalarPolynomial) -> ScalarPolynomial:
            total = ScalarPolynomial()
            for name in value.names:
                if name.startswith(TRACE):
                    for word in changed(_traced(name)):
                        total = total + value.derivative(name) * ScalarPolynomial.name(_trace_name(word))
            return total

        return _plus(
            *({other: value} for word, value in part.items() for other in changed(word)),
            *({word: scalar(value)} for word, value in part.items()),
        )


# --- text --------------------------------------------------------------------------------


def word_text(word: _Word) -> str:
    """LaTeX of a product of matrices, equal neighbours as powers."""
    factors = []
    for letter, repeated in groupby(word):
        power = len(list(repeated))
        factors.append(_LETTERS[letter] if power == 1 else f"{_LETTERS[letter]}^{power}")
    return side_by_side(*factors)


def _named(name: str) -> str:
    """The name of a scalar; that of a trace has the LaTeX of its product."""
    return TRACE + word_text(_traced(name)) if name.startswith(TRACE) else name


def _traced(name: str) -> _Word:
    """The product whose trace has this name."""
    return tuple(name.removeprefix(TRACE).split(" "))


def _polynomial_terms(value: ScalarPolynomial) -> list[tuple[Monomial, Fraction]]:
    """The terms with their traces by LaTeX, those of students first and label noise last."""
    terms = [(tuple(map(_named, monomial)), coefficient) for monomial, coefficient in value.sorted_terms()]
    return sorted(terms, key=lambda term: (NOISE in term[0], term[0].count(READOUT_TEACHER), -len(term[0])))


def _term(value: ScalarPolynomial, text: str) -> tuple[Fraction, str]:
    """polynomial · text as a term for `join`, with the factors that all terms share before parentheses."""
    terms = _polynomial_terms(value)
    shared = Counter(terms[0][0])
    for monomial, _ in terms:
        shared &= Counter(monomial)
    factor = common_factor([coefficient for _, coefficient in terms])
    rest = [
        (coefficient / factor, product(sorted((Counter(monomial) - shared).elements())))
        for monomial, coefficient in terms
    ]
    inside = text if len(terms) == 1 else f"({join(rest)}){text}"
    return factor, product_text(product(sorted(shared.elements())), inside)


def _sum_text(part: _Sum) -> str:
    words = sorted(part.items(), key=lambda item: (len(item[0]), _order(item[0])))
    return join(_term(value, word_text(word)) for word, value in words)


def _bracket_text(bracket: _Bracket, index: str) -> tuple[Fraction, str]:
    """A bracket with the scalars before it, κ = 2aη written out and all of them above 1/B."""
    coefficient, names, inside = bracket
    above: list[str] = []
    for name in names:
        above += [READOUT_STUDENT, LEARNING_RATE] if name == STEP else [name] * (name != INVERSE_BATCH)
    coefficient *= 2 ** names.count(STEP)
    before = product(sorted(above))
    if INVERSE_BATCH in names:
        size = "" if abs(coefficient) == 1 else str(abs(coefficient))
        before = rf"\frac{{{size}{before}}}{{{symbol(INVERSE_BATCH)}}}"
        coefficient /= abs(coefficient)
    text = _sum_text(inside)
    bare = not re.search("^-| [+-] ", text)
    return coefficient, product_text(before, text if bare and not index else f"[{text}]{index}")


def expanded_form(model: Model, equations: OverlapEquations, what: str, any_widths: bool = False) -> str:
    """LaTeX of "odes", "loss" or "jacobian" in Q, R and T, with symbolic p and p* for `any_widths`."""
    expansion = _Expansion(model, equations, any_widths)
    lines = second_layer(model)
    if what == "loss":
        terms = _polynomial_terms(expansion.scalar(equations.loss))
        lines.append((r"\varepsilon", join((c, product(monomial)) for monomial, c in terms)))
        return readout_display(model, any_widths) + align(lines)
    sphere = model.constraint == "sphere"
    drift = list(expansion.drift())

    def printed(change: str, inside: Callable[[_Sum], _Sum]) -> Iterator[tuple[str, str]]:
        for name, brackets in drift:
            index = "_{ii}" if name == DV.name else ""
            texts = [_bracket_text((c, names, inside(part)), index) for c, names, part in brackets]
            left = LEFT_SIDES[name]
            yield rf"{change}{left}" if "frac" in left or not change else rf"{change} {left}", join(texts)

    if what == "odes":
        lines += [*printed("", lambda part: part), *(PROJECTION if sphere else ())]
    else:
        if sphere:
            # The changes refer to the drift before its projection, and to the growth of norms.
            lines += [
                *(line for line in printed("", lambda part: part) if line[0] in "GF"),
                *PROJECTION[:2],
            ]
        lines += [*printed(r"\delta", expansion.change), *(CHANGE_OF_PROJECTION if sphere else ())]
    return readout_display(model, any_widths) + align(lines)
