"""SGD of one student and one teacher on the sphere, without any random number: the mean over all runs.

R alone is a Markov chain there. Its transition operator acts on functions of R that are interpolated at
Chebyshev nodes, and its powers take them to any step.
"""

from __future__ import annotations

import numpy as np

NODES = 24


def _interpolation(nodes, x):
    """The matrix that takes values at Chebyshev nodes of the second kind to those at points x."""
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] /= 2.0
    distances = x[:, None] - nodes
    exact = np.isclose(distances, 0.0, rtol=0.0, atol=1e-15)
    factors = weights / np.where(exact, 1.0, distances)
    factors = np.where(exact.any(axis=1, keepdims=True), exact, factors)
    return factors / factors.sum(axis=1, keepdims=True)


def _chi_squared(degrees):
    """Three points and weights with the moments of χ² up to the fifth (Golub and Welsch)."""
    shape, n = degrees / 2.0, np.arange(3)
    off = np.sqrt(n[1:] * (n[1:] + shape - 1.0))
    points, vectors = np.linalg.eigh(np.diag(2.0 * n + shape) + np.diag(off, 1) + np.diag(off, -1))
    return 2.0 * points, vectors[0] ** 2


def _normal(nodes):
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return points, weights / weights.sum()


class SphereChain:
    """E[g(R)] after steps of SGD in n dimensions, for a student and a teacher of norms 1."""

    def __init__(self, n, eta, noise):
        axes = (_normal(11), _normal(11), _normal(7), _chi_squared(n - 2))
        grids = np.meshgrid(*(points for points, _ in axes), indexing="ij")
        self.u, self.w, self.xi, self.beyond = (grid.ravel() for grid in grids)
        weights = np.meshgrid(*(weights for _, weights in axes), indexing="ij")
        self.weights = np.prod([weight.ravel() for weight in weights], axis=0)
        self.nodes = np.cos(np.pi * np.arange(NODES) / (NODES - 1))
        self.n, self.eta, self.noise = n, eta, noise

    def operator(self, factor=1.0):
        """The matrix that takes values of g(R) at the nodes to those of E[g(R')] after a step."""
        rows, rate = [], 2.0 * self.eta * factor / self.n
        for R in self.nodes:
            field = R * self.u + np.sqrt(1.0 - R * R) * self.w
            kick = rate * (field**2 - self.u**2 - np.sqrt(self.noise) * self.xi) * field
            squared = 1.0 - 2.0 * kick * field + kick**2 * (self.u**2 + self.w**2 + self.beyond)
            after = (R - kick * self.u) / np.sqrt(squared)
            rows.append(self.weights @ _interpolation(self.nodes, after))
        return np.array(rows)

    def means(self, R0, steps, functions, schedule=None):
        """E[g(R)] of some functions g after so many steps; `schedule` is g(α)."""
        values = np.stack([function(self.nodes) for function in functions], axis=1)
        if schedule is None:
            values = np.linalg.matrix_power(self.operator(), steps) @ values
        else:
            # Operators at Chebyshev nodes of the factor, which are interpolated to that of each step.
            factors = schedule(np.arange(steps) / self.n)
            nodes = np.cos(np.pi * np.arange(9) / 8)
            low, high = factors.min(), factors.max()
            operators = np.array([self.operator(low + (high - low) * (1 + x) / 2) for x in nodes])
            shares = _interpolation(nodes, 2 * (factors - low) / (high - low) - 1)
            for share in shares[::-1]:
                values = np.tensordot(share, operators, axes=1) @ values
        return (_interpolation(self.nodes, np.array([R0])) @ values)[0]


def bias(R0, alpha, ode, functions, *, eta, noise, schedule=None):
    """N times what the means have beyond their values `ode`, from three N with powers of 1/N eliminated."""
    sizes = np.array([1000, 2000, 4000])
    found = []
    for n in sizes:
        means = SphereChain(n, eta, noise).means(R0, round(alpha * n), functions, schedule)
        found.append(n * (means - np.asarray(ode)))
    x = 1.0 / sizes
    factors = [np.prod([x[m] / (x[m] - x[k]) for m in range(3) if m != k]) for k in range(3)]
    return np.tensordot(factors, found, axes=1)
