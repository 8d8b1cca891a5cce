"""Proves the laws of norms on the sphere, unaligned states, the plateau and zero-loss solutions."""

from __future__ import annotations

from collections.abc import Iterator

from derive.invariants.conservation_proofs import PROVED, UNDECIDED, Verdict
from derive.invariants.ideal import Ideal
from derive.invariants.invariant_sets import named_set, solution_blocks
from derive.invariants.matrix_algebra import combination, diagonal, entries, product, trace, transposed
from derive.invariants.model_matrices import EVERYWHERE, Law, ModelMatrices, all_of
from derive.model import Model


def stationary_laws(matrices: ModelMatrices) -> Iterator[Law]:
    """What the constraint keeps constant, the set R = 0, and the states that do not move."""
    model = matrices.model
    if matrices.sphere:
        verdicts = [matrices.conserved(matrices.Q[i][i]) for i in range(model.p)]
        reason = "the Lie derivatives vanish identically"
        yield Law("norms", "the $Q_{ii}$ are constant", EVERYWHERE, all_of(verdicts, reason))
    unaligned = named_set("no-alignment", model)
    kept = matrices.invariant(unaligned)
    yield Law("no alignment", "$R$ stays 0", unaligned.description, kept)
    moving = model.trained and not matrices.sphere
    if not moving or (model.flow == "gradient" and not matrices.decay):
        yield _plateau(matrices)
    if model.p >= model.pstar:
        yield _solutions(matrices)


def _still(model: Model) -> str:
    return r"$\dot{Q} = 0$, $\dot{R} = 0$" + (r", $\dot{v} = 0$" if model.trained else "")


def _plateau(matrices: ModelMatrices) -> Law:
    domain = named_set("plateau", matrices.model, bool(matrices.decay))
    ideal = Ideal(domain.generators)
    verdict = Verdict(UNDECIDED, "the drift is not in the ideal of the set")
    if all(ideal.contains(x) for x in (*entries(matrices.dQ, matrices.dR), *matrices.dv)):
        verdict = Verdict(PROVED, "the drift is in the ideal of the set")
    return Law("plateau", _still(matrices.model), domain.description, verdict)


def _solutions(matrices: ModelMatrices) -> Law:
    """The free drift in explicit multiples of the generators X, Y, Z, s, Δ of the solutions.

    With X = aQVQ − bRFRᵀ, Y = aQVR − bRFT, Z = aRᵀVR − bTFT (V = diag(v), F = diag(v*), which may be 1)
    and t = a tr VX − b tr FZ the drift is a sum of multiples of them, and so is the loss ½s² + t; the
    sphere removes a multiple of the drift.
    """
    ring, model, Q, R = matrices.ring, matrices.model, matrices.Q, matrices.R
    a, b, kappa = ring.a, ring.b, 2 * ring.a * ring.eta
    V, F = diagonal(matrices.v), diagonal(matrices.vstar)
    X, Y, Z, s = solution_blocks(ring)
    mean = combination((s, Q), (2, X))
    dR = combination((-kappa, product(V, combination((s, R), (2, Y)))))
    dQ = combination((-kappa, product(V, mean)), (-kappa, product(mean, V)))
    if model.flow == "sgd":
        noise = s**2 + 2 * (a * trace(product(V, X)) - b * trace(product(F, Z))) + ring.label_noise
        chain = combination((a, product(Q, V, X)), (-b, product(R, F, transposed(Y))))
        second = combination((noise, Q), (4 * s, X), (8, chain))
        dQ = combination((1, dQ), (kappa**2 * matrices.share, product(V, second, V)))
    free = matrices.free_field.numerators
    agree = all(
        free[f"{name}_{i + 1}_{j + 1}"] == x
        for name, block in (("Q", dQ), ("R", dR))
        for i, row in enumerate(block)
        for j, x in enumerate(row)
        if f"{name}_{i + 1}_{j + 1}" in free
    )
    if model.trained:
        agree &= all(
            free[str(weight)] == -ring.a * ring.eta_second * mean[i][i] for i, weight in enumerate(ring.v)
        )
    verdict = Verdict(UNDECIDED, "the drift has other terms than these multiples")
    if agree:
        verdict = Verdict(PROVED, "drift and loss are explicit multiples of the generators of the set")
    domain = named_set("solutions", model)
    return Law("solutions", f"{_still(model)}, and the loss is 0", domain.description, verdict)
