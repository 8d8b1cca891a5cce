"""Proves the laws of norms on the sphere, unaligned states, the plateau and zero-loss solutions."""

from __future__ import annotations

from collections.abc import Iterator

from derive.invariants.conservation_proofs import (
    PROVED,
    UNDECIDED,
    Verdict,
    prove_conserved,
    prove_invariant,
)
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_sets import named_set
from derive.invariants.matrix_algebra import combination, entries, product, trace, transposed
from derive.invariants.model_matrices import EVERYWHERE, Law, ModelMatrices, all_of


def stationary_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """What the constraint keeps constant, the set R = 0, and the states that do not move."""
    model = matrices.model
    if matrices.sphere:
        verdicts = [prove_conserved(matrices.Q[i][i], model) for i in range(model.p)]
        reason = "the Lie derivatives vanish identically"
        yield Law("norms", "the Q_ii are constant", EVERYWHERE, all_of(verdicts, reason))
    unaligned = named_set("no-alignment", model)
    kept = prove_invariant(unaligned, model)
    yield Law("no alignment", "R stays 0", unaligned.description, kept)
    plateau = named_set("plateau", model)
    ideal = Ideal(plateau.generators)
    verdict = Verdict(UNDECIDED, "the drift is not in the ideal of the set")
    if all(ideal.contains(x) for x in entries(matrices.dQ, matrices.dR)):
        verdict = Verdict(PROVED, "the drift is in the ideal of the set")
    yield Law("plateau", "dQ = 0, dR = 0", plateau.description, verdict)
    if model.p >= model.pstar:
        yield _solutions(matrices)


def _solutions(matrices: ModelMatrices) -> Law:
    """The free drift in explicit multiples of the generators X, Y, Z, s, Δ of the solutions.

    With X = aQ² − bRRᵀ, Y = aQR − bRT, Z = aRᵀR − bT² and t = a tr X − b tr Z the drift is a sum of
    multiples of them, and so is the loss ½s² + t; the sphere removes a multiple of the drift.
    """
    ring, model, kappa = matrices.ring, matrices.model, matrices.kappa
    a, b, Q, R, T, s = ring.a, ring.b, matrices.Q, matrices.R, matrices.T, matrices.s
    X = combination((a, product(Q, Q)), (-b, matrices.M))
    Y = combination((a, product(Q, R)), (-b, product(R, T)))
    Z = combination((a, product(transposed(R), R)), (-b, product(T, T)))
    dR = combination((-kappa * s, R), (-2 * kappa, Y))
    dQ = combination((-2 * kappa * s, Q), (-4 * kappa, X))
    if model.flow == "sgd":
        noise = s**2 + 2 * (a * trace(X) - b * trace(Z)) + ring.label_noise
        chain = combination((a, product(Q, X)), (-b, product(R, transposed(Y))))
        dQ = combination((1, dQ), (kappa**2 * noise, Q), (4 * kappa**2 * s, X), (8 * kappa**2, chain))
    free = matrices.free_field.numerators
    agree = all(
        free[f"{name}_{i + 1}_{j + 1}"] == x
        for name, block in (("Q", dQ), ("R", dR))
        for i, row in enumerate(block)
        for j, x in enumerate(row)
        if f"{name}_{i + 1}_{j + 1}" in free
    )
    verdict = Verdict(UNDECIDED, "the drift has other terms than these multiples")
    if agree:
        verdict = Verdict(PROVED, "drift and loss are explicit multiples of the generators of the set")
    domain = named_set("solutions", model)
    return Law("solutions", "dQ = 0, dR = 0, and the loss is 0", domain.description, verdict)
