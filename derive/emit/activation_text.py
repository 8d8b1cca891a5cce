"""Prints activations and their Gaussian moments, polynomials in one variable, as ASCII and as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TypeGuard

from derive.activation import Activation
from derive.emit.latex_text import join
from derive.model import DerivableModel, Model


def is_polynomial(model: DerivableModel) -> TypeGuard[Model]:
    """Whether the equations of a model are those of graphs, not those of the activation λ²."""
    return isinstance(model, Model) and not model.quadratic


def has_teacher_activation(model: DerivableModel) -> bool:
    """Whether the teacher's activation is another one than the students'."""
    return isinstance(model, Model) and model.teacher_activation is not None


def powers_of(activation: Activation) -> dict[int, Fraction]:
    """The coefficients of an activation by their powers."""
    return {power: value for power, value in enumerate(activation.coefficients) if value}


def polynomial_text(powers: Mapping[int, Fraction], variable: str) -> str:
    """A polynomial in ASCII, the highest power first."""
    pieces: list[str] = []
    for power, value in sorted(powers.items(), reverse=True):
        monomial = "" if not power else variable if power == 1 else f"{variable}^{power}"
        size = abs(value)
        body = monomial if size == 1 and monomial else f"{size} {monomial}".rstrip()
        sign = "-" if value < 0 else "+"
        pieces.append(f" {sign} {body}" if pieces else f"{'-' * (value < 0)}{body}")
    return "".join(pieces) or "0"


def polynomial_latex(powers: Mapping[int, Fraction], variable: str) -> str:
    """A polynomial in LaTeX, the highest power first."""
    return join(_latex_terms(powers, variable))


def _latex_terms(powers: Mapping[int, Fraction], variable: str) -> Iterable[tuple[Fraction, str]]:
    for power, value in sorted(powers.items(), reverse=True):
        yield value, "" if not power else variable if power == 1 else f"{variable}^{power}"


def activation_lines(model: Model) -> str:
    """The activations of a model in ASCII, in a line of their own each."""
    student, teacher = model.activations
    lines = [f"sigma(z) = {polynomial_text(powers_of(student), 'z')}"]
    if has_teacher_activation(model):
        lines.append(f"sigma*(z) = {polynomial_text(powers_of(teacher), 'z')}")
    return ",\n".join(lines)


def activation_sentence(model: Model) -> str:
    """The activations of a model in a clause of LaTeX."""
    student, teacher = model.activations
    text = rf"$\sigma(z) = {polynomial_latex(powers_of(student), 'z')}$"
    if has_teacher_activation(model):
        text += rf" and $\sigma^*(z) = {polynomial_latex(powers_of(teacher), 'z')}$"
    return text


def teacher_letter(model: DerivableModel) -> str:
    """LaTeX of σ, with a star where the teacher's activation is another one."""
    return r"\sigma^*" if has_teacher_activation(model) else r"\sigma"
