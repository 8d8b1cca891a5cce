"""The drift and the loss of any polynomial activation by brute force, in exact rational arithmetic.

Each mean is written out in all powers of all Gaussian variables, and each product of them is reduced by
E[z_k f] = Σ_m C_km E[∂f/∂z_m]. Nothing of `derive` is used but the numbers of an activation.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction
from math import prod

from derive import Model

Number = Fraction


def derivative(polynomial: Sequence[Number]) -> list[Number]:
    return [k * polynomial[k] for k in range(1, len(polynomial))]


class Gaussian:
    """Means for one covariance."""

    def __init__(self, C: Sequence[Sequence[Number]]) -> None:
        self.C = C
        self._known: dict[tuple[tuple[int, int], ...], Number] = {}

    def powers(self, exponents: dict[int, int]) -> Number:
        """E[Π z_k^exponents_k]."""
        left = {k: n for k, n in exponents.items() if n}
        if not left:
            return Fraction(1)
        if sum(left.values()) % 2:
            return Fraction(0)
        key = tuple(sorted(left.items()))
        if key not in self._known:
            first = key[0][0]
            rest = left | {first: left[first] - 1}
            self._known[key] = sum(
                n * self.C[first][m] * self.powers(rest | {m: n - 1}) for m, n in rest.items() if n
            )
        return self._known[key]

    def mean(self, *factors: tuple[Sequence[Number], int]) -> Number:
        """E[Π h(z_k)] for factors (h, k)."""
        total = Fraction(0)
        for powers in itertools.product(*(range(len(h)) for h, _ in factors)):
            coefficient = prod((h[n] for n, (h, _) in zip(powers, factors, strict=True)), start=Fraction(1))
            if coefficient:
                exponents: dict[int, int] = {}
                for n, (_, k) in zip(powers, factors, strict=True):
                    exponents[k] = exponents.get(k, 0) + n
                total += coefficient * self.powers(exponents)
        return total


def random_values(model: Model, seed: int) -> dict[str, Number]:
    """Rational numbers under the names of programs, readout weights included; norms are not zero."""
    generator = random.Random(seed)
    names = ("a", "b", *model.parameters, *model.state)
    return {
        name: Fraction(generator.choice([k for k in range(-5, 6) if k]), generator.randint(1, 3))
        for name in names
    }


def covariance(model: Model, values: dict[str, Number]) -> list[list[Number]]:
    p, units = model.p, model.p + model.pstar

    def entry(k: int, m: int) -> Number:
        k, m = sorted((k, m))
        if m < p:
            return values[f"Q_{k + 1}_{m + 1}"]
        if k < p:
            return values[f"R_{k + 1}_{m - p + 1}"]
        if model.teacher == "general":
            return values[f"T_{k - p + 1}_{m - p + 1}"]
        return Fraction(int(k == m))

    return [[entry(k, m) for m in range(units)] for k in range(units)]


def drift_and_loss(model: Model, values: dict[str, Number]) -> dict[str, Number]:
    """All outputs of the program of a model by their names."""
    p, units = model.p, range(model.p + model.pstar)
    gaussian = Gaussian(covariance(model, values))
    student, teacher = (list(activation.coefficients) for activation in model.activations)
    slope, z = derivative(student), [Fraction(0), Fraction(1)]
    weighted = model.second_layer != "ones"
    v = [values[f"v_{i + 1}"] if weighted else Fraction(1) for i in range(p)]
    vstar = [values[f"vstar_{r + 1}"] if weighted else Fraction(1) for r in range(model.pstar)]
    d = [values["a"] * weight for weight in v] + [-values["b"] * weight for weight in vstar]
    g = [student] * p + [teacher] * model.pstar
    eta, decay = values["eta"], values["eta"] * values["weight_decay"]

    def first(h: Sequence[Number], i: int, *more: tuple[Sequence[Number], int]) -> Number:
        return sum(d[m] * gaussian.mean((g[m], m), (h, i), *more) for m in units)

    def second(i: int, j: int) -> Number:
        slopes = (slope, i), (slope, j)
        summed = sum(
            d[m] * d[n] * gaussian.mean((g[m], m), (g[n], n), *slopes) for m in units for n in units
        )
        return summed + values["label_noise"] * gaussian.mean(*slopes)

    steps = [eta * d[i] for i in range(p)]
    dQ: dict[tuple[int, int], Number] = {}
    for i, j in itertools.combinations_with_replacement(range(p), 2):
        change = -steps[i] * first(slope, i, (z, j)) - steps[j] * first(slope, j, (z, i))
        if model.flow == "sgd":
            change += steps[i] * steps[j] * values["inverse_batch"] * second(i, j)
        dQ[i, j] = change - 2 * decay * gaussian.C[i][j]
    dR = {
        (i, r): -steps[i] * first(slope, i, (z, p + r)) - decay * gaussian.C[i][p + r]
        for i in range(p)
        for r in range(model.pstar)
    }
    if model.constraint == "sphere":
        growth = [dQ[i, i] / (2 * gaussian.C[i][i]) for i in range(p)]
        dQ = {(i, j): x - (growth[i] + growth[j]) * gaussian.C[i][j] for (i, j), x in dQ.items()}
        dR = {(i, r): x - growth[i] * gaussian.C[i][p + r] for (i, r), x in dR.items()}
    found = {f"dQ_{i + 1}_{j + 1}": x for (i, j), x in dQ.items()}
    found |= {f"dR_{i + 1}_{r + 1}": x for (i, r), x in dR.items()}
    if model.second_layer == "trained":
        rate = values["eta_second"] * values["a"]
        found |= {f"dv_{i + 1}": -rate * first(student, i) for i in range(p)}
    loss = sum(d[m] * d[n] * gaussian.mean((g[m], m), (g[n], n)) for m in units for n in units)
    return found | {"loss": loss / 2}
