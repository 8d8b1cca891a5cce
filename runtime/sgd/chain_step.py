"""Emits the vector code for a step of the exact Markov chain of the overlaps: one run per lane.

docs/finite-n.md derives it. A step of SGD on weights wᵢ/√N = (Aᵢ, Sᵢ), with A (p × k) along the
teacher's k directions and S (p × p) lower triangular beyond them, needs of the input only

    u (k) and z (p) standard normal, and g² = χ²_{N−k−p} of all other directions:
    λ = A u + S z,  y = b Σ σ*(F u) + √Δ ξ,  e = a Σ σ(λ) − y,  κ = aηe σ'(λ)/N,
    A' = A − κ uᵀ,
    S'S'ᵀ = S S ᵀ − (wκᵀ + κwᵀ) + (|z|² + g²) κκᵀ,  w = S z.

With G = |z|² + g² the last line is S (1 − zzᵀ/G) Sᵀ + G xxᵀ, x = κ − w/G. The first part has
a triangular factor in closed form without a difference of squares, the second is a rank-one update by
rotations: O(p²) operations, no inverse of C, so C may be singular. Weight decay multiplies (A', S') by
1 − ηγ/N, and on the sphere each row is divided by its norm.

With second-layer weights vᵢ, e = a Σ vᵢ σ(λᵢ) − y and the kicks are κᵢ = aη vᵢ e σ'(λᵢ)/N; if they are
trained, vᵢ' = vᵢ − (η_v/N) a e σ(λᵢ). The teacher's output for σ* = λ² is b Σ τ u², or another quadratic
form of u. `unit_code` has the activations.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from runtime.sgd.chain_loops import ChainLoops
from runtime.sgd.chain_memory import ChainRecord
from runtime.sgd.sgd_process import StepForm
from runtime.sgd.step_rates import step_rates
from runtime.sgd.unit_code import UnitCode
from runtime.vector.builder import INT64, VectorFunction, integer
from runtime.vector.jit import Target
from runtime.vector.random_numbers import RandomNumbers

# Up to this many entries of A, S and F the code is unrolled.
_UNROLLED_ENTRIES = 64


class ChainEmitter(ChainLoops):
    """Emits chain(work, steps, samples), which takes that many steps in all lanes, each of one sample.

    `others` is N − k − p, the number of dimensions beyond teacher and students; 2 stands for all larger
    ones, while the χ² of 0 and 1 dimensions has a method of its own. `columns` is for `BatchChainEmitter`.
    """

    def __init__(self, form: StepForm, columns: int, others: int, target: Target) -> None:
        self.record = ChainRecord(form, columns)
        self.form, self.others = form, others
        p, k = form.p, form.k
        self.unrolled = p * k + p * (p + 1) // 2 + form.teachers * k <= _UNROLLED_ENTRIES
        self.module = ir.Module("chain")
        self.lanes = target.lanes
        self.vector = VectorFunction(self.module, "chain", target.lanes, target.fma, 3)
        self.student, self.teacher = (UnitCode(self.vector, sigma) for sigma in form.activations)
        work, steps, samples = self.vector.arguments
        self.work = work
        self.samples = self.vector.builder.ptrtoint(samples, INT64)
        self.random = RandomNumbers(self.vector)
        count = self.vector.builder.ptrtoint(steps, INT64)

        def step(_index: Any, _carried: list[Any]) -> None:
            self.random.load(work, 0)
            self._step()
            self.random.save(work, 0)

        self.vector.loop(count, step)
        self.vector.builder.ret(integer(0))

    def _step(self) -> None:
        vector, record = self.vector, self.record
        p, k = record.p, record.k
        rates = step_rates(vector, self.work, record, self.form)
        label_noise, spare = self._draw_sample()
        other = self._other_directions(spare)
        self._fill("outside", p)
        length = self._shrink(other)
        error = self._error(label_noise)
        c = vector.multiply(rates.first, error)
        inverse = vector.divide(vector.constant(1.0), length)

        def along(i: Any, _: list[Any]) -> None:
            kick = self._kick(c, i)
            self._kick_along(kick, vector.plus(record.at("along"), vector.times(i, k)))
            # x = √G (κ − w/G), in the place of w.
            place = vector.plus(record.at("outside"), i)
            x = vector.fma(vector.negate(inverse), self._load(place), kick)
            self._store(vector.multiply(vector.unary("sqrt", length), x), place)

        self._each(p, along)
        if self.form.trained:
            self._train("second", rates.second, error)
        self._rotate_in()
        self._keep_norms(rates.kept)

    def _draw_sample(self) -> tuple[Any, list[Any]]:
        """Draw u, z and ξ; returns ξ (None without label noise) and normal numbers that are left over."""
        spare = self._draw_inputs()
        if self.form.noise and len(spare) < 2:
            spare += self.random.normals()
        return (spare.pop() if self.form.noise else None), spare

    def _kick(self, c: Any, i: Any) -> Any:
        """κ_i = c v_i ½ σ'(λ_i)."""
        field = self._load(self.record.at("fields"), i)
        if self.form.weighted:
            c = self.vector.multiply(c, self._load(self.record.at("second"), i))
        return self.student.kick(c, field)

    def _kick_along(self, kick: Any, row: Any) -> None:
        """Subtract κ_i u from a row that starts at a component."""
        vector, minus = self.vector, self.vector.negate(kick)

        def teacher(r: Any, _: list[Any]) -> None:
            place = vector.plus(row, r)
            u = self._load(self.record.at("inputs_along"), r)
            self._store(vector.fma(minus, u, self._load(place)), place)

        self._each(self.record.k, teacher)

    def _train(self, name: str, rate: Any, error: Any) -> None:
        """Subtract (η_v/N) a e σ(λ_i) from the weights in a field."""
        vector, record = self.vector, self.record
        minus = vector.negate(vector.multiply(rate, error))

        def student(i: Any, _: list[Any]) -> None:
            field, place = self._load(record.at("fields"), i), vector.plus(record.at(name), i)
            self._store(self.student.add_output(minus, field, self._load(place)), place)

        self._each(record.p, student)

    def _draw_inputs(self) -> list[Any]:
        """Draw u and z, next to each other; returns the number that is left over if their count is odd."""
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
        """S ← the factor of S (1 − zzᵀ/G) Sᵀ and w = S z of the old S; returns G.

        From the last column to the first, with g_j = g² + Σ_{m≥j} z_m² (so G = g₁) and the part
        w⁽ʲ⁾ = Σ_{m>j} S_m z_m of w:
        S_j ← √(g_{j+1}/g_j) (S_j − z_j w⁽ʲ⁾/g_{j+1}).
        """
        vector, record = self.vector, self.record
        p = record.p

        def column(j: Any, shorter: Any, last: bool) -> Any:
            z = self._load(record.at("inputs_beyond"), j)
            longer = vector.fma(z, z, shorter)
            factor = vector.unary("sqrt", vector.divide(shorter, longer))
            diagonal = record.column_at(j, vector.builder)
            corner = self._load(diagonal)
            self._store(vector.multiply(factor, corner), diagonal)
            place = vector.plus(record.at("outside"), j)
            if not last:
                pull = vector.divide(vector.negate(z), shorter)

                def entry(i: Any, component: Any) -> None:
                    place = vector.plus(record.at("outside"), i)
                    old, w = self._load(component), self._load(place)
                    self._store(vector.multiply(factor, vector.fma(pull, w, old)), component)
                    self._store(vector.fma(old, z, w), place)

                self._below(j, entry)
            self._store(vector.multiply(corner, z), place)
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
        """e = a Σ v σ(λ) − y; also stores λ = A u + w."""
        vector, record = self.vector, self.record
        p, k = record.p, record.k
        student, zero = self._load(record.at("student")), vector.constant(0.0)

        def field(i: Any, carried: list[Any]) -> list[Any]:
            row = vector.plus(record.at("along"), vector.times(i, k))
            value = self._along(row, k, self._load(record.at("outside"), i))
            self._store(value, vector.plus(record.at("fields"), i))
            weight = student
            if self.form.weighted:
                weight = vector.multiply(student, self._load(record.at("second"), i))
            return [self.student.add_output(weight, value, carried[0])]

        def label(r: Any, carried: list[Any]) -> list[Any]:
            if self.form.teachers:
                row = vector.plus(record.at("teachers"), vector.times(r, k))
                minus = vector.negate(self._load(record.at("weights"), r))
                return [self.teacher.add_output(minus, self._along(row, k, zero), carried[0])]
            u = self._load(record.at("inputs_along"), r)
            if self.form.separate:
                part = vector.multiply(self._load(record.at("weights"), r), u)
            else:
                part = self._form_row(r)
            return [vector.fma(part, vector.negate(u), carried[0])]

        error = self._each(p, field, [zero])[0]
        error = self._each(self.form.teachers or k, label, [error])[0]
        if label_noise is not None:
            error = vector.fma(vector.negate(self._load(record.at("noise"))), label_noise, error)
        return error

    def _form_row(self, r: Any) -> Any:
        """Σ_{s≤r} of row r of the quadratic form and u, whose entries beside the diagonal count twice."""
        vector, record, builder = self.vector, self.record, self.vector.builder
        if isinstance(r, int):
            before: Any = r * (r + 1) // 2
        else:
            before = builder.ashr(builder.mul(r, builder.add(r, integer(1))), integer(1))
        row = vector.plus(record.at("weights"), before)
        return self._along(row, vector.plus(r, 1), vector.constant(0.0))

    def _along(self, row: Any, count: Any, start: Any) -> Any:
        """start + Σ_s of the components from `row` on times u, up to a count."""

        def term(s: Any, carried: list[Any]) -> list[Any]:
            u = self._load(self.record.at("inputs_along"), s)
            return [self.vector.fma(self._load(row, s), u, carried[0])]

        return self._each(count, term, [start])[0]

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

    def _keep_norms(self, kept: Any) -> None:
        """What ends a step: weight decay, or on the sphere the norms of before."""
        if self.form.sphere:
            self._project()
        if kept is None:
            return
        # A and S lie next to each other.
        start, count = self.record.at("along"), self.record.at("inputs_along") - self.record.at("along")

        def shrink(index: Any, _: list[Any]) -> None:
            place = self.vector.plus(start, index)
            self._store(self.vector.multiply(kept, self._load(place)), place)

        self._each(count, shrink)

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

        def add(i: Any, _: Any, component: Any) -> None:
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

        def scale(i: Any, _: Any, component: Any) -> None:
            factor = self._load(record.at("outside"), i)
            self._store(vector.multiply(factor, self._load(component)), component)

        self._each(p, factor)
        self._columns(scale)
