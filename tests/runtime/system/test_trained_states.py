"""States of trained second layers: packed, unpacked and evaluated, one or a stack; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import InputError

P, PSTAR = 3, 2
V = np.array([1.2, -0.7, 0.5])
RATES = {"eta": 0.3, "eta_second": 0.2}
MORE = {"label_noise": 0.1, "weight_decay": 0.05, "batch": 4, "teacher_weights": [0.9, -0.4]}


@pytest.fixture(scope="module")
def system(interpreted):
    return interpreted(P, PSTAR, second_layer="trained")


def overlaps(count=None):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((*([] if count is None else [count]), P, 9))
    return W @ np.swapaxes(W, -1, -2) / 9, W[..., :PSTAR] / 3


def test_states_end_with_the_weights(system):
    Q, R = overlaps()
    y = system.pack(Q, R, V)
    np.testing.assert_array_equal(y[-P:], V)
    for found, given in zip(system.unpack(y), (Q, R, V), strict=True):
        np.testing.assert_array_equal(found, given)


def test_a_stack_has_weights_of_each_state_or_of_all(system):
    Q, R = overlaps(4)
    v = np.random.default_rng(1).standard_normal((4, P))
    stack = system.pack(Q, R, v)
    for k in range(4):
        np.testing.assert_array_equal(stack[k], system.pack(Q[k], R[k], v[k]))
    drifts = system.rhs(Q, R, student_weights=v, **RATES, **MORE)
    losses = system.loss(Q, R, student_weights=v)
    same = system.rhs(Q, R, student_weights=V, **RATES)
    for k in range(4):
        one = system.rhs(Q[k], R[k], student_weights=v[k], **RATES, **MORE)
        for stacked, single in zip(drifts, one, strict=True):
            np.testing.assert_array_equal(stacked[k], single)
        assert losses[k] == system.loss(Q[k], R[k], student_weights=v[k])
        np.testing.assert_array_equal(same[2][k], system.rhs(Q[k], R[k], student_weights=V, **RATES)[2])
    np.testing.assert_array_equal(system.loss_of_states(stack), losses)


def test_weights_are_ones_unless_given(system):
    Q, R = overlaps()
    for ours, theirs in zip(
        system.rhs(Q, R, **RATES), system.rhs(Q, R, student_weights=np.ones(P), **RATES), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert system.loss(Q, R, student_weights="power:1") == system.loss(
        Q, R, student_weights=1.0 / np.arange(1, P + 1)
    )


def test_the_jacobian_is_the_derivative_of_the_drift(system):
    y = system.pack(*overlaps(), V)
    jacobian = system.jacobian(*overlaps(), student_weights=V, **RATES, **MORE)

    def drift(state):
        Q, R, v = system.unpack(state)
        return system.pack(*system.rhs(Q, R, student_weights=v, **RATES, **MORE))

    step = 1e-5
    columns = [(drift(y + step * e) - drift(y - step * e)) / (2 * step) for e in np.eye(y.size)]
    np.testing.assert_allclose(jacobian, np.transpose(columns), rtol=1e-7, atol=1e-8)
    # Wrong: v is not part of the state.
    assert np.abs(jacobian[:-P, -P:]).max() > 0.1


def test_the_drift_of_the_weights_carries_its_own_rate(system):
    Q, R = overlaps()
    dQ, dR, dv = system.rhs(Q, R, student_weights=V, **RATES)
    again = system.rhs(Q, R, student_weights=V, eta=0.3, eta_second=-0.4)
    np.testing.assert_array_equal(again[0], dQ)
    np.testing.assert_array_equal(again[1], dR)
    np.testing.assert_allclose(again[2], -2.0 * dv, rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda s, Q, R: s.pack(Q, R), r"v: is required: p3_pstar2_trained trains its second layer"),
        (lambda s, Q, R: s.pack(Q, R, V[:2]), r"v: has the shape \(2,\), not \(3,\)"),
        (lambda s, Q, R: s.pack(Q, R, [1.0, np.inf, 0.0]), "v: has entries that are not finite"),
        (lambda s, Q, R: s.rhs(Q, R, eta=0.3), "eta_second: is required"),
        (lambda s, Q, R: s.rhs(Q, R, student_weights=V[:2], **RATES), r"student_weights: has the shape"),
        (lambda s, Q, R: s.rhs(Q, R, student_weights=[V], **RATES), r"student_weights: has the shape"),
        (
            lambda s, Q, R: s.loss_of_states([s.pack(Q, R, V)], student_weights=V),
            "student_weights: are part of the states",
        ),
    ],
)
def test_wrong_weights_are_one_line(system, call, problem):
    with pytest.raises(InputError, match=problem):
        call(system, *overlaps())


@pytest.mark.parametrize("second_layer", ["ones", "fixed"])
def test_states_without_trained_weights_take_none(interpreted, second_layer):
    system = interpreted(P, PSTAR, second_layer=second_layer)
    with pytest.raises(InputError, match=f"v: is not part of the state of {system.model.name}"):
        system.pack(*overlaps(), V)
    assert len(system.unpack(system.pack(*overlaps()))) == 2


def test_the_loss_of_a_fixed_second_layer_takes_its_weights(interpreted):
    fixed, trained = (interpreted(P, PSTAR, second_layer=layer) for layer in ("fixed", "trained"))
    Q, R = overlaps()
    weights = {"student_weights": V, "teacher_weights": [0.9, -0.4]}
    assert fixed.loss(Q, R, **weights) == pytest.approx(trained.loss(Q, R, **weights), rel=1e-14)
    # ε = ½(s² + 2t) with the matrix D = diag(a v, −b v*).
    C = np.block([[Q, R], [R.T, np.eye(PSTAR)]])
    DC = np.concatenate([V / P, np.array([-0.9, 0.4]) / PSTAR])[:, None] * C
    expected = 0.5 * np.trace(DC) ** 2 + np.trace(DC @ DC)
    assert fixed.loss(Q, R, **weights) == pytest.approx(expected, rel=1e-13)
