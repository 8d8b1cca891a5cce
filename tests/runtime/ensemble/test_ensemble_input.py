"""`integrate_ensemble`: the dataset, the arrays that it takes, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from rejections import rejected

from derive.version import VERSION
from runtime import integrate_ensemble, random_overlaps

TEACHER = np.array([[1.0, 0.4], [0.4, 0.8]])
# The kernels of this method compile fastest.
FAST = {"method": "tsit5"}


# The dataset.


def test_dataset(system, start):
    rates = np.linspace(0.1, 0.4, 13)
    ensemble = integrate_ensemble(system, *start, eta=rates, label_noise=0.5, alpha=30.0, **FAST)
    assert dict(ensemble.sizes) == {"trajectory": 13, "alpha": 201, "i": 4, "j": 4, "r": 2, "s": 2}
    assert ensemble["Q"].dims == ("trajectory", "alpha", "i", "j")
    assert ensemble["R"].dims == ("trajectory", "alpha", "i", "r")
    assert ensemble["loss"].dims == ("trajectory", "alpha")
    np.testing.assert_array_equal(ensemble["trajectory"], np.arange(13))
    np.testing.assert_array_equal(ensemble["alpha"], np.linspace(0.0, 30.0, 201))
    np.testing.assert_array_equal(ensemble["eta"], rates)
    np.testing.assert_array_equal(ensemble["label_noise"], 0.5)
    np.testing.assert_array_equal(ensemble["T"], np.eye(2))
    np.testing.assert_array_equal(ensemble["Q"], ensemble["Q"].transpose("trajectory", "alpha", "j", "i"))
    losses = system.loss(ensemble["Q"].values, ensemble["R"].values)
    np.testing.assert_allclose(ensemble["loss"], losses, rtol=1e-12, atol=1e-15)
    expected = {"rtol": 1e-8, "atol": 1e-10, "method": "tsit5", "output": "all"}
    expected |= {**system.model.attributes, "version": f"overlap-ode {VERSION}"}
    assert {name: ensemble.attrs[name] for name in expected} == expected
    assert all(ensemble[name].attrs["long_name"] for name in ensemble.data_vars)


def test_outputs_agree(system, start):
    settings = {"eta": 0.4, "alpha": [0.0, 10.0, 60.0], **FAST}
    everything, final, losses = (
        integrate_ensemble(system, *start, output=output, **settings) for output in ("all", "final", "loss")
    )
    for name in ("Q", "R"):
        np.testing.assert_array_equal(final[name], everything[name][:, -1])
        assert name not in losses
    assert "alpha" not in final.dims
    np.testing.assert_array_equal(losses["loss"], everything["loss"])
    np.testing.assert_allclose(final["loss"], everything["loss"][:, -1], rtol=1e-12, atol=1e-15)


def test_arrays_of_the_caller_are_not_touched(system, start):
    rates = np.full(13, 0.3)
    before = [array.copy() for array in (*start, rates)]
    integrate_ensemble(system, *start, eta=rates, alpha=1.0, **FAST)
    for array, copy in zip((*start, rates), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_progress(system, start):
    calls: list[tuple[int, int]] = []
    integrate_ensemble(
        system, *start, eta=0.4, alpha=1.0, progress=lambda *call: calls.append(call), **FAST
    )
    assert calls[-1] == (13, 13)


# Bad input.


def changed(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


def assert_rejected(system, Q, R, option: str, message: str, **settings) -> None:
    with rejected(option, message):
        integrate_ensemble(system, Q, R, **{"eta": 0.4, "alpha": 1.0, **settings})


RAGGED = [[1.0], [2.0, 3.0]]


# What counts as a number is tested with the functions that check it.
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("eta", 0.0, "greater than 0"),
        ("eta", "0.4", "not a number"),
        ("eta", np.full(12, 0.4), r"shape \(12,\), not \(13,\)"),
        ("eta", RAGGED, "is not"),
        ("eta", changed(np.full(13, 0.4), (7,), -1.0), "trajectory 7: -1 is not .* greater than 0"),
        ("label_noise", -1e-9, "at least 0"),
        ("label_noise", changed(np.zeros(13), (7,), -1.0), "at least 0"),
        ("label_noise", RAGGED, "is not"),
        ("alpha", 0.0, "greater than 0"),
        ("alpha", [1.0, 1.0], "ascending"),
        ("alpha", RAGGED, "is not"),
        ("rtol", 1e-15, "at least"),
        ("atol", 0.0, "greater than 0"),
        ("method", "scipy:LSODA", "'scipy:LSODA' is not one of"),
        ("method", ["tsit5"], "is not one of"),
        ("output", "everything", "'everything' is not one of all, final, loss"),
        ("stop_loss", np.nan, "finite"),
        ("stop_loss", [0.1] * 13, "not a number"),
        ("threads", 0, "integer"),
        ("threads", True, "integer"),
        ("T", 2 * np.eye(2), "orthonormal"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_settings(system, start, option, value, message):
    assert_rejected(system, *start, option, message, **{option: value})


def test_bad_shapes(system, start):
    Q, R = start
    for wrong in (Q[0], Q[None], Q[:0], 1.0, "Q", None):
        assert_rejected(system, wrong, R, "Q0", r"not \(trajectories, 4, 4\)")
    assert_rejected(system, RAGGED, R, "Q0", "is not")
    assert_rejected(system, Q[:, :3, :3], R, "Q0", "shape")
    for wrong in (R[0], R[:12], np.swapaxes(R, 1, 2)):
        assert_rejected(system, Q, wrong, "R0", "shape")


def test_bad_trajectories_are_named(system, system_of, start):
    Q, R = start
    assert_rejected(system, changed(Q, (7, 1, 1), -1.0), R, "Q0", "trajectory 7 .*positive semi-definite")
    assert_rejected(system, changed(Q, (7, 0, 1), 0.5), R, "Q0", "trajectory 7 .*symmetric")
    assert_rejected(system, Q, changed(R, (7, 2, 1), 1.5), "R0", "trajectory 7 .*positive semi-definite")
    assert_rejected(system, changed(Q, (7, 0, 0), np.nan), R, "Q0", r"not finite, the first at \[7, 0, 0\]")
    assert_rejected(system, Q, changed(R, (7, 0, 0), np.inf), "R0", r"not finite, the first at \[7, 0, 0\]")
    # The first wrong one of several.
    several = changed(changed(Q, (9, 1, 1), -1.0), (5, 0, 0), -1.0)
    assert_rejected(system, several, R, "Q0", "trajectory 5 ")
    sphere = system_of(3, 2, constraint="sphere", teacher="general")
    Q, R = random_overlaps(3, 2, seed=2, trajectories=9, constraint="sphere", T=TEACHER)
    zero = Q.copy()
    zero[6, 2, :] = zero[6, :, 2] = 0.0
    without = R.copy()
    without[6, 2] = 0.0
    assert_rejected(sphere, zero, without, "Q0", "trajectory 6 .*norm zero", T=TEACHER)
    assert_rejected(sphere, Q, R, "T", "is required")


def frozen(x):
    x = np.array(x)
    x.setflags(write=False)
    return x


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "moved axis": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "read-only": frozen,
    "list": np.ndarray.tolist,
    "integers": lambda x: x.astype(int) if (x == x.astype(int)).all() else x,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts_do_not_matter(system_of, layout):
    system, change = system_of(3, 2, teacher="general"), LAYOUTS[layout]
    Q, R = random_overlaps(3, 2, seed=2, trajectories=3, T=TEACHER)
    eta, alpha = np.array([0.1, 0.2, 0.3]), np.array([0.0, 1.0])
    expected = integrate_ensemble(system, Q, R, eta=eta, alpha=alpha, T=TEACHER, **FAST)
    found = integrate_ensemble(
        system, change(Q), change(R), eta=change(eta), alpha=change(alpha), T=change(TEACHER), **FAST
    )
    xarray.testing.assert_identical(found, expected)


def test_broadcast_and_single_precision_starts(system):
    Q, R = random_overlaps(4, 2, n=1000, seed=1)
    Q, R = Q.astype(np.float32), R.astype(np.float32)
    settings = {"eta": 0.4, "alpha": [0.0, 5.0], **FAST}
    expected = integrate_ensemble(system, np.stack([Q] * 3), np.stack([R] * 3), **settings)
    found = integrate_ensemble(
        system, np.broadcast_to(Q, (3, 4, 4)), np.broadcast_to(R, (3, 4, 2)), **settings
    )
    xarray.testing.assert_identical(found, expected)
    double = [np.stack([x.astype(np.float64)] * 3) for x in (Q, R)]
    xarray.testing.assert_identical(integrate_ensemble(system, *double, **settings), expected)


def test_slightly_asymmetric_overlaps_are_made_symmetric(system, start):
    # As from a file: errors of rounding are no reason to stop.
    Q, R = start
    noisy = Q + 1e-10 * np.random.default_rng(0).standard_normal(Q.shape)
    ensemble = integrate_ensemble(system, noisy, R, eta=0.4, alpha=[0.0, 1.0], **FAST)
    np.testing.assert_array_equal(ensemble["Q"][:, 0], 0.5 * (noisy + np.swapaxes(noisy, 1, 2)))
