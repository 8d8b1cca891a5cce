"""Fields of records: where they start, and the memory behind their names."""

from __future__ import annotations

import numpy as np

from runtime.vector.builder import ALIGNMENT
from runtime.vector.vector_record import RecordMemory, VectorRecord


def test_fields_follow_each_other_and_are_parts_of_one_memory():
    record = VectorRecord(rate=(), weights=(3,), none=(0, 2), along=(2, 3))
    assert [record.at(name) for name in record.shapes] == [0, 1, 4, 4]
    assert record.component_count == 10
    memory = RecordMemory(record, 4)
    assert memory.address == memory.doubles.ctypes.data
    assert memory.address % ALIGNMENT == 0
    assert (memory.doubles == 0.0).all()
    memory["weights"][1] = 1.0
    memory["along"][1, 0] = np.arange(4.0)
    expected = np.zeros((10, 4))
    expected[2] = 1.0
    expected[7] = np.arange(4.0)
    np.testing.assert_array_equal(memory.doubles.reshape(10, 4), expected)
    assert memory["none"].shape == (0, 2, 4)
