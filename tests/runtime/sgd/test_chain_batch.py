"""Steps with batches: against the formulas of docs/finite-n.md with the same inputs of each sample."""

from __future__ import annotations

import numpy as np
import pytest
from chain_lanes import EPSILON, Lanes
from scipy import stats

from runtime.sgd import chain_step, overlap_chain
from runtime.sgd.chain_batch import BatchChainEmitter
from runtime.sgd.chain_memory import ChainRecord
from runtime.vector.vector_record import VectorRecord

MOST = 9


class WatchedBatchRecord(ChainRecord):
    """Has the inputs of all samples and Bartlett's factor too, which a step overwrites."""

    def __init__(self, form, columns):
        super().__init__(form, columns)
        inputs, factor = (MOST, self.k + self.p + 1), (columns, columns + 1)
        VectorRecord.__init__(self, **self.shapes, samples=inputs, bartlett=factor)


class WatchedBatchEmitter(BatchChainEmitter):
    """Stores the inputs of each sample, and the columns of Bartlett's factor."""

    def _draw_sample(self):
        label_noise, spare = super()._draw_sample()
        self.label_noise = label_noise
        return label_noise, spare

    def _sample(self, number, rates):
        super()._sample(number, rates)
        width, start = self.form.k + self.form.p, self.record.at("samples")
        row = self.vector.plus(start, self.vector.times(number, width + 1))
        for index in range(width):
            self._store(self._load(self.record.at("inputs_along"), index), self.vector.plus(row, index))
        if self.label_noise is not None:
            self._store(self.label_noise, self.vector.plus(row, width))

    def _bartlett_column(self, i, single):
        super()._bartlett_column(i, single)
        count = self.record.columns + 1
        row = self.vector.plus(self.record.at("bartlett"), self.vector.times(i, count))
        for index in range(count):
            value = self._load(self.record.at("normals"), index)
            self._store(value, self.vector.plus(row, index))


@pytest.fixture
def watched_batches(monkeypatch, recompiled):  # noqa: ARG001 (its end empties the caches)
    for module in (chain_step, overlap_chain):
        monkeypatch.setattr(module, "ChainRecord", WatchedBatchRecord)
    monkeypatch.setattr(overlap_chain, "BatchChainEmitter", WatchedBatchEmitter)


def check_batch(lanes):
    """One step, against A − K Uᵀ and (S − K V)(S − K V)ᵀ + (M L)(M L)ᵀ with M Mᵀ = K Kᵀ."""
    lanes.step()
    work, k, count = lanes.work, lanes.teacher.rank, lanes.batch
    drawn = np.moveaxis(work["samples"], -1, 0)[:, :count]
    A, S = lanes.A.astype(np.longdouble), lanes.S.astype(np.longdouble)
    layer, kicks = lanes.v.copy(), []
    for b in range(count):
        u, v, xi = drawn[:, b, :k], drawn[:, b, k:-1], drawn[:, b, -1]
        fields, _, error, kick, _ = lanes.response(u, v, xi)
        rate = lanes.eta_second / lanes.n / count * lanes.readout[0]
        layer = layer - lanes.trained * (rate * error)[:, None] * lanes.sigma(fields)
        A, S = A - kick[:, :, None] * u[:, None, :], S - kick[:, :, None] * v[:, None, :]
        kicks.append(kick)
    K = np.stack(kicks, axis=2)
    columns = lanes.chain.record.columns
    M = np.moveaxis(work["kicks"], -1, 0).swapaxes(1, 2)
    size = np.max(np.sum(np.abs(K), axis=2) ** 2)
    square = K @ np.swapaxes(K, 1, 2)
    if min(columns, lanes.chain.process.beyond):
        factor = np.zeros((len(M), columns, columns))
        for j in range(min(columns, lanes.chain.process.beyond)):
            below = work["bartlett"][j, : columns - j].T
            factor[:, j:, j] = below
            # The diagonal is the root of χ².
            assert j == lanes.chain.process.beyond - 1 or (below[:, 0] > 0.0).all()
        np.testing.assert_allclose(M @ np.swapaxes(M, 1, 2), square.astype(float), atol=20 * EPSILON * size)
        others = M @ factor
    else:
        others = np.zeros((len(M), lanes.A.shape[1], 1))
    Q = A @ np.swapaxes(A, 1, 2) + S @ np.swapaxes(S, 1, 2) + others @ np.swapaxes(others, 1, 2)
    R = A @ lanes.teacher.factor.T
    kept = (1.0 - lanes.eta * lanes.decay / lanes.n)[:, None, None]
    if lanes.sphere:
        scale = np.sqrt(lanes.norms / np.diagonal(Q, axis1=1, axis2=2))
        Q, R = Q * scale[:, :, None] * scale[:, None, :], R * scale[:, :, None]
    else:
        Q, R = kept**2 * Q, kept * R
    terms = float(Q.max() + lanes.n * size)
    for found, expected in zip(lanes.overlaps(), (Q, R), strict=True):
        np.testing.assert_allclose(found, expected.astype(float), rtol=0, atol=30 * EPSILON * terms)
    if lanes.trained:
        np.testing.assert_allclose(lanes.chain.second_layer(work), layer.astype(float), atol=1e-13)


# Fewer samples than students, as many and more; no other dimension, one, fewer than students, many.
SHAPES = [((4, 2, 9), 2), ((4, 2, 9), 4), ((4, 2, 3), 7), ((3, 0, 1), 2), ((3, 2, 0), 5), ((1, 1, 4), 3)]
SHAPES += [((12, 3, 5), 3), ((11, 0, 40), 9), ((1, 70, 2), 2), ((2, 40, 0), 3)]
OPTIONS = [{"noise": False}, {"sphere": True}, {"second_layer": "trained", "decaying": True}]


# Not every combination: each is compiled.
@pytest.mark.parametrize(
    ("shape", "batch", "options"),
    [(*pair, OPTIONS[number % 3]) for number, pair in enumerate(SHAPES)],
    ids=str,
)
@pytest.mark.usefixtures("watched_batches")
def test_a_step_is_the_update_of_the_overlaps(shape, batch, options):
    lanes = Lanes(*shape, batch=batch, **options)
    for _ in range(8):
        check_batch(lanes)
        _, S = lanes.chain.coordinates(lanes.work)
        assert (np.diagonal(S, axis1=1, axis2=2) >= 0.0).all()


@pytest.mark.parametrize(("shape", "batch"), [((4, 2, 9), 2), ((8, 3, 5), 9)], ids=str)
@pytest.mark.usefixtures("watched_batches")
def test_a_step_with_polynomial_activations(shape, batch):
    options = {"second_layer": "trained", "decaying": True, "pstar": 5, "activations": ("he3", "he2+he3")}
    lanes = Lanes(*shape, batch=batch, **options)
    lanes.eta *= 0.1
    for _ in range(5):
        check_batch(lanes)


@pytest.mark.parametrize("batch", [3, 6])
@pytest.mark.usefixtures("watched_batches")
def test_a_step_of_students_that_are_not_independent(batch):
    """Parallel students, students within the teacher, one of norm zero, and a weight that is zero."""
    lanes = Lanes(5, 2, 6, batch=batch, second_layer="fixed", pstar=3)
    lanes.A[:, 1], lanes.S[:, 1] = 2.0 * lanes.A[:, 0], 2.0 * lanes.S[:, 0]
    lanes.v[:, 1] = lanes.v[:, 0]
    lanes.S[:, 2] = 0.0
    lanes.A[:, 3] = lanes.S[:, 3] = 0.0
    lanes.v[:, 0] = 0.0
    for _ in range(5):
        check_batch(lanes)


@pytest.mark.parametrize(("shape", "batch"), [((4, 2, 9), 2), ((3, 2, 1), 5), ((2, 1, 0), 2)], ids=str)
@pytest.mark.usefixtures("recompiled")
def test_loops_do_what_unrolled_code_does(monkeypatch, shape, batch):
    found = []
    for entries in (0, 10**6):
        monkeypatch.setattr(chain_step, "_UNROLLED_ENTRIES", entries)
        overlap_chain._compile.cache_clear()
        lanes = Lanes(*shape, batch=batch, second_layer="trained", decaying=True, pstar=3)
        lanes.chain.advance(lanes.work, 25)
        found.append((*lanes.overlaps(), lanes.chain.second_layer(lanes.work), lanes.work["words"].copy()))
    for looped, unrolled in zip(found[0][:3], found[1][:3], strict=True):
        np.testing.assert_allclose(looped, unrolled, rtol=1e-12, atol=1e-12)
    assert found[0][3].tobytes() == found[1][3].tobytes()


@pytest.mark.parametrize(("others", "batch"), [(3, 7), (9, 2), (6, 4)])
@pytest.mark.usefixtures("watched_batches")
def test_bartlett_s_factor(others, batch):
    """The diagonal is the root of χ² with N − k − p − i degrees, and normal numbers lie below it."""
    lanes = Lanes(4, 2, others, batch=batch)
    columns, found = lanes.chain.record.columns, []
    for _ in range(400):
        lanes.step()
        found.append(np.moveaxis(lanes.work["bartlett"], -1, 0).copy())
    factors = np.concatenate(found)
    count = min(columns, others)
    assert count == min(4, batch, others)
    for j in range(count):
        square = factors[:, j, 0] ** 2
        assert stats.kstest(square, stats.chi2(others - j).cdf).pvalue > 1e-3
        # One degree more or less is told apart.
        assert stats.kstest(square, stats.chi2(others - j + 1).cdf).pvalue < 1e-6
        for i in range(1, columns - j):
            assert stats.kstest(factors[:, j, i], stats.norm.cdf).pvalue > 1e-3
    # Entries are independent.
    entries = np.concatenate([factors[:, j, : columns - j] for j in range(count)], axis=1)
    correlations = np.corrcoef(entries.T) - np.eye(entries.shape[1])
    assert np.abs(correlations).max() < 4.5 / np.sqrt(len(factors))
