"""Makes the attributes of a dataset of results, which say where its numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from derive.model import OPTIONS, DerivableModel
from derive.parameters import NUMBERS, RuntimeParameter
from derive.version import VERSION
from runtime.run_options import ACTIVATIONS, default

# A schedule of more steps than fit into a title is cut off.
_LONGEST = 40


def result_attributes(
    title: str, model: DerivableModel, settings: Mapping[str, Any], made_by: str
) -> dict[str, Any]:
    """Title, options of the model, settings of the run, and what `made_attributes` says, in this order."""
    return {"title": title, **model.attributes, **settings, **made_attributes(made_by)}


def made_attributes(made_by: str, source: Mapping[Any, Any] | None = None) -> dict[str, str]:
    """The version of this program and the history: the function that made a result, in a line.

    The lines of the `source`, the attributes of a result that it was made from, come before it. There is no
    time in them, since the same run gives the same file.
    """
    version = f"overlap-ode {VERSION}"
    before = [str(source["history"])] if source and "history" in source else []
    return {"version": version, "history": "\n".join([*before, f"{made_by} of {version}"])}


def departures(
    attributes: Mapping[Any, Any], written: Callable[[RuntimeParameter, float], str]
) -> list[str]:
    """What titles and summaries say of a run that is not as by default: activations, numbers, schedule …

    `written` makes the text of a number with its value. Numbers without a default are left out.
    """
    layer = attributes.get("second_layer", OPTIONS["second_layer"].default)
    words = [f"{layer} second layer"] if layer != OPTIONS["second_layer"].default else []
    activations = {name: attributes.get(name, option.default) for name, option in ACTIVATIONS.items()}
    words += [
        f"{name.replace('_', ' ')} {value}"
        for name, value in activations.items()
        if value != ACTIVATIONS[name].default
    ]
    words += [
        written(number, attributes[number.name])
        for number in NUMBERS
        if number.default is not None and attributes.get(number.name, number.default) != number.default
    ]
    schedule = str(attributes.get("schedule", default("schedule")))
    if schedule != default("schedule"):
        words.append(f"schedule {schedule[:_LONGEST]}{'…' if len(schedule) > _LONGEST else ''}")
    return words
