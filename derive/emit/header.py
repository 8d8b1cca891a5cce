"""The docstring of a generated module: its model, the source of the equations, the layout of the state."""

from __future__ import annotations

from textwrap import fill

from derive.emit.activation_text import activation_lines, has_teacher_activation, is_polynomial
from derive.emit.python_source import INDENT
from derive.model import OPTIONS, DerivableModel, Model
from derive.parameters import PARAMETERS
from derive.version import written_by


def student_and_teacher(model: DerivableModel) -> str:
    """Student and teacher in words, ASCII only; without the label noise."""
    v, vstar = ("v_i ", "v*_r ") if model.weighted else ("", "")
    student, teacher = "lambda_i^2", "lambda*_r^2"
    if is_polynomial(model):
        star = "*" if has_teacher_activation(model) else ""
        student, teacher = "sigma(lambda_i)", f"sigma{star}(lambda*_r)"
    return f"student f = a sum_i {v}{student}, teacher y = b sum_r {vstar}{teacher}"


def problem_text(model: DerivableModel) -> str:
    """The problem in words, up to what is said about the teacher. ASCII only."""
    student, teacher = student_and_teacher(model).split(", ")
    time = "time alpha = steps / N, with batch samples a step"
    activations = f"{activation_lines(model)},\n" if is_polynomial(model) else ""
    return f"""\
S{student[1:]}, {teacher} + sqrt(label_noise) xi,
{activations}loss (f - y)^2 / 2, {time};
overlaps Q = WW'/N, R = WW*'/N"""


def derive_command(model: DerivableModel | type[DerivableModel]) -> str:
    """The command that generates a model; for a class of models, the command without options."""
    command = "cli derive" if model.kind == "system" else f"cli derive --{model.kind}"
    if isinstance(model, type):
        return command
    return " ".join(
        [
            command,
            *(f"--{option.replace('_', '-')} {value}" for option, value in model.given_options().items()),
        ]
    )


def option_lines(model: DerivableModel) -> str:
    """A line for each structural option: its name, and the words about its value."""
    return "\n".join(
        f"{name.capitalize().replace('_', ' '):<12} {option.values[getattr(model, name)]}"
        for name, option in OPTIONS.items()
    )


def paragraph(text: str) -> str:
    """The text wrapped and indented for a docstring; names are not broken."""
    return fill(text, 92, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False)


def parameter_paragraph(model: DerivableModel) -> str:
    """The packed parameters in order, and what the reciprocals among them are, for a docstring."""
    reciprocals = (
        f"; {parameter.code} is 1/{parameter.name}"
        for parameter in PARAMETERS.values()
        if parameter.reciprocal and parameter.belongs_to(model)
    )
    return paragraph(", ".join(model.parameters) + "".join(reciprocals) + ".")


def module_docstring(model: Model, operations: int, unrolled: bool) -> str:
    """The docstring of a generated module, ASCII only."""
    upper = model.p * (model.p + 1) // 2
    end = upper + model.p * model.pstar
    second_layer = f"; y[{end}:{model.state_size}] is v" if model.trained else ""
    layout = (
        f"y[0:{upper}] is the upper triangle of Q, row by row; "
        f"y[{upper}:{end}] is R, row by row{second_layer}. In order: "
    )
    # A list of thousands of names would tell a reader nothing more.
    names = model.state if model.state_size <= 100 else (*model.state[:4], "...", model.state[-1])
    form = "has one line per entry" if unrolled else "loops over matrix products"
    title = "a quadratic teacher-student network"
    if is_polynomial(model):
        title = "a teacher-student network with polynomial activation"
    return f'''"""Overlap ODEs of {title}, p = {model.p}, p* = {model.pstar}.

{problem_text(model)}, T = W*W*'/N.
After arXiv:2604.03068; readable equations are in odes.tex beside this file.

{option_lines(model)}

State y, {model.state_size} numbers:
{paragraph(layout + ", ".join(names) + ".")}
Parameters, {len(model.parameters)} numbers:
{parameter_paragraph(model)}

The function rhs takes {operations} floating-point operations and {form}.
{written_by()}, regenerate with
    {derive_command(model)}
"""'''
