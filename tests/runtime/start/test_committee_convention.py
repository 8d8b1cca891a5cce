"""Committee machines with any activation: SGD and ODEs written down in another convention."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import overlap_ode as oo
from derive.errors import InputError

P, PSTAR = 2, 1
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
GRID = np.array(list(itertools.product(POINTS, repeat=P + PSTAR)))
MEASURE = np.array([np.prod(w) for w in itertools.product(WEIGHTS, repeat=P + PSTAR)])
MEASURE /= MEASURE.sum()
START = np.array([[0.9, -0.2], [-0.2, 0.5]]), np.array([[0.5], [0.3]]), np.eye(1)
V, VSTAR = np.array([1.0, 0.6]), np.array([0.8])


def he3(x):
    return x**3 - 3.0 * x


def he3_slope(x):
    return 3.0 * x**2 - 3.0


def their_drift(Q, R, T, a, astar, rate, noise, scale):
    """dQ, dR per samples/N and E[(f − y)²] of f = p^(−½) Σ aᵢ He3(λᵢ), w ← w − rate · scale · ∂(f − y)²/∂w.

    Gaussian quadrature over all fields, exact for these polynomials.
    """
    joint = np.block([[Q, R], [R.T, T]])
    values, vectors = np.linalg.eigh(joint)
    fields = GRID @ (vectors * np.sqrt(np.clip(values, 0.0, None))).T
    student, teacher = fields[:, :P], fields[:, P:]
    error = he3(student) @ a / np.sqrt(P) - he3(teacher) @ astar / np.sqrt(PSTAR)
    gradient = 2.0 * a / np.sqrt(P) * he3_slope(student) * (scale * rate)
    dR = -np.einsum("k,ki,kr->ir", MEASURE * error, gradient, teacher)
    first = -np.einsum("k,ki,kj->ij", MEASURE * error, gradient, student)
    second = np.einsum("k,ki,kj->ij", MEASURE * (error**2 + noise), gradient, gradient)
    return first + first.T + second, dR, float(MEASURE @ error**2)


def their_losses(rate, noise, a, astar, times, scale):
    """E[(f − y)²] at times t = rate · samples/N, from START."""
    Q, R, T = START

    def drift(_, y):
        dQ, dR, _ = their_drift(y[:4].reshape(2, 2), y[4:].reshape(2, 1), T, a, astar, rate, noise, scale)
        return np.concatenate([dQ.ravel(), dR.ravel()]) / rate

    y0 = np.concatenate([Q.ravel(), R.ravel()])
    found = solve_ivp(drift, (0.0, times[-1]), y0, t_eval=times, rtol=1e-10, atol=1e-12, method="DOP853")
    return [
        their_drift(y[:4].reshape(2, 2), y[4:].reshape(2, 1), T, a, astar, rate, noise, scale)[2]
        for y in found.y.T
    ]


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_loss_curve_of_other_code_is_ours(system_of, readout):
    """Readout 1/√p, loss without ½, a learning rate times p, and a time with the learning rate in it."""
    system = system_of(P, PSTAR, activation="he3", second_layer="fixed", readout=readout)
    convention = oo.committee(system.model, "sqrt", loss=2.0, step=P, time_eta=1)
    eta, noise = 0.01, 0.3
    layers = {"student_weights": V, "teacher_weights": VSTAR}
    run = oo.integrate(
        system, *START[:2], eta=eta, label_noise=noise, **layers, alpha=[0.0, 5.0, 20.0, 60.0], rtol=1e-10
    )
    there = convention.dataset(run)
    theirs = convention.to(eta=eta, **layers)
    losses = their_losses(
        theirs["eta"], noise, theirs["student_weights"], theirs["teacher_weights"], there["time"].values, P
    )
    np.testing.assert_allclose(there["loss"], losses, rtol=1e-7)
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_array_equal(there["student_weights"], theirs["student_weights"])
    # Our own second layer there would be another network.
    if readout == "mean":
        wrong = their_losses(theirs["eta"], noise, V, theirs["teacher_weights"], there["time"].values, P)
        assert abs(wrong[0] / losses[0] - 1.0) > 0.1


def test_published_he3_point_in_another_readout():
    """A point of a public code with the mean readout is that of the equations here, which have 1/√p."""
    point = {
        "Q": [[0.9587511915895726, -0.3060979366597483], [-0.3060979366597483, 0.22655346405917426]],
        "R": [[-0.4459974859649339], [0.21664821020336358]],
        "T": [[1.1506157049439536]],
        "dQ": [[16.14938870768158, -0.038780605998298134], [-0.038780605998298634, 0.28768776963543247]],
        "dR": [[0.8482768522477996], [-0.025078806149381582]],
    }
    model = oo.Model(P, PSTAR, activation="he3", second_layer="fixed", teacher="general")
    convention = oo.committee(model, "sqrt", loss=2.0, step=P)
    theirs = convention.to(
        eta=0.37, student_weights=[0.6841617060917109, -0.42181124943588033], teacher_weights=[1.0]
    )
    Q, R, T = (np.array(point[name]) for name in "QRT")
    dQ, dR, loss = their_drift(
        Q, R, T, theirs["student_weights"], theirs["teacher_weights"], theirs["eta"], 0.21, P
    )
    np.testing.assert_allclose(dQ, point["dQ"], rtol=1e-10)
    np.testing.assert_allclose(dR, point["dR"], rtol=1e-10)
    assert convention.from_(loss=loss)["loss"] == pytest.approx(5.183611395907684, rel=1e-12)


@pytest.mark.parametrize("readout", ["sum", "sqrt", "mean"])
def test_sgd_of_both_layers_takes_the_same_path(readout):
    """Ours and theirs step by step on the same inputs, with a trained second layer and decay."""
    model = oo.Model(3, 2, activation="he3", second_layer="trained")
    convention = oo.committee(model, readout, loss=0.5, step=3.0)
    powers = {"sum": 0.0, "sqrt": -0.5, "mean": -1.0}
    generator, n = np.random.default_rng(3), 50
    W, B = generator.standard_normal((3, n)), generator.standard_normal((2, n))
    v, vstar = np.array([1.0, 0.5, -0.5]), np.array([1.0, -0.5])
    ours = {"eta": 0.01, "eta_second": 0.02, "weight_decay": 2.0}
    theirs = convention.to(**ours, student_weights=v, teacher_weights=vstar)
    U, u = W.copy(), theirs["student_weights"]
    for _ in range(100):
        x = generator.standard_normal(n)
        ys = he3(B @ x / np.sqrt(n))
        # The README's step, with a = 1/3 and b = 1/2.
        fields = W @ x / np.sqrt(n)
        e = v @ he3(fields) / 3.0 - vstar @ ys / 2.0
        moved = W - ours["eta"] * e / 3.0 * np.outer(v * he3_slope(fields), x) / np.sqrt(n)
        v = v - ours["eta_second"] / n * e / 3.0 * he3(fields)
        W = (1.0 - ours["eta"] * ours["weight_decay"] / n) * moved
        # Theirs: loss ¼ (f − y)², a rate times 3, another readout.
        a, b = 3.0 ** powers[readout], 2.0 ** powers[readout]
        fields = U @ x / np.sqrt(n)
        e = a * u @ he3(fields) - b * theirs["teacher_weights"] @ ys
        moved = U - theirs["eta"] * 3.0 * 0.5 * e * a * np.outer(u * he3_slope(fields), x) / np.sqrt(n)
        u = u - theirs["eta_second"] / n * 0.5 * e * a * he3(fields)
        U = (1.0 - theirs["eta"] * theirs["weight_decay"] / n) * moved
    np.testing.assert_allclose(U, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(u, convention.to(student_weights=v)["student_weights"], rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"readout": "max"}, "readout: 'max' is not one of"),
        ({"loss": 0.0}, "loss: 0.0 is not a finite number greater than 0"),
        ({"step": float("nan")}, "step: nan is not a finite number"),
        ({"time_eta": 2}, "time_eta: 2 is not an integer from 0 to 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, problem):
    with pytest.raises(InputError) as error:
        oo.committee(oo.Model(2, 1, activation="he3"), **arguments)
    assert str(error.value).startswith(problem)


@pytest.mark.parametrize("convert", [oo.saad_solla, oo.readout_free])
def test_weights_of_other_activations_cannot_absorb_a_readout(convert):
    with pytest.raises(
        InputError, match="activation: 'he3': weights absorb the readout for quadratic networks only"
    ):
        convert(oo.Model(2, 1, activation="he3"))


def test_runs_of_earlier_versions_are_converted(system_of):
    system = system_of(2, 1)
    run = oo.integrate(system, np.eye(2), np.zeros((2, 1)), eta=0.1, alpha=[0.0, 1.0])
    for name in ("activation", "second_layer"):
        del run.attrs[name]
    assert oo.rescaled_time(system.model).dataset(run)["time"].values[-1] == pytest.approx(0.05)
