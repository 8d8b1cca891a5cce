"""Addresses of a program's matrices in memory, and what a kind of tiles has to be able to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from derive.program import Matrix, Operand, Vector
from runtime.ensemble.kernels.matrix_placement import MatrixPlacement
from runtime.ensemble.kernels.program_form import ProgramAddresses
from runtime.vector.builder import VectorFunction, integer

# An index is a number that is known when code is emitted, or a value of the code.
Index = Any
# Gives the address of the entry (u, v) of a part of a matrix.
View = Callable[[int, int], Any]
# Numbers of rows and columns.
Sides = tuple[int, int]
# A body(index, carried) emits one turn of a loop, and returns what the next turn starts from.
LoopBody = Callable[[Index, list[Any]], Sequence[Any] | None]


@dataclasses.dataclass(frozen=True)
class Tile:
    """The entries (i0 + u, j0 + v) of a matrix, for all (u, v) in `indices`."""

    i0: Index
    j0: Index
    indices: Sequence[tuple[int, int]]

    def on_diagonal(self, u: int, v: int) -> bool:
        """Whether i0 + u = j0 + v; tiles in loops either have equal i0 and j0 or are off the diagonal."""
        if isinstance(self.i0, int) and isinstance(self.j0, int):
            return self.i0 + u == self.j0 + v
        return self.i0 is self.j0 and u == v


# Emits the code for one tile.
TileBody = Callable[[Tile], None]


class MatrixMemory:
    """Where the entries of a program's matrices are, as `places` says."""

    def __init__(
        self, vector: VectorFunction, addresses: ProgramAddresses, places: MatrixPlacement
    ) -> None:
        self.vector, self.addresses, self.places = vector, addresses, places

    def base(self, name: str) -> Any:
        """The address at which a matrix, a vector or a row of norms starts."""
        for address, places in (
            (self.addresses.state, self.places.state),
            (self.addresses.parameters, self.places.parameters),
            (self.addresses.result, self.places.result),
        ):
            if name in places:
                return self.vector.address(address, places[name])
        return self.vector.address(self.addresses.scratch, self.places.scratch[name])

    def vector_entry(self, part: Vector, i: Index) -> Any:
        """The value of entry i of a vector."""
        return self.vector.load(self.base(part.name), i)

    def pair_at(self, i: Index, j: Index) -> Index:
        """Component number of the pair i ≤ j of students in a vector over pairs."""
        return self._in_triangle(self.places.program.p, i, j)

    def whole_at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        """Component number of entry (i, j) of a whole matrix, counted from 0."""
        return self.vector.plus(self.vector.times(i, self.places.columns(matrix)), j)

    def packed_at(self, matrix: Matrix, i: Index, j: Index) -> Index:
        """Component number of entry i ≤ j among the independent entries."""
        if not matrix.symmetric:
            return self.whole_at(matrix, i, j)
        return self._in_triangle(self.places.rows(matrix), i, j)

    def _in_triangle(self, rows: int, i: Index, j: Index) -> Index:
        """The number of the pair i ≤ j: i (2 rows − i − 1) / 2 + j."""
        most = 2 * rows - 1
        if isinstance(i, int):
            return self.vector.plus(i * (most - i) // 2, j)
        builder = self.vector.builder
        twice = builder.mul(i, builder.sub(integer(most), i))
        return self.vector.plus(builder.ashr(twice, integer(1)), j)

    def store_packed(self, value: Any, matrix: Matrix, i: Index, j: Index) -> None:
        """Store an entry i ≤ j of a matrix that is kept as its independent entries, as results are."""
        self.vector.store(value, self.base(matrix.name), self.packed_at(matrix, i, j))

    def packed_input(self, matrix: Matrix) -> tuple[Any, int]:
        """Where the independent entries of an input start: an address, and components after it."""
        given = matrix.name in self.places.given
        address = self.addresses.parameters if given else self.addresses.state
        return address, self.places.inputs[matrix.name]

    def unpack(self, matrix: Matrix) -> None:
        """Write a whole symmetric input from its upper triangle."""
        vector = self.vector
        packed, offset = self.packed_input(matrix)
        base = self.base(matrix.name)

        def row(i: Any, carried: list[Any]) -> list[Any]:
            def column(j: Any, inner: list[Any]) -> list[Any]:
                value = vector.load(packed, inner[0])
                vector.store(value, base, self.whole_at(matrix, i, j))
                vector.store(value, base, self.whole_at(matrix, j, i))
                return [vector.builder.add(inner[0], integer(1))]

            return vector.loop(self.places.columns(matrix), column, carried, start=i)

        vector.loop(self.places.rows(matrix), row, [integer(offset)])


class MatrixTiles(Protocol):
    """How code goes through matrices, and how it addresses their entries.

    packed
        Whether symmetric matrices are kept as their independent entries.
    distinct
        As in `program_form`.
    largest
        The largest height and width of a tile: its accumulators, a row and one more value should fit into
        the registers.
    """

    packed: ClassVar[bool]
    distinct: ClassVar[bool]
    largest: Sides

    def __init__(self, memory: MatrixMemory, largest: Sides) -> None: ...

    def loop(self, count: int, body: LoopBody, carried: Sequence[Any] = (), start: Index = 0) -> list[Any]:
        """for index in range(start, count): carried = body(index, carried); at least one turn."""

    def turns(self, inner: int) -> int:
        """How many of the `inner` turns of a product's loop are written out: a divisor of their number."""

    def triangle(self, rows: int, body: TileBody) -> None:
        """Call `body` for tiles that cover all i ≤ j."""

    def entry(self, matrix: Matrix, i: Index, j: Index) -> Any:
        """The value of entry (i, j)."""

    def flat(self, matrix: Matrix, k: Index) -> Any:
        """The value of entry k, counted row by row."""

    def view(self, operand: Operand, i0: Index, j0: Index) -> View:
        """The view of an operand from its entry (i0, j0) on."""

    def store(self, totals: Sequence[Any], target: Matrix, tile: Tile) -> None:
        """Store the entries of a tile, and what is kept of their mirror images."""


def even_sides(count: int, most: int) -> Sides:
    """Side of the tiles that cover `count` rows most evenly, and how many are whole."""
    side = -(-count // -(-count // most))
    return side, count // side


def over_matrix(
    tiles: MatrixTiles, memory: MatrixMemory, target: Matrix, body: TileBody, rows: int | None = None
) -> None:
    """Call `body` for tiles that cover the independent entries of a matrix, or of its first rows."""
    rows, columns = rows or memory.places.rows(target), memory.places.columns(target)
    if target.symmetric:
        tiles.triangle(rows, body)
        return
    (height, bands), (width, count) = (
        even_sides(rows, tiles.largest[0]),
        even_sides(columns, tiles.largest[1]),
    )

    def band_of(i0: Index, height: int) -> None:
        def tile(j0: Index, width: int) -> None:
            body(Tile(i0, j0, [(u, v) for u in range(height) for v in range(width)]))

        tiles.loop(count, lambda j, _: tile(memory.vector.times(j, width), width))
        if columns % width:
            tile(count * width, columns % width)

    tiles.loop(bands, lambda i, _: band_of(memory.vector.times(i, height), height))
    if rows % height:
        band_of(bands * height, rows % height)
