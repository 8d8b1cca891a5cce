"""The parts of JSON schemas: short functions that make the schema of a value, with words about it.

In a `record`, a name that ends in a question mark may be missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from typing import Any

from derive.parameters import NUMBERS, PARAMETERS
from runtime.run_options import ACTIVATIONS, MODEL_OPTIONS, RUN_OPTIONS, RunOption, numbers_of

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL: Schema = {"type": "null"}
STATUS = ("ok", "diverged", "step_too_small")
# What elements of long lists are; a schema has those to which it refers.
_DEFINITIONS: dict[str, Schema] = {
    "value": {
        "type": ["number", "null"],
        "description": "A number; null where there is none (after a divergence, or not reached).",
    },
    "count": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "text": {"type": "string"},
    "status": {"enum": list(STATUS)},
}


def _described(schema: Schema, words: str) -> Schema:
    return {**schema, "description": words} if words else schema


def text(words: str = "", **more: Any) -> Schema:
    return _described({"type": "string", **more}, words)


def number(words: str = "") -> Schema:
    return _described({"type": "number"}, words)


def maybe(words: str) -> Schema:
    """A number, or null where there is none."""
    return _described({"$ref": "#/$defs/value"}, words)


def whole(words: str = "", least: int = 0) -> Schema:
    return _described({"type": "integer", "minimum": least}, words)


def flag(words: str = "") -> Schema:
    return _described({"type": "boolean"}, words)


def choice(words: str, *values: Any) -> Schema:
    return _described({"enum": list(values)}, words)


def listed(item: Schema, words: str = "", **more: Any) -> Schema:
    return _described({"type": "array", "items": item, **more}, words)


def over(depth: int, words: str = "", item: str = "value") -> Schema:
    """An array with so many axes of elements of this definition."""
    schema: Schema = {"$ref": f"#/$defs/{item}"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return _described(schema, words)


def mapping(item: Schema, words: str) -> Schema:
    """An object whose names are those of the data."""
    return _described({"type": "object", "additionalProperties": item}, words)


def either(words: str, *forms: Schema) -> Schema:
    return _described({"oneOf": list(forms)}, words)


def record(words: str, properties: Mapping[str, Schema], others: Any = False, title: str = "") -> Schema:
    """An object with these names; `others` says what other names may hold."""
    return {
        **({"title": title} if title else {}),
        **({"description": words} if words else {}),
        "type": "object",
        "properties": {name.removesuffix("?"): schema for name, schema in properties.items()},
        "required": [name for name in properties if not name.endswith("?")],
        "additionalProperties": others,
    }


def fields(properties: Mapping[str, Schema], others: Any = False, title: str = "") -> Schema:
    """A `record` whose place says what it is."""
    return record("", properties, others, title)


def document(command: str, schema: Schema, **definitions: Schema) -> Schema:
    """The schema of what a command prints, with its title and the definitions to which it refers."""
    used = str(schema) + str(definitions)
    known = {name: part for name, part in _DEFINITIONS.items() if f"#/$defs/{name}'" in used} | definitions
    head = {"$schema": DIALECT, "title": f"cli {command} --json"}
    return {**head, **schema, **({"$defs": known} if known else {})}


# --- what the tables declare -------------------------------------------------------------------


def model(*without: str, sectors: bool = False) -> dict[str, Schema]:
    """The widths and the options of a model; null is the activation of a teacher as the students.

    With `sectors`, what these lack may be missing.
    """
    found = {name: _of(option) for name, option in MODEL_OPTIONS.items() if name not in without}
    if "teacher_activation" in found:
        found["teacher_activation"]["type"] = ["string", "null"]
    lacking = ("p", *ACTIVATIONS) if sectors else ()
    return {f"{name}?" if name in lacking else name: schema for name, schema in found.items()}


def numbers(command: str, varied: Container[str] = ()) -> dict[str, Schema]:
    """The run-time parameters that are numbers, as attributes.

    Those that are `varied`, or that only some models have, may be missing.
    """
    return {
        f"{name}?" if name in varied or PARAMETERS[name].only_with else name: _of(option)
        for name, option in numbers_of(command).items()
    }


def numbers_of_each(one: str) -> dict[str, Schema]:
    """Arrays of the run-time parameters of each trajectory or run."""
    return {
        f"{number.name}{'?' if number.only_with else ''}": over(
            1, f"{number.words.capitalize()} {number.symbol} of each {one}."
        )
        for number in NUMBERS
        if number.per_trajectory
    }


def attributes(
    command: str, names: str, own: Mapping[str, Schema] | None = None, varied: Container[str] = ()
) -> Schema:
    """The attributes of a result: its model, options of its run, and its `own`.

    `names` are those of options, which a question mark makes optional; "numbers" stands for the run-time
    parameters, of which those that are `varied` are optional.
    """
    found = {"title": TITLE, **model("teacher_activation")}
    if command == "sector":
        del found["activation"]
    else:
        found["teacher_activation?"] = _of(ACTIVATIONS["teacher_activation"])
    for name in names.split():
        plain = name.removesuffix("?")
        if plain == "numbers":
            found |= numbers(command, varied if plain == name else numbers_of(command))
        else:
            found[name] = _attribute(plain, command)
    return fields({**found, **(own or {}), **MADE})


TITLE = text("Title of the result, in words.")
VERSION = text("Program and version, such as overlap-ode 0.1.1.")
# What every result says about the program that made it.
MADE = {
    "version": VERSION,
    "history": text("The functions that made the result, a line for each, in order."),
}


def _attribute(name: str, command: str) -> Schema:
    """The value of an option of runs; its words are chosen if it is one of the command."""
    option = RUN_OPTIONS[name]
    chosen = option.of(command) if command in option.commands else dataclasses.replace(option, choices=())
    return _of(dataclasses.replace(chosen, kind=option.kind, help=option.help))


def _of(option: RunOption) -> Schema:
    """The schema of the value of an option."""
    option = dataclasses.replace(option, help=option.help.split("  [")[0])
    if option.kind == "integer":
        return whole(option.help, 0 if option.name == "seed" else 1)
    if option.kind == "number":
        return number(option.help)
    return choice(option.help, *option.choices) if option.choices else text(option.help)
