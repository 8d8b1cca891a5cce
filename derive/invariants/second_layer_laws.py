"""Proves the laws of second-layer weights: symmetries that unequal weights leave, and conserved balances.

Units keep their identity where their weights differ: students and teachers may be exchanged with their
weights, their signs may be changed, and units of equal weight may be rotated into each other. In gradient
flow with free norms the first line of `derive.equations` reads dQ_ij = −(κ_i + κ_j) M_ij − 2ηγ Q_ij with
M = E[e λλᵀ] and κ_i = 2aηv_i. Two laws follow:

- A trained second layer has dv_i = −η_v a M_ii, so that d(Q_ii − 2 (η/η_v) v_i²) = −2ηγ Q_ii: without
  weight decay each student keeps the balance of its layers (docs/conserved-quantities.md derives it).
- Fixed weights v_j = −v_i leave dQ_ij = −2ηγ Q_ij: the overlap of opposite students does not change.

The η² term and the sphere break both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from derive.invariants.conservation_proofs import PROVED, REFUTED, Verdict
from derive.invariants.invariant_sets import InvariantSet
from derive.invariants.model_matrices import EVERYWHERE, Law, ModelMatrices, all_of
from derive.invariants.singular_vector_laws import rotation_verdict

# Rotations of two units are those of all where there are no more.
_FEW = 2
# What the indices of generators count.
_UNITS: Mapping[str, tuple[str, ...]] = {
    "Q": ("students", "students"),
    "R": ("students", "teachers"),
    "T": ("teachers", "teachers"),
    "v": ("students",),
    "vstar": ("teachers",),
}


def second_layer_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """The laws of a model with second-layer weights; none where all weights are 1."""
    model = matrices.model
    if not model.weighted:
        return
    yield from _symmetries(matrices)
    if not matrices.general:
        if model.pstar > 1:
            yield _unaligned_teachers(matrices)
        for who, letter, width in (("students", "v", model.p), ("teachers", "vstar", model.pstar)):
            if width > _FEW and not (letter == "v" and model.trained):
                yield _equal_units(matrices, who, letter, width)
    if model.trained:
        yield from _balances(matrices)
    elif model.p > 1:
        yield _opposite_students(matrices)


# --- exchanges, signs and rotations ----------------------------------------------------------------


def _symmetries(matrices: ModelMatrices) -> Iterator[Law]:
    """Exchanges of two units and changes of sign, which are substitutions of generators."""
    model, ring = matrices.model, matrices.ring
    swaps, signs = [], []
    for who, size in (("students", model.p), ("teachers", model.pstar)):
        swaps += [_exchange(matrices, who, k) for k in range(1, size)]
        signs += [_sign_change(matrices, who, k) for k in range(1, size + 1)]
    if swaps:
        verdicts = [
            _commutes(matrices, {name: ring[other] for name, other in swap.items()}) for swap in swaps
        ]
        statement = "exchanging two students, or two teachers, with their weights commutes with the drift"
        reason = f"{len(swaps)} substitutions turn the drift into itself"
        yield Law("exchanges", statement, EVERYWHERE, all_of(verdicts, reason))
    verdicts = [_commutes(matrices, {name: -ring[name] for name in odd}) for odd in signs]
    statement = r"$w_i \to -w_i$, or $w^*_r \to -w^*_r$, commutes with the drift"
    reason = f"{len(signs)} substitutions turn the drift into itself"
    yield Law("signs", statement, EVERYWHERE, all_of(verdicts, reason))


def _indices(name: str) -> tuple[str, list[tuple[str, int]]]:
    """The letter of a generator, and the units it belongs to; none for numbers."""
    letter, *numbers = name.split("_")
    units = _UNITS.get(letter, ())
    return letter, list(zip(units, map(int, numbers), strict=True)) if units else []


def _exchange(matrices: ModelMatrices, who: str, k: int) -> dict[str, str]:
    """The generator that each one becomes when units k and k + 1 are exchanged."""
    other = {k: k + 1, k + 1: k}
    exchanged = {}
    for name in matrices.ring.names:
        letter, units = _indices(name)
        if units:
            numbers = [other.get(number, number) if unit == who else number for unit, number in units]
            ordered = sorted(numbers) if letter in "QT" else numbers
            exchanged[name] = "_".join([letter, *map(str, ordered)])
    return exchanged


def _sign_change(matrices: ModelMatrices, who: str, k: int) -> list[str]:
    """The generators that change their sign when the weights of unit k do; second layers do not."""
    return [
        name
        for name in matrices.ring.names
        if len(units := _indices(name)[1]) > 1 and units.count((who, k)) == 1
    ]


def _commutes(matrices: ModelMatrices, replacements: Mapping[str, Any]) -> Verdict:
    """Whether the drift of what each order parameter becomes is its drift with these replacements."""
    ring, field = matrices.ring, matrices.field
    whole = ring.replaced(field.denominator, replacements)
    for name in matrices.model.state:
        expected = ring.replaced(field.numerators[name], replacements) * field.denominator
        if field.along(replacements.get(name, ring[name])) * whole != expected:
            return Verdict(REFUTED, f"the drift of {name} does not turn with the state")
    return Verdict(PROVED, "the drift turns with the state")


def _equal_units(matrices: ModelMatrices, who: str, letter: str, width: int) -> Law:
    """Rotations of any two units whose weights are equal, whatever the other weights are."""
    ring, verdicts = matrices.ring, []
    for i, j in itertools.combinations(range(width), 2):
        equal = matrices.with_weights({f"{letter}_{j + 1}": ring[f"{letter}_{i + 1}"]})
        verdicts.append(rotation_verdict(equal, i, j, who == "students"))
    statement = f"rotating {who} of equal weight commutes with the drift"
    verdict = all_of(verdicts, f"the Lie brackets of {len(verdicts)} pairs vanish identically")
    symbol = "v" if letter == "v" else "v^*"
    weights = {"weights": f"${symbol}_i = {symbol}_j$ for these {who}"}
    return Law(f"rotations of equal {who}", statement, EVERYWHERE, verdict, weights)


def _unaligned_teachers(matrices: ModelMatrices) -> Law:
    """Each column of R vanishes for all times if it does at one."""
    columns = zip(*matrices.R, strict=True)
    sets = [InvariantSet("column", "a column of $R$ is 0", column) for column in columns]
    verdict = all_of(
        [matrices.invariant(domain) for domain in sets], "the drift is in the ideal of the set"
    )
    return Law("no alignment with a teacher", "the column stays 0", sets[0].description, verdict)


# --- balances --------------------------------------------------------------------------------------


def _balances(matrices: ModelMatrices) -> Iterator[Law]:
    """The balance of the two layers of each student, and its decay."""
    ring, Q = matrices.ring, matrices.Q
    balances = [ring.eta_second * Q[i][i] - 2 * ring.eta * v**2 for i, v in enumerate(ring.v)]
    balance = r"Q_{ii} - 2(\eta/\eta_v)\,v_i^2"
    verdict = all_of([matrices.conserved(x) for x in balances], "the Lie derivatives vanish identically")
    yield Law("balance of layers", f"${balance}$ is constant", EVERYWHERE, verdict)
    if matrices.decay:
        rates = [-2 * matrices.decay * ring.eta_second * Q[i][i] for i in range(matrices.model.p)]
        verdict = _slopes_are(matrices, balances, rates)
        statement = rf"$\dot{{x}}_i = -2\eta\gamma Q_{{ii}}$, $x_i = {balance}$"
        yield Law("decay of the balance", statement, EVERYWHERE, verdict)


def _slopes_are(matrices: ModelMatrices, candidates: list[Any], rates: list[Any]) -> Verdict:
    for candidate, rate in zip(candidates, rates, strict=True):
        if matrices.field.along(candidate) != rate * matrices.denominator:
            return Verdict(REFUTED, "the Lie derivative is another polynomial")
    return Verdict(PROVED, f"{len(candidates)} Lie derivatives are these polynomials")


def _opposite_students(matrices: ModelMatrices) -> Law:
    """The overlap of two students of opposite weights, for each pair."""
    ring, verdicts = matrices.ring, []
    for i, j in itertools.combinations(range(matrices.model.p), 2):
        opposite = matrices.with_weights({f"v_{j + 1}": -ring[f"v_{i + 1}"]})
        overlap = matrices.Q[i][j]
        verdicts.append(_slopes_are(opposite, [overlap], [-2 * matrices.decay * overlap]))
    statement = r"$\dot{Q}_{ij} = -2\eta\gamma Q_{ij}$" if matrices.decay else "$Q_{ij}$ is constant"
    verdict = all_of(verdicts, f"identities of polynomials for {len(verdicts)} pairs")
    return Law("opposite students", statement, EVERYWHERE, verdict, {"weights": "$v_j = -v_i$"})
