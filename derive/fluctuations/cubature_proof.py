"""Proves the cubature of polynomial activations: its code against exact moments at a rational point.

The text of the function is the same at all widths but for their numbers and the number of points. So the
proof runs it, as plain Python, at widths up to p = 2 and p* = 2, with the options and activations of the
model. The other route expands the changes of a step in powers of the pre-activations, in rational numbers,
and reduces each product by Stein's lemma (C. Stein, Ann. Stat. 9, 1135 (1981)). Both agree to rounding,
which is what a sum over floating-point nodes can be held to: no identity of polynomials is proved.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from fractions import Fraction

from derive.fluctuations.cubature_module import cubature_function
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.proof import Proof, ProofError, covariance_names

# The largest error of an entry, as a part of the sizes of both changes.
TOLERANCE = 1e-12
# Higher degrees are proved with one teacher, as two would take minutes.
_LARGEST_DEGREE_OF_TWO = 4


def proof_model(model: FluctuationModel) -> FluctuationModel:
    """The model at the widths of the proof."""
    degree = max(activation.degree for activation in model.activations)
    teachers = 2 if degree <= _LARGEST_DEGREE_OF_TWO else 1
    return dataclasses.replace(model, p=min(model.p, 2), pstar=min(model.pstar, teachers))


def cubature_proof_record(model: FluctuationModel) -> Proof:
    """What `prove_cubature` returns for a model."""
    size = proof_model(model).state_size
    return Proof("cubature to rounding", size * (size + 1) // 2, 1)


def prove_cubature(model: FluctuationModel, seed: int = 0) -> Proof:
    """Compare the code with exact moments; raises ProofError, which names the first entry that differs."""
    small = proof_model(model)
    compare_cubature(small, cubature_function(small), seed)
    return cubature_proof_record(model)


def compare_cubature(model: FluctuationModel, texts: Sequence[str], seed: int) -> None:
    """Compare a text of the function with exact moments at one point of a model of small widths."""
    # NumPy and FLINT are imported when something is proved.
    from derive.fluctuations.exact_step import ExactStep
    from derive.fluctuations.plain_diffusion import run_diffusion

    values = random_rationals(model, seed)
    found, exact = run_diffusion(model, texts, values), ExactStep(model, values)
    for k, row in enumerate(exact.diffusion):
        for m, value in enumerate(row):
            # NaN is wrong too.
            if not abs(found[k, m] - float(value)) <= TOLERANCE * exact.scales[k] * exact.scales[m]:
                first, second = model.state[k], model.state[m]
                raise ProofError(f"{model.name}: cubature and exact moments of {first}, {second} differ")


def random_rationals(model: FluctuationModel, seed: int) -> dict[str, Fraction]:
    """Values that floats hold exactly, by the names of programs; C is a covariance."""
    generator, units = random.Random(seed), model.p + model.pstar

    def value() -> Fraction:
        return Fraction(generator.choice([-1, 1]) * generator.randint(2, 9), 8)

    factor = [[value() for _ in range(units)] for _ in range(units)]
    if model.teacher != "general":
        # Teachers are axes, and their overlaps are 0 and 1.
        for r in range(model.p, units):
            factor[r] = [Fraction(int(k == r)) for k in range(units)]
    values = {name: value() for name in (*model.parameters, *model.state)}
    for name in ("eta", "label_noise", "inverse_batch"):
        values[name] = abs(values[name])
    for left, names in zip(factor, covariance_names(model), strict=True):
        for right, entry in zip(factor, names, strict=True):
            if isinstance(entry, str):
                values[entry] = sum((x * y for x, y in zip(left, right, strict=True)), start=Fraction(0))
    return values
