"""A chain at random coordinates, and the formulas for its next step with the same inputs."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial

from derive.activation import Activation
from runtime.sgd.chain_memory import ChainRecord
from runtime.sgd.chain_step import ChainEmitter
from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.sgd_process import SgdProcess
from runtime.start.schedules import Schedule
from runtime.start.teacher_directions import Teacher
from runtime.vector import jit
from runtime.vector.random_numbers import streams
from runtime.vector.vector_record import VectorRecord

EPSILON = np.finfo(np.float64).eps
# Units of rounding, relative to the largest term.
ALLOWED = 10.0


class WatchedRecord(ChainRecord):
    """Has g² and ξ too, which a step does not store by itself."""

    def __init__(self, form, columns):
        super().__init__(form, columns)
        VectorRecord.__init__(self, **self.shapes, other=(), label_noise=())


class WatchedEmitter(ChainEmitter):
    """Stores g² and ξ of the last step."""

    def _other_directions(self, spare):
        other = super()._other_directions(spare)
        self._store(other, self.record.at("other"))
        return other

    def _error(self, label_noise):
        if label_noise is not None:
            self._store(label_noise, self.record.at("label_noise"))
        return super()._error(label_noise)


def teacher_of_rank(pstar: int, rank: int, rng: np.random.Generator) -> Teacher:
    if rank == pstar:
        return Teacher.from_overlaps(np.eye(pstar))
    factor = rng.standard_normal((pstar, rank))
    return Teacher.from_overlaps(factor @ factor.T)


def polynomial_of(activation: Activation) -> Polynomial:
    return Polynomial([float(coefficient) for coefficient in activation.coefficients])


def sizes(polynomial: Polynomial) -> Polynomial:
    """The sum of the sizes of its terms, at positive numbers."""
    return Polynomial(np.abs(polynomial.coef))


class Lanes:
    """A chain at random coordinates, its own in each lane, and the formulas for its next step."""

    def __init__(
        self,
        p,
        k,
        others,
        *,
        sphere=False,
        noise=True,
        pstar=None,
        seed=1,
        kind=None,
        second_layer="ones",
        decaying=False,
        batch=1,
        schedule=None,
        origin=0.0,
        activations=("quadratic", "quadratic"),
    ):
        rng = np.random.default_rng([seed, p, k, others])
        teacher = teacher_of_rank(pstar or max(k, 1), k, rng)
        self.n = p + k + others
        self.readout = (0.7, 1.3)
        process = SgdProcess(
            p,
            teacher,
            self.n,
            self.readout,
            sphere,
            noise,
            second_layer,
            decaying,
            Schedule.of(schedule),
            origin,
            tuple(map(Activation.of, activations)),
        )
        self.chain = OverlapChain(process, jit.target(kind), batch)
        self.teacher, self.sphere = teacher, sphere
        self.sigma, self.sigma_star = map(polynomial_of, process.activations)
        lanes = self.chain.lanes
        # Numbers of lanes may differ, each lane is the same.
        A, S = rng.standard_normal((8, p, k))[:lanes], np.tril(rng.standard_normal((8, p, p)))[:lanes]
        self.A, self.S = A / np.sqrt(p), S / np.sqrt(p)
        # The rate grows with N, so that both of its powers count.
        self.eta = 0.1 * np.sqrt(self.n) * rng.uniform(0.2, 1.0, 8)[:lanes]
        self.label_noise = noise * rng.uniform(0.1, 0.5, 8)[:lanes]
        self.norms = np.sum(self.A**2, axis=2) + np.sum(self.S**2, axis=2)
        self.batch, self.trained = batch, second_layer == "trained"
        widths = p, len(teacher.factor)
        layers = [rng.uniform(-1.5, 1.5, (8, width))[:lanes] for width in widths]
        self.v, self.vstar = layers if second_layer != "ones" else map(np.ones_like, layers)
        self.eta_second = 0.3 * self.eta
        self.decay = decaying * rng.uniform(0.0, 2.0, 8)[:lanes]
        self.work = self.start()

    @property
    def parameters(self):
        return {
            "eta": self.eta,
            "label_noise": self.label_noise,
            "weight_decay": self.decay,
            "batch": np.full(self.chain.lanes, float(self.batch)),
            "student_weights": self.v,
            "teacher_weights": self.vstar,
            "eta_second": self.eta_second,
        }

    def start(self, words=None):
        words = streams(2, 0, 0, self.chain.lanes) if words is None else words
        return self.chain.start(self.A, self.S, words, self.parameters)

    def step(self):
        """One step from these coordinates; the streams go on."""
        self.work = self.start(self.work["words"].view(np.uint64).T)
        self.chain.advance(self.work, 1)

    def overlaps(self, work=None):
        return self.teacher.overlaps(*self.chain.coordinates(self.work if work is None else work))

    def inputs(self):
        """u (lanes, k), v (lanes, p), g² and ξ (lanes,) of the last step."""
        fields = ("inputs_along", "inputs_beyond", "other", "label_noise")
        return tuple(self.work[field].T.copy() for field in fields)

    def response(self, u, v, xi):
        """λ, λ*, e, κ, and the size of the terms of e, of inputs along the teacher, beyond it, and ξ."""
        a, b = self.readout
        A, S = self.A.astype(np.longdouble), self.S.astype(np.longdouble)
        fields = np.einsum("lik,lk->li", A, u) + np.einsum("lij,lj->li", S, v)
        teachers = u @ self.teacher.factor.T
        noise = np.sqrt(self.label_noise) * xi
        error = np.sum(a * self.v * self.sigma(fields), axis=1) - noise
        error -= np.sum(b * self.vstar * self.sigma_star(teachers), axis=1)
        terms = np.sum(np.abs(a * self.v) * sizes(self.sigma)(np.abs(fields)), axis=1) + np.abs(noise)
        terms += np.sum(np.abs(b * self.vstar) * sizes(self.sigma_star)(np.abs(teachers)), axis=1)
        rate = a * self.eta / self.n / self.batch
        slopes = self.sigma.deriv()(fields)
        return fields, teachers, error, (rate * error)[:, None] * self.v * slopes, rate * terms

    def expected(self):
        """Q, R and v after the last step by the update of the overlaps, and the largest term of either."""
        A, S = self.A.astype(np.longdouble), self.S.astype(np.longdouble)
        u, v, other, xi = self.inputs()
        square = np.sum(u**2, axis=1) + np.sum(v**2, axis=1) + other
        fields, teachers, error, kicks, largest = self.response(u, v, xi)
        Q = A @ np.swapaxes(A, 1, 2) + S @ np.swapaxes(S, 1, 2)
        R = A @ self.teacher.factor.T
        both = kicks[:, :, None] * fields[:, None, :]
        # The largest kick that its terms allow, and what it does to Q.
        slopes = np.abs(self.v) * sizes(self.sigma.deriv())(np.abs(fields))
        largest = largest * np.max(slopes, axis=1)
        terms = Q.max() + np.max(2.0 * largest * np.max(np.abs(fields), axis=1) + largest**2 * square)
        Q = Q - both - np.swapaxes(both, 1, 2)
        Q = Q + square[:, None, None] * kicks[:, :, None] * kicks[:, None, :]
        R = R - kicks[:, :, None] * teachers[:, None, :]
        kept = (1.0 - self.eta * self.decay / self.n)[:, None, None]
        if self.sphere:
            scale = np.sqrt(self.norms / np.diagonal(Q, axis1=1, axis2=2))
            Q, R = Q * scale[:, :, None] * scale[:, None, :], R * scale[:, :, None]
        else:
            Q, R = kept**2 * Q, kept * R
        change = (self.eta_second / self.n * self.readout[0] * error)[:, None] * self.sigma(fields)
        return Q.astype(float), R.astype(float), self.v - self.trained * change, float(terms)

    def check_step(self):
        self.step()
        Q, R, layer, terms = self.expected()
        for found, expected in zip(self.overlaps(), (Q, R), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=ALLOWED * EPSILON * terms)
        if self.trained:
            np.testing.assert_allclose(self.chain.second_layer(self.work), layer, rtol=1e-13, atol=1e-13)
