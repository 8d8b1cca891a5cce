"""Emits the vector code for a step of the exact Markov chain of the overlaps: one run per lane.

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

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from runtime.sgd.chain_memory import ChainRecord
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import Target
from runtime.vector.random_numbers import RandomNumbers

# Up to this many entries of A and S the code is unrolled.
_UNROLLED_ENTRIES = 64


class ChainEmitter:
    """Emits chain(work, steps), which takes that many steps in all lanes.

    `others` is N − k − p, the number of dimensions beyond teacher and students; 2 stands for all larger
    ones, while the χ² of 0 and 1 dimensions has a method of its own.
    """

    def __init__(self, p: int, k: int, sphere: bool, noise: bool, others: int, target: Target) -> None:
        self.record = ChainRecord(p, k)
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

    def _load(self, start: Any, index: Any = None) -> Any:
        """The component `start`, or the one `index` places after it."""
        return self.vector.load(self.work, start if index is None else self.vector.plus(start, index))

    def _store(self, value: Any, component: Any) -> None:
        self.vector.store(value, self.work, component)

    def _each(
        self,
        count: int,
        body: Callable[[Any, list[Any]], list[Any] | None],
        carried: list[Any] | None = None,
    ) -> list[Any]:
        """carried = body(index, carried) for each index, unrolled or in a loop."""
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
        p = self.record.p
        diagonal = self.record.column_at(j, self.vector.builder)
        if self.unrolled:
            for i in range(j + 1, p):
                body(i, diagonal + i - j)
            return
        vector, builder = self.vector, self.vector.builder
        start = integer(diagonal - j) if isinstance(j, int) else builder.sub(diagonal, j)

        def turn(i: Any, _: list[Any]) -> None:
            body(i, builder.add(start, i))

        vector.loop(p, turn, start=vector.plus(j, 1))

    # --- one step ------------------------------------------------------------------------

    def _step(self) -> None:
        vector, record = self.vector, self.record
        p, k = record.p, record.k
        spare = self._draw_inputs()
        if self.noise and len(spare) < 2:
            spare += self.random.normals()
        label_noise = spare.pop() if self.noise else None
        other = self._other_directions(spare)

        zero = vector.constant(0.0)

        def clear(i: Any, _: list[Any]) -> None:
            self._store(zero, vector.plus(record.at("outside"), i))

        self._each(p, clear)
        length = self._shrink(other)
        error = self._error(label_noise)
        c = vector.multiply(self._load(record.at("rate")), error)
        inverse = vector.divide(vector.constant(1.0), length)

        def along(i: Any, _: list[Any]) -> None:
            field = self._load(record.at("fields"), i)
            kick = vector.multiply(c, field)
            row = vector.plus(record.at("along"), vector.times(i, k))

            def teacher(r: Any, _inner: list[Any]) -> None:
                place = vector.plus(row, r)
                u = self._load(record.at("inputs_along"), r)
                self._store(vector.fma(vector.negate(kick), u, self._load(place)), place)

            self._each(k, teacher)
            # x = √G (c λ − w/G), in the place of w.
            place = vector.plus(record.at("outside"), i)
            x = vector.fma(vector.negate(inverse), self._load(place), kick)
            self._store(vector.multiply(vector.unary("sqrt", length), x), place)

        self._each(p, along)
        self._rotate_in()
        if self.sphere:
            self._project()

    def _draw_inputs(self) -> list[Any]:
        """Draw u and v, next to each other; returns the number that is left over if their count is odd."""
        vector, record = self.vector, self.record
        total = record.k + record.p

        def pair(index: Any, _: list[Any]) -> None:
            x, y = self.random.normals()
            place = vector.plus(record.at("inputs_along"), vector.times(index, 2))
            self._store(x, place)
            self._store(y, vector.plus(place, 1))

        if self.unrolled:
            for index in range(total // 2):
                pair(index, [])
        elif total // 2:
            # The state changes from turn to turn, so the loop carries it.
            def turn(index: Any, state: list[Any]) -> list[Any]:
                self.random.state = state
                pair(index, [])
                return self.random.state

            self.random.state = vector.loop(total // 2, turn, self.random.state)
        if total % 2 == 0:
            return []
        x, y = self.random.normals()
        self._store(x, record.at("inputs_along") + total - 1)
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
            vector.constant(2.0), self.random.gamma(self._load(self.record.at("shape")), normal)
        )

    def _shrink(self, other: Any) -> Any:
        """S ← the factor of S (1 − vvᵀ/G) Sᵀ and w = S v of the old S; returns G.

        From the last column to the first, with g_j = g² + Σ_{m≥j} v_m² (so G = g₁) and the part
        w⁽ʲ⁾ = Σ_{m>j} S_m v_m of w:
        S_j ← √(g_{j+1}/g_j) (S_j − v_j w⁽ʲ⁾/g_{j+1}).
        """
        vector, record = self.vector, self.record
        p = record.p

        def column(j: Any, shorter: Any, last: bool) -> Any:
            v = self._load(record.at("inputs_beyond"), j)
            longer = vector.fma(v, v, shorter)
            factor = vector.unary("sqrt", vector.divide(shorter, longer))
            diagonal = record.column_at(j, vector.builder)
            corner = self._load(diagonal)
            self._store(vector.multiply(factor, corner), diagonal)
            place = vector.plus(record.at("outside"), j)
            if not last:
                pull = vector.divide(vector.negate(v), shorter)

                def entry(i: Any, component: Any) -> None:
                    place = vector.plus(record.at("outside"), i)
                    old, w = self._load(component), self._load(place)
                    self._store(vector.multiply(factor, vector.fma(pull, w, old)), component)
                    self._store(vector.fma(old, v, w), place)

                self._below(j, entry)
            self._store(vector.multiply(corner, v), place)
            return longer

        # Nothing lies below the last diagonal entry, and g² may be zero there.
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
        """e = a |λ|² − b Σ τ u² − √Δ ξ; also stores λ = A u + w."""
        vector, record = self.vector, self.record
        p, k = record.p, record.k
        student = self._load(record.at("student"))

        def field(i: Any, carried: list[Any]) -> list[Any]:
            row = vector.plus(record.at("along"), vector.times(i, k))

            def overlap(r: Any, total: list[Any]) -> list[Any]:
                u = self._load(record.at("inputs_along"), r)
                return [vector.fma(self._load(row, r), u, total[0])]

            value = self._each(k, overlap, [self._load(record.at("outside"), i)])[0]
            self._store(value, vector.plus(record.at("fields"), i))
            return [vector.fma(vector.multiply(student, value), value, carried[0])]

        def label(r: Any, carried: list[Any]) -> list[Any]:
            u = self._load(record.at("inputs_along"), r)
            weight = self._load(record.at("weights"), r)
            return [vector.fma(vector.multiply(weight, u), vector.negate(u), carried[0])]

        error = self._each(p, field, [vector.constant(0.0)])[0]
        error = self._each(k, label, [error])[0]
        if label_noise is not None:
            error = vector.fma(vector.negate(self._load(record.at("noise"))), label_noise, error)
        return error

    def _rotate_in(self) -> None:
        """S ← the lower triangular factor of S Sᵀ + x xᵀ, x where w was."""
        vector, record = self.vector, self.record
        p = record.p
        builder, zero, one = vector.builder, vector.constant(0.0), vector.constant(1.0)

        def column(j: Any, last: bool) -> None:
            diagonal = record.column_at(j, builder)
            corner, x = self._load(diagonal), self._load(record.at("outside"), j)
            square = vector.fma(corner, corner, vector.multiply(x, x))
            length = vector.unary("sqrt", square)
            self._store(length, diagonal)
            if last:
                return
            positive = builder.fcmp_unordered("!=", length, zero)
            inverse = vector.divide(one, vector.select(positive, length, one))
            # Where there is nothing to turn, the rotation is the identity.
            cosine = vector.select(positive, vector.multiply(corner, inverse), one)
            sine = vector.multiply(x, inverse)

            def entry(i: Any, component: Any) -> None:
                place = vector.plus(record.at("outside"), i)
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
        """Scale each row of (A, S) back to its norm; the new norms are summed where w was."""
        vector, record = self.vector, self.record
        p, k = record.p, record.k

        def along(i: Any, _: list[Any]) -> None:
            row = vector.plus(record.at("along"), vector.times(i, k))

            def square(r: Any, total: list[Any]) -> list[Any]:
                value = self._load(row, r)
                return [vector.fma(value, value, total[0])]

            norm = self._each(k, square, [vector.constant(0.0)])[0]
            self._store(norm, vector.plus(record.at("outside"), i))

        def add(i: Any, component: Any) -> None:
            place = vector.plus(record.at("outside"), i)
            value = self._load(component)
            self._store(vector.fma(value, value, self._load(place)), place)

        self._each(p, along)
        self._columns(add)

        def factor(i: Any, _: list[Any]) -> None:
            place = vector.plus(record.at("outside"), i)
            norm = self._load(record.at("norms"), i)
            scale = vector.unary("sqrt", vector.divide(norm, self._load(place)))
            self._store(scale, place)
            row = vector.plus(record.at("along"), vector.times(i, k))

            def shrink(r: Any, _inner: list[Any]) -> None:
                entry = vector.plus(row, r)
                self._store(vector.multiply(scale, self._load(entry)), entry)

            self._each(k, shrink)

        def scale(i: Any, component: Any) -> None:
            factor = self._load(record.at("outside"), i)
            self._store(vector.multiply(factor, self._load(component)), component)

        self._each(p, factor)
        self._columns(scale)

    def _columns(self, body: Callable[[Any, Any], None]) -> None:
        """body(i, component of S_ij) for all i ≥ j."""
        p = self.record.p

        def column(j: Any, _: list[Any]) -> None:
            body(j, self.record.column_at(j, self.vector.builder))
            self._below(j, body)

        if self.unrolled:
            for j in range(p):
                column(j, [])
            return
        if p > 1:
            self.vector.loop(p - 1, column)
        body(integer(p - 1), integer(self.record.column_at(p - 1)))
