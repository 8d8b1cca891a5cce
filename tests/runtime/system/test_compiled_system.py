"""System: drift, loss and Jacobian in terms of Q and R, for any leading axes and array types."""

from __future__ import annotations

import itertools

import closed_form_numpy as oracle
import numpy as np
import pytest

import runtime
from runtime import InputError

# Small widths of every kind: p > p*, p = p*, p < p*, one student, one teacher.
MODELS = [
    (4, 2, {}),
    (3, 2, {"constraint": "sphere"}),
    (3, 2, {"teacher": "general"}),
    (3, 2, {"flow": "gradient"}),
    (1, 3, {"readout": "sum"}),
    (2, 1, {"constraint": "sphere", "teacher": "general", "readout": "sqrt"}),
]
IDS = ["-".join(map(str, (p, pstar, *options.values()))) for p, pstar, options in MODELS]
ETA, LABEL_NOISE = 0.37, 0.21


@pytest.fixture(params=MODELS, ids=IDS)
def case(request, system_of):
    """A system and a maker of states with these leading axes: Q, R, T (None if orthonormal)."""
    p, pstar, options = request.param
    system = system_of(p, pstar, **options)

    def states(leading=(), seed=0):
        Q, R, T = oracle.random_states(system.model, seed, leading)
        return Q, R, T if system.model.teacher == "general" else None

    return system, states


@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3), (0,)], ids=str)
def test_rhs_and_loss_are_the_closed_form(case, leading):
    system, states = case
    Q, R, T = states(leading)
    dQ, dR = system.rhs(Q, R, ETA, LABEL_NOISE, T)
    expected_Q, expected_R = oracle.drift(system.model, Q, R, ETA, LABEL_NOISE, T)
    assert dQ.shape == Q.shape
    assert dR.shape == R.shape
    np.testing.assert_allclose(dQ, expected_Q, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dR, expected_R, rtol=1e-12, atol=1e-13)
    loss = system.loss(Q, R, T)
    assert np.shape(loss) == leading
    np.testing.assert_allclose(loss, oracle.loss(system.model, Q, R, T), rtol=1e-12, atol=1e-13)


def test_loss_of_one_state_is_a_float(case):
    system, states = case
    Q, R, T = states()
    assert type(system.loss(Q, R, T)) is float


def test_jacobian_is_that_of_finite_differences(case):
    system, states = case
    Q, R, T = states()
    y, h = system.pack(Q, R), 1e-5

    def slope(y):
        return system.pack(*system.rhs(*system.unpack(y), ETA, LABEL_NOISE, T))

    expected = np.transpose([(slope(y + h * e) - slope(y - h * e)) / (2 * h) for e in np.eye(y.size)])
    jacobian = system.jacobian(Q, R, ETA, LABEL_NOISE, T)
    assert jacobian.shape == (y.size, y.size)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-7, atol=1e-8)


def test_state_vector_is_the_upper_triangle_of_q_then_r(case):
    system, states = case
    Q, R, _ = states((2,))
    y = system.pack(Q, R)
    p, pstar = system.model.p, system.model.pstar
    names = [f"Q_{i + 1}_{j + 1}" for i, j in itertools.combinations_with_replacement(range(p), 2)]
    names += [f"R_{i + 1}_{r + 1}" for i in range(p) for r in range(pstar)]
    assert system.model.state == tuple(names)
    for k, name in enumerate(names):
        matrix, i, j = name.split("_")
        np.testing.assert_array_equal(y[:, k], {"Q": Q, "R": R}[matrix][:, int(i) - 1, int(j) - 1])
    again = system.unpack(y)
    np.testing.assert_array_equal(again[0], Q)
    np.testing.assert_array_equal(again[1], R)


def strided(array):
    """The same values, not contiguous."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


@pytest.mark.parametrize("change", [strided, read_only, np.asfortranarray, np.ndarray.tolist])
def test_array_layout_does_not_matter(case, change):
    system, states = case
    Q, R, T = states((2,))
    changed = change(Q), change(R), ETA, LABEL_NOISE, None if T is None else change(T)
    for plain, other in zip(system.rhs(Q, R, ETA, LABEL_NOISE, T), system.rhs(*changed), strict=True):
        np.testing.assert_array_equal(other, plain)
    np.testing.assert_array_equal(
        system.jacobian(changed[0][0], changed[1][0], *changed[2:]),
        system.jacobian(Q[0], R[0], ETA, LABEL_NOISE, T),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.longdouble])
def test_other_real_types_are_converted(system, dtype):
    Q, R = np.eye(4).astype(dtype), np.ones((4, 2)).astype(dtype)
    dQ, dR = system.rhs(Q, R, ETA)
    assert dQ.dtype == dR.dtype == np.float64
    expected = system.rhs(np.eye(4), np.ones((4, 2)), ETA)
    np.testing.assert_array_equal(dQ, expected[0])
    np.testing.assert_array_equal(dR, expected[1])


def test_arguments_are_not_changed(system):
    Q, R = np.eye(4), np.full((4, 2), 0.1)
    system.rhs(Q, R, ETA)
    system.loss(Q, R)
    system.jacobian(Q, R, ETA)
    np.testing.assert_array_equal(Q, np.eye(4))
    np.testing.assert_array_equal(R, 0.1)


def test_drift_takes_states_that_no_weights_have(system):
    Q, R = -np.eye(4), np.full((4, 2), 5.0)
    dQ, _ = system.rhs(Q, R, ETA)
    np.testing.assert_allclose(dQ, oracle.drift(system.model, Q, R, ETA)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("option", "Q", "R"),
    [
        ("Q0", np.eye(3), np.zeros((4, 2))),
        ("R0", np.eye(4), np.zeros((2, 4))),
        ("R0", np.eye(4), np.zeros((3, 4, 2))),
        ("R0", np.zeros((3, 4, 4)), np.zeros((2, 4, 2))),
        ("Q0", np.ones(10), np.zeros((4, 2))),
        ("Q0", np.full((4, 4), np.nan), np.zeros((4, 2))),
        ("R0", np.eye(4), np.full((4, 2), np.inf)),
        ("Q0", 1j * np.eye(4), np.zeros((4, 2))),
        ("Q0", np.eye(4).astype(str), np.zeros((4, 2))),
    ],
)
def test_wrong_overlaps_are_named(system, option, Q, R):
    for function in (lambda: system.rhs(Q, R, ETA), lambda: system.loss(Q, R)):
        with pytest.raises(InputError, match=option[0]) as caught:
            function()
        # `rhs` calls its arguments Q and R.
        assert caught.value.option in (option, option[0])


def test_asymmetric_overlaps_are_refused_and_rounding_is_averaged(system):
    """As by `integrate`: only one triangle would be read."""
    R = np.zeros((4, 2))
    wrong, rounded = np.eye(4), np.eye(4)
    wrong[0, 1], rounded[1, 0] = 0.3, 2e-10
    even = 0.5 * (rounded + rounded.T)
    for function in (
        system.loss,
        lambda Q, R: system.rhs(Q, R, ETA),
        lambda Q, R: system.jacobian(Q, R, ETA),
    ):
        with pytest.raises(InputError, match=r"^Q: is not symmetric: entries differ by up to 0\.3"):
            function(wrong, R)
        np.testing.assert_equal(function(rounded, R), function(even, R))
    stack = np.array([np.eye(4), rounded, wrong, wrong])
    with pytest.raises(InputError, match=r"^Q: row 2 is not symmetric"):
        system.rhs(stack, np.zeros((4, 4, 2)), ETA)
    with pytest.raises(InputError, match=r"^Q: row 1, 0 is not symmetric"):
        system.loss(stack.reshape(2, 2, 4, 4), np.zeros((2, 2, 4, 2)))


def test_jacobian_takes_one_state(system):
    with pytest.raises(InputError, match="one state"):
        system.jacobian(np.zeros((2, 4, 4)), np.zeros((2, 4, 2)), ETA)


def packed_calls(system):
    """Every method that takes packed vectors, as a function of a vector, by the vector's name."""
    y, parameters = np.zeros(system.model.state_size), np.ones(len(system.model.parameters))
    return [
        ("y", lambda v: system.jacobian_of_state(v, parameters)),
        ("parameters", lambda v: system.jacobian_of_state(y, v)),
        ("y", lambda v: system.tangent(v, parameters, y)),
        ("parameters", lambda v: system.tangent(y, v, y)),
        ("direction", lambda v: system.tangent(y, parameters, v)),
        ("y", system.unpack),
        ("states", system.loss_of_states),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros(17),
        np.zeros(19),
        np.zeros(0),
        np.zeros((3, 17)),
        np.zeros((1, 1, 18, 1)),
        1.0,
        [1.0, [2.0]],
        "state",
        None,
        np.full(18, 1j),
        ["1"] * 18,
    ],
    ids=str,
)
def test_wrong_packed_vectors_are_named(system, wrong):
    for option, function in packed_calls(system):
        with pytest.raises(InputError) as caught:
            function(wrong)
        assert caught.value.option == option


def test_parameters_of_another_system_are_refused(system, system_of):
    general = system_of(4, 2, teacher="general")
    y = np.zeros(18)
    with pytest.raises(InputError, match=r"parameters: has the shape \(4,\), not \(7,\)"):
        general.jacobian_of_state(y, system.parameters(ETA))
    with pytest.raises(InputError, match="parameters: has the shape"):
        system.tangent(y, general.parameters(ETA, T=np.eye(2)), y)


@pytest.mark.parametrize(
    "change", [list, strided, read_only, np.float32, lambda y: y[::-1].copy()[::-1], np.asfortranarray]
)
def test_layout_of_packed_vectors_does_not_matter(system, change):
    y = np.arange(18.0) / 16.0
    parameters = system.parameters(0.25, 0.5)
    other, others = change(y), change(parameters)
    expected = system.jacobian_of_state(y, parameters)
    np.testing.assert_array_equal(system.jacobian_of_state(other, others), expected)
    along = system.tangent(y, parameters, y)
    np.testing.assert_array_equal(system.tangent(other, others, other), along)
    np.testing.assert_allclose(along, expected @ y, rtol=1e-12, atol=1e-12)
    for one, two in zip(system.unpack(other), system.unpack(y), strict=True):
        np.testing.assert_array_equal(one, two)
    stack = np.array([y, 2.0 * y, -y])
    np.testing.assert_array_equal(
        system.loss_of_states(change(stack)), [system.loss(*system.unpack(row)) for row in stack]
    )


def test_packed_states_are_rows_in_memory(system):
    Q, R = np.broadcast_to(np.eye(4), (3, 4, 4)), np.zeros((4, 2, 3)).transpose(2, 0, 1)
    assert system.pack(Q, R).flags.c_contiguous


def test_teacher_overlaps_are_asked_for_and_refused(system, system_of):
    Q, R = np.eye(3), np.zeros((3, 2))
    with pytest.raises(InputError, match="required") as caught:
        system_of(3, 2, teacher="general").rhs(Q, R, ETA)
    assert caught.value.option == "T"
    with pytest.raises(InputError, match="orthonormal") as caught:
        system.loss(np.eye(4), np.zeros((4, 2)), T=2 * np.eye(2))
    assert caught.value.option == "T"


def test_general_teacher_at_identity_is_the_orthonormal_one(system_of):
    Q, R, _ = oracle.random_states(system_of(3, 2).model, 3)
    general = system_of(3, 2, teacher="general").rhs(Q, R, ETA, LABEL_NOISE, np.eye(2))
    for one, other in zip(general, system_of(3, 2).rhs(Q, R, ETA, LABEL_NOISE), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)


def test_parameters_are_in_the_order_of_the_model(system_of):
    system = system_of(3, 2, teacher="general")
    T = [[1.0, 0.25], [0.25, 0.5]]
    names = ("eta", "label_noise", "T_1_1", "T_1_2", "T_2_2", "weight_decay", "inverse_batch")
    assert system.model.parameters == names
    packed = system.parameters(0.5, 0.1, T, 0.25, 4)
    np.testing.assert_array_equal(packed, [0.5, 0.1, 1.0, 0.25, 0.5, 0.25, 0.25])


def test_repr_names_model_and_folder(system):
    assert repr(system) == f"<System p4_pstar2 from {system.folder}>"


# --- a model where a system is needed, and the other way round ---------------------------------


def of_systems():
    """Every public function of a system, as a function of that."""
    Q, R = np.eye(4), np.zeros((4, 2))
    return {
        "integrate": lambda given: runtime.integrate(given, Q, R, eta=ETA),
        "integrate_ensemble": lambda given: runtime.integrate_ensemble(given, Q[None], R[None], eta=ETA),
        "ensemble_statistics": lambda given: runtime.ensemble_statistics(
            given, runtime.OverlapSampler(4, 2), 2, eta=ETA
        ),
        "compare": lambda given: runtime.compare(given, Q, R),
        "plateau": lambda given: runtime.plateau(given, ETA),
        "escape_times": lambda given: runtime.escape_times(given),
        "largest_stable_eta": lambda given: runtime.largest_stable_eta(given),
        "solution_spectrum": lambda given: runtime.solution_spectrum(given, Q, R, ETA),
    }


def test_model_in_place_of_a_system_is_refused(system):
    for name, function in of_systems().items():
        with pytest.raises(InputError, match=r"^system: is a Model: load it with overlap_ode") as caught:
            function(system.model)
        assert caught.value.option == "system", name
        for wrong in (None, "p4_pstar2", 3):
            with pytest.raises(InputError, match="not a System"):
                function(wrong)


def of_models():
    """Every public function of a model, as a function of that."""
    Q, R = np.eye(4), np.full((4, 2), 0.1)
    return {
        "simulate": lambda given: runtime.simulate(given, n=20, alpha=[0.0, 1.0], trajectories=2),
        "hessian_spectrum": lambda given: runtime.hessian_spectrum(given, Q, R, 10).eigenvalues,
        "closest_solution": lambda given: runtime.closest_solution(given, Q, R).R,
        "implicit_bias": lambda given: runtime.implicit_bias(given, Q, R, Q, R).closest,
        "saad_solla": runtime.saad_solla,
        "readout_free": runtime.readout_free,
        "rescaled_time": runtime.rescaled_time,
    }


def test_system_stands_for_its_model(system):
    for name, function in of_models().items():
        expected, found = function(system.model), function(system)
        if name == "simulate":
            assert found.identical(expected)
        else:
            np.testing.assert_array_equal(found, expected)
        with pytest.raises(InputError, match=r"^model: is of the type int, not a Model"):
            function(3)


def test_gradient_flow_takes_a_system_of_it(system_of):
    system = system_of(3, 2, flow="gradient")
    Q, R = np.eye(3), np.full((3, 2), 0.1)
    found, expected = (
        runtime.gradient_flow(given, Q, R, eta=ETA, alpha=[1.0]) for given in (system, system.model)
    )
    np.testing.assert_array_equal(found.Q, expected.Q)
