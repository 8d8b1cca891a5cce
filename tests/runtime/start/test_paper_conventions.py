"""Conventions: SGD and ODEs written down in each one, against converted runs of ours."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from rejections import rejected
from scipy.integrate import solve_ivp

import runtime
from derive import Model
from derive.errors import InputError
from runtime.start import paper_conventions

P, PSTAR, N, STEPS = 3, 2, 40, 300
ETA, NOISE = 0.3, 0.05
READOUT = {"mean": (1 / P, 1 / PSTAR), "sum": (1.0, 1.0), "sqrt": (P**-0.5, PSTAR**-0.5)}
ACTIVATION = 0.5


@dataclasses.dataclass(frozen=True)
class Layer:
    """Second layers of students and teachers, the rate of the former, and the decay of the first layer."""

    v: np.ndarray
    teacher: np.ndarray
    rate: float
    decay: float


def our_step(W, B, x, noise, eta, layer, readout, sphere):
    """The step of the README, weights of order 1."""
    a, b = READOUT[readout]
    fields, labels = W @ x / np.sqrt(N), B @ x / np.sqrt(N)
    e = a * np.sum(layer.v * fields**2) - b * np.sum(layer.teacher * labels**2) - noise
    moved = W - eta * 2 * a * e * np.outer(layer.v * fields, x) / np.sqrt(N)
    v = layer.v - layer.rate / N * e * a * fields**2
    return _renormalised((1 - eta * layer.decay / N) * moved, W, sphere), v, 0.5 * e**2


def saad_solla_step(J, B, x, noise, eta, layer, sphere):
    """J ← J + (η/N) δ ξ, δᵢ = vᵢ g'(xᵢ)(ζ − σ), error ½(σ − ζ)²; weights of order 1/√N."""
    fields, labels = J @ x, B @ x
    own = layer.v * ACTIVATION * fields**2
    error = np.sum(own) - np.sum(layer.teacher * ACTIVATION * labels**2) - noise
    delta = 2 * ACTIVATION * layer.v * fields * -error
    moved = J + eta / N * np.outer(delta, x)
    v = layer.v - layer.rate / N * error * ACTIVATION * fields**2
    return _renormalised((1 - eta * layer.decay / N) * moved, J, sphere), v, 0.5 * error**2


def readout_free_step(V, B, x, noise, eta, layer, sphere):
    """f = Σvu², loss (f − y)²; weights of order 1."""
    fields, labels = V @ x / np.sqrt(N), B @ x / np.sqrt(N)
    error = np.sum(layer.v * fields**2) - np.sum(layer.teacher * labels**2) - noise
    gradient = 2 * error * 2 * np.outer(layer.v * fields, x) / np.sqrt(N)
    v = layer.v - layer.rate / N * 2 * error * fields**2
    return _renormalised((1 - eta * layer.decay / N) * (V - eta * gradient), V, sphere), v, error**2


def _renormalised(moved, before, sphere):
    if not sphere:
        return moved
    return (
        moved * np.linalg.norm(before, axis=1, keepdims=True) / np.linalg.norm(moved, axis=1, keepdims=True)
    )


def convention_of(name, model):
    if name == "saad-solla":
        return paper_conventions.saad_solla(model, activation=ACTIVATION)
    return paper_conventions.CONVENTIONS[name](model)


@pytest.mark.parametrize("readout", ["mean", "sum", "sqrt"])
@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize("name", ["saad-solla", "readout-free"])
@pytest.mark.parametrize("second_layer", ["ones", "trained"])
def test_sgd_in_the_other_convention_takes_the_same_path(name, sphere, readout, second_layer):
    """Same inputs, converted weights: overlaps, errors and times agree to rounding, step by step."""
    model = Model(P, PSTAR, readout=readout, constraint="sphere" if sphere else "free")
    convention = convention_of(name, model)
    # Weights of order 1/√N are those of order 1 over √N: overlaps are then without a factor 1/N.
    size = np.sqrt(N) if name == "saad-solla" else 1.0
    step = {"saad-solla": saad_solla_step, "readout-free": readout_free_step}[name]
    generator = np.random.default_rng(1)
    W, B = generator.standard_normal((P, N)), generator.standard_normal((PSTAR, N))
    theirs, their_teacher = convention.student * W / size, convention.teacher * B / size
    # The readout "sum" has larger gradients.
    eta = ETA * {"mean": 1.0, "sum": 0.05, "sqrt": 0.2}[readout]
    layer = Layer(np.ones(P), np.ones(PSTAR), 0.0, 0.0)
    if second_layer == "trained":
        layer = Layer(np.array([1.0, 0.5, -0.5]), np.array([1.0, -0.5]), 0.5 * eta, 2.0)
    converted = convention.to(eta=eta, eta_second=layer.rate, weight_decay=layer.decay)
    their_eta = converted["eta"]
    their_layer = dataclasses.replace(layer, rate=converted["eta_second"], decay=converted["weight_decay"])
    for _ in range(STEPS):
        x, noise = generator.standard_normal(N), np.sqrt(NOISE) * generator.standard_normal()
        W, v, loss = our_step(W, B, x, noise, eta, layer, readout, sphere)
        theirs, their_v, their_loss = step(theirs, their_teacher, x, noise, their_eta, their_layer, sphere)
        layer, their_layer = dataclasses.replace(layer, v=v), dataclasses.replace(their_layer, v=their_v)
        assert their_loss == pytest.approx(convention.to(loss=loss)["loss"], rel=1e-8, abs=1e-12)
    ours = convention.to(Q=W @ W.T / N, R=W @ B.T / N, T=B @ B.T / N)
    unit = size**2 / N
    np.testing.assert_allclose(their_layer.v, layer.v, rtol=1e-9)
    assert np.array_equal(layer.v, np.ones(P)) == (second_layer == "ones")
    np.testing.assert_allclose(unit * theirs @ theirs.T, ours["Q"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(unit * theirs @ their_teacher.T, ours["R"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(unit * their_teacher @ their_teacher.T, ours["T"], rtol=1e-12)


# --- the ODEs, written once more from fourth and sixth moments -----------------------------


def moments(C, weights, noise):
    """E[e z zᵀ] and E[e² z zᵀ] for e = Σ weights z² − n, by an exact Gauss-Hermite rule."""
    nodes, probabilities = np.polynomial.hermite_e.hermegauss(4)
    probabilities = probabilities / probabilities.sum()
    points = np.array(list(itertools.product(nodes, repeat=len(C))))
    share = np.prod(np.array(list(itertools.product(probabilities, repeat=len(C)))), axis=1)
    z = points @ np.linalg.cholesky(C).T
    e = z**2 @ weights
    first = np.einsum("m,m,mi,mj->ij", share, e, z, z)
    second = np.einsum("m,m,mi,mj->ij", share, e**2 + noise, z, z)
    return first, second


def solve(derivative, Q, R, times):
    """Q and R at the times; `derivative(C)` gives dQ and dR."""
    shape, count = R.shape, Q.size

    def flat(_, y):
        return np.concatenate(
            [part.ravel() for part in derivative(y[:count].reshape(Q.shape), y[count:].reshape(shape))]
        )

    start = np.concatenate([Q.ravel(), R.ravel()])
    found = solve_ivp(flat, (times[0], times[-1]), start, "DOP853", times, rtol=1e-9, atol=1e-12)
    return found.y[:count].T.reshape(-1, *Q.shape), found.y[count:].T.reshape(-1, *shape)


def joint(Q, R, T):
    return np.block([[Q, R], [R.T, T]])


@pytest.fixture(scope="module")
def start():
    generator = np.random.default_rng(3)
    weights = generator.standard_normal((P + PSTAR, 12)) / np.sqrt(12)
    C = weights @ weights.T
    return C[:P, :P], C[:P, P:], C[P:, P:]


@pytest.mark.parametrize("flow", ["sgd", "gradient"])
@pytest.mark.parametrize("name", ["saad-solla", "readout-free", "rescaled-time"])
def test_odes_in_the_other_convention_give_the_converted_run(system_of, start, name, flow):
    """Only the derivative below is written in their convention; all else is `to` and `dataset`."""
    system = system_of(P, PSTAR, teacher="general", flow=flow)
    Q, R, T = start
    alpha = np.array([0.0, 2.0, 10.0])
    run = runtime.integrate(
        system, Q, R, T=T, eta=ETA, label_noise=NOISE, alpha=alpha, rtol=1e-10, atol=1e-12
    )
    convention = convention_of(name, system.model)
    theirs = convention.to(Q=Q, R=R, T=T, eta=ETA, label_noise=NOISE, time=alpha)
    eta, noise = theirs["eta"], theirs["label_noise"]
    sgd = flow == "sgd"

    def saad_solla(q, r):
        # dR = η⟨δ y⟩, dQ = η⟨δ x⟩ + η⟨x δ⟩ + η²⟨δ δ⟩ with δ = −2γ x e.
        first, second = moments(
            joint(q, r, theirs["T"]), np.repeat([ACTIVATION, -ACTIVATION], [P, PSTAR]), noise
        )
        delta = -2 * ACTIVATION
        drift = 2 * eta * delta * first[:P, :P] + sgd * eta**2 * delta**2 * second[:P, :P]
        return drift, eta * delta * first[:P, P:]

    def readout_free(q, r):
        # v ← v − 4η e u x/√N.
        first, second = moments(joint(q, r, theirs["T"]), np.repeat([1.0, -1.0], [P, PSTAR]), noise)
        drift = -8 * eta * first[:P, :P] + sgd * 16 * eta**2 * second[:P, :P]
        return drift, -4 * eta * first[:P, P:]

    def rescaled_time(q, r):
        # With the mean readout dQ/dt = −4 E[e λλᵀ] + (4η/p) E[e² λλᵀ].
        first, second = moments(joint(q, r, theirs["T"]), np.repeat([1 / P, -1 / PSTAR], [P, PSTAR]), noise)
        return -4 * first[:P, :P] + sgd * 4 * eta / P * second[:P, :P], -2 * first[:P, P:]

    derivative = {"saad-solla": saad_solla, "readout-free": readout_free, "rescaled-time": rescaled_time}[
        name
    ]
    found_q, found_r = solve(derivative, theirs["Q"], theirs["R"], theirs["time"])
    expected = convention.dataset(run)
    np.testing.assert_allclose(expected["time"], theirs["time"])
    np.testing.assert_allclose(found_q, expected["Q"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found_r, expected["R"], rtol=1e-6, atol=1e-8)
    # Their loss, from their own error: ½⟨(σ − ζ)²⟩, ⟨(f − y)²⟩, ½⟨(f − y)²⟩, without label noise.
    own = {"saad-solla": (ACTIVATION, ACTIVATION, 0.5), "readout-free": (1, 1, 1.0)}
    a, b, half = own.get(name, (1 / P, 1 / PSTAR, 0.5))
    C = joint(found_q[-1], found_r[-1], theirs["T"])
    D = np.diag(np.repeat([a, -b], [P, PSTAR]))
    loss = half * (np.trace(D @ C) ** 2 + 2 * np.trace(D @ C @ D @ C))
    assert loss == pytest.approx(expected["loss"].values[-1], rel=1e-5)
    assert expected.attrs["convention"] == name
    assert expected.attrs["eta"] == eta


# --- the interface -------------------------------------------------------------------------


@pytest.mark.parametrize("name", paper_conventions.CONVENTIONS)
def test_from_is_the_inverse_of_to(name):
    convention = paper_conventions.CONVENTIONS[name](Model(4, 2, readout="sqrt"))
    generator = np.random.default_rng(0)
    ours = {quantity: generator.uniform(0.1, 1.0, (2, 2)) for quantity in paper_conventions.QUANTITIES}
    ours["eta"] = 0.3
    there = convention.to(**ours)
    back = convention.from_(**there)
    for quantity, value in ours.items():
        np.testing.assert_allclose(back[quantity], value, rtol=1e-14)
    assert isinstance(back["eta"], float)


def test_readout_sum_is_the_soft_committee_machine():
    convention = paper_conventions.saad_solla(Model(3, 2, readout="sum"))
    values = {"Q": np.eye(3), "R": np.ones((3, 2)), "T": np.eye(2), "eta": 0.2, "time": 5.0, "loss": 1.5}
    for name, value in convention.to(**values).items():
        np.testing.assert_array_equal(value, values[name])


def test_rates_and_times_of_the_plateau():
    """In the rescaled time the escape rate of gradient flow, 4abη, is 4/p* for any p and η."""
    for p, eta in ((2, 0.1), (7, 0.5)):
        convention = paper_conventions.rescaled_time(Model(p, 3))
        assert convention.to(rate=4 * eta / (p * 3), eta=eta)["rate"] == pytest.approx(4 / 3)
        assert convention.to(time=p / eta, eta=eta)["time"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"time": 1.0}, "eta"),
        ({"rate": 1.0}, "eta"),
        ({"alpha": 1.0}, "alpha"),
        ({"Q": "x"}, "Q"),
        ({"Q": None}, "Q"),
    ],
)
def test_what_cannot_be_converted_is_named(values, option):
    convention = paper_conventions.rescaled_time(Model(2, 1))
    for convert in (convention.to, convention.from_):
        with rejected(option):
            convert(**values)


def test_second_layers_are_kept_and_schedules_need_a_time_of_their_own(system_of):
    Q, R = runtime.random_overlaps(2, 1, n=1000)
    run = runtime.integrate(system_of(2, 1), Q, R, eta=0.2, weight_decay=0.1, alpha=[0.0, 1.0])
    run = run.assign(v=(("alpha", "i"), np.ones((2, 2))), teacher_weights=(("r",), [2.0]))
    run.attrs |= {"eta_second": 0.3, "schedule": "inverse:50"}
    found = paper_conventions.readout_free(Model(2, 1)).dataset(run)
    assert found["v"].dims == ("time", "i")
    np.testing.assert_array_equal(found["teacher_weights"], [2.0])
    expected = {"eta": 0.2 / 4, "weight_decay": 0.4, "eta_second": 0.15, "schedule": "inverse:50"}
    assert {name: found.attrs[name] for name in expected} == pytest.approx(expected)
    with rejected("run", "has a schedule"):
        paper_conventions.rescaled_time(Model(2, 1)).dataset(run)


def test_activations_must_be_positive():
    with pytest.raises(InputError, match="activation"):
        paper_conventions.saad_solla(Model(2, 1), activation=0.0)


def test_one_trajectory_of_many_is_converted(system_of):
    system, convention = system_of(2, 1), paper_conventions.rescaled_time(Model(2, 1))
    Q, R = runtime.random_overlaps(2, 1, n=1000, trajectories=3)
    settings = {"eta": [0.1, 0.2, 0.3], "alpha": [0.0, 1.0, 2.0]}
    ensemble = runtime.integrate_ensemble(system, Q, R, output="all", **settings)
    found = convention.dataset(ensemble.isel(trajectory=1))
    np.testing.assert_array_equal(found["time"], 0.2 / 2 * np.array([0.0, 1.0, 2.0]))
    alone = convention.dataset(runtime.integrate(system, Q[1], R[1], eta=0.2, alpha=[0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found["Q"], alone["Q"], rtol=1e-6)
    assert found.attrs["eta"] == alone.attrs["eta"]
    simulated = runtime.simulate(Model(2, 1), n=50, eta=0.2, alpha=[0.0, 1.0], trajectories=2)
    assert convention.dataset(simulated.isel(trajectory=0))["time"].values[-1] == pytest.approx(0.1)


def test_runs_without_overlaps_are_rejected(system_of):
    system = system_of(2, 1)
    Q, R = runtime.random_overlaps(2, 1, n=1000, trajectories=3)
    losses = runtime.integrate_ensemble(system, Q, R, eta=0.2, alpha=[0.0, 1.0], output="loss")
    with pytest.raises(InputError, match="run: has no Q and no R"):
        paper_conventions.rescaled_time(Model(2, 1)).dataset(losses.isel(trajectory=0))


@pytest.mark.parametrize("lost", ["eta", "status"])
def test_runs_that_lack_a_value_are_rejected(system_of, lost):
    Q, R = runtime.random_overlaps(2, 1, n=1000)
    run = runtime.integrate(system_of(2, 1), Q, R, eta=0.2, alpha=[0.0, 1.0]).drop_vars(
        lost, errors="ignore"
    )
    run.attrs.pop(lost, None)
    with pytest.raises(InputError, match=f"run: has no {lost}"):
        paper_conventions.rescaled_time(Model(2, 1)).dataset(run)


def test_runs_of_another_model_or_of_many_are_rejected(system_of):
    system = system_of(2, 1)
    Q, R = runtime.random_overlaps(2, 1, n=1000)
    run = runtime.integrate(system, Q, R, eta=0.4, alpha=[0.0, 1.0])
    with pytest.raises(InputError, match="pstar"):
        paper_conventions.readout_free(Model(2, 2)).dataset(run)
    runs = run.expand_dims("trajectory")
    with pytest.raises(InputError, match="single trajectory"):
        paper_conventions.readout_free(Model(2, 1)).dataset(runs)
