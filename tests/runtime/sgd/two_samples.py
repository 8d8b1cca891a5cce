"""Two samples of SGD, by chain, weights and plain NumPy, and whether they have the same law."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from derive import Model
from runtime.sgd.overlap_chain import OverlapChain
from runtime.sgd.simulation import simulate
from runtime.start.schedules import Schedule

RUNS = 7_000
# Chance that one of all comparisons here fails though the laws are equal.
FALSE_ALARMS = 1e-4
# At least as many as there are: of every pair of simulations, observables times times.
COMPARISONS = 2500
# |D| of two samples of RUNS: R. M. Dudley and F. Wei (2012) show that this bound is no approximation.
ALLOWED = math.sqrt(math.log(2.0 * COMPARISONS / FALSE_ALARMS) / RUNS)
# The simulations' own rule of what has diverged.
DIVERGED = 1e6
# So that rounding of numbers that cannot change, norms on the sphere, is not compared.
DECIMALS = 9


@dataclasses.dataclass(frozen=True)
class Case:
    """A model at one N; the runs start from the same weights and take up to `steps` steps."""

    p: int
    pstar: int
    n: int
    steps: int
    eta: float
    constraint: str = "free"
    readout: str = "mean"
    label_noise: float = 0.3
    # Rank of a general teacher; 0 is the orthonormal one.
    rank: int = 0
    # Second-layer weights, which are trained if there is a learning rate for them.
    v: tuple[float, ...] = ()
    vstar: tuple[float, ...] = ()
    eta_second: float = 0.0
    decay: float = 0.0
    batch: int = 1
    schedule: str = "constant"
    # These are those of student and teacher.
    activations: tuple[str, str] = ("quadratic", "quadratic")

    def __str__(self) -> str:
        layer = "-trained" * bool(self.eta_second) or "-fixed" * bool(self.v)
        extra = f"{layer}{'-decay' * bool(self.decay)}{f'-B{self.batch}' * (self.batch > 1)}"
        extra += f"-{self.schedule}" * (self.schedule != "constant")
        extra += "".join(f"-{name}" for name in self.activations) * (not self.model.quadratic)
        return f"{self.p}-{self.pstar}-{self.constraint}-{self.readout}-N{self.n}{extra}"

    @property
    def model(self) -> Model:
        teacher = "general" if self.rank else "orthonormal"
        layer = "trained" if self.eta_second else "fixed" if self.v else "ones"
        options = {"constraint": self.constraint, "readout": self.readout, "second_layer": layer}
        options |= dict(zip(("activation", "teacher_activation"), self.activations, strict=True))
        return Model(self.p, self.pstar, teacher=teacher, **options)

    @property
    def second_layers(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.v or [1.0] * self.p), np.array(self.vstar or [1.0] * self.pstar)

    @property
    def options(self) -> dict[str, object]:
        """The keywords of what not every model has."""
        given: dict[str, object] = {}
        if self.v:
            given |= dict(zip(("student_weights", "teacher_weights"), self.second_layers, strict=True))
        return given | ({"eta_second": self.eta_second} if self.eta_second else {})

    @property
    def records(self) -> list[int]:
        return sorted({1 + self.steps // 8, self.steps // 2, self.steps})

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Students, partly aligned with the teacher and with each other, and the teacher."""
        rng = np.random.default_rng([self.p, self.pstar, self.n])
        teacher = np.linalg.qr(rng.standard_normal((self.n, self.rank or self.pstar)))[0].T
        if self.rank:
            teacher = rng.standard_normal((self.pstar, self.rank)) / math.sqrt(self.rank) @ teacher
        mixing = rng.standard_normal((self.p, self.pstar)) / math.sqrt(self.pstar)
        students = rng.standard_normal((self.p, self.n)) / math.sqrt(self.n)
        students += 0.3 * students[:1] + 0.6 * mixing @ teacher
        return math.sqrt(self.n) * students, math.sqrt(self.n) * teacher


def observables(
    case: Case, Q: np.ndarray, R: np.ndarray, loss: np.ndarray, v: np.ndarray | None
) -> np.ndarray:
    """(run, observable): all order parameters at all records, +inf where diverged.

    For λ² the loss is there too; for others it is a function of the rest that is tested by itself.
    """
    norms = np.diagonal(Q, axis1=2, axis2=3).max(axis=2)
    start = np.sum(case.weights()[0] ** 2, axis=1).max() / case.n
    gone = np.logical_or.accumulate(~(norms <= DIVERGED * max(1.0, start)), axis=1)
    rows, columns = np.triu_indices(case.p)
    parts = [Q[..., rows, columns], R.reshape(*R.shape[:2], -1)]
    parts += [loss[..., None]] * case.model.quadratic + ([] if v is None else [v])
    values = np.round(np.concatenate(parts, axis=2), DECIMALS)
    values[gone] = np.inf
    return values.reshape(len(values), -1)


def simulated(case: Case, method: str, seed: int = 1) -> np.ndarray:
    W, teacher = case.weights()
    runs = simulate(
        case.model,
        n=case.n,
        eta=case.eta,
        alpha=np.array(case.records) / case.n,
        method=method,
        trajectories=RUNS,
        seed=seed,
        label_noise=case.label_noise,
        weight_decay=case.decay,
        batch=case.batch,
        schedule=case.schedule,
        T=teacher @ teacher.T / case.n if case.rank else None,
        Q0=W @ W.T / case.n,
        R0=W @ teacher.T / case.n,
        **case.options,
    )
    np.testing.assert_array_equal(runs["alpha"], np.array(case.records) / case.n)
    v = runs["v"].values if case.eta_second else None
    return observables(case, runs["Q"].values, runs["R"].values, runs["loss"].values, v)


def population_losses(W: np.ndarray, v: np.ndarray, teacher: np.ndarray, vstar: np.ndarray) -> np.ndarray:
    """½ (s² + 2t) of E = Σ v w wᵀ − Σ v* w* w*ᵀ (over N), with s = tr E and t = tr E²."""
    n = W.shape[-1]
    E = np.einsum("ki,kin,kim->knm", v, W, W) - np.einsum("r,rn,rm->nm", vstar, teacher, teacher)
    s, t = np.trace(E, axis1=1, axis2=2) / n, np.sum(E**2, axis=(1, 2)) / n**2
    return 0.5 * (s**2 + 2.0 * t)


def brute_force(case: Case, seed: int = 2, wrong: str = "") -> np.ndarray:
    """SGD as the model states it, on weights, all runs at once; or a wrong variant of it."""
    rng = np.random.default_rng([seed, case.n])
    start, teacher = case.weights()
    power = {"mean": 1.0, "sum": 0.0, "sqrt": 0.5}[case.readout]
    a, b, size = case.p**-power, case.pstar**-power, case.batch
    (first, vstar), schedule = case.second_layers, Schedule.of(case.schedule)
    sigma, teacher_sigma = (Polynomial([float(c) for c in g.coefficients]) for g in case.model.activations)
    slope = {"σ for σ'": sigma, "the kick of λ²": Polynomial([0.0, 2.0])}.get(wrong, sigma.deriv())
    W, v = np.tile(start, (RUNS, 1, 1)), np.tile(first, (RUNS, 1))
    Q, R, losses, layers = [], [], [], []
    # A run that has diverged overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, case.steps + 1):
            time = (step if wrong == "factor of the next step" else step - 1) / case.n
            factor = float(schedule.factors(np.array(time)))
            x = rng.standard_normal((RUNS, size, case.n)) / math.sqrt(case.n)
            fields = np.einsum("kin,kbn->kbi", W, x)
            labels = b * np.sum(vstar * teacher_sigma(x @ teacher.T), axis=2)
            labels += math.sqrt(case.label_noise) * rng.standard_normal((RUNS, size))
            error = a * np.sum(v[:, None] * sigma(fields), axis=2) - labels
            old = v.copy()
            v -= case.eta_second * factor * a / case.n * np.mean(error[:, :, None] * sigma(fields), axis=1)
            pull = error[:, :, None] * slope(fields) * (v if wrong == "v before w" else old)[:, None]
            W -= a * case.eta * factor / size * np.einsum("kbi,kbn->kin", pull, x)
            decay = case.eta * case.decay * (1.0 if wrong == "decay without schedule" else factor)
            W *= 1.0 - (0.5 if wrong == "half the decay" else 1.0) * decay / case.n
            if case.constraint == "sphere":
                W *= np.sqrt(np.sum(start**2, axis=1) / np.sum(W**2, axis=2))[:, :, None]
            if step in case.records:
                Q.append(np.einsum("kin,kjn->kij", W, W) / case.n)
                R.append(W @ teacher.T / case.n)
                losses.append(population_losses(W, a * v, teacher, b * vstar))
                layers.append(v.copy())
        stacked = (np.stack(values, axis=1) for values in (Q, R, losses))
        return observables(case, *stacked, np.stack(layers, axis=1) if case.eta_second else None)


def deviation(one: np.ndarray, other: np.ndarray) -> float:
    """The largest Kolmogorov-Smirnov statistic over the allowed one."""
    assert one.shape == other.shape == (RUNS, one.shape[1])
    assert not np.isnan(one).any()
    assert not np.isnan(other).any()
    largest = 0.0
    for x, y in zip(np.sort(one, axis=0).T, np.sort(other, axis=0).T, strict=True):
        points = np.concatenate([x, y])
        steps = np.searchsorted(x, points, "right") - np.searchsorted(y, points, "right")
        largest = max(largest, np.abs(steps).max() / RUNS)
    return largest / ALLOWED


def other_directions_of_students_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong chain: χ² has the degrees of freedom of the students' directions, too."""
    start = OverlapChain.__init__

    def init(self, process, target, batch):
        start(self, process, target, batch)
        self._shape += 0.5 * process.p

    monkeypatch.setattr(OverlapChain, "__init__", init)
