"""SGD on weights in vector code against plain NumPy with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from lane_code import Xoshiro

from runtime.sgd.sgd_process import SgdProcess
from runtime.sgd.weight_vectors import LANES, RUN_WORDS, WeightVectors
from runtime.start.teacher_directions import Teacher
from runtime.vector import jit
from runtime.vector.random_numbers import WORDS, streams


class Reference:
    """The same weights in N dimensions; inputs are drawn in the order of the vector code."""

    def __init__(self, p, k, n, *, sphere=False, noise=True, kind=None, seed=1):
        rng = np.random.default_rng([seed, p, k, n])
        T = np.diag(rng.uniform(0.5, 2.0, k)) if k else np.zeros((1, 1))
        teacher = Teacher.from_overlaps(T)
        assert teacher.rank == k
        self.p, self.n, self.sphere = p, n, sphere
        self.eta, self.label_noise, self.readout = 0.1, 0.4 * noise, (0.6 / p, 1.2)
        process = SgdProcess(p, teacher, n, self.readout, sphere, noise)
        width = min(p, n - k)
        A, S = rng.standard_normal((p, k)), np.tril(rng.standard_normal((p, p)))
        S[:, width:] = 0.0
        A, S = (x / np.sqrt(k + p) for x in (A, S))
        words = streams(3, 2, 0, 1, RUN_WORDS)[0]
        target = jit.target(kind)
        parameters = {"eta": self.eta, "label_noise": self.label_noise}
        self.weights = WeightVectors(process, A, S, words, parameters, target)
        self.W = np.sqrt(n) * np.concatenate([A, S[:, :width], np.zeros((p, n - k - width))], axis=1)
        self.norms = np.sum(self.W**2, axis=1)
        self.labels, self.noise = np.concatenate([teacher.weights, np.zeros(n - k)]), noise
        self.generators = [Xoshiro(lane) for lane in words.reshape(LANES, WORDS)]

    def step(self):
        pairs = -(-self.n // (2 * LANES))
        normals = np.array([[g.normals() for g in self.generators] for _ in range(pairs)])
        x = np.swapaxes(normals, 1, 2).ravel()[: self.n]
        # Every lane draws, one counts.
        noise = np.array([g.normals()[0] for g in self.generators])[0] if self.noise else 0.0
        a, b = self.readout
        fields = self.W @ x / np.sqrt(self.n)
        error = a * np.sum(fields**2) - b * np.sum(self.labels * x**2) - np.sqrt(self.label_noise) * noise
        self.W -= 2.0 * a * self.eta * error * np.outer(fields, x) / np.sqrt(self.n)
        if self.sphere:
            self.W *= np.sqrt(self.norms / np.sum(self.W**2, axis=1))[:, None]

    def check(self):
        found = np.concatenate(self.weights.coordinates(), axis=1)
        assert found.shape == (self.p, self.n)
        np.testing.assert_allclose(found, self.W / np.sqrt(self.n), rtol=0, atol=1e-12)


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
        for _ in range(count):
            reference.step()
        reference.weights.advance(count)
        reference.check()
    # On a sphere of one dimension nothing can move.
    assert np.abs(reference.W - start).max() > 1e-5 or (sphere and shape[2] == 1)


@pytest.mark.parametrize("kind", jit.RESTRICTIONS)
def test_every_kind_of_vectors_takes_the_same_steps(kind):
    reference = Reference(3, 2, 21, sphere=True, kind=kind)
    for _ in range(10):
        reference.step()
    reference.weights.advance(10)
    reference.check()


@pytest.mark.parametrize("sphere", [False, True], ids=["free", "sphere"])
def test_what_lies_beyond_n_stays_zero(sphere):
    reference = Reference(3, 2, 21, sphere=sphere)
    reference.weights.advance(50)
    assert reference.weights.W.shape[1] > 21
    assert (reference.weights.W[:, 21:] == 0.0).all()
    assert (reference.weights.W[:, :21] != 0.0).all()
