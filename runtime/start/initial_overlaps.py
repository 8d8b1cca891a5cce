"""Makes initial overlaps: of random weights, exactly in law at any N, or ideal ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derive.arguments import whole_number
from derive.errors import InputError
from derive.model import Model
from runtime.run_options import Q0_NORM, RANDOM_N, SEED
from runtime.start.checked_arrays import Array, correlations, joint_overlaps, real_number, teacher_overlaps
from runtime.start.matrix_factors import EPSILON
from runtime.start.seeds import LARGEST_SEED
from runtime.start.teacher_directions import Teacher
from runtime.vector.matrix_products import times_transpose

LARGEST_START_N = 10**18
# The largest number of starts that can be asked for at once.
LARGEST_COUNT = 2**40


def random_overlaps(
    p: int,
    pstar: int,
    n: int | None = RANDOM_N,
    seed: int = SEED,
    trajectories: int | None = None,
    *,
    constraint: str = "free",
    T: ArrayLike | None = None,
    q0: float = Q0_NORM,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """Overlaps of random students: weights with independent N(0, q0) entries in N dimensions.

    With Cholesky's factor of the teacher, T = LLᵀ of rank k, R0 = G Lᵀ √(q0/N) with standard normal G
    (p × k), and Q0 = q0 (GGᵀ + Wishart_{N−k}(1))/N with the Wishart matrix drawn by its Bartlett factor
    (M. S. Bartlett, Proc. R. Soc. Edinburgh 53, 260 (1933)): exact in law from O(p²) numbers, and the
    same to the last bit on every machine.

    Parameters
    ----------
    p, pstar
        Widths.
    n
        Input dimension N ≥ rank T; None is the ideal start Q0 = q0·1 with R0 of the given `scale`.
    seed
        Seed; trajectory k has the same overlaps whatever the number of trajectories.
    trajectories
        None for one pair (p, p), (p, p*); a number for a leading axis of that length.
    constraint
        ``"sphere"`` rescales each student to |wᵢ|² = q0 N.
    T
        Teacher overlaps (p*, p*); None is the identity.
    q0
        Variance of a student's weights.
    scale
        With n = None: standard deviation of the entries of R0 G, before the teacher's factor.

    Raises
    ------
    InputError
        A value is not allowed.
    """
    count = 1 if trajectories is None else whole_number("trajectories", trajectories, 1, LARGEST_COUNT)
    sampler = OverlapSampler(p, pstar, n, seed, constraint=constraint, T=T, q0=q0, scale=scale)
    Q, R = sampler.draw(count)
    return (Q[0], R[0]) if trajectories is None else (Q, R)


class OverlapSampler:
    """Draws the overlaps of `random_overlaps`, in order, in batches of any size.

    The parameters and errors are those of `random_overlaps`.
    """

    def __init__(
        self,
        p: int,
        pstar: int,
        n: int | None = RANDOM_N,
        seed: int = SEED,
        *,
        constraint: str = "free",
        T: ArrayLike | None = None,
        q0: float = Q0_NORM,
        scale: float | None = None,
    ) -> None:
        teacher_kind = "orthonormal" if T is None else "general"
        self._model = Model(p, pstar, constraint=constraint, teacher=teacher_kind)
        self._teacher = teacher_overlaps(self._model, T)
        self._root = Teacher.from_overlaps(self._teacher).root
        self._variance = real_number("q0", q0, least=0.0, strict=True)
        # Nothing but the seed enters here, so seeds of two words need no mark (see `seeds`).
        streams = np.random.SeedSequence(whole_number("seed", seed, 0, LARGEST_SEED)).spawn(2)
        # There are two streams, each drawn trajectory by trajectory, so that the first K of any
        # larger number of trajectories are the same.
        self._normal, self._gamma = (np.random.default_rng(stream) for stream in streams)
        if n is None:
            if scale is None:
                raise InputError("scale", "is required with n = None: the size of the entries of R0")
            self._scale = real_number("scale", scale, least=0.0)
            self._n = None
        else:
            if scale is not None:
                raise InputError("scale", "goes with n = None; with n the size of R0 follows from N")
            self._n = whole_number("n", n, max(self._root.shape[1], 1), LARGEST_START_N)
        self._seed = seed

    def __repr__(self) -> str:
        size = f"R0 of size {self._scale:g}" if self._n is None else f"N = {self._n}"
        drawn = f"{size}, q0 = {self._variance:g}, seed {self._seed}"
        return f"<{type(self).__name__} of {self._model.name}: {drawn}>"

    @property
    def origin(self) -> dict[str, Any]:
        """The attributes of results that name these starts."""
        size = {"ideal": self._scale} if self._n is None else {"n": self._n}
        return {"seed": self._seed, "q0": self._variance, **size}

    def check(self, model: Model, teacher: Array) -> None:
        """Raise InputError unless the starts are of this model, with these teacher overlaps."""
        for name in ("p", "pstar", "constraint"):
            drawn, wanted = getattr(self._model, name), getattr(model, name)
            if drawn != wanted:
                raise InputError("sampler", f"draws starts with {name} = {drawn}, the system has {wanted}")
        if not np.array_equal(self._teacher, teacher):
            raise InputError("sampler", "draws starts with another T than that of the integration")

    def draw(self, count: int) -> tuple[Array, Array]:
        """The next `count` pairs: Q (count, p, p) and R (count, p, p*)."""
        count = whole_number("count", count, 0, LARGEST_COUNT)
        return self._ideal(count) if self._n is None else self._random(count, self._n)

    def _ideal(self, count: int) -> tuple[Array, Array]:
        p, rank = self._model.p, self._root.shape[1]
        R = times_transpose(self._scale * self._normal.standard_normal((count, p, rank)), self._root)
        Q = np.broadcast_to(self._variance * np.eye(p), (count, p, p)).copy()
        unit, _ = correlations(joint_overlaps(Q, R, self._teacher))
        # A singular teacher has eigenvalues that are zero up to rounding.
        if np.min(np.linalg.eigvalsh(unit)) < -2 * unit.shape[-1] * EPSILON:
            raise InputError(
                "scale",
                f"{self._scale:g} is too large: no weights have Q0 = {self._variance:g} and this R0",
            )
        return Q, R

    def _random(self, count: int, n: int) -> tuple[Array, Array]:
        p, rank, variance = self._model.p, self._root.shape[1], self._variance
        weights = _random_factor(p, rank, n, count, self._normal, self._gamma)
        weights *= np.sqrt(variance / n)
        Q = times_transpose(weights, weights)
        R = times_transpose(weights[..., :rank], self._root)
        if self._model.constraint == "sphere":
            norms = np.sqrt(np.diagonal(Q, axis1=-2, axis2=-1) / variance)
            Q = Q / (norms[..., :, None] * norms[..., None, :])
            diagonal = np.arange(p)
            Q[..., diagonal, diagonal] = variance
            R = R / norms[..., None]
        return Q, R


def _random_factor(
    p: int, rank: int, n: int, count: int, normal: np.random.Generator, gamma: np.random.Generator
) -> Array:
    """Standard normal students (count, p, rank + m), with m = min(p, N − rank T).

    The coordinates are along the teacher, and in the rest of space along a basis that is adapted to the
    students (Bartlett).
    """
    rest = n - rank
    if rest <= p:
        # There are no more dimensions than students, so the coordinates themselves are drawn.
        return normal.standard_normal((count, p, n))
    columns = np.arange(p)
    below = p * (p - 1) // 2
    draws = normal.standard_normal((count, p * rank + below))
    factor = np.zeros((count, p, rank + p))
    factor[:, :, :rank] = draws[:, : p * rank].reshape(count, p, rank)
    rows, cols = np.tril_indices(p, -1)
    factor[:, rows, rank + cols] = draws[:, p * rank :]
    # A χ² number of k degrees of freedom is twice a gamma-distributed one of shape k/2.
    squares = 2.0 * gamma.standard_gamma((rest - columns) / 2.0, size=(count, p))
    factor[:, columns, rank + columns] = np.sqrt(squares)
    return factor
