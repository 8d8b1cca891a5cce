"""SGD on weights in vector code against plain NumPy with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from chain_lanes import polynomial_of
from lane_code import Xoshiro

from derive.activation import Activation
from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.weight_vectors import WeightVectors
from runtime.sgd.weights_step import LANES, RUN_WORDS
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher
from runtime.vector import jit
from runtime.vector.random_numbers import WORDS, streams


class Reference:
    """The same weights in N dimensions; inputs are drawn in the order of the vector code."""

    def __init__(
        self,
        p,
        k,
        n,
        *,
        sphere=False,
        noise=True,
        kind=None,
        seed=1,
        second_layer="ones",
        correlated=False,
        decay=0.0,
        batch=1,
        schedule=None,
        origin=0.0,
        activations=("quadratic", "quadratic"),
    ):
        rng = np.random.default_rng([seed, p, k, n])
        T = np.diag(rng.uniform(0.5, 2.0, k)) if k else np.zeros((1, 1))
        if correlated:
            # One more teacher than dimensions.
            factor = rng.standard_normal((k + 1, k))
            T = factor @ factor.T
        self.teacher = teacher = Teacher.from_overlaps(T)
        assert teacher.rank == k
        self.p, self.n, self.sphere, self.batch = p, n, sphere, batch
        self.eta, self.label_noise, self.readout = 0.1, 0.4 * noise, (0.6 / p, 1.2)
        self.schedule, self.steps, self.decay = Schedule.of(schedule), 0, decay
        self.process = process = SgdProcess(
            p,
            teacher,
            n,
            self.readout,
            sphere,
            noise,
            second_layer,
            decay > 0.0,
            self.schedule,
            origin,
            tuple(map(Activation.of, activations)),
        )
        self.sigma, self.sigma_star = map(polynomial_of, process.activations)
        width = min(p, n - k)
        A, S = rng.standard_normal((p, k)), np.tril(rng.standard_normal((p, p)))
        S[:, width:] = 0.0
        A, S = (x / np.sqrt(k + p) for x in (A, S))
        words = streams(3, 2, 0, 1, RUN_WORDS)[0]
        target = jit.target(kind)
        self.v, self.vstar = np.ones(p), np.ones(len(T))
        if second_layer != "ones":
            self.v, self.vstar = rng.uniform(-1.5, 1.5, p), rng.uniform(-1.5, 1.5, len(T))
        self.eta_second = 0.2 * (second_layer == "trained")
        self.parameters = {"eta": self.eta, "label_noise": self.label_noise, "weight_decay": decay}
        self.parameters |= {"batch": float(batch), "eta_second": self.eta_second}
        self.parameters |= {"student_weights": self.v, "teacher_weights": self.vstar}
        self.weights = WeightVectors(process, A, S, words, self.parameters, target)
        self.W = np.sqrt(n) * np.concatenate([A, S[:, :width], np.zeros((p, n - k - width))], axis=1)
        self.norms = np.sum(self.W**2, axis=1)
        self.noise = noise
        self.generators = [Xoshiro(lane) for lane in words.reshape(LANES, WORDS)]

    def draw(self):
        """The next input, and the noise of its label."""
        pairs = -(-self.n // (2 * LANES))
        normals = np.array([[g.normals() for g in self.generators] for _ in range(pairs)])
        x = np.swapaxes(normals, 1, 2).ravel()[: self.n]
        # Every lane draws, one counts.
        noise = np.array([g.normals()[0] for g in self.generators])[0] if self.noise else 0.0
        return x, np.sqrt(self.label_noise) * noise

    def step(self):
        a, b = self.readout
        factor = float(self.schedule.factors(np.array(self.process.origin + self.steps / self.n)))
        W, v = np.zeros_like(self.W), np.zeros_like(self.v)
        for _ in range(self.batch):
            x, noise = self.draw()
            fields = self.W @ x / np.sqrt(self.n)
            labels = self.teacher.factor @ x[: self.teacher.rank]
            outputs = a * self.v * self.sigma(fields), b * self.vstar * self.sigma_star(labels)
            error = np.sum(outputs[0]) - np.sum(outputs[1]) - noise
            W += a * error * np.outer(self.v * self.sigma.deriv()(fields), x) / np.sqrt(self.n) / self.batch
            v += a * error * self.sigma(fields) / self.n / self.batch
        self.W = (self.W - self.eta * factor * W) * (1.0 - self.eta * factor * self.decay / self.n)
        self.v = self.v - self.eta_second * factor * v
        if self.sphere:
            self.W *= np.sqrt(self.norms / np.sum(self.W**2, axis=1))[:, None]
        self.steps += 1

    def advance(self, count):
        for _ in range(count):
            self.step()
        self.weights.advance(count)
        self.check()

    def check(self):
        found = np.concatenate(self.weights.coordinates(), axis=1)
        assert found.shape == (self.p, self.n)
        np.testing.assert_allclose(found, self.W / np.sqrt(self.n), rtol=0, atol=1e-12)
        if self.eta_second:
            np.testing.assert_allclose(self.weights.second_layer(), self.v, rtol=0, atol=1e-12)
        else:
            assert self.weights.second_layer() is None


# (p, k, N): a vector of inputs and less, whole and odd numbers of them; several passes over the
# students (more than 8, on the sphere than 6); teachers of several vectors; k = 0; N = k.
SHAPES = [(1, 1, 1), (1, 0, 7), (2, 3, 8), (4, 2, 16), (4, 2, 17), (3, 10, 10), (2, 9, 33), (9, 2, 40)]
SHAPES += [(7, 1, 5), (17, 3, 48)]


# Not every combination: each is compiled.
@pytest.mark.parametrize(("sphere", "noise"), [(False, True), (True, False)], ids=["free", "sphere"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_those_of_plain_numpy(shape, sphere, noise):
    reference = Reference(*shape, sphere=sphere, noise=noise)
    start = reference.W.copy()
    reference.check()
    # Even and odd numbers: the last input lies in one of two places.
    for count in (1, 1, 2, 0, 3, 5):
        reference.advance(count)
    # On a sphere of one dimension nothing can move.
    assert np.abs(reference.W - start).max() > 1e-5 or (sphere and shape[2] == 1)


@pytest.mark.parametrize("kind", jit.RESTRICTIONS)
def test_every_kind_of_vectors_takes_the_same_steps(kind):
    reference = Reference(3, 2, 21, sphere=True, kind=kind)
    reference.advance(10)


OPTIONS = {
    "fixed": ((4, 2, 17), {"second_layer": "fixed"}),
    "fixed, general teacher": ((3, 9, 21), {"second_layer": "fixed", "correlated": True}),
    "trained": ((9, 2, 40), {"second_layer": "trained", "sphere": True}),
    "decay": ((9, 2, 40), {"decay": 3.0}),
    "decay on the sphere": ((2, 2, 9), {"decay": 3.0, "sphere": True}),
    "batch": ((4, 2, 17), {"batch": 3}),
    "batch on the sphere": ((9, 2, 16), {"batch": 2, "sphere": True, "noise": False}),
    "exponential": ((2, 2, 9), {"schedule": "exponential:0.4", "origin": 0.7}),
    "inverse": ((2, 2, 9), {"schedule": "inverse:0.4", "batch": 2}),
    "he3": ((4, 2, 17), {"activations": ("he3", "he3")}),
    "he4 on the sphere": ((9, 2, 40), {"activations": ("he4", "he3"), "sphere": True}),
    "teachers without directions": ((2, 0, 9), {"activations": ("he3", "he2")}),
    "λ² and he3": ((3, 9, 21), {"activations": ("quadratic", "he3"), "correlated": True}),
    "he3 and λ²": (
        (3, 9, 21),
        {"activations": ("he3", "quadratic"), "correlated": True, "second_layer": "fixed"},
    ),
    "everything but λ²": (
        (9, 2, 33),
        {
            "second_layer": "trained",
            "correlated": True,
            "decay": 3.0,
            "batch": 5,
            "schedule": "inverse-sqrt:0.2",
            "activations": ("he2+he3", "1,1/3,-1/7,1/2,1/5"),
        },
    ),
    "all": (
        (9, 2, 33),
        {
            "second_layer": "trained",
            "correlated": True,
            "decay": 3.0,
            "batch": 5,
            "schedule": "inverse-sqrt:0.2",
        },
    ),
}


@pytest.mark.parametrize(("shape", "options"), OPTIONS.values(), ids=OPTIONS)
def test_steps_with_options_are_those_of_plain_numpy(shape, options):
    reference = Reference(*shape, **options)
    for count in (1, 2, 4):
        reference.advance(count)


@pytest.mark.parametrize("sphere", [False, True], ids=["free", "sphere"])
def test_decay_of_the_sphere_changes_no_bit(sphere):
    """With free norms it does."""
    found = []
    for decay in (0.0, 2.0):
        reference = Reference(3, 2, 21, sphere=sphere, decay=decay)
        reference.weights.advance(20)
        found.append(reference.weights.W.tobytes())
    assert (found[0] == found[1]) == sphere


@pytest.mark.parametrize("sphere", [False, True], ids=["free", "sphere"])
def test_what_lies_beyond_n_stays_zero(sphere):
    reference = Reference(3, 2, 21, sphere=sphere)
    reference.weights.advance(50)
    assert reference.weights.W.shape[1] > 21
    assert (reference.weights.W[:, 21:] == 0.0).all()
    assert (reference.weights.W[:, :21] != 0.0).all()
