"""The Hessian from overlaps against explicit weights, closed forms and the generated ODEs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from dense_hessian import free_hessian, loss, sphere_hessian
from rejections import rejected

import derive
import runtime
from derive import readout
from runtime import InputError
from runtime.analysis.landscape import hessian_spectra
from runtime.analysis.landscape.critical_points import critical_point, flat_directions, solution
from runtime.analysis.landscape.hessian_spectra import BLOCKS, hessian_spectrum, spectra_along
from runtime.analysis.landscape.local_hessian import LocalHessian, landscape_parameters
from runtime.start.teacher_directions import Teacher

WIDTHS = [(4, 2), (3, 3), (2, 4), (5, 1), (1, 1)]
SINGULAR = np.array([[1.0, 1.0], [1.0, 1.0]])
UNEQUAL = np.diag([2.0, 1.0, 0.5])


def weights(p, n, pstar, T=None, seed=0, rank=None):
    """Random v = w/√N (p × N), of the given rank, and teachers with overlaps T."""
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((p, n)) / np.sqrt(n)
    if rank is not None:
        V = rng.standard_normal((p, rank)) @ rng.standard_normal((rank, n)) / n
    basis = np.linalg.qr(rng.standard_normal((n, pstar)))[0].T
    values, vectors = np.linalg.eigh(np.eye(pstar) if T is None else T)
    return V, vectors * np.sqrt(np.maximum(values, 0.0)) @ basis


def repeated(spectrum):
    return np.sort(np.repeat(spectrum.eigenvalues, spectrum.multiplicities))


def theory_of(point, n):
    """Eigenvalues of a critical point in closed form, each as often as it occurs."""
    values, counts = zip(*point.spectrum(n), strict=True)
    return np.sort(np.repeat(values, counts))


# --- against explicit weights ----------------------------------------------------------------


@pytest.mark.parametrize("readout_of", ["mean", "sum", "sqrt"])
@pytest.mark.parametrize(
    ("p", "pstar", "n", "rank"),
    [(3, 2, 7, None), (2, 3, 5, None), (3, 2, 6, 1), (3, 1, 4, None), (1, 1, 1, None)],
)
def test_spectrum_is_that_of_the_dense_hessian(p, pstar, n, rank, readout_of):
    model = derive.Model(p, pstar, readout=readout_of)
    V, teachers = weights(p, n, pstar, rank=rank)
    dense = free_hessian(V, teachers, *readout.weights(model))
    spectrum = hessian_spectrum(model, V @ V.T, V @ teachers.T, n, tolerance=1e-10)
    np.testing.assert_allclose(repeated(spectrum), np.linalg.eigvalsh(dense), atol=1e-9)
    assert (spectrum.size, spectrum.span) == (p * n, min(n, (rank or p) + pstar))
    assert set(spectrum.blocks) <= set(BLOCKS)


@pytest.mark.parametrize("T", [np.array([[1.0, 0.4], [0.4, 2.0]]), SINGULAR])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_dense_hessian_with_a_general_teacher(T, constraint):
    model = derive.Model(3, 2, constraint=constraint, teacher="general")
    V, teachers = weights(3, 6, 2, T, seed=1)
    oracle = free_hessian if constraint == "free" else sphere_hessian
    dense = oracle(V, teachers, *readout.weights(model))
    spectrum = hessian_spectrum(model, V @ V.T, V @ teachers.T, 6, T, tolerance=1e-10)
    np.testing.assert_allclose(repeated(spectrum), np.linalg.eigvalsh(dense), atol=1e-9)


@pytest.mark.parametrize(
    ("p", "pstar", "n", "rank"), [(3, 2, 7, None), (2, 3, 5, None), (3, 2, 6, 1), (2, 1, 2, None)]
)
def test_riemannian_hessian_is_the_second_derivative_along_geodesics(p, pstar, n, rank):
    model = derive.Model(p, pstar, constraint="sphere")
    V, teachers = weights(p, n, pstar, seed=2, rank=rank)
    dense = sphere_hessian(V, teachers, *readout.weights(model))
    spectrum = hessian_spectrum(model, V @ V.T, V @ teachers.T, n, tolerance=1e-10)
    np.testing.assert_allclose(repeated(spectrum), np.linalg.eigvalsh(dense), atol=1e-9)
    assert spectrum.size == p * (n - 1)


@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_gradient_is_the_drift_of_gradient_flow(system_of, constraint):
    """dV/dα = −η ∇, so dR/dα = −η ∇ V*ᵀ and dQ/dα = −η (∇Vᵀ + V∇ᵀ)."""
    flow = system_of(4, 2, flow="gradient", constraint=constraint)
    Q, R = runtime.random_overlaps(4, 2, n=50, constraint=constraint)
    local = LocalHessian.at(
        landscape_parameters(flow.model, {}), Q, R, Teacher.from_overlaps(np.eye(2)), 50, span=True
    )
    dQ, dR = flow.rhs(Q, R, 0.3)
    gradient, V = local.gradient, local.students
    np.testing.assert_allclose(-0.3 * gradient[:, :2], dR, atol=1e-14)
    np.testing.assert_allclose(-0.3 * (gradient @ V.T + V @ gradient.T), dQ, atol=1e-14)


def test_rotating_the_students_turns_the_gradient():
    """The loss does not change under V → OV, so Hess[ΩV] = Ω∇ for antisymmetric Ω."""
    model = derive.Model(4, 2)
    Q, R = runtime.random_overlaps(4, 2, n=30)
    local = LocalHessian.at(
        landscape_parameters(model, {}), Q, R, Teacher.from_overlaps(np.eye(2)), 30, span=True
    )
    skew = np.triu(np.random.default_rng(0).standard_normal((4, 4)), 1)
    skew -= skew.T
    turned = local.inside() @ (skew @ local.students).ravel()
    np.testing.assert_allclose(turned, (skew @ local.gradient).ravel(), atol=1e-14)


def test_spectrum_does_not_depend_on_the_basis_of_students():
    model = derive.Model(4, 2)
    Q, R = runtime.random_overlaps(4, 2, n=30)
    O = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]  # noqa: E741 (the field's name)
    one, other = hessian_spectrum(model, Q, R, 30), hessian_spectrum(model, O @ Q @ O.T, O @ R, 30)
    np.testing.assert_allclose(repeated(one), repeated(other), atol=1e-14)
    assert one.blocks == other.blocks


# --- critical points in closed form --------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (2, 2), (3, 4), (8, 4), (2, 1)])
@pytest.mark.parametrize("n", [40, 10**6])
def test_plateau_of_gradient_flow(p, pstar, n):
    """−4ab (×pp*), 0 (×[p(N−p−p*) + p(p−1)/2]), 8/(p(p+2)) (×[p(p+1)/2 − 1]), 4/p (×1)."""
    model = derive.Model(p, pstar, flow="gradient")
    point = critical_point(model, 0, p)
    np.testing.assert_allclose(point.Q, p / (p + 2) * np.eye(p), rtol=1e-15)
    assert point.loss == pytest.approx(1 / (p + 2) + 1 / pstar, rel=1e-15)
    spectrum = hessian_spectrum(model, point.Q, point.R, n)
    values, counts = spectrum.merged()
    np.testing.assert_allclose(values, [-4 / (p * pstar), 0.0, 8 / (p * (p + 2)), 4 / p], atol=1e-14)
    flat = p * (n - p - pstar) + p * (p - 1) // 2
    assert counts.tolist() == [p * pstar, flat, p * (p + 1) // 2 - 1, 1]
    assert (spectrum.classification, spectrum.stationary) == ("saddle", True)
    assert (spectrum.negative, spectrum.flat, spectrum.size) == (p * pstar, flat, p * n)
    by_block = {
        block: spectrum.multiplicities[np.array(spectrum.blocks) == block].sum() for block in BLOCKS
    }
    assert list(by_block.values()) == [p * pstar, p * p, 0, p * (n - p - pstar)]


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (3, 3), (2, 1)])
def test_plateau_on_the_sphere(p, pstar):
    """−4ab (×pp*), 0 (×[p(N−p−p*) + p(p−1)/2]) and 8a² (×p(p−1)/2): pairs repel, norms are kept."""
    model, n = derive.Model(p, pstar, constraint="sphere"), 50
    spectrum = hessian_spectrum(model, np.eye(p), np.zeros((p, pstar)), n)
    values, counts = spectrum.merged()
    np.testing.assert_allclose(values, [-4 / (p * pstar), 0.0, 8 / p**2], atol=1e-14)
    pairs = p * (p - 1) // 2
    assert counts.tolist() == [p * pstar, p * (n - p - pstar) + pairs, pairs]
    assert spectrum.stationary


@pytest.mark.parametrize(("p", "pstar"), WIDTHS)
@pytest.mark.parametrize("T", ["identity", "unequal"])
def test_every_critical_point_is_one_and_has_its_spectrum(p, pstar, T):
    """All choices of learned teachers and of directions beyond them, dead students included."""
    teacher = "orthonormal" if T == "identity" else "general"
    overlaps = None if T == "identity" else np.diag(np.arange(1.0, pstar + 1.0))
    model = derive.Model(p, pstar, readout="sqrt", teacher=teacher)
    for learned, beyond in itertools.product(range(min(p, pstar) + 1), range(p + 1)):
        if learned + beyond > p:
            continue
        point = critical_point(model, learned, beyond, overlaps)
        spectrum = hessian_spectrum(model, point.Q, point.R, 12, overlaps, tolerance=1e-10)
        np.testing.assert_allclose(repeated(spectrum), theory_of(point, 12), atol=1e-12)
        assert spectrum.gradient < 1e-14
        minimum = learned == min(p, pstar)
        assert (spectrum.classification == "saddle") == (not minimum), (learned, beyond)


def test_loss_of_critical_points(system_of):
    """ε = b² [(Σ τ)²/(m + j + 2) + Σ τ²] over the teachers that are not learned."""
    flow = system_of(3, 3, flow="gradient", teacher="general")
    for learned, beyond in [(0, 0), (0, 3), (1, 0), (1, 2), (2, 1), (3, 0)]:
        point = critical_point(flow.model, learned, beyond, UNEQUAL)
        assert point.loss == pytest.approx(flow.loss(point.Q, point.R, UNEQUAL), abs=1e-15)
        dQ, dR = flow.rhs(point.Q, point.R, 1.0, T=UNEQUAL)
        assert max(np.max(np.abs(dQ)), np.max(np.abs(dR))) < 1e-14


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (2, 2), (6, 3), (5, 1), (3, 3), (2, 4), (1, 3)])
def test_flat_directions_of_the_minima(p, pstar):
    """p ≥ p*: pp* − p*(p*+1)/2 along the manifold and (p−p*)(N−p*) more; p < p*: pp* − p(p+1)/2."""
    model, n = derive.Model(p, pstar), 1000
    point, flat = solution(model), flat_directions(model, n)
    spectrum = hessian_spectrum(model, point.Q, point.R, n)
    k = min(p, pstar)
    assert flat.tangent == p * pstar - k * (k + 1) // 2
    assert flat.quartic == max(p - pstar, 0) * (n - pstar)
    assert spectrum.flat == flat.count
    assert spectrum.classification == "marginal minimum" if flat.count else "minimum"
    assert spectrum.negative == 0
    assert (point.loss == 0.0) == (p >= pstar)
    if p >= pstar:
        # 0, 4ab, 8ab (traceless symmetric), 4ab(p*+2) (the trace).
        unit = 4 / (p * pstar)
        counts = [flat.count, pstar * (n - pstar), pstar * (pstar + 1) // 2 - 1, 1]
        found = [np.sum(np.isclose(repeated(spectrum), unit * x, atol=1e-12)) for x in (0, 1, 2, pstar + 2)]
        assert found == counts


@pytest.mark.parametrize(
    ("p", "T", "expected"),
    [
        (4, UNEQUAL, (6, 47 * 1)),
        (2, UNEQUAL, (1, 0)),
        (1, np.diag([1.0, 1.0, 0.5]), (1, 0)),
        (2, np.diag([1.0, 1.0, 0.5]), (1, 0)),
        (3, np.diag([1.0, 1.0, 0.0]), (3, 48)),
        (2, np.diag([1.0, 1.0, 0.0]), (1, 0)),
    ],
)
def test_flat_directions_with_a_general_teacher(p, T, expected):
    model = derive.Model(p, 3, teacher="general")
    flat, point = flat_directions(model, 50, T), solution(model, T)
    assert (flat.tangent, flat.quartic) == expected
    assert hessian_spectrum(model, point.Q, point.R, 50, T).flat == flat.count


def test_quartic_directions_are_quartic_and_tangent_ones_flat():
    p, pstar, n = 3, 2, 6
    a, b = readout.weights(derive.Model(p, pstar))
    teachers = np.eye(pstar, n)
    O = np.linalg.qr(np.random.default_rng(0).standard_normal((p, p)))[0]  # noqa: E741 (the field's name)
    V = np.sqrt(b / a) * O[:, :pstar] @ teachers
    outward = np.outer(O[:, pstar], np.eye(n)[pstar])
    losses = [loss(V + h * outward, teachers, a, b) for h in (0.1, 0.2, 0.4)]
    np.testing.assert_allclose(losses, [1.5 * (a * h * h) ** 2 for h in (0.1, 0.2, 0.4)], rtol=1e-12)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((p, p)))[0]
    assert loss(turn @ V, teachers, a, b) < 1e-30


# --- against the generated dynamics -----------------------------------------------------------------


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (2, 3)])
@pytest.mark.parametrize("constraint", ["free", "sphere"])
def test_rates_of_the_overlaps_at_the_plateau(system_of, p, pstar, constraint):
    """Every (δQ, δR) is (H Vᵀ + V Hᵀ, H V*ᵀ): the Jacobian has −η × the eigenvalues of the Hessian.

    All but those of steps that leave the overlaps as they are: rotations of the students' span.
    """
    flow = system_of(p, pstar, flow="gradient", constraint=constraint)
    Q = np.eye(p) if constraint == "sphere" else p / (p + 2) * np.eye(p)
    R = np.zeros((p, pstar))
    rates = np.sort(np.linalg.eigvals(flow.jacobian(Q, R, 0.4)).real)
    spectrum = hessian_spectrum(flow.model, Q, R, 100)
    moving = np.abs(spectrum.eigenvalues) > 1e-12
    expected = -0.4 * np.repeat(spectrum.eigenvalues[moving], spectrum.multiplicities[moving])
    fixed = p if constraint == "sphere" else 0
    np.testing.assert_allclose(rates, np.sort(np.append(expected, np.zeros(fixed))), atol=1e-12)


@pytest.mark.parametrize(("p", "pstar"), [(4, 2), (2, 2)])
def test_rates_of_the_overlaps_at_a_solution(system_of, p, pstar):
    """Steps along the teachers move R; steps H beyond move Q by HHᵀ, at the sum of two eigenvalues."""
    flow = system_of(p, pstar, flow="gradient")
    point = solution(flow.model)
    rates = np.sort(np.linalg.eigvals(flow.jacobian(point.Q, point.R, 0.4)).real)
    spectrum = hessian_spectrum(flow.model, point.Q, point.R, 1000)
    along = np.array(spectrum.blocks) == "teachers"
    first = np.repeat(spectrum.eigenvalues[along], spectrum.multiplicities[along])
    outside = np.repeat(spectrum.eigenvalues[~along], spectrum.multiplicities[~along] // (1000 - pstar))
    second = [x + y for x, y in itertools.combinations_with_replacement(outside, 2)]
    assert len(outside) == p
    # At a defective eigenvalue 0, those of the Jacobian are roots of rounding.
    np.testing.assert_allclose(rates, np.sort(-0.4 * np.concatenate([first, second])), atol=1e-7)


# --- along trajectories ------------------------------------------------------------------------------


def test_spectra_along_an_escape(system_of):
    flow = system_of(4, 2, flow="gradient")
    Q0, R0 = runtime.random_overlaps(4, 2, n=10**6, seed=1)
    run = runtime.integrate(flow, Q0, R0, eta=0.4, alpha=[0.0, 20.0, 2000.0], rtol=1e-11, atol=1e-13)
    spectra = spectra_along(run, 30)
    assert spectra["inside"].shape == (3, 4 * (4 + 2))
    total = spectra["negative"] + spectra["flat"] + spectra["positive"]
    assert (total == 4 * 30).all()
    for k in range(3):
        Q, R = run["Q"].values[k], run["R"].values[k]
        spectrum = hessian_spectrum(flow.model, Q, R, 30, tolerance=0.0)
        outside = np.repeat(spectra["outside"].values[k], spectra["outside_multiplicity"].item())
        found = np.sort(np.append(spectra["inside"].values[k], outside))
        np.testing.assert_allclose(found, repeated(spectrum), atol=1e-9)
        assert spectra["gradient"].values[k] == pytest.approx(spectrum.gradient, abs=1e-9)
    # At α = 20 still on the plateau, at α = 2000 close to a solution.
    assert spectra["inside"].values[1, 0] == pytest.approx(-0.5, abs=0.01)
    assert spectra["inside"].values[2, -1] == pytest.approx(2.0, abs=0.01)
    assert spectra["negative"].values[1] == 8


def test_spectra_along_a_run_of_sgd_in_few_dimensions():
    """N < p + p*: the students fill what there is."""
    model = derive.Model(4, 2)
    runs = runtime.simulate(model, n=5, eta=0.05, alpha=[0.0, 1.0], trajectories=1)
    with pytest.raises(InputError, match="isel"):
        spectra_along(runs, 5)
    spectra = spectra_along(runs.isel(trajectory=0), 5)
    assert spectra["inside"].shape == (2, 4 * 5)
    assert spectra["outside_multiplicity"].item() == 0
    with pytest.raises(InputError, match="n: 4 is less than 5:"):
        spectra_along(runs.isel(trajectory=0), 4)


def test_spectra_end_where_the_trajectory_diverged(system_of):
    run = runtime.integrate(
        system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[0.0, 1e-6, 10.0]
    )
    assert run["status"].item() == "diverged"
    assert spectra_along(run, 10).sizes["alpha"] == 2


# --- what is rejected ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        *[{"n": 5}, {"n": 1}, {"n": 2.5}, {"T": 2 * np.eye(2)}, {"R": np.full((4, 2), 2.0)}],
        *[{"Q": np.eye(3)}, {"Q": -np.eye(4)}, {"Q": np.zeros((2, 4, 4)), "R": np.zeros((2, 4, 2))}],
        *[{"tolerance": -1.0}, {"tolerance": 1.0}, {"tolerance": "wide"}],
    ],
)
def test_errors_name_the_argument(change):
    arguments = {"Q": np.eye(4), "R": np.zeros((4, 2)), "n": 100} | change
    with rejected(next(iter(change))) as caught:
        hessian_spectrum(derive.Model(4, 2), **arguments)
    assert "Q0" not in str(caught.value)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3, 0.5, 0.99])
def test_tolerance_decides_what_is_flat_and_nothing_else(tolerance):
    model = derive.Model(4, 2)
    Q, R = runtime.random_overlaps(4, 2, n=100, seed=0)
    expected = hessian_spectrum(model, Q, R, 100)
    spectrum = hessian_spectrum(model, Q, R, 100, tolerance=tolerance)
    np.testing.assert_array_equal(spectrum.eigenvalues, expected.eigenvalues)
    np.testing.assert_array_equal(spectrum.merged()[0], expected.merged()[0])
    assert spectrum.blocks == expected.blocks
    values = np.abs(repeated(expected))
    assert spectrum.flat == np.sum(values <= tolerance * values.max())


def test_large_spans_and_unknown_cases_are_rejected():
    large = derive.Model(64, 64)
    with pytest.raises(InputError, match="4096"):
        hessian_spectrum(large, np.eye(64), np.zeros((64, 64)), 1000)
    sphere = derive.Model(4, 2, constraint="sphere")
    for function in (lambda: critical_point(sphere, 0, 4), lambda: flat_directions(sphere, 10)):
        with pytest.raises(InputError, match="free"):
            function()
    with pytest.raises(InputError, match="--overlaps"):
        solution(sphere)
    with pytest.raises(InputError, match="beyond"):
        critical_point(derive.Model(4, 2), 2, 3)


def test_solution_on_the_sphere_with_equal_widths():
    model = derive.Model(3, 3, constraint="sphere")
    point = solution(model)
    spectrum = hessian_spectrum(model, point.Q, point.R, 20)
    assert (spectrum.classification, spectrum.stationary) == ("marginal minimum", True)
    # Rotations of the students.
    assert spectrum.flat == 3


def test_dataset_holds_the_spectrum():
    point = solution(derive.Model(4, 2))
    spectrum = hessian_spectrum(point.model, point.Q, point.R, 100)
    dataset = spectrum.to_dataset()
    np.testing.assert_array_equal(dataset["eigenvalue"].values, spectrum.eigenvalues)
    assert dataset["multiplicity"].values.sum() == dataset.attrs["size"] == 400
    assert dataset["block"].values.tolist() == list(spectrum.blocks)
    assert dataset.attrs["classification"] == "marginal minimum"


def test_equal_values_of_different_blocks_are_one_whatever_the_rounding():
    rounded = [
        (1.0, 2, "students"),
        (2e-17, 6, "students"),
        (-1e-17, 90, "complement"),
        (1.0 - 1e-16, 3, "teachers"),
    ]
    other = [(-value if count > 3 else value, count, block) for value, count, block in rounded]
    order = [(6, "students"), (90, "complement"), (3, "teachers"), (2, "students")]
    for entries in (rounded, rounded[::-1], other):
        united = hessian_spectra._united(entries, width=1e-6)
        assert [(count, block) for _, count, block in united] == order
        values = [value for value, _, _ in united]
        assert values[0] == values[1] != values[2] == values[3]
        np.testing.assert_allclose(values, [0.0, 0.0, 1.0, 1.0], atol=1e-15)
    apart = [(0.0, 6, "students"), (1e-3, 4, "complement")]
    assert hessian_spectra._united(apart[::-1], width=1e-6) == apart
