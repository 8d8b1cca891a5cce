"""Lists what the overlap ODEs conserve: claims, each proved or refuted for one model, with its conditions.

A claim is tried with all second-layer weights symbolic, then with equal weights of the students, of the
teachers and of both; and with a symbolic weight decay γ, then with γ = 0. It is listed with the fewest
conditions under which it is proved, of which there may be two that do not contain each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from derive.invariants.model_matrices import ALL_ONE, ANY_WEIGHTS, Law, ModelMatrices
from derive.invariants.ring import overlap_ring
from derive.invariants.second_layer_laws import second_layer_laws
from derive.invariants.singular_vector_laws import singular_vector_laws
from derive.invariants.stationary_laws import stationary_laws
from derive.invariants.transport_laws import transport_laws
from derive.invariants.vector_field import drift_field
from derive.model import Model

# Which weights a claim takes to be equal, by their letters in the ring.
Equal = frozenset[str]
_OPTIONS = ("flow", "constraint", "teacher")
# Options that a law which fails is tried with, to say what it needs.
_REMEDIES = (
    {"flow": "gradient"},
    {"constraint": "free"},
    {"flow": "gradient", "constraint": "free"},
    {"second_layer": "fixed"},
    {"second_layer": "fixed", "flow": "gradient"},
    {"second_layer": "fixed", "constraint": "free"},
    {"second_layer": "fixed", "flow": "gradient", "constraint": "free"},
)


def laws(model: Model) -> list[Law]:
    """Every claim that makes sense for the model, with its verdict; this takes seconds up to p = 4.

    Verdicts are exact and hold for all a, b, η, Δ, B and T, and under the conditions of each law for all
    second-layer weights and weight decays γ. Claims that hold for another flow or constraint are tried too,
    so that the list also says what is *not* conserved by this model, and what it would need.
    """
    return [law if law.verdict.proved else _with_remedy(law, model) for law in _found(model)]


def _with_remedy(law: Law, model: Model) -> Law:
    """The law with the options under which it would be proved, if it is for some."""
    for options in _REMEDIES:
        changed: dict[str, Any] = {
            name: value for name, value in options.items() if getattr(model, name) != value
        }
        if len(changed) < len(options) or (model.second_layer == "ones" and "second_layer" in options):
            continue
        for other in _found(dataclasses.replace(model, **changed)):
            if other.name == law.name and other.verdict.proved:
                needed = [f"{name} = {value}" for name, value in changed.items()]
                if model.weighted and other.conditions["weights"] != law.conditions["weights"]:
                    needed.append(other.conditions["weights"])
                if other.conditions["decay"] == "0":
                    needed.append("gamma = 0")
                return dataclasses.replace(law, otherwise=f"it holds with {', '.join(needed)}")
    return law


@lru_cache(maxsize=32)
def _found(model: Model) -> tuple[Law, ...]:
    """The laws with the fewest conditions on weights."""
    proved: dict[str, list[tuple[Equal, Law]]] = {}
    failed: dict[str, Law] = {}
    for equal in _equal_weights(model):
        for law in _over_decays(model, equal):
            before = proved.setdefault(law.name, [])
            if not law.verdict.proved:
                failed.setdefault(law.name, law)
            elif not any(
                fewer <= equal and other.conditions["decay"] in ("any", law.conditions["decay"])
                for fewer, other in before
            ):
                before.append((equal, law))
    found = []
    # With all weights equal there are the most claims, which come in the order of their derivation.
    ordered = [*(law.name for law in _claims(model, _equal_weights(model)[-1], decay=False)), *proved]
    for name in dict.fromkeys(ordered):
        cases = proved[name]
        for _, law in cases:
            if name in failed:
                wider = f"{failed[name].conditions['weights']}: {failed[name].verdict.reason}"
                law = dataclasses.replace(law, otherwise="; ".join(filter(None, (law.otherwise, wider))))
            found.append(law)
        if not cases:
            found.append(failed[name])
    return tuple(found)


def _equal_weights(model: Model) -> list[Equal]:
    """The assumptions on weights that make a difference, those that assume less first."""
    letters = []
    if model.second_layer == "fixed" and model.p > 1:
        letters.append("v")
    if model.weighted and model.pstar > 1:
        letters.append("vstar")
    single = [frozenset([letter]) for letter in letters]
    both = [frozenset(letters)] if len(letters) > 1 else []
    return [frozenset(), *single, *both]


def _words(model: Model, equal: Equal) -> str:
    if not model.weighted:
        return ALL_ONE
    symbols = {"v": "$v$", "vstar": "$v^*$"}
    return ", ".join(f"equal {symbols[letter]}" for letter in sorted(equal)) or ANY_WEIGHTS


def _over_decays(model: Model, equal: Equal) -> Iterator[Law]:
    """The laws under an assumption on weights, for any γ if they are proved for it, else for γ = 0."""
    conditions = {name: getattr(model, name) for name in _OPTIONS} | {"weights": _words(model, equal)}
    none = {law.name: law for law in _claims(model, equal, decay=False)}
    # On the sphere weight decay has no effect.
    same = drift_field(model, True).numerators == drift_field(model).numerators
    any_decay = none if same else {law.name: law for law in _claims(model, equal, decay=True)}
    for name in [*none, *(name for name in any_decay if name not in none)]:
        with_decay, without = any_decay.get(name), none.get(name)
        otherwise = ""
        if with_decay is not None and (with_decay.verdict.proved or without is None or same):
            law, decay = with_decay, "any"
        else:
            assert without is not None
            law, decay = without, "0"
            if with_decay is not None and without.verdict.proved:
                otherwise = f"any gamma: {with_decay.verdict.reason}"
        yield dataclasses.replace(
            law,
            conditions_latex=conditions | {"decay": decay} | dict(law.conditions_latex),
            otherwise=otherwise,
        )


def _claims(model: Model, equal: Equal, *, decay: bool) -> Iterator[Law]:
    ring = overlap_ring(model)
    widths = {"v": model.p, "vstar": model.pstar}
    weights: dict[str, Any] = {
        f"{letter}_{k}": ring[f"{letter}_1"] for letter in equal for k in range(2, widths[letter] + 1)
    }
    matrices = ModelMatrices(model, decay, weights)
    yield from transport_laws(matrices)
    yield from singular_vector_laws(matrices)
    # These hold for all weights, or have assumptions of their own.
    if not equal:
        yield from stationary_laws(matrices)
        yield from second_layer_laws(matrices)
