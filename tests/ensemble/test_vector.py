"""Vector code of the programs against the generated scalar code, and the builder it is made with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from vector_code import (
    EPSILON,
    GUARD,
    Programs,
    aligned,
    call,
    compile_function,
    largest_terms,
    random_lanes,
    scalar_drift,
    scalar_module,
)

from derive import Model
from derive.lower import drift_program, loss_program
from derive.model import CONSTRAINTS, FLOWS, READOUTS, TEACHERS
from runtime.simd import jit
from runtime.simd.blocks import Blocks
from runtime.simd.emitter import ProgramKind
from runtime.simd.tiles import Tiled
from runtime.simd.unrolled import Unrolled

OPTIONS = list(itertools.product(CONSTRAINTS, FLOWS, TEACHERS, READOUTS))
# Every remainder of 4 × 4 tiles, for rows and for columns; p > p*, p = p*, p < p*.
NARROW = [(1, 1), (2, 3), (4, 2), (5, 3), (7, 6)]
# Straight-line code of these is never used, and takes seconds to compile.
WIDE = [(3, 8), (4, 4), (9, 5), (12, 6), (16, 4)]
KINDS = [Unrolled, Blocks, Tiled]
# Units of rounding, relative to the largest terms of the sums.
ALLOWED = 6.0


def assert_equals_scalar_code(model: Model, target: jit.Target, kind: ProgramKind, seed: int) -> None:
    states, parameters = random_lanes(model, target.lanes, seed)
    programs = Programs(model, target, kind)
    drifts = programs("rhs", states, parameters)
    losses = programs("loss", states, parameters)[:, 0]
    for y, values, drift, loss in zip(states, parameters, drifts, losses, strict=True):
        terms, loss_terms = largest_terms(model, y, values)
        error = np.max(np.abs(drift - scalar_drift(model, y, values)))
        assert error <= ALLOWED * EPSILON * terms
        if model.constraint == "sphere":
            # Norms do not change at all, whatever the rounding.
            norms = np.diagonal(scalar_module(model).unpack(drift)[0])
            assert (norms == 0.0).all()
        assert abs(loss - scalar_module(model).loss(y, values)) <= ALLOWED * EPSILON * loss_terms


# Programs.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_every_option(options, kind):
    constraint, flow, teacher, readout = options
    model = Model(3, 2, constraint=constraint, flow=flow, teacher=teacher, readout=readout)
    assert_equals_scalar_code(model, jit.target(), kind, seed=1)


@pytest.mark.parametrize(
    ("widths", "kind"),
    [*itertools.product(NARROW, KINDS), *itertools.product(WIDE, (Blocks, Tiled))],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(map(str, value)),
)
def test_every_remainder_of_the_tiles(widths, kind):
    # The options with the most statements.
    model = Model(*widths, constraint="sphere", teacher="general")
    assert_equals_scalar_code(model, jit.target(), kind, seed=2)


@pytest.mark.parametrize("widths", [(1, 3), (6, 1), (10, 3)], ids=str)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("kind", [Blocks, Tiled])
def test_tiles_of_a_free_model(widths, flow, kind):
    assert_equals_scalar_code(Model(*widths, flow=flow), jit.target(), kind, seed=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("simd", ["avx2", "baseline"])
def test_every_kind_of_vectors(simd, kind):
    model = Model(5, 3, constraint="sphere", teacher="general")
    assert_equals_scalar_code(model, jit.target(simd), kind, seed=4)


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_know_nothing_of_each_other(kind):
    model = Model(5, 3, constraint="sphere", teacher="general")
    programs = Programs(model, jit.target(), kind)
    lanes = programs.lanes
    states, parameters = random_lanes(model, lanes, seed=5)
    together = {name: programs(name, states, parameters) for name in ("rhs", "loss")}
    for name, lane in itertools.product(together, range(lanes)):
        # The neighbours are not numbers, or the same trajectory: it must not matter.
        wild = np.full_like(states, np.nan)
        wild[lane] = states[lane]
        alone = programs(name, wild, parameters)
        assert alone[lane].tobytes() == together[name][lane].tobytes()
        same = programs(name, np.tile(states[lane], (lanes, 1)), np.tile(parameters[lane], (lanes, 1)))
        for other in range(lanes):
            assert same[other].tobytes() == together[name][lane].tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_scratch_of_the_drift_is_enough_for_the_loss(options, kind):
    # Why: the layout has one scratch array for both.
    constraint, flow, teacher, readout = options
    for widths in [(1, 1), (1, 12), (12, 1), (9, 9)]:
        model = Model(*widths, constraint=constraint, flow=flow, teacher=teacher, readout=readout)
        drift, loss = (kind.scratch_components(make(model)) for make in (drift_program, loss_program))
        assert loss <= drift


# The builder.


def ramp(components: int, lanes: int) -> np.ndarray:
    """Distinct numbers in aligned memory."""
    memory = aligned(components, lanes)
    memory[:] = np.arange(components * lanes).reshape(components, lanes)
    return memory


@pytest.mark.parametrize("side", sorted({1, 2, 4, jit.target().lanes}))
def test_transpose(side):
    target = jit.target()
    lanes = target.lanes

    def emit(vector):
        source, result = vector.arguments
        rows = vector.transpose([vector.load(source, k) for k in range(side)])
        for k, row in enumerate(rows):
            vector.store(row, result, k)

    source, result = ramp(side, lanes), aligned(side, lanes)
    call(compile_function(target, 2, emit), "f", source, result)
    for first in range(0, lanes, side):
        block = slice(first, first + side)
        np.testing.assert_array_equal(result[:, block], source[:, block].T)


@pytest.mark.parametrize("start", [0, 2])
def test_loop_carries_values(start):
    target = jit.target()

    def emit(vector):
        source, result = vector.arguments

        def body(index, carried):
            total, product = carried
            value = vector.load(source, index)
            return [vector.add(total, value), vector.multiply(product, value)]

        values = vector.loop(5, body, [vector.constant(0.0), vector.constant(1.0)], start=start)
        for k, value in enumerate(values):
            vector.store(value, result, k)

    source, result = ramp(5, target.lanes), aligned(2, target.lanes)
    call(compile_function(target, 2, emit), "f", source, result)
    np.testing.assert_array_equal(result, [source[start:].sum(axis=0), source[start:].prod(axis=0)])


def test_bits_of_a_mask():
    target = jit.target()

    def emit(vector):
        (source,) = vector.arguments
        value = vector.load(source)
        return vector.bits(vector.builder.fcmp_ordered(">", value, vector.constant(0.0)))

    compiled = compile_function(target, 1, emit)
    for lane in range(target.lanes):
        memory = aligned(1, target.lanes)
        memory[0, lane] = 1.0
        assert call(compiled, "f", memory) == 1 << lane


@pytest.mark.parametrize("kind", ["avx512", "avx2", "baseline"])
def test_fma_rounds_once_where_the_processor_can(kind):
    target = jit.target(kind)

    def emit(vector):
        source, result = vector.arguments
        x, y, z = (vector.load(source, k) for k in range(3))
        vector.store(vector.fma(x, y, z), result)

    memory, result = aligned(3, target.lanes), aligned(1, target.lanes)
    # (1 + ε)(1 − ε) − 1 is −ε², and 0 if the product is rounded first.
    memory[:] = np.array([[1.0 + EPSILON], [1.0 - EPSILON], [-1.0]])
    call(compile_function(target, 2, emit), "f", memory, result)
    np.testing.assert_array_equal(result, -(EPSILON**2) if target.fma else 0.0)


def test_loads_and_stores_touch_one_component():
    target = jit.target()

    def emit(vector):
        source, result = vector.arguments
        vector.store(vector.load(source, 1), result, 2)

    source, result = ramp(3, target.lanes), aligned(4, target.lanes, GUARD)
    call(compile_function(target, 2, emit), "f", source, result)
    np.testing.assert_array_equal(result[2], source[1])
    assert (np.delete(result, 2, axis=0) == GUARD).all()
