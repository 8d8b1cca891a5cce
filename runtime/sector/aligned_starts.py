"""Makes starts in the invariant sector: from overlaps, from singular values, or at random."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.arguments import whole_number
from derive.errors import InputError
from runtime.output.value_ranges import span
from runtime.run_options import Q0_NORM, SEED
from runtime.start.checked_arrays import axis_count, real_array, real_number
from runtime.start.seeds import LARGEST_SEED, seed_sequence

Array = NDArray[np.float64]

LARGEST_P = 10**12
# Relative; overlaps of an earlier run are in the sector up to its integration error.
_SECTOR_TOLERANCE = 1e-8
# Relative; the same as for eigenvalues of overlaps in `runtime.start.checked_arrays`.
_POSITIVE_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class SectorStart:
    """A state of the sector: Q = Σₖ qₖ ûₖûₖᵀ + q_⊥ (1 − Σₖ ûₖûₖᵀ), R = Σₖ mₖ ûₖv̂ₖᵀ.

    p, pstar
        Student and teacher widths.
    q, m
        Norms and overlaps of the min(p, p*) directions, shape (directions,).
    q_perp
        Norm along each of the other p − p* directions; 0 if there are none.
    left, right
        The ûₖ and v̂ₖ as columns, (p, directions) and (p*, directions); None stands for unit vectors.

    Raises InputError on wrong shapes. Usually a start is made by `from_singular_values`, `from_overlaps` or
    `random`, which also check that some weights have these overlaps.
    """

    p: int
    pstar: int
    q: Array
    m: Array
    q_perp: float
    left: Array | None = None
    right: Array | None = None

    def __repr__(self) -> str:
        numbers = f"m {span(self.m)}, q {span(self.q)}, q_perp {self.q_perp:g}"
        return f"<{type(self).__name__} of p = {self.p}, p* = {self.pstar}: {numbers}>"

    def __post_init__(self) -> None:
        # Shapes are checked here too, since compiled code relies on them.
        for name in ("p", "pstar"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1, LARGEST_P))
        object.__setattr__(self, "q_perp", real_number("q_perp", self.q_perp))
        shapes: dict[str, tuple[int, ...]] = {"q": (self.directions,), "m": (self.directions,)}
        if self.left is not None:
            shapes["left"] = (self.p, self.directions)
        if self.right is not None:
            shapes["right"] = (self.pstar, self.directions)
        for name, shape in shapes.items():
            object.__setattr__(self, name, real_array(name, getattr(self, name), shape))

    @property
    def directions(self) -> int:
        """min(p, p*)."""
        return min(self.p, self.pstar)

    @classmethod
    def from_singular_values(
        cls,
        p: int,
        pstar: int,
        m: ArrayLike,
        q: ArrayLike = 1.0,
        q_perp: float | None = None,
    ) -> SectorStart:
        """A start in the frame of unit vectors, for any p up to ``LARGEST_P``.

        Parameters
        ----------
        m, q
            Singular values of R0 and eigenvalues of Q0 in their directions: a number for all, or
            an array (min(p, p*),).
        q_perp
            Eigenvalue of Q0 in all other directions; the default is q, if that is a number.

        Raises
        ------
        InputError
            A value is not allowed, or no weights have these overlaps (m² > q).
        """
        p = whole_number("p", p, 1, LARGEST_P)
        pstar = whole_number("pstar", pstar, 1, LARGEST_P)
        count = min(p, pstar)
        norms, overlaps = _per_direction("q", q, count), _per_direction("m", m, count)
        if p <= pstar:
            if q_perp is not None:
                raise InputError("q_perp", f"is given, but p = {p} leaves no students beyond p* = {pstar}")
            perp = 0.0
        elif q_perp is not None:
            perp = real_number("q_perp", q_perp, least=0.0)
        elif axis_count("q", q) == 0:
            perp = float(norms[0])
        else:
            raise InputError("q_perp", "is required where q has a value for each direction")
        if np.min(norms) < 0.0:
            raise InputError("q", f"{np.min(norms):g} is not a finite number of at least 0")
        excess = overlaps**2 - (1.0 + _POSITIVE_TOLERANCE) * norms
        worst = int(np.argmax(excess))
        if excess[worst] > 0.0:
            raise InputError(
                "m", f"{overlaps[worst]:g} is too large: no weights have it with q = {norms[worst]:g}"
            )
        return cls(p, pstar, norms, overlaps, perp)

    @classmethod
    def from_overlaps(cls, Q0: ArrayLike, R0: ArrayLike) -> SectorStart:
        """A start from R0 (p, p*) and a Q0 (p, p) in the algebra of R0R0ᵀ and 1, such as Q0 ∝ 1.

        Raises
        ------
        InputError
            Wrong shapes or numbers, or Q0 is not in that algebra.
        """
        if axis_count("R0", R0) != 2:
            raise InputError("R0", f"has the shape {np.shape(R0)}, not (p, p*)")
        p, pstar = np.shape(R0)
        R = real_array("R0", R0, (p, pstar))
        Q = real_array("Q0", Q0, (p, p))
        left, m, right = np.linalg.svd(R, full_matrices=False)
        q = np.einsum("ik,ij,jk->k", left, Q, left)
        q_perp = float(np.trace(Q) - np.sum(q)) / (p - pstar) if p > pstar else 0.0
        rebuilt = (left * (q - q_perp)) @ left.T + q_perp * np.eye(p)
        distance = float(np.max(np.abs(Q - rebuilt)))
        rounding = _SECTOR_TOLERANCE * float(np.max(np.abs(Q)))
        if distance > rounding:
            raise InputError(
                "Q0",
                f"is not in the algebra of R0 R0' and 1: the nearest such matrix is {distance:.3g} away",
            )
        # Where students have no norm beyond their overlaps with the teachers, rounding may leave less.
        q = np.where((-rounding <= q) & (q < 0.0), m**2, q)
        q_perp = 0.0 if -rounding <= q_perp < 0.0 else q_perp
        checked = cls.from_singular_values(p, pstar, m, q, q_perp if p > pstar else None)
        return dataclasses.replace(checked, left=left, right=right.T)

    @classmethod
    def random(cls, p: int, pstar: int, scale: float, seed: int = SEED, q0: float = Q0_NORM) -> SectorStart:
        """A start with Q0 = q0·1 and R0 with independent N(0, scale²) entries, exact in law for any p.

        R0ᵀR0 is a Wishart matrix. Its triangular factor of M. S. Bartlett, Proc. R. Soc. Edinburgh 53, 260
        (1933), has min(p, p*) rows and the singular values of R0, and takes O(p*²) random numbers.

        Raises
        ------
        InputError
            A value is not allowed, or the scale is too large: no weights have such overlaps.
        """
        p = whole_number("p", p, 1, LARGEST_P)
        pstar = whole_number("pstar", pstar, 1, LARGEST_P)
        size = real_number("scale", scale, least=0.0)
        generator = np.random.default_rng(seed_sequence(whole_number("seed", seed, 0, LARGEST_SEED)))
        short, long = min(p, pstar), max(p, pstar)
        factor = np.tril(generator.standard_normal((short, short)), -1)
        # A χ² variable of k degrees of freedom is 2 Γ(k/2).
        squares = 2.0 * generator.standard_gamma((long - np.arange(short)) / 2.0)
        np.fill_diagonal(factor, np.sqrt(squares))
        m = size * np.linalg.svd(factor, compute_uv=False)
        norm = real_number("q0", q0, least=0.0, strict=True)
        if m[0] ** 2 > norm:
            raise InputError("scale", f"{size:g} is too large: no weights have Q0 = {norm:g} and this R0")
        return cls.from_singular_values(p, pstar, m, norm)


def _per_direction(option: str, value: ArrayLike, count: int) -> Array:
    if axis_count(option, value) == 0:
        return np.full(count, real_number(option, value))
    return real_array(option, value, (count,))
