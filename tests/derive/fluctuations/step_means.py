"""The mean of one step of SGD at finite N by quadrature, without any of the formulas of `derive`."""

from __future__ import annotations

import itertools

import numpy as np


def gaussian_grid(dimensions, nodes):
    """Points (m, dimensions) and weights (m,) that integrate polynomials of degree 2 nodes − 1 exactly."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(itertools.product(points, repeat=dimensions)))
    products = np.array(list(itertools.product(weights / weights.sum(), repeat=dimensions)))
    return grid, products.prod(axis=1)


def mean_step_of_weights(w, teacher, d, kappa, noise, batch):
    """The mean of N · (change of Q) in one step on weights (p, N) and (p*, N), of free norms."""
    n = w.shape[1]
    grid, weight = gaussian_grid(batch * (n + 1), 5)
    x = grid[:, : batch * n].reshape(-1, batch, n)
    z = x @ np.concatenate([w, teacher]).T / np.sqrt(n)
    e = (z**2 @ d) - np.sqrt(noise) * grid[:, batch * n :]
    fields = z[:, :, : len(w)]
    change = -np.einsum("gb,i,gbi,gbm->gim", e, kappa, fields, x) / batch / np.sqrt(n)
    Q = w @ w.T / n
    after = np.einsum("gim,gjm->gij", w + change, w + change) / n
    return n * np.einsum("g,gij->ij", weight, after - Q)


class MeanStep:
    """The mean of N · (change of the order parameters) in one step from a regular C, at any N.

    Beyond the units' directions |x|² is N − W on average, and products of two samples are 0. Their
    fluctuations around that change the mean of a step at order 1/N³, which is not looked at.
    """

    def __init__(self, Q, R, T, d, kappa, *, noise, batch, nodes):
        self.p, units = len(Q), len(Q) + len(T)
        C = np.block([[Q, R], [R.T, T]])
        grid, self.weight = gaussian_grid(batch * (units + 1), nodes)
        normal = grid[:, : batch * units].reshape(-1, batch, units)
        self.z = normal @ np.linalg.cholesky(C).T
        self.along = np.einsum("gbk,gck->gbc", normal, normal)
        self.e = self.z**2 @ d - np.sqrt(noise) * grid[:, batch * units :]
        self.Q, self.R, self.kappa, self.batch, self.units = Q, R, kappa, batch, units

    def mean(self, n, *, decay=0.0, sphere=False, second=0.0):
        """(change of Q, of R and of v) times N; `decay` is ηγ, `second` is η_v a."""
        z, e, p, batch = self.z, self.e, self.p, self.batch
        fields = z[:, :, :p]
        kicks = e[:, :, None] * self.kappa * fields / batch
        inner = self.along + (n - self.units) * np.eye(batch)
        R = self.R - np.einsum("gbi,gbr->gir", kicks, z[:, :, p:]) / n
        cross = np.einsum("gbi,gbj->gij", kicks, fields)
        Q = self.Q - (cross + np.swapaxes(cross, 1, 2)) / n
        Q = Q + np.einsum("gbi,gbc,gcj->gij", kicks, inner, kicks) / n**2
        kept = 1.0 - decay / n
        Q, R = kept**2 * Q, kept * R
        if sphere:
            norm = np.sqrt(np.einsum("gii->gi", Q) / np.diag(self.Q))
            Q, R = Q / (norm[:, :, None] * norm[:, None, :]), R / norm[:, :, None]
        v = -second * np.einsum("gb,gbi->gi", e, fields**2) / batch
        changes = n * (Q - self.Q), n * (R - self.R), v
        return [np.tensordot(self.weight, change, axes=1) for change in changes]

    def beyond(self, drift, **options):
        """b: N times what the mean has beyond the drift, from three N with the powers of 1/N eliminated."""
        sizes = np.array([1e4, 2e4, 4e4])
        found = []
        for n in sizes:
            parts = zip(self.mean(n, **options), drift, strict=False)
            found.append([n * (mean - f) for mean, f in parts])
        # Lagrange polynomials in 1/N at 0.
        x = 1.0 / sizes
        factors = [np.prod([x[m] / (x[m] - x[k]) for m in range(3) if m != k]) for k in range(3)]
        return [
            sum(c * part for c, part in zip(factors, parts, strict=True))
            for parts in zip(*found, strict=True)
        ]
