"""The drift against Monte Carlo of actual SGD steps on actual N-dimensional weights.

From fixed weights each step uses a fresh sample; N times the mean change of the overlaps is
compared with the generated right-hand side in units of its standard error. The drift is the
limit N → ∞: the only term that feels N is κ² e² λλᵀ |x|²/N, for λ² of degree at most six in the
pre-activations, whose mean is off by at most 6/N of itself (E[g zᵀC⁻¹z] = (rank + degree) E[g]
for homogeneous g); on the sphere, by the second order of the rescaling, of the same size. For an
activation of degree d, six is 4d − 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from matrix import thinned
from numpy.polynomial import Polynomial

from derive.activation import Activation
from runtime import System

N = 400
STEPS = 120_000
BATCH = 4_000
ETA = 0.4
NOISE = 0.7
# The largest of some 40 standard normal deviations exceeds this once in several thousand sets.
LARGEST_DEVIATION = 4.5


@dataclasses.dataclass
class MeanChange:
    """N × mean change of the packed overlaps, and its standard error."""

    mean: np.ndarray
    error: np.ndarray


def weights(p, pstar, orthonormal, rng):
    """Students partly aligned with the teacher, so that every term of the drift counts."""
    teacher = rng.standard_normal((pstar, N))
    if orthonormal:
        teacher = np.linalg.qr(teacher.T)[0].T * np.sqrt(N)
    mixing = rng.standard_normal((p, pstar)) / np.sqrt(pstar)
    students = 0.6 * rng.standard_normal((p, N)) + 0.6 * mixing @ teacher
    return students, teacher


def loss_of_sample(W, teacher, x, noise, a, b, sigma):
    """ℓ = ½ (f − y)² as the model states it."""
    f = a * np.sum(sigma(W @ x / np.sqrt(N)))
    y = b * np.sum(sigma(teacher @ x / np.sqrt(N))) + noise
    return 0.5 * (f - y) ** 2


@dataclasses.dataclass
class Protocol:
    """How SGD trains, beside η and Δ; second layers of ones are not trained."""

    v: np.ndarray
    vstar: np.ndarray
    sphere: bool = False
    batch: int = 1
    decay: float = 0.0
    eta_second: float = 0.0
    eta: float = ETA
    # These are those of student and teacher.
    activations: tuple[str, str] = ("quadratic", "quadratic")

    @property
    def polynomials(self):
        chosen = map(Activation.of, self.activations)
        return [Polynomial([float(c) for c in activation.coefficients]) for activation in chosen]

    @classmethod
    def of_ones(cls, p, pstar, **options):
        return cls(np.ones(p), np.ones(pstar), **options)

    def change(self, W, teacher, rng, a, b):
        """Means and standard errors over independent steps from the same weights, STEPS samples in all."""
        p, norms, size = len(W), np.sum(W * W, axis=1), self.batch
        rows, columns = np.triu_indices(p)
        trained = self.eta_second > 0.0
        sigma, sigma_star = self.polynomials
        before = [(W @ W.T / N)[rows, columns], (W @ teacher.T / N).ravel(), self.v[: trained * p]]
        total, squares, count = 0.0, 0.0, STEPS // BATCH * (BATCH // size)
        for _ in range(STEPS // BATCH):
            # The axes are those of steps, of the samples of a step, and of inputs or units.
            x = rng.standard_normal((BATCH // size, size, N))
            student, reference = x @ W.T / np.sqrt(N), x @ teacher.T / np.sqrt(N)
            noise = np.sqrt(NOISE) * rng.standard_normal(x.shape[:2])
            values = sigma(student)
            label = b * np.sum(self.vstar * sigma_star(reference), axis=2)
            error = a * np.sum(self.v * values, axis=2) - label - noise
            # Row i of the gradient of a sample is a v_i e σ'(λ_i) x/√N: see test_the_step_is_the_gradient.
            pull = a * self.v * error[:, :, None] * sigma.deriv()(student)
            kicks = -self.eta * pull / np.sqrt(N) / size
            # New weights are W + kicks ⊗ x; their overlaps need x·x, x·W and x·W* only.
            xx, xw, xt = np.einsum("sbn,scn->sbc", x, x), student * np.sqrt(N), reference * np.sqrt(N)
            across = np.einsum("sbi,sbj->sij", kicks, xw)
            Q = W @ W.T + across + np.swapaxes(across, 1, 2)
            Q = Q + np.einsum("sbi,sbc,scj->sij", kicks, xx, kicks, optimize=True)
            R = W @ teacher.T + np.einsum("sbi,sbr->sir", kicks, xt)
            kept = 1.0 - self.eta * self.decay / N
            Q, R = kept**2 * Q, kept * R
            if self.sphere:
                scale = np.sqrt(norms / np.diagonal(Q, axis1=1, axis2=2))
                Q = Q * scale[:, :, None] * scale[:, None, :]
                R = R * scale[:, :, None]
            v = self.v - self.eta_second / N * a * np.mean(error[:, :, None] * values, axis=1)
            after = [Q[:, rows, columns] / N, R.reshape(len(R), -1) / N, v[:, : trained * p]]
            change = N * (np.concatenate(after, axis=1) - np.concatenate(before))
            total = total + change.sum(axis=0)
            squares = squares + (change**2).sum(axis=0)
        mean = total / count
        return MeanChange(mean, np.sqrt((squares / count - mean**2) / count))


def deviation(measured, drift, noise_term, degree=2):
    """Largest deviation in standard errors, beyond what finite N accounts for."""
    allowance = (4.0 * degree - 2.0) / N * np.abs(noise_term)
    # The floor is for entries that cannot change (norms on the sphere) and have no error but rounding.
    excess = np.maximum(np.abs(measured.mean - drift) - allowance, 0.0)
    return np.max(excess / np.maximum(measured.error, 1e-10))


CASES = [
    pytest.param(4, 2, {}, id="4-2"),
    pytest.param(4, 2, {"constraint": "sphere"}, id="4-2-sphere"),
    pytest.param(2, 3, {"readout": "sqrt", "teacher": "general"}, id="2-3-general-sqrt"),
    pytest.param(
        2,
        3,
        {"readout": "sqrt", "teacher": "general", "constraint": "sphere"},
        id="2-3-sphere-general-sqrt",
    ),
]


@pytest.mark.parametrize(("p", "pstar", "options"), thinned(CASES, 0, 3))
def test_drift_is_the_mean_change_of_sgd(system_of, p, pstar, options):
    rng = np.random.default_rng([p, pstar, len(options)])
    sqrt = options.get("readout") == "sqrt"
    a, b = (1 / np.sqrt(p), 1 / np.sqrt(pstar)) if sqrt else (1 / p, 1 / pstar)
    orthonormal = options.get("teacher") != "general"
    W, teacher = weights(p, pstar, orthonormal, rng)
    protocol = Protocol.of_ones(p, pstar, sphere=options.get("constraint") == "sphere")
    measured = protocol.change(W, teacher, rng, a, b)
    Q, R = W @ W.T / N, W @ teacher.T / N
    T = None if orthonormal else teacher @ teacher.T / N

    def packed(flow, noise):
        derived = system_of(p, pstar, flow=flow, **options)
        return derived.pack(*derived.rhs(Q, R, ETA, noise, T))

    drift, gradient = packed("sgd", NOISE), packed("gradient", 0.0)
    assert deviation(measured, drift, drift - gradient) < LARGEST_DEVIATION
    # The same test must reject drifts that are wrong by one term.
    assert deviation(measured, gradient, drift - gradient) > 2 * LARGEST_DEVIATION
    assert deviation(measured, packed("sgd", 0.0), drift - gradient) > 2 * LARGEST_DEVIATION
    if "constraint" in options:
        free = {name: value for name, value in options.items() if name != "constraint"}
        unconstrained = system_of(p, pstar, **free)
        wrong = unconstrained.pack(*unconstrained.rhs(Q, R, ETA, NOISE, T))
        assert deviation(measured, wrong, drift - gradient) > 2 * LARGEST_DEVIATION


HE3 = {"activation": "he3", "teacher_activation": "he3"}
HE4 = {"activation": "he4", "teacher_activation": "he4"}
MIXED = {"activation": "1,1/2,1/3,1/6", "teacher_activation": "he2+he3"}
SIGNS = {"v": (1.0, -0.6, 0.4, 0.8), "vstar": (0.9, -0.7)}
OPTION_CASES = {
    "decay": ({}, {"decay": 2.0}),
    "decay on the sphere": ({"constraint": "sphere"}, {"decay": 2.0, "batch": 2}),
    "batch": ({}, {"batch": 8}),
    "fixed": ({"second_layer": "fixed", "teacher": "general"}, SIGNS),
    "trained, decay and batch": (
        {"second_layer": "trained", "teacher": "general"},
        SIGNS | {"eta_second": 0.5, "decay": 2.0, "batch": 3},
    ),
    "trained on the sphere": (
        {"second_layer": "trained", "constraint": "sphere"},
        SIGNS | {"eta_second": 0.5},
    ),
    "he3": ({"second_layer": "fixed"} | HE3, SIGNS | {"eta": 0.1}),
    "he3, trained, decay and batch": (
        {"second_layer": "trained", "teacher": "general"} | HE3,
        SIGNS | {"eta": 0.1, "eta_second": 0.5, "decay": 2.0, "batch": 3},
    ),
    # At larger rates a kick is as large as a weight, and N is not.
    "he3 on the sphere": ({"constraint": "sphere"} | HE3, {"eta": 0.02}),
    "he4": ({"second_layer": "trained"} | HE4, SIGNS | {"eta": 0.01, "eta_second": 0.1}),
    "a general cubic": ({"second_layer": "trained"} | MIXED, SIGNS | {"eta_second": 0.5}),
}


@dataclasses.dataclass
class Drifts:
    """The packed drift of SGD from given weights, and some that are wrong."""

    system_of: Callable[..., System]
    options: dict[str, str]
    protocol: Protocol
    Q: np.ndarray
    R: np.ndarray
    T: np.ndarray | None

    def packed(self, flow="sgd", **changed):
        """As the generated code has it, with some other parameters."""
        protocol = dataclasses.replace(self.protocol, **changed)
        system = self.system_of(len(self.Q), len(protocol.vstar), flow=flow, **self.options)
        given = {"weight_decay": protocol.decay, "batch": protocol.batch, "T": self.T}
        if system.model.weighted:
            given |= {"student_weights": protocol.v, "teacher_weights": protocol.vstar}
        if system.model.trained:
            given["eta_second"] = protocol.eta_second
        return system.pack(*system.rhs(self.Q, self.R, eta=protocol.eta, label_noise=NOISE, **given))

    @property
    def noise_term(self):
        return self.packed() - self.packed("gradient")

    def wrong(self):
        """Name and drift of each wrong variant that belongs to the case."""
        protocol, drift = self.protocol, self.packed()
        rows, columns = np.triu_indices(len(self.Q))
        decays = protocol.decay and not protocol.sphere
        if decays:
            single = drift.copy()
            single[: len(rows)] += protocol.eta * protocol.decay * self.Q[rows, columns]
            yield "decay without the factor 2 in Q", single
            yield "no decay", self.packed(decay=0.0)
        if protocol.batch > 1:
            yield "noise not divided by B", self.packed(batch=1)
        if self.options.get("second_layer"):
            squares = drift.copy()
            ratio = protocol.v[rows] / protocol.v[columns]
            squares[: len(rows)] += self.noise_term[: len(rows)] * (ratio - 1.0)
            if not protocol.sphere:
                yield "κ_i² for κ_i κ_j", squares
            yield "positive weights", self.packed(v=np.abs(protocol.v))
        if "activation" in self.options:
            squares = {"activation": "quadratic", "teacher_activation": "quadratic"}
            yield "λ²", dataclasses.replace(self, options=self.options | squares).packed()
        if protocol.eta_second:
            yield "another rate of v", self.packed(eta_second=0.8 * protocol.eta_second)


@pytest.mark.parametrize("name", thinned(OPTION_CASES, 4, 7))
def test_drift_with_options_is_the_mean_change_of_sgd(interpreted, name):
    options, settings = OPTION_CASES[name]
    rng = np.random.default_rng([7, list(OPTION_CASES).index(name)])
    W, teacher = weights(4, 2, options.get("teacher") != "general", rng)
    layers = {
        layer: np.array(settings.get(layer, np.ones(width))) for layer, width in (("v", 4), ("vstar", 2))
    }
    sphere = options.get("constraint") == "sphere"
    activations = tuple(options.get(name, "quadratic") for name in ("activation", "teacher_activation"))
    degree = max(Activation.of(name).degree for name in activations)
    protocol = Protocol(**(settings | layers), sphere=sphere, activations=activations)
    measured = protocol.change(W, teacher, rng, 1 / 4, 1 / 2)
    T = teacher @ teacher.T / N if options.get("teacher") == "general" else None
    drifts = Drifts(interpreted, options, protocol, W @ W.T / N, W @ teacher.T / N, T)
    assert deviation(measured, drifts.packed(), drifts.noise_term, degree) < LARGEST_DEVIATION
    wrong = dict(drifts.wrong())
    assert wrong
    for what, drift in wrong.items():
        assert deviation(measured, drift, drifts.noise_term, degree) > 1.5 * LARGEST_DEVIATION, what


@pytest.mark.parametrize("sigma", [Polynomial([0, 0, 1]), Polynomial([0, -3, 0, 1])], ids=["λ²", "He₃"])
def test_the_step_is_the_gradient(sigma):
    """a e σ'(λ_i) x/√N is ∂ℓ/∂w_i, by central differences of the loss itself."""
    rng = np.random.default_rng(9)
    a, b = 1 / 3, 1 / 2
    W, teacher = weights(3, 2, True, rng)
    x, noise = rng.standard_normal(N), 0.3
    student = W @ x / np.sqrt(N)
    error = a * np.sum(sigma(student)) - b * np.sum(sigma(teacher @ x / np.sqrt(N))) - noise
    gradient = a * error * np.outer(sigma.deriv()(student), x) / np.sqrt(N)
    h = 1e-4
    for i, k in [(0, 0), (1, 17), (2, N - 1)]:
        ahead, behind = W.copy(), W.copy()
        ahead[i, k] += h
        behind[i, k] -= h
        rest = teacher, x, noise, a, b, sigma
        difference = loss_of_sample(ahead, *rest) - loss_of_sample(behind, *rest)
        assert difference / (2 * h) == pytest.approx(gradient[i, k], rel=1e-6, abs=1e-9)


def test_the_loss_is_the_mean_loss_of_samples(system_of):
    """ε against the mean of ½(f − y)² over samples without label noise."""
    rng = np.random.default_rng(10)
    W, teacher = weights(4, 2, True, rng)
    samples = []
    for _ in range(25):
        x = rng.standard_normal((BATCH, N))
        f = np.mean((x @ W.T) ** 2, axis=1) / N
        y = np.mean((x @ teacher.T) ** 2, axis=1) / N
        samples.append(0.5 * (f - y) ** 2)
    losses = np.concatenate(samples)
    expected = system_of(4, 2).loss(W @ W.T / N, W @ teacher.T / N)
    assert abs(losses.mean() - expected) < 4 * losses.std() / np.sqrt(losses.size)
