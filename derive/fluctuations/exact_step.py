"""Computes the moments of one step of SGD with polynomial activations, in rational arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from derive.flint_polynomials import context_of, number
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.proof import covariance_names
from derive.readout import READOUTS


class ExactStep:
    """The changes of the order parameters as polynomials in the pre-activations of all units.

    One sample changes N times an order parameter by −A e + S e²; see `cubature_module`.

    diffusion
        𝓓 (n, n) in rational numbers.
    scales
        The size of each change, by which rounding is measured: the root of its second moment, and on the
        sphere that of what is subtracted from it too.
    """

    def __init__(self, model: FluctuationModel, values: Mapping[str, Fraction]) -> None:
        self.model = model
        self._values = {name: number(value) for name, value in values.items()}
        self._covariance = [
            [self._values[x] if isinstance(x, str) else number(x) for x in row]
            for row in covariance_names(model)
        ]
        self._known: dict[tuple[int, ...], Any] = {}
        context = context_of([f"z_{k}" for k in range(len(self._covariance))])
        self._z = context.gens()
        # Polynomials, also where a product of numbers alone would be none.
        self._one = context.constant(1)
        p = model.p
        self._pairs = [(i, j) for i in range(p) for j in range(i, p)]
        self._pairs += [(i, r) for i in range(p) for r in range(p, len(self._z))]
        moments = self._second_moments()
        self.scales = self._scales([float(moments[k][k]) ** 0.5 for k in range(len(moments))])
        self.diffusion = self._covariances(moments)

    def _changes(self) -> tuple[Any, list[Any], list[Any]]:
        """The error e without label noise, and A and S of each order parameter."""
        model, values, z, p = self.model, self._values, self._z, self.model.p
        student, teacher = model.activations
        readout = READOUTS[model.readout]
        a, b = (number(Fraction(readout.value(width))) for width in (p, model.pstar))
        v = [values[f"v_{i + 1}"] if model.weighted else 1 for i in range(p)]
        vstar = [values[f"vstar_{r + 1}"] if model.weighted else 1 for r in range(model.pstar)]
        outputs = [self._polynomial(student.coefficients, x) for x in z[:p]]
        labels = [self._polynomial(teacher.coefficients, x) for x in z[p:]]
        error = a * sum(x * f for x, f in zip(v, outputs, strict=True))
        error -= b * sum(x * f for x, f in zip(vstar, labels, strict=True))
        slope = student.derivative(1)
        kicks = [values["eta"] * a * v[i] * self._polynomial(slope, z[i]) for i in range(p)]
        linear, square = [], []
        for i, j in self._pairs:
            both = j < p
            linear.append(kicks[i] * z[j] + (kicks[j] * z[i] if both else 0))
            square.append(values["inverse_batch"] * kicks[i] * kicks[j] if both else 0 * self._one)
        if model.trained:
            linear += [values["eta_second"] * a * output for output in outputs]
            square += [0 * self._one] * p
        return error, linear, square

    def _polynomial(self, coefficients: Sequence[Fraction], z: Any) -> Any:
        return sum((number(c) * z**k for k, c in enumerate(coefficients)), start=0 * self._one)

    def _second_moments(self) -> list[list[Any]]:
        """E[δδ'] of each two changes by one sample; the means are kept for `_covariances`."""
        e, linear, square = self._changes()
        noise = self._values["label_noise"]
        # The means over the label noise of the powers of the error: E ξ² = 1 and E ξ⁴ = 3.
        second, third = e**2 + noise, e**3 + 3 * noise * e
        fourth = e**4 + 6 * noise * e**2 + 3 * noise**2
        changes = list(zip(linear, square, strict=True))
        self._means = [self._mean(S * second - A * e) for A, S in changes]
        return [
            [
                self._mean(A * B * second - (A * T + S * B) * third + S * T * fourth)
                for B, T in changes[: k + 1]
            ]
            for k, (A, S) in enumerate(changes)
        ]

    def _covariances(self, moments: list[list[Any]]) -> list[list[Any]]:
        share, means, size = self._values["inverse_batch"], self._means, len(moments)
        rows = [
            [(moments[max(k, m)][min(k, m)] - means[k] * means[m]) * share for m in range(size)]
            for k in range(size)
        ]
        if self.model.constraint == "sphere":
            # The derivative of the rescaling acts on rows, and then on columns.
            for _ in range(2):
                rows = [self._without_growth(row) for row in zip(*rows, strict=True)]
        return rows

    def _without_growth(self, changes: Sequence[Any]) -> list[Any]:
        """Changes of order parameters after the norms of students are reset to first order."""
        C, found = self._covariance, list(changes)
        growth = {i: changes[k] / (2 * C[i][i]) for k, (i, j) in enumerate(self._pairs) if i == j}
        for k, (i, j) in enumerate(self._pairs):
            found[k] = found[k] - C[i][j] * (growth[i] + growth.get(j, 0))
        return found

    def _scales(self, sizes: list[float]) -> list[float]:
        if self.model.constraint == "free":
            return sizes
        C = [[abs(float(x)) for x in row] for row in self._covariance]
        growth = {i: sizes[k] / (2.0 * C[i][i]) for k, (i, j) in enumerate(self._pairs) if i == j}
        removed = [C[i][j] * (growth[i] + growth.get(j, 0.0)) for i, j in self._pairs]
        return [size + x for size, x in zip(sizes, [*removed, *(0.0 for _ in sizes)], strict=False)]

    def _mean(self, polynomial: Any) -> Any:
        return sum(c * self._moment(tuple(powers)) for powers, c in polynomial.terms())

    def _moment(self, powers: tuple[int, ...]) -> Any:
        """E[Π z_kᵏ] by Stein's lemma, E[z_k f] = Σ_m C_km E[∂f/∂z_m]."""
        if sum(powers) % 2:
            return 0
        if not any(powers):
            return 1
        if powers not in self._known:
            first = next(k for k, power in enumerate(powers) if power)
            left = list(powers)
            left[first] -= 1
            total: Any = 0
            for m, power in enumerate(left):
                if power:
                    fewer = tuple(x - (k == m) for k, x in enumerate(left))
                    total += power * self._covariance[first][m] * self._moment(fewer)
            self._known[powers] = total
        return self._known[powers]
