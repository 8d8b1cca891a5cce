"""Loops over the matrices in a chain's memory, which vector code for few entries writes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.sgd.chain_memory import ChainRecord
from runtime.vector.builder import VectorFunction, integer


class ChainLoops:
    """Reads and writes the matrices of a chain.

    record, work
        The fields of its memory, and the address.
    unrolled
        Whether loops are written out.
    """

    vector: VectorFunction
    record: ChainRecord
    work: Any
    unrolled: bool

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

    def _from(self, first: Any, body: Callable[[Any], None]) -> None:
        """body(i) for i = first … p − 1; in a loop there is at least one."""
        p = self.record.p
        if self.unrolled:
            for i in range(first, p):
                body(i)
        else:
            self.vector.loop(p, lambda i, _: body(i), start=first)

    def _below(self, j: Any, body: Callable[[Any, Any], None]) -> None:
        """body(i, component of S_ij) for each i > j; in a loop j < p − 1."""
        vector, builder = self.vector, self.vector.builder
        diagonal = self.record.column_at(j, builder)
        start = diagonal - j if isinstance(j, int) else builder.sub(diagonal, j)
        self._from(vector.plus(j, 1), lambda i: body(i, vector.plus(start, i)))

    def _fill(self, field: str, count: int) -> None:
        """Write zeros into the first `count` components of a field."""
        zero, start = self.vector.constant(0.0), self.record.at(field)
        self._each(count, lambda i, _: self._store(zero, self.vector.plus(start, i)))

    def _columns(self, body: Callable[[Any, Any, Any], None]) -> None:
        """body(i, j, component of S_ij) for all i ≥ j."""
        p = self.record.p

        def column(j: Any, _: list[Any]) -> None:
            body(j, j, self.record.column_at(j, self.vector.builder))
            self._below(j, lambda i, component: body(i, j, component))

        if self.unrolled:
            for j in range(p):
                column(j, [])
            return
        if p > 1:
            self.vector.loop(p - 1, column)
        last = integer(p - 1)
        body(last, last, integer(self.record.column_at(p - 1)))
