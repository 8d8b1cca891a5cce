"""The covariance of one SGD step in NumPy, from the generating function of its moments, and wrong variants.

With |x|²/N → 1 a sample changes N times the overlap of units i and j by δ = −(κ_i + κ_j) e z_i z_j +
(κ_i κ_j/B) e² z_i z_j. Its moments are derivatives at θ = 0 of E[exp(θe) z_i z_j z_k z_l] =
Z (G_ij G_kl + G_ik G_jl + G_il G_jk), where G = Σ_m (2θ)ᵐ C(DC)ᵐ and Z is the exponential of
Σ_m (2θ)ᵐ tr((DC)ᵐ)/(2m) and of θ²Δ/2. Nothing here comes from the derivation.
"""

from __future__ import annotations

import dataclasses
from math import factorial

import numpy as np

HIGHEST = 4
READOUT_POWERS = {"mean": -1.0, "sum": 0.0, "sqrt": -0.5}
PAIRINGS = ("ij,kl->ijkl", "ik,jl->ijkl", "il,jk->ijkl")

EXCHANGED = "one chain exchanged"
LOOP = "another coefficient of a loop"
SINGLE_NOISE = "Δ² without its 3"
NOT_DIVIDED = "not divided by B"
DIVIDED_TWICE = "divided by B twice"
DIVIDED_ONLY = "divided by B, but not its η² terms"
OTHER_STUDENT = "κ of another student"
NOT_PROJECTED = "sphere without its projection"
MEAN_KEPT = "mean not subtracted"
NO_SECOND_LAYER = "no second layer"
WRONG = (
    *(EXCHANGED, LOOP, SINGLE_NOISE, NOT_DIVIDED, DIVIDED_TWICE, DIVIDED_ONLY),
    *(OTHER_STUDENT, NOT_PROJECTED, MEAN_KEPT, NO_SECOND_LAYER),
)


def exponential(series: np.ndarray) -> np.ndarray:
    """The power series of the exponential of one without a constant term."""
    found = np.zeros_like(series)
    found[0] = 1.0
    for n in range(1, series.size):
        # The derivative of exp f is f' exp f.
        found[n] = sum(k * series[k] * found[n - k] for k in range(1, n + 1)) / n
    return found


@dataclasses.dataclass
class Step:
    """One step of SGD on a quadratic model at given overlaps; `wrong` names a deliberate error."""

    model: object
    Q: np.ndarray
    R: np.ndarray
    T: np.ndarray
    eta: float
    label_noise: float = 0.0
    batch: float = 1.0
    v: np.ndarray | None = None
    vstar: np.ndarray | None = None
    eta_second: float = 0.0
    wrong: str = ""

    def __post_init__(self):
        p, pstar, power = self.model.p, self.model.pstar, READOUT_POWERS[self.model.readout]
        v, vstar = (
            np.ones(width) if given is None else np.asarray(given)
            for given, width in ((self.v, p), (self.vstar, pstar))
        )
        self.C = np.block([[self.Q, self.R], [self.R.T, self.T]])
        self.a = float(p) ** power
        self.d = np.concatenate([self.a * v, -(float(pstar) ** power) * vstar])
        kappa = 2.0 * self.eta * self.a * (np.roll(v, 1) if self.wrong == OTHER_STUDENT else v)
        self.kappa = np.concatenate([kappa, np.zeros(pstar)])
        self.chains = [self.C]
        for _ in range(HIGHEST):
            self.chains.append(self.chains[-1] * self.d @ self.C)
        self.normalisation = self._normalisation()

    def _normalisation(self):
        exponent = np.zeros(HIGHEST + 1)
        for m in range(1, HIGHEST + 1):
            exponent[m] = 2.0**m * np.sum(self.d * np.diag(self.chains[m - 1])) / (2 * m)
        if self.wrong == LOOP:
            exponent[2] *= 2.0
        exponent[2] += self.label_noise / 2.0
        found = exponential(exponent)
        if self.wrong == SINGLE_NOISE:
            found[4] -= 2.0 * self.label_noise**2 / factorial(4)
        return found

    def moment(self, power):
        """E[e^power z_i z_j] for all units."""
        terms = (self.normalisation[power - m] * 2.0**m * self.chains[m] for m in range(power + 1))
        return factorial(power) * sum(terms)

    def double_moment(self, power):
        """E[e^power z_i z_j z_k z_l] for all units."""
        pairings = (PAIRINGS[0], PAIRINGS[0], PAIRINGS[2]) if self.wrong == EXCHANGED else PAIRINGS
        total = 0.0
        for first in range(power + 1):
            for second in range(power + 1 - first):
                factor = self.normalisation[power - first - second] * 2.0 ** (first + second)
                for pairing in pairings:
                    total = total + factor * np.einsum(pairing, self.chains[first], self.chains[second])
        return factorial(power) * total

    def changes(self):
        """The units i, j of each order parameter, and the coefficients of e z_i z_j and e² z_i z_j."""
        p, units = self.model.p, self.model.p + self.model.pstar
        pairs = [(i, j) for i in range(p) for j in range(i, p)]
        pairs += [(i, r) for i in range(p) for r in range(p, units)]
        i, j = np.array(pairs).T
        share = 1.0 if self.wrong == DIVIDED_ONLY else 1.0 / self.batch
        linear, square = -self.kappa[i] - self.kappa[j], self.kappa[i] * self.kappa[j] * share
        if self.model.trained:
            i, j = (np.concatenate([side, np.arange(p)]) for side in (i, j))
            linear = np.append(linear, np.full(p, -self.eta_second * self.a))
            square = np.append(square, np.zeros(p))
        return i, j, linear, square

    def mean(self):
        """N times the mean change of the order parameters, in their order, before weight decay."""
        i, j, linear, square = self.changes()
        return self.rescaling() @ (linear * self.moment(1)[i, j] + square * self.moment(2)[i, j])

    def covariance(self):
        """The covariance of N times the change of the order parameters, in their order."""
        i, j, linear, square = self.changes()
        factors = {
            2: np.outer(linear, linear),
            3: np.outer(linear, square) + np.outer(square, linear),
            4: np.outer(square, square),
        }
        total = sum(
            factor * self.double_moment(power)[i[:, None], j[:, None], i, j]
            for power, factor in factors.items()
        )
        mean = linear * self.moment(1)[i, j] + square * self.moment(2)[i, j]
        if self.wrong != MEAN_KEPT:
            total = total - np.outer(mean, mean)
        total = total / self.batch ** {NOT_DIVIDED: 0, DIVIDED_TWICE: 2}.get(self.wrong, 1)
        if self.wrong == NO_SECOND_LAYER:
            overlaps = len(i) - self.model.p
            total[overlaps:] = total[:, overlaps:] = 0.0
        P = np.eye(len(i)) if self.wrong == NOT_PROJECTED else self.rescaling()
        return P @ total @ P.T

    def rescaling(self):
        """The derivative of rescaled order parameters; x_ij √(n_i n_j/(Q_ii Q_jj)) and x_ir √(n_i/Q_ii)."""
        i, j, _, _ = self.changes()
        P = np.eye(len(i))
        if self.model.constraint == "free":
            return P
        p = self.model.p
        norms = {student: k for k, student in enumerate(i) if k < p * (p + 1) // 2 and j[k] == student}
        for k in range(len(i) - p * self.model.trained):
            for unit in (i[k], j[k]):
                if unit < p:
                    P[k, norms[unit]] -= self.C[i[k], j[k]] / (2.0 * self.C[unit, unit])
        return P

    def wrong_variants(self):
        """The names of the errors that change the covariance of this step."""
        model = self.model
        missing = {
            SINGLE_NOISE: not self.label_noise,
            **dict.fromkeys((NOT_DIVIDED, DIVIDED_TWICE, DIVIDED_ONLY), self.batch == 1),
            OTHER_STUDENT: not model.weighted or model.p == 1,
            NOT_PROJECTED: model.constraint == "free",
            NO_SECOND_LAYER: not model.trained,
        }
        return [wrong for wrong in WRONG if not missing.get(wrong)]
