"""Proves the diffusion matrix: its program against moments by integration by parts, component by component.

Route 1 knows neither pairings nor chains. For Gaussian z of covariance C, Stein's lemma
E[z_i F(z)] = Σ_m C_im E[∂F/∂z_m] takes one factor after the other from E[eⁿ z_i z_j z_k z_l], with
∂e/∂z_m = 2 d_m z_m, and the same lemma for ξ gives the label noise (C. Stein, Ann. Stat. 9, 1135 (1981)).
Route 2 is the program of `fluctuation_program`, statement by statement. Both are evaluated in integers
modulo a prime, at random points, and every entry of 𝓓 is compared. So is the mean change of a step at order
1/N, for which `modular_bias` has route 1 and `bias_program` route 2. By the lemma of Schwartz and Zippel
(J. T. Schwartz, J. ACM 27, 701 (1980)), a wrong program of degree d passes a point with probability at most
d over the prime.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_program import FluctuationProgram
from derive.program import Program
from derive.proof import Proof, ProofError

if TYPE_CHECKING:
    from derive.fluctuations.modular_bias import ModularBias

POINTS = 5
# Products of two residues stay below 2^52, so that sums over the units fit into 64 bits.
LARGEST_PRIME = 2**26
# The degree in all variables: E[e⁴ z z z z] has 12 legs, so 6 covariances, 4 weights in D and 4 weights of
# the second layer; κ⁴/B³ has 15 with those of the second layer. On the sphere two denominators and two
# overlaps of each row and column are cleared.
DEGREE_BOUND = 37


def fluctuation_proof_record(model: FluctuationModel) -> Proof:
    """What `prove_fluctuations` returns for a model."""
    if model.flow == "gradient":
        return Proof("no diffusion", 0)
    size = model.state_size
    bound = math.ceil(POINTS * math.log2(DEGREE_BOUND / (LARGEST_PRIME - 2**10)))
    return Proof("random points", size * (size + 1) // 2, POINTS, bound)


def _primes() -> list[int]:
    from flint import fmpz

    found = [k for k in range(LARGEST_PRIME, LARGEST_PRIME - 2**10, -1) if fmpz(k).is_prime()]
    return found[:POINTS]


def _points(model: FluctuationModel, seed: int) -> Iterator[ModularBias]:
    """Both routes at random points, each modulo a prime of its own."""
    # NumPy is imported when something is proved.
    from derive.fluctuations.modular_bias import ModularBias

    generator = random.Random(seed)
    names = ("a", "b", *model.parameters, *model.state)
    for prime in _primes():
        yield ModularBias(model, {name: generator.randint(1, prime - 1) for name in names}, prime)


def _values(model: FluctuationModel, evaluate: Callable[[Any], Any], program: Any) -> Any:
    """What a program computes; ProofError if it names what nothing has computed."""
    try:
        return evaluate(program)
    except KeyError as error:
        raise ProofError(f"{model.name}: the program cannot be compared: {error!r}") from error


def prove_fluctuations(model: FluctuationModel, program: FluctuationProgram, seed: int = 0) -> Proof:
    """Compare both routes; raises ProofError, which names the first entry that differs."""
    record = fluctuation_proof_record(model)
    if not record.points:
        return record
    from derive.fluctuations.modular_moments import first_difference

    for point in _points(model, seed):
        derived = point.diffusion(_values(model, point.evaluated, program))
        differing = first_difference(derived, point.diffusion(point.moments_by_parts()))
        if differing is not None:
            first, second = (model.state[k] for k in differing)
            raise ProofError(
                f"{model.name}: the two derivations of the diffusion of {first}, {second} differ"
            )
    return record


def prove_bias(model: FluctuationModel, program: Program, seed: int = 0) -> None:
    """Compare both routes to the mean change of a step at order 1/N; raises ProofError if they differ."""
    if model.flow == "gradient":
        return
    for point in _points(model, seed):
        # The sphere's 𝓓 is that of `prove_fluctuations`.
        moments = point.moments_by_parts()
        parts = _values(model, point.evaluated_parts, program)
        means = point.step_bias(moments, parts), point.step_bias(moments, point.parts_by_inverse())
        for name, left, right in zip(model.state, *means, strict=True):
            if left != right:
                raise ProofError(f"{model.name}: the two derivations of the bias of {name} differ")
