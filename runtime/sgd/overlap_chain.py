"""Vector code of the exact Markov chain of the overlaps: one lane a run.

docs/finite-n.md derives it. A step of SGD on weights wᵢ/√N = (Aᵢ, Sᵢ), with A (p × k) along the
teacher's k directions and S (p × p) lower triangular beyond them, needs of the input only

    u (k) and v (p) standard normal, and g² = χ²_{N−k−p} of all other directions:
    λ = A u + S v,  y = b Σ τ u² + √Δ ξ,  e = a |λ|² − y,  c = 2aηe/N,
    A' = A − c λ uᵀ,
    S'S'ᵀ = S S ᵀ − c (wλᵀ + λwᵀ) + c² (|v|² + g²) λλᵀ,  w = S v.

With G = |v|² + g² the last line is S (1 − vvᵀ/G) Sᵀ + G xxᵀ, x = c λ − w/G. The first part has
a triangular factor in closed form without a difference of squares, the second is a rank-one update by
rotations: O(p²) operations, no inverse of C, so C may be singular. On the sphere each row of
(A', S') is divided by its norm.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from runtime.start.checked_arrays import Array
from runtime.start.teacher_directions import Teacher
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import Compiled, Target
from runtime.vector.memory import aligned
from runtime.vector.random_numbers import WORDS, RandomNumbers

# Up to this many entries of A and S the code is unrolled.
_UNROLLED_ENTRIES = 64


@dataclasses.dataclass(frozen=True)
class ChainLayout:
    """Components of the lanes' memory for p students and a teacher of rank k."""

    p: int
    k: int

    # Words of the random numbers come first.
    rate: int = WORDS
    noise: int = WORDS + 1
    shape: int = WORDS + 2
    student: int = WORDS + 3
    weights: int = WORDS + 4

    @property
    def norms(self) -> int:
        return self.weights + self.k

    @property
    def along(self) -> int:
        """A, row by row."""
        return self.norms + self.p

    @property
    def beyond(self) -> int:
        """The lower triangle of S, column by column."""
        return self.along + self.p * self.k

    @property
    def teacher_inputs(self) -> int:
        return self.beyond + self.p * (self.p + 1) // 2

    @property
    def inputs(self) -> int:
        return self.teacher_inputs + self.k

    @property
    def fields(self) -> int:
        return self.inputs + self.p

    @property
    def outside(self) -> int:
        return self.fields + self.p

    @property
    def components(self) -> int:
        return self.outside + self.p

    def column(self, j: Any, builder: Any = None) -> Any:
        """Component of S_jj; those of S_ij, i > j, follow."""
        if isinstance(j, int):
            return self.beyond + j * self.p - j * (j - 1) // 2
        before = builder.ashr(builder.mul(j, builder.sub(j, integer(1))), integer(1))
        return builder.add(integer(self.beyond), builder.sub(builder.mul(j, integer(self.p)), before))


class ChainEmitter:
    """Emits chain(work, steps): that many steps of all lanes.

    `others` is N − k − p, the dimensions beyond teacher and students: its χ² has a method of its
    own for 0 and 1.
    """

    def __init__(self, p: int, k: int, sphere: bool, noise: bool, others: int, target: Target) -> None:
        self.layout = ChainLayout(p, k)
        self.sphere, self.noise, self.others = sphere, noise, others
        self.unrolled = p * k + p * (p + 1) // 2 <= _UNROLLED_ENTRIES
        self.module = ir.Module("chain")
        self.lanes = target.lanes
        self.vector = VectorFunction(self.module, "chain", target.lanes, target.fma, 2)
        work, steps = self.vector.arguments
        self.work = work
        self.random = RandomNumbers(self.vector)
        count = self.vector.builder.ptrtoint(steps, INT64)

        def step(_index: Any, _carried: list[Any]) -> None:
            self.random.load(work, 0)
            self._step()
            self.random.save(work, 0)

        self.vector.loop(count, step)
        self.vector.builder.ret(integer(0))

    # --- helpers -------------------------------------------------------------------------

    def _load(self, component: Any) -> Any:
        return self.vector.load(self.work, component)

    def _store(self, value: Any, component: Any) -> None:
        self.vector.store(value, self.work, component)

    def _plus(self, base: int, index: Any) -> Any:
        if isinstance(index, int):
            return base + index
        return self.vector.builder.add(integer(base), index)

    def _each(
        self,
        count: int,
        body: Callable[[Any, list[Any]], list[Any] | None],
        carried: list[Any] | None = None,
    ) -> list[Any]:
        """carried = body(index, carried) for each index: unrolled, or a loop."""
        carried = list(carried or [])
        if count == 0:
            return carried
        if not self.unrolled:
            return self.vector.loop(count, body, carried)
        for index in range(count):
            carried = list(body(index, carried) or [])
        return carried

    def _below(self, j: Any, body: Callable[[Any, Any], None]) -> None:
        """body(i, component of S_ij) for each i > j; in a loop j < p − 1."""
        p = self.layout.p
        diagonal = self.layout.column(j, self.vector.builder)
        if self.unrolled:
            for i in range(j + 1, p):
                body(i, diagonal + i - j)
            return
        builder = self.vector.builder
        start = builder.sub(diagonal, j) if not isinstance(j, int) else integer(diagonal - j)

        def turn(i: Any, _: list[Any]) -> None:
            body(i, builder.add(start, i))

        self.vector.loop(p, turn, start=builder.add(j, integer(1)) if not isinstance(j, int) else j + 1)

    # --- one step ------------------------------------------------------------------------

    def _step(self) -> None:
        vector, layout = self.vector, self.layout
        p, k = layout.p, layout.k
        spare = self._draw_inputs()
        if self.noise and len(spare) < 2:
            spare += self.random.normals()
        label_noise = spare.pop() if self.noise else None
        other = self._other_directions(spare)

        zero = vector.constant(0.0)

        def clear(i: Any, _: list[Any]) -> None:
            self._store(zero, self._plus(layout.outside, i))

        self._each(p, clear)
        length = self._shrink(other)
        error = self._error(label_noise)
        c = vector.multiply(self._load(layout.rate), error)
        inverse = vector.divide(vector.constant(1.0), length)

        def along(i: Any, _: list[Any]) -> None:
            field = self._load(self._plus(layout.fields, i))
            kick = vector.multiply(c, field)
            row = self._plus(layout.along, self._times(i, k))

            def teacher(r: Any, _inner: list[Any]) -> None:
                place = self._sum(row, r)
                u = self._load(self._plus(layout.teacher_inputs, r))
                self._store(vector.fma(vector.negate(kick), u, self._load(place)), place)

            self._each(k, teacher)
            # x = √G (c λ − w/G), in the place of w.
            place = self._plus(layout.outside, i)
            x = vector.fma(vector.negate(inverse), self._load(place), kick)
            self._store(vector.multiply(vector.unary("sqrt", length), x), place)

        self._each(p, along)
        self._rotate_in()
        if self.sphere:
            self._project()

    def _times(self, i: Any, count: int) -> Any:
        return i * count if isinstance(i, int) else self.vector.builder.mul(i, integer(count))

    def _sum(self, x: Any, y: Any) -> Any:
        if isinstance(x, int) and isinstance(y, int):
            return x + y
        builder = self.vector.builder
        return builder.add(*(integer(z) if isinstance(z, int) else z for z in (x, y)))

    def _draw_inputs(self) -> list[Any]:
        """u and v, next to each other; returns the number that is left over if they are odd."""
        layout = self.layout
        total = layout.k + layout.p

        def pair(index: Any, _: list[Any]) -> None:
            x, y = self.random.normals()
            place = self._plus(layout.teacher_inputs, self._times(index, 2))
            self._store(x, place)
            self._store(y, self._sum(place, 1))

        if self.unrolled:
            for index in range(total // 2):
                pair(index, [])
        elif total // 2:
            # Why the state is carried through: it changes from turn to turn.
            def turn(index: Any, state: list[Any]) -> list[Any]:
                self.random.state = state
                pair(index, [])
                return self.random.state

            self.random.state = self.vector.loop(total // 2, turn, self.random.state)
        if total % 2 == 0:
            return []
        x, y = self.random.normals()
        self._store(x, layout.teacher_inputs + total - 1)
        return [y]

    def _other_directions(self, spare: list[Any]) -> Any:
        """g², the squared length of the input beyond teacher and students."""
        vector = self.vector
        if self.others == 0:
            return vector.constant(0.0)
        normal = spare.pop() if spare else self.random.normals()[0]
        if self.others == 1:
            return vector.multiply(normal, normal)
        return vector.multiply(
            vector.constant(2.0), self.random.gamma(self._load(self.layout.shape), normal)
        )

    def _shrink(self, other: Any) -> Any:
        """S ← the factor of S (1 − vvᵀ/G) Sᵀ and w = S v of the old S; returns G.

        From the last column to the first, with g_j = g² + Σ_{m≥j} v_m² (so G = g₁) and the part
        w⁽ʲ⁾ = Σ_{m>j} S_m v_m of w:
        S_j ← √(g_{j+1}/g_j) (S_j − v_j w⁽ʲ⁾/g_{j+1}).
        """
        vector, layout = self.vector, self.layout
        p = layout.p

        def column(j: Any, shorter: Any, last: bool) -> Any:
            v = self._load(self._plus(layout.inputs, j))
            longer = vector.fma(v, v, shorter)
            factor = vector.unary("sqrt", vector.divide(shorter, longer))
            diagonal = layout.column(j, vector.builder)
            corner = self._load(diagonal)
            self._store(vector.multiply(factor, corner), diagonal)
            place = self._plus(layout.outside, j)
            if not last:
                pull = vector.divide(vector.negate(v), shorter)

                def entry(i: Any, component: Any) -> None:
                    place = self._plus(layout.outside, i)
                    old, w = self._load(component), self._load(place)
                    self._store(vector.multiply(factor, vector.fma(pull, w, old)), component)
                    self._store(vector.fma(old, v, w), place)

                self._below(j, entry)
            self._store(vector.multiply(corner, v), place)
            return longer

        # Why apart: nothing lies below the last diagonal entry, and g² may be zero there.
        total = column(p - 1, other, last=True)
        if p == 1:
            return total
        if self.unrolled:
            for j in reversed(range(p - 1)):
                total = column(j, total, last=False)
            return total

        def turn(index: Any, carried: list[Any]) -> list[Any]:
            return [column(vector.builder.sub(integer(p - 2), index), carried[0], last=False)]

        return vector.loop(p - 1, turn, [total])[0]

    def _error(self, label_noise: Any) -> Any:
        """e = a |λ|² − b Σ τ u² − √Δ ξ; stores λ = A u + w."""
        vector, layout = self.vector, self.layout
        p, k = layout.p, layout.k
        student = self._load(layout.student)

        def field(i: Any, carried: list[Any]) -> list[Any]:
            row = self._plus(layout.along, self._times(i, k))

            def overlap(r: Any, total: list[Any]) -> list[Any]:
                u = self._load(self._plus(layout.teacher_inputs, r))
                return [vector.fma(self._load(self._sum(row, r)), u, total[0])]

            value = self._each(k, overlap, [self._load(self._plus(layout.outside, i))])[0]
            self._store(value, self._plus(layout.fields, i))
            return [vector.fma(vector.multiply(student, value), value, carried[0])]

        def label(r: Any, carried: list[Any]) -> list[Any]:
            u = self._load(self._plus(layout.teacher_inputs, r))
            weight = self._load(self._plus(layout.weights, r))
            return [vector.fma(vector.multiply(weight, u), vector.negate(u), carried[0])]

        error = self._each(p, field, [vector.constant(0.0)])[0]
        error = self._each(k, label, [error])[0]
        if label_noise is not None:
            error = vector.fma(vector.negate(self._load(layout.noise)), label_noise, error)
        return error

    def _rotate_in(self) -> None:
        """S ← the lower triangular factor of S Sᵀ + x xᵀ, x where w was."""
        vector, layout = self.vector, self.layout
        p = layout.p
        builder, zero, one = vector.builder, vector.constant(0.0), vector.constant(1.0)

        def column(j: Any, last: bool) -> None:
            diagonal = layout.column(j, builder)
            corner, x = self._load(diagonal), self._load(self._plus(layout.outside, j))
            square = vector.fma(corner, corner, vector.multiply(x, x))
            length = vector.unary("sqrt", square)
            self._store(length, diagonal)
            if last:
                return
            positive = builder.fcmp_unordered("!=", length, zero)
            inverse = vector.divide(one, vector.select(positive, length, one))
            # Nothing to turn: the rotation is the identity.
            cosine = vector.select(positive, vector.multiply(corner, inverse), one)
            sine = vector.multiply(x, inverse)

            def entry(i: Any, component: Any) -> None:
                place = self._plus(layout.outside, i)
                old, y = self._load(component), self._load(place)
                self._store(vector.fma(cosine, old, vector.multiply(sine, y)), component)
                self._store(vector.fma(cosine, y, vector.negate(vector.multiply(sine, old))), place)

            self._below(j, entry)

        if self.unrolled:
            for j in range(p - 1):
                column(j, last=False)
        elif p > 1:

            def turn(j: Any, _: list[Any]) -> None:
                column(j, last=False)

            vector.loop(p - 1, turn)
        column(p - 1, last=True)

    def _project(self) -> None:
        """Each row of (A, S) back to its norm; the norms are summed where w was."""
        vector, layout = self.vector, self.layout
        p, k = layout.p, layout.k

        def along(i: Any, _: list[Any]) -> None:
            row = self._plus(layout.along, self._times(i, k))

            def square(r: Any, total: list[Any]) -> list[Any]:
                value = self._load(self._sum(row, r))
                return [vector.fma(value, value, total[0])]

            norm = self._each(k, square, [vector.constant(0.0)])[0]
            self._store(norm, self._plus(layout.outside, i))

        def add(i: Any, component: Any) -> None:
            place = self._plus(layout.outside, i)
            value = self._load(component)
            self._store(vector.fma(value, value, self._load(place)), place)

        self._each(p, along)
        self._columns(add)

        def factor(i: Any, _: list[Any]) -> None:
            place = self._plus(layout.outside, i)
            norm = self._load(self._plus(layout.norms, i))
            scale = vector.unary("sqrt", vector.divide(norm, self._load(place)))
            self._store(scale, place)
            row = self._plus(layout.along, self._times(i, k))

            def shrink(r: Any, _inner: list[Any]) -> None:
                entry = self._sum(row, r)
                self._store(vector.multiply(scale, self._load(entry)), entry)

            self._each(k, shrink)

        def scale(i: Any, component: Any) -> None:
            factor = self._load(self._plus(layout.outside, i))
            self._store(vector.multiply(factor, self._load(component)), component)

        self._each(p, factor)
        self._columns(scale)

    def _columns(self, body: Callable[[Any, Any], None]) -> None:
        """body(i, component of S_ij) for all i ≥ j."""
        p = self.layout.p

        def column(j: Any, _: list[Any]) -> None:
            body(j, self.layout.column(j, self.vector.builder))
            self._below(j, body)

        if self.unrolled:
            for j in range(p):
                column(j, [])
            return
        if p > 1:
            self.vector.loop(p - 1, column)
        body(integer(p - 1), integer(self.layout.column(p - 1)))


@lru_cache(maxsize=64)
def _compile(p: int, k: int, sphere: bool, noise: bool, others: int, target: Target) -> Any:
    compiled = Compiled(ChainEmitter(p, k, sphere, noise, others, target).module, target)
    return compiled.function("chain", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


class Chain:
    """Runs of one system at one N, as many as there are lanes."""

    def __init__(self, p: int, teacher: Teacher, n: int, sphere: bool, noise: bool, target: Target) -> None:
        self.layout = ChainLayout(p, teacher.rank)
        self.lanes = target.lanes
        self._teacher, self._n = teacher, n
        others = n - teacher.rank - p
        if others < 0:
            raise ValueError("fewer dimensions than teachers and students")
        self._shape = 0.5 * others - 1.0 / 3.0
        self._advance = _compile(p, teacher.rank, sphere, noise, min(others, 2), target)
        rows, columns = np.tril_indices(p)
        order = np.lexsort((rows, columns))
        self._rows, self._columns = rows[order], columns[order]

    def start(
        self,
        A: Array,
        S: Array,
        words: np.ndarray,
        eta: Array,
        label_noise: Array,
        readout: tuple[float, float],
    ) -> Array:
        """Memory (components, lanes) for runs with these coordinates, streams and parameters.

        A (lanes, p, k), S (lanes, p, p), words (lanes, WORDS), η and Δ (lanes,), readout (a, b).
        """
        layout, (a, b) = self.layout, readout
        work = aligned(layout.components * self.lanes).reshape(layout.components, self.lanes)
        work[:WORDS] = words.T.view(np.float64)
        work[layout.rate] = 2.0 * a * eta / self._n
        work[layout.noise] = np.sqrt(label_noise)
        work[layout.shape] = self._shape
        work[layout.student] = a
        work[layout.weights : layout.norms] = b * self._teacher.weights[:, None]
        norms = np.sum(A**2, axis=2) + np.sum(S**2, axis=2)
        work[layout.norms : layout.along] = norms.T
        work[layout.along : layout.beyond] = A.reshape(self.lanes, -1).T
        work[layout.beyond : layout.teacher_inputs] = S[:, self._rows, self._columns].T
        return work

    def advance(self, work: Array, steps: int) -> None:
        """That many steps of all lanes; other threads go on meanwhile."""
        if steps:
            self._advance(work.ctypes.data, steps)

    def coordinates(self, work: Array) -> tuple[Array, Array]:
        """A (lanes, p, k) and S (lanes, p, p) now."""
        layout = self.layout
        A = work[layout.along : layout.beyond].T.reshape(self.lanes, layout.p, layout.k).copy()
        S = np.zeros((self.lanes, layout.p, layout.p))
        S[:, self._rows, self._columns] = work[layout.beyond : layout.teacher_inputs].T
        return A, S
