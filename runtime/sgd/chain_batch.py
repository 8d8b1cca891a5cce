"""Emits the vector code for a step of the chain of the overlaps with a batch of B samples.

docs/finite-n.md derives it. Each sample b has inputs u and z and an error of its own, at the old weights,
so that the kicks κ_b = aη v e_b σ'(λ_b)/(NB) are the columns of a matrix K (p × B):

    A' = A − K U,   S'S'ᵀ = (S − K Z)(S − K Z)ᵀ + K h hᵀ Kᵀ,

where the rows of U (B × k) and Z (B × p) are the samples' u and z, and those of h (B × d), d = N − k − p,
are their inputs in all other directions. They matter through K h alone, which has the law of M g for any
M (p × m) with M Mᵀ = K Kᵀ and a Gaussian g (m × d); and g gᵀ is Wishart's matrix, with Bartlett's factor L.
So the columns of S − K Z, and then those of M L, enter a triangular S' by rotations: O(B) + O(p³) work.
M is K for B < p, and otherwise the triangular factor of K Kᵀ.
"""

from __future__ import annotations

from typing import Any

from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.step_rates import StepRates, step_rates
from runtime.vector.builder import integer

# Pivots of K Kᵀ below this part of its diagonal are rounding of the sum over samples.
_ROUNDING = 1e-14


class BatchChainEmitter(ChainEmitter):
    """Emits chain(work, steps, samples), which takes that many steps of so many samples each.

    `columns` is m: the number of samples, or p if there are as many or more. `others` is N − k − p, where
    m + 1 stands for all larger ones.
    """

    def _step(self) -> None:
        vector, record, trained = self.vector, self.record, self.form.trained
        p, k = record.p, record.k
        rates = step_rates(vector, self.work, record, self.form)
        self._copy("along", "next_along", p * k)
        if trained:
            self._copy("second", "next_second", p)
        self._fill("kicks", record.columns * p)
        self._fill("full", p * p)

        def spread(i: Any, j: Any, component: Any) -> None:
            self._store(self._load(component), self._entry("full", i, j))

        self._columns(spread)

        def sample(number: Any, state: list[Any]) -> list[Any]:
            self.random.state = state
            self._sample(number, rates)
            return self.random.state

        self.random.state = vector.loop(self.samples, sample, self.random.state)
        self._copy("next_along", "along", p * k)
        if trained:
            self._copy("next_second", "second", p)
        self._fill("beyond", p * (p + 1) // 2)

        def column(j: Any, _: list[Any]) -> None:
            self._each(p, lambda i, _: self._store(self._load(self._entry("full", i, j)), self._outside(i)))
            self._rotate_in()

        vector.loop(p, column)
        if self.others:
            self._rotate_other_directions_in()
        self._keep_norms(rates.kept)

    def _outside(self, i: Any) -> Any:
        return self.vector.plus(self.record.at("outside"), i)

    def _entry(self, field: str, i: Any, j: Any) -> Any:
        """The component of entry (i, j) of a matrix with p rows, column by column."""
        vector = self.vector
        return vector.plus(vector.plus(self.record.at(field), vector.times(j, self.record.p)), i)

    def _copy(self, source: str, target: str, count: int) -> None:
        """Copy the first `count` components of a field to another one."""
        vector, record = self.vector, self.record

        def move(index: Any, _: list[Any]) -> None:
            value = self._load(record.at(source), index)
            self._store(value, vector.plus(record.at(target), index))

        self._each(count, move)

    def _sample(self, number: Any, rates: StepRates) -> None:
        """Add what one sample does to A, S, v and K."""
        vector, record = self.vector, self.record
        p, k = record.p, record.k
        label_noise, _ = self._draw_sample()
        self._fill("outside", p)

        def product(i: Any, j: Any, component: Any) -> None:
            z = self._load(record.at("inputs_beyond"), j)
            w = self._load(self._outside(i))
            self._store(vector.fma(self._load(component), z, w), self._outside(i))

        self._columns(product)
        error = self._error(label_noise)
        c = vector.multiply(rates.first, error)
        keeps = record.columns < p

        def student(i: Any, _: list[Any]) -> None:
            kick = self._kick(c, i)
            self._store(kick, self._entry("kicks", i, number) if keeps else self._outside(i))
            self._kick_along(kick, vector.plus(record.at("next_along"), vector.times(i, k)))
            minus = vector.negate(kick)

            def axis(j: Any, _inner: list[Any]) -> None:
                place = self._entry("full", i, j)
                z = self._load(record.at("inputs_beyond"), j)
                self._store(vector.fma(minus, z, self._load(place)), place)

            self._each(p, axis)

        self._each(p, student)
        if not keeps:
            self._add_squares()
        if self.form.trained:
            self._train("next_second", rates.second, error)

    def _add_squares(self) -> None:
        """Add κ κᵀ to the lower triangle of K Kᵀ; κ lies where w was."""
        vector = self.vector

        def add(i: Any, j: Any, _: Any) -> None:
            place = self._entry("kicks", i, j)
            product = vector.fma(
                self._load(self._outside(i)), self._load(self._outside(j)), self._load(place)
            )
            self._store(product, place)

        self._columns(add)

    def _rotate_other_directions_in(self) -> None:
        """S ← the triangular factor of S Sᵀ + M L Lᵀ Mᵀ."""
        vector, record = self.vector, self.record
        columns = min(record.columns, self.others)
        if record.columns == record.p:
            self._factorise()
        # The last column has the χ² of one dimension, where there are no more.
        whole = columns if self.others > record.columns else columns - 1

        def column(i: Any, state: list[Any]) -> list[Any]:
            self.random.state = state
            self._bartlett_column(i, single=False)
            return self.random.state

        if whole:
            self.random.state = vector.loop(whole, column, self.random.state)
        if whole < columns:
            self._bartlett_column(integer(whole), single=True)

    def _bartlett_column(self, i: Any, single: bool) -> None:
        """Rotate M times column i of L in: L_ii² is χ² with N − k − p − i degrees, L_ji normal below it."""
        vector, record, builder = self.vector, self.record, self.vector.builder
        left = builder.sub(integer(record.columns), i)
        pairs = builder.ashr(builder.add(left, integer(1)), integer(1))
        normals = record.at("normals")

        def pair(index: Any, state: list[Any]) -> list[Any]:
            self.random.state = state
            x, y = self.random.normals()
            place = vector.plus(normals, vector.times(index, 2))
            self._store(x, place)
            self._store(y, vector.plus(place, 1))
            return self.random.state

        self.random.state = vector.loop(pairs, pair, self.random.state)
        # A normal number by itself is ± the root of χ² with one degree, and the sign does not matter.
        if not single:
            gamma = self.random.gamma(self._load(record.at("shape"), i), self._load(normals))
            self._store(vector.unary("sqrt", vector.multiply(vector.constant(2.0), gamma)), normals)
        self._fill("outside", record.p)

        def add(j: Any, _: list[Any]) -> None:
            factor = self._load(normals, builder.sub(j, i))

            def entry(r: Any, _inner: list[Any]) -> None:
                place = self._outside(r)
                value = vector.fma(self._load(self._entry("kicks", r, j)), factor, self._load(place))
                self._store(value, place)

            self._each(record.p, entry)

        vector.loop(record.columns, add, start=i)
        self._rotate_in()

    def _factorise(self) -> None:
        """K Kᵀ ← its lower triangular factor, with columns of zeros where it has less than full rank."""
        vector, p = self.vector, self.record.p
        one, zero = vector.constant(1.0), vector.constant(0.0)

        def keep(i: Any, _: list[Any]) -> None:
            smallest = vector.multiply(vector.constant(_ROUNDING), self._load(self._entry("kicks", i, i)))
            self._store(smallest, self._outside(i))

        self._each(p, keep)

        def column(j: Any, last: bool = False) -> None:
            diagonal = self._entry("kicks", j, j)
            pivot = self._load(diagonal)
            there = vector.builder.fcmp_ordered(">", pivot, self._load(self._outside(j)))
            root = vector.unary("sqrt", vector.select(there, pivot, one))
            inverse = vector.select(there, vector.divide(one, root), zero)
            self._store(vector.select(there, root, zero), diagonal)
            if last:
                return

            def scale(i: Any) -> None:
                place = self._entry("kicks", i, j)
                self._store(vector.multiply(inverse, self._load(place)), place)

            def subtract(h: Any) -> None:
                minus = vector.negate(self._load(self._entry("kicks", h, j)))

                def entry(i: Any) -> None:
                    place, factor = self._entry("kicks", i, h), self._load(self._entry("kicks", i, j))
                    self._store(vector.fma(minus, factor, self._load(place)), place)

                self._from(h, entry)

            self._from(vector.plus(j, 1), scale)
            self._from(vector.plus(j, 1), subtract)

        if p > 1:
            self._each(p - 1, lambda j, _: column(j))
        column(p - 1, last=True)
