"""Proves that the sector is invariant and that its equations are those of the full system.

The full drift (`derive.overlap_program`, itself proved in `derive.proof`) is evaluated at states of the
sector. The reduced drift is put back into matrices and compared with it entry by entry; entries outside
the sector must vanish.

The drifts are compared as polynomials in a, b, the run-time parameters, qₖ, mₖ and q_⊥ first, in the frame
where ûₖ and v̂ₖ are unit vectors. Then they are compared at random integers in random frames, so that the
frame is tested too. These frames are exact rational rotations made of reflections 1 − 2wwᵀ/(wᵀw). A second
layer is that of the full system with all of its weights equal. The numbers of students are 1, where all
directions but one are empty, and p* − 1 to p* + 2.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from derive.expansion import entry_names, evaluate
from derive.overlap_program import DQ, DR, LOSS
from derive.pipeline import Pipeline
from derive.program import Program, Vector
from derive.proof import ProofError, evaluate_exactly
from derive.proof_polynomials import no_reciprocal
from derive.sector.sector_model import SectorModel
from derive.sector.sector_program import (
    D_NORM,
    D_OVERLAP,
    D_PERP,
    NORM,
    OVERLAP,
    PERP,
    REST,
    SectorProgram,
    written_out,
)

# A wider teacher is proved at this width, since the statements are the same for every direction.
LARGEST_PSTAR = 6
FRAMES = 2
RANDOM_BITS = 30
_REFLECTION_ENTRIES = 9

_Matrix = list[list[Any]]


@dataclasses.dataclass(frozen=True)
class SectorProof:
    """What was compared in the proof of a sector.

    method
        ``"polynomial identity"``.
    pstar, widths
        The widths of the teacher and of the students of the full systems.
    compared
        The number of entries of dQ, dR and loss, those that must vanish included.
    frames
        The number of random rational frames, at random integers, for each width.
    """

    method: str
    pstar: int
    widths: tuple[int, ...]
    compared: int
    frames: int

    def __repr__(self) -> str:
        widths = ", ".join(map(str, self.widths))
        return (
            f"<{type(self).__name__}: the sector agrees with the full system in {self.compared} entries"
            f" ({self.method}), for p* = {self.pstar} and p = {widths}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as in the manifest."""
        return {**dataclasses.asdict(self), "widths": list(self.widths)}


def proof_record(model: SectorModel) -> SectorProof:
    """What `prove_sector` returns for a model; it depends on the width of the teacher alone."""
    pstar = min(model.pstar, LARGEST_PSTAR)
    widths = tuple(sorted({1, *range(max(pstar - 1, 1), pstar + 3)}))
    compared = sum(model.with_widths(p, pstar).state_size + 1 for p in widths)
    return SectorProof("polynomial identity", pstar, widths, compared, FRAMES)


def prove_sector(model: SectorModel, program: SectorProgram, seed: int = 0) -> SectorProof:
    """Compare `program` with full systems; raises ProofError naming the first entry that differs."""
    record = proof_record(model)
    # The statements do not depend on p*, so the proof at a small p* holds for any.
    shortened = dataclasses.replace(program, pstar=record.pstar)
    reduced = written_out(shortened)
    generator = random.Random(seed)
    for p in record.widths:
        full = Pipeline.of(model.with_widths(p, record.pstar)).program
        _compare_polynomials(model, full, reduced)
        for _ in range(record.frames):
            _compare_in_frame(model, full, reduced, generator)
    return record


def _identity(size: int) -> _Matrix:
    return [[int(i == j) for j in range(size)] for i in range(size)]


def _compare_polynomials(model: SectorModel, full: Program, reduced: Program) -> None:
    from derive.flint_polynomials import combiner, context_of

    context = context_of([name for name in reduced.scalars if name != REST])
    values, combine = dict(zip(context.names(), context.gens(), strict=True)), combiner(context)
    frames = _identity(full.p), _identity(full.pstar)
    _compare(model, full, reduced, values, frames, lambda p, v: evaluate(p, v, combine, no_reciprocal))


def _compare_in_frame(
    model: SectorModel, full: Program, reduced: Program, generator: random.Random
) -> None:
    values = {name: generator.randint(1, 2**RANDOM_BITS) for name in reduced.scalars if name != REST}
    frames = _rotation(full.p, generator), _rotation(full.pstar, generator)
    _compare(model, full, reduced, values, frames, evaluate_exactly)


def _rotation(size: int, generator: random.Random) -> _Matrix:
    """An exact orthogonal matrix: the product of two reflections along random integer vectors."""
    matrix: _Matrix = _identity(size)
    for _ in range(2):
        # No entry is 0, so every direction takes part.
        w = [generator.choice((-1, 1)) * generator.randint(1, _REFLECTION_ENTRIES) for _ in range(size)]
        scale = Fraction(2, sum(x * x for x in w))
        for row in matrix:
            along = scale * sum(x * y for x, y in zip(row, w, strict=True))
            row[:] = [x - along * y for x, y in zip(row, w, strict=True)]
    return matrix


def _compare(
    model: SectorModel,
    full: Program,
    reduced: Program,
    values: Mapping[str, Any],
    frames: tuple[_Matrix, _Matrix],
    run: Callable[[Program, Mapping[str, Any]], dict[str, Any]],
) -> None:
    """Compare every entry at one state of the sector; ûₖ and v̂ₖ are the first columns of `frames`."""
    p, pstar = full.p, full.pstar
    known = dict(values) | {REST: p - pstar}
    if p <= pstar:
        # There are directions without a student, and no student without a direction.
        known[PERP] = 0
        known |= {f"{name}_{k}": 0 for name in (NORM, OVERLAP) for k in range(p + 1, pstar + 1)}
    drift = run(reduced, known)
    found = run(
        full,
        {name: known[name] for name in full.scalars}
        | _second_layers(full, known)
        | _overlaps(frames, known, (NORM, OVERLAP, PERP), ("Q", "R")),
    )
    expected = _overlaps(frames, drift, (D_NORM, D_OVERLAP, D_PERP), (DQ.name, DR.name))
    expected[LOSS] = drift[LOSS]
    if set(found) != set(expected):
        raise ProofError(f"{model.name}: the full system has other entries")
    for name, value in expected.items():
        if found[name] != value:
            raise ProofError(
                f"{model.name}: the sector's {name} differs from that of p = {p}, p* = {pstar}"
            )
    empty = range(p + 1, pstar + 1)
    for name in (*(f"{d}_{k}" for d in (D_NORM, D_OVERLAP) for k in empty), *([D_PERP] * (p <= pstar))):
        if drift[name] != 0:
            raise ProofError(f"{model.name}: {name} of a direction without a student is not 0")


def _second_layers(full: Program, known: Mapping[str, Any]) -> dict[str, Any]:
    """The second-layer weights of the full system, all equal in each layer, by name."""
    vectors = [part for part in full.inputs if isinstance(part, Vector)]
    return {name: known[vector.name] for vector in vectors for name in entry_names(full, vector)}


def _overlaps(
    frames: tuple[_Matrix, _Matrix],
    values: Mapping[str, Any],
    names: tuple[str, str, str],
    targets: tuple[str, str],
) -> dict[str, Any]:
    """The entries of Σₖ qₖ ûₖûₖᵀ + q_⊥ Σ_{k > p*} ûₖûₖᵀ and Σₖ mₖ ûₖv̂ₖᵀ by name."""
    left, right = frames
    p, pstar = len(left), len(right)
    norm, overlap, perp = names
    norms = [values[f"{norm}_{k}"] if k <= pstar else values[perp] for k in range(1, p + 1)]
    overlaps = [values[f"{overlap}_{k}"] for k in range(1, min(p, pstar) + 1)]
    entries: dict[str, Any] = {}
    for i in range(p):
        for j in range(i, p):
            entries[f"{targets[0]}_{i + 1}_{j + 1}"] = sum(
                left[i][k] * left[j][k] * norms[k] for k in range(p) if left[i][k] and left[j][k]
            )
        for r in range(pstar):
            entries[f"{targets[1]}_{i + 1}_{r + 1}"] = sum(
                left[i][k] * right[r][k] * value
                for k, value in enumerate(overlaps)
                if left[i][k] and right[r][k]
            )
    return entries
