"""The decorator by which functions take the run-time parameters of the table as keyword arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar, overload

from derive.parameters import NUMBERS, PARAMETERS, VECTORS, RuntimeParameter

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


@overload
def takes_parameters(function: AnyFunction) -> AnyFunction: ...
@overload
def takes_parameters(
    *, positional: bool = ..., loss: bool = ..., without: Collection[str] = ..., usual: bool = ...
) -> Callable[[AnyFunction], AnyFunction]: ...
def takes_parameters(
    function: Any = None,
    *,
    positional: bool = False,
    loss: bool = False,
    without: Collection[str] = (),
    usual: bool = False,
) -> Any:
    """Decorator: the ``**parameters`` of a function become the keywords of the table, with its defaults.

    The signature that users see, and by which calls are checked, names each of them. In the docstring, a
    line ``{parameters}`` is replaced by what the table says about those that are numbers or vectors.

    positional
        They may also be given by position, after the other positional arguments; the function then has
        ``*_`` in its signature for type checkers.
    loss
        The function takes only those that the loss depends on.
    without
        The names of some that the function does not take. Parameters that it names itself stay as they are.
    usual
        A number without a default has the default of commands.
    """
    if function is None:
        return functools.partial(
            takes_parameters, positional=positional, loss=loss, without=without, usual=usual
        )
    own = inspect.signature(function)
    taken = [
        parameter
        for name, parameter in PARAMETERS.items()
        if (parameter.in_loss or not loss) and name not in without and name not in own.parameters
    ]
    signature = _with_arguments(own, [_argument(parameter, positional, usual) for parameter in taken])

    @functools.wraps(function)
    def taking(*arguments: Any, **keywords: Any) -> Any:
        try:
            bound = signature.bind(*arguments, **keywords)
        except TypeError as error:
            # Python's own error names the function, too.
            raise TypeError(f"{function.__name__}(): {error}") from None
        if usual:
            bound.apply_defaults()
        names = [parameter.name for parameter in taken if parameter.name in bound.arguments]
        values = {name: bound.arguments.pop(name) for name in names}
        return function(*bound.args, **bound.kwargs, **values)

    taking.__signature__ = signature  # type: ignore[attr-defined]
    if function.__doc__:
        taking.__doc__ = _with_entries(function.__doc__)
    return taking


def _argument(parameter: RuntimeParameter, positional: bool, usual: bool) -> inspect.Parameter:
    """A parameter of the table as an argument of a function."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    if parameter.shape or parameter.only_with is not None:
        # Vectors, and what only some models have, may be left out: checks say for which it is required.
        left_out = None if parameter.shape else parameter.default
        return inspect.Parameter(parameter.name, kind, default=left_out, annotation="ArrayLike | None")
    default: Any = parameter.default
    if default is None:
        default = parameter.usual if usual else inspect.Parameter.empty
    return inspect.Parameter(parameter.name, kind, default=default, annotation="ArrayLike")


def _with_arguments(own: inspect.Signature, added: list[inspect.Parameter]) -> inspect.Signature:
    """A signature with arguments in place of its variadic ones, in front of the keyword-only ones."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    kept = [argument for argument in own.parameters.values() if argument.kind not in variadic]
    front = [argument for argument in kept if argument.kind != argument.KEYWORD_ONLY]
    return own.replace(parameters=[*front, *added, *kept[len(front) :]])


def _with_entries(docstring: str) -> str:
    """The docstring with the line {parameters} replaced by entries of the numbers and vectors."""
    lines = []
    for line in docstring.split("\n"):
        if line.strip() != "{parameters}":
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for parameter in (*NUMBERS, *VECTORS):
            lines += [f"{indent}{parameter.name}", f"{indent}    {parameter.help}"]
    return "\n".join(lines)
