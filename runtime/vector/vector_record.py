"""Records of vectors: memory whose parts have names, for compiled code and for the Python around it."""

from __future__ import annotations

import math

from runtime.vector.aligned_arrays import Array, aligned


class VectorRecord:
    """Where the fields of a record start, one after the other; each is an array of vectors.

    `shapes` are those of the fields in their order, without the lanes: () for a single vector.
    """

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self.shapes = shapes
        self._starts: dict[str, int] = {}
        self.component_count = 0
        for name, shape in shapes.items():
            self._starts[name] = self.component_count
            self.component_count += math.prod(shape)

    def at(self, field: str) -> int:
        """The component at which a field starts."""
        return self._starts[field]


class RecordMemory:
    """Memory of a record, zeros at first: `memory[field]` is the array (…, lanes) of a field.

    address
        Where compiled code finds it; component k of all lanes starts at double k · lanes.
    """

    def __init__(self, record: VectorRecord, lanes: int) -> None:
        self.doubles = aligned(record.component_count * lanes)
        self.address: int = self.doubles.ctypes.data
        components = self.doubles.reshape(-1, lanes)
        self._fields = {
            name: components[record.at(name) :][: math.prod(shape)].reshape(*shape, lanes)
            for name, shape in record.shapes.items()
        }

    def __getitem__(self, field: str) -> Array:
        return self._fields[field]
