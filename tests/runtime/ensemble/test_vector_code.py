"""Vector code of the programs against the generated scalar code, and the builder it is made with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from matrix import matrix
from vector_code import (
    EPSILON,
    GUARD,
    Programs,
    aligned,
    assert_equals_scalar_code,
    call,
    compile_function,
    random_lanes,
    scalar_module,
)

from derive import Model
from derive.model import OPTIONS
from derive.pipeline import Pipeline
from derive.program import Contraction, Matrix, MatrixStatement, Operand, Program, ScalarStatement, Term
from derive.scalar_polynomials import ScalarPolynomial
from runtime.ensemble.kernels.form_by_size import FORMS
from runtime.vector import jit

# The readout changes two constants, and no statement.
NAMES = [name for name in OPTIONS if name != "readout"]
CHOICES = list(itertools.product(*(OPTIONS[name].values for name in NAMES)))
# Those whose programs have the most statements, without and with second-layer weights.
FULL = [
    {"constraint": "sphere", "teacher": "general"},
    {"constraint": "sphere", "teacher": "general", "second_layer": "trained"},
]
# Every remainder of tiles of 4, 3 and 2 rows or columns; p > p*, p = p*, p < p*.
NARROW = [(1, 1), (2, 3), (4, 2), (5, 3), (7, 6)]
# Straight-line code of these is never used, and takes seconds to compile.
WIDE, WIDEST = [(3, 8), (4, 4), (9, 5)], [(12, 6), (16, 4)]
# Every p and every p* up to 20.
OTHER = [(p, 1 + 7 * p % 20) for p in range(1, 21)]
TILES = ["written-out tiles", "looped tiles"]
# Programs.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", CHOICES, ids="-".join)
def test_every_option(options, form):
    model = Model(2, 1, **dict(zip(NAMES, options, strict=True)))
    assert_equals_scalar_code(model, jit.target(), form, seed=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("readout", OPTIONS["readout"].values)
@pytest.mark.parametrize("layer", OPTIONS["second_layer"].values)
def test_every_readout(readout, layer, form):
    assert_equals_scalar_code(Model(2, 3, readout=readout, second_layer=layer), jit.target(), form, seed=6)


ONES, TRAINED = FULL
MANY = [
    *itertools.product(WIDEST, TILES),
    *itertools.product(OTHER, TILES[1:]),
    *itertools.product(OTHER[:12], TILES[:1]),
]


@pytest.mark.parametrize(
    ("widths", "form", "options"),
    [
        *((*case, ONES) for case in itertools.product(NARROW, FORMS)),
        *((*case, ONES) for case in itertools.product(WIDE, TILES)),
        *((*case, TRAINED) for case in itertools.product(NARROW[:4], FORMS)),
        *((*case, TRAINED) for case in itertools.product(WIDE[:1], TILES)),
        *(matrix((*case, TRAINED)) for case in itertools.product([*NARROW[4:], *WIDE[1:]], TILES)),
        *(matrix((*case, options)) for case, options in itertools.product(MANY, FULL)),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else str(value),
)
def test_every_remainder_of_the_tiles(widths, form, options):
    assert_equals_scalar_code(Model(*widths, **options), jit.target(), form, seed=2)


@pytest.mark.parametrize("widths", [(1, 3), (6, 1), (10, 3)], ids=str)
@pytest.mark.parametrize(("flow", "layer"), [("sgd", "ones"), ("gradient", "ones"), ("gradient", "fixed")])
@pytest.mark.parametrize("form", TILES)
def test_tiles_of_a_free_model(widths, flow, layer, form):
    model = Model(*widths, flow=flow, second_layer=layer)
    assert_equals_scalar_code(model, jit.target(), form, seed=3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("simd", ["avx2", "baseline"])
@pytest.mark.parametrize("options", FULL, ids=["ones", "trained"])
def test_every_kind_of_vectors(simd, form, options):
    model = Model(5, 3, **options)
    assert_equals_scalar_code(model, jit.target(simd), form, seed=4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", FULL, ids=["ones", "trained"])
def test_lanes_know_nothing_of_each_other(form, options):
    model = Model(5, 3, **options)
    programs = Programs(model, jit.target(), form)
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", CHOICES, ids="-".join)
def test_scratch_of_the_drift_is_enough_for_the_loss(options, form):
    # The layout has one scratch array for both.
    for widths in [(1, 1), (1, 12), (12, 1), (9, 9)]:
        model = Model(*widths, **dict(zip(NAMES, options, strict=True)))
        functions = Pipeline.of(model).functions
        drift, loss = (
            FORMS[form](model, functions[name], (4, 4)).scratch_components for name in ("rhs", "loss")
        )
        assert loss <= drift


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("widths", [(5, 3), (8, 4), (3, 7)], ids=str)
def test_products_whose_coefficients_have_no_known_ratio(widths, form):
    """S = 1 + η QQ − Δ RR' + Q, and Y = Δ QR − η aR: models have only ratios of a and b."""
    Q, R = Matrix("Q", "p", "p", symmetric=True), Matrix("R", "p", "pstar")
    S, Y = Matrix("dQ", "p", "p", symmetric=True), Matrix("dR", "p", "pstar")
    terms = [(1, None), (1, "eta", Q, Q), (-1, "label_noise", R, R.T), (1, None, Q)]
    sums = MatrixStatement(S, tuple(term(*t) for t in terms))
    aR = Matrix("aR", "p", "pstar")
    scaled = MatrixStatement(aR, (term(1, "a", R),))
    mixed = MatrixStatement(Y, (term(1, "label_noise", Q, R), term(-1, "eta", aR)))
    program = Program(*widths, (Q, R), ("a", "eta", "label_noise"), (sums, scaled, mixed), (S, Y))
    assert_equals_numpy(
        program,
        form,
        lambda q, r, eta, noise, a: (
            np.eye(len(q)) + eta * q @ q - noise * r @ r.T + q,
            noise * q @ r - eta * a * r,
        ),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("widths", [(1, 1), (5, 3), (8, 4)], ids=str)
def test_contractions_of_two_matrices(widths, form):
    """tr Q, ⟨Q, Q⟩, ⟨Q, S⟩ and ⟨R, Y⟩: equal or not, symmetric or not."""
    Q, R = Matrix("Q", "p", "p", symmetric=True), Matrix("R", "p", "pstar")
    S, Y = Matrix("S", "p", "p", symmetric=True), Matrix("Y", "p", "pstar")
    statements = (
        MatrixStatement(S, (term(1, None, Q, Q), term(-1, None, R, R.T))),
        MatrixStatement(Y, (term(1, None, Q, R),)),
        *(
            ScalarStatement(
                name, ScalarPolynomial({}), (Contraction(ScalarPolynomial({(): Fraction(2)}), left, right),)
            )
            for name, left, right in (("t", Q, None), ("u", Q, Q), ("v", Q, S), ("w", R, Y))
        ),
    )
    program = Program(*widths, (Q, R), (), statements, ("t", "u", "v", "w"))

    def expected(q, r, *_):
        s, y = q @ q - r @ r.T, q @ r
        return tuple(
            2.0 * np.array([x]) for x in (np.trace(q), np.sum(q * q), np.sum(q * s), np.sum(r * y))
        )

    assert_equals_numpy(program, form, expected)


def term(sign: int, scalar: str | None, *operands: Matrix | Operand) -> Term:
    return Term(sign, scalar, tuple(Operand(x) if isinstance(x, Matrix) else x for x in operands))


def assert_equals_numpy(program: Program, form: str, expected: Callable[..., tuple]) -> None:
    """`expected` of Q, R, η, Δ and a, at random states, for the outputs of a program."""
    model, target = Model(program.p, program.pstar), jit.target()
    states, parameters = random_lanes(model, target.lanes, seed=12)
    results = Programs(model, target, form, {"f": program})("f", states, parameters)
    upper = np.triu_indices(program.p)
    for y, (eta, noise, *_), result in zip(states, parameters, results, strict=True):
        values = expected(*scalar_module(model).unpack(y), eta, noise, 1.0 / program.p)
        packed = [
            value[upper] if not isinstance(output, str) and output.symmetric else value.ravel()
            for output, value in zip(program.outputs, values, strict=True)
        ]
        np.testing.assert_allclose(result, np.concatenate(packed), rtol=0, atol=1e-14 * program.p)


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


@pytest.mark.parametrize("simd", ["avx512", "avx2", "baseline"])
def test_fma_rounds_once_where_the_processor_can(simd):
    target = jit.target(simd)

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
