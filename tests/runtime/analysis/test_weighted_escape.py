"""Escape times with second-layer weights, weight decay and batches, against random starts."""

from __future__ import annotations

import numpy as np
import pytest
from matrix import matrix

import derive
import runtime
from runtime import InputError
from runtime.analysis.escape.escape_measurement import escape_times
from runtime.analysis.escape.escape_study import EscapeStudy
from runtime.analysis.escape.escape_theory import escape_theory
from runtime.analysis.plateau.plateau_curve import plateau

# The first two students lead, and the norm of the third shrinks to zero meanwhile.
TWO_LEAD = {"student_weights": [1.0, 1.0, -3.0]}


def theory_of(system, eta, shapes=1, **study):
    given = {name: study.pop(name) for name in list(study) if name not in ("q0", "fraction", "n", "seed")}
    return escape_theory(system, EscapeStudy(system.model, {"eta": eta} | given, **study), eta, shapes)


def test_weights_of_one_are_the_model_without_weights(system_of):
    options = {"n": [1000, 10000], "trajectories": 50, "eta": 0.2, "batch": 2, "weight_decay": 0.05}
    fixed = escape_times(system_of(3, 1, second_layer="fixed"), **options)
    ones = escape_times(system_of(3, 1), **options)
    for name in ("escape_alpha", "theory_quantile", "gain", "curvature", "rate", "fitted_rate"):
        np.testing.assert_allclose(fixed[name], ones[name], rtol=1e-6)
    assert (fixed["multiplicity"] == ones["multiplicity"]).all()
    np.testing.assert_array_equal(fixed["student_weights"], np.ones(3))


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, TWO_LEAD | {"label_noise": 0.1, "eta": 0.1}),
        ({}, {"weight_decay": 0.1, "batch": 4}),
        matrix(({"flow": "gradient"}, TWO_LEAD)),
        matrix(({"teacher": "general"}, TWO_LEAD | {"T": [[2.0]], "weight_decay": 0.1, "eta": 0.02})),
    ],
)
def test_theory_is_what_random_starts_do(system_of, options, parameters):
    """Medians at N = 10⁸ of 400 starts, within four of their standard errors."""
    parameters, layer = dict(parameters), {}
    if "student_weights" in parameters:
        layer = {"second_layer": "fixed"}
    one = system_of(3, 1, **layer, **options)
    eta = parameters.pop("eta", 0.3)
    result = escape_times(one, n=10**8, trajectories=400, eta=eta, seed=5, **parameters)
    assert result["escaped"].item() == 400
    middle = result.sizes["quantile"] // 2
    apart = (result["alpha_quantile"] - result["theory_quantile"]).values[0, 0, middle]
    error = result["median_error"].item()
    assert abs(apart) < 4.0 * error
    # Without the delay, or with all p students in χ², the law would be another.
    if layer:
        theory = theory_of(one, eta, shapes=64, **parameters)
        assert theory.directions < 3
        wrong = theory.leading(theory.weight / 1e8 * 3.0) + np.median(theory.delays)
        assert abs(wrong - result["alpha_quantile"].values[0, 0, middle]) > 4.0 * error
    growth, growth_error = result["fitted_rate"].item(), result["fitted_rate_error"].item()
    assert growth == pytest.approx(result["rate"].item(), abs=5.0 * growth_error)


def test_gain_and_fall_of_the_loss_along_a_trajectory(system_of):
    """G and K from the linear theory, against a trajectory from Q0 = q0 1 with an infinitesimal R."""
    one, eta, q0 = system_of(3, 2, second_layer="fixed"), 0.2, 0.7
    parameters = {"student_weights": [1.0, 0.5, -0.7], "teacher_weights": [1.0, -0.3]}
    theory = theory_of(one, eta, q0=q0, fraction=0.8, **parameters)
    point, leading = theory.plateau, theory.plateau.dynamics.leading
    assert (theory.directions, leading.mask.sum()) == (1, 1)
    # Norms of students with different weights relax slowly.
    R0 = 1e-100 * leading.overlaps(leading.one)
    end = np.log(1e-3 / (1e-100 * theory.gain)) / point.rate
    run = runtime.integrate(
        one, q0 * np.eye(3), R0, eta=eta, alpha=[0.5 * end, end], rtol=1e-12, atol=1e-120, **parameters
    )
    size = leading.size(run["R"].values)
    assert size[0] == pytest.approx(1e-100 * theory.gain * np.exp(point.rate * 0.5 * end), rel=1e-6)
    fall = point.loss - run["loss"].values[1]
    assert fall / size[1] ** 2 == pytest.approx(theory.curvature, rel=1e-3)


def test_a_student_of_the_other_sign_may_lead(system_of):
    """It learns the negative direction of the teacher, though its norm on the plateau is zero."""
    one = system_of(2, 2, second_layer="fixed", flow="gradient")
    parameters = {"student_weights": [0.1, -1.0], "teacher_weights": [1.1, -1.0]}
    point = plateau(one, 0.3, **parameters)
    assert point.norms[1] == 0.0
    assert np.any(point.dynamics.leading.mask[1])
    theory = theory_of(one, 0.3, shapes=8, fraction=0.9, **parameters)
    assert theory.curvature > 0.0
    assert np.all(np.isfinite(theory.delays))


def test_times_that_the_leading_overlaps_do_not_reach(system_of):
    """One student alone cannot learn both teachers: the law has no time for such a threshold."""
    one = system_of(2, 2, second_layer="fixed", flow="gradient")
    parameters = {"student_weights": [1.0, 0.5]}
    reached, missed = (
        theory_of(one, 0.3, shapes=4, fraction=fraction, **parameters).quantiles(1e6, [0.5])[0]
        for fraction in (0.9, 0.1)
    )
    assert (np.isfinite(reached), np.isfinite(missed)) == (True, False)


def test_rejects(system_of, interpreted, tmp_path):
    trained = runtime.load(derive.Model(2, 1, second_layer="trained"), tmp_path)
    with pytest.raises(InputError, match=r"^second_layer: 'trained': there is no plateau.*stop_loss"):
        escape_times(trained, eta=0.1, eta_second=0.1)
    flow = interpreted(3, 1, second_layer="fixed", flow="gradient")
    with pytest.raises(InputError, match=r"^student_weights: have none with the sign"):
        escape_times(flow, eta=0.1, student_weights=[-1.0, -1.0, -1.0])
    with pytest.raises(InputError, match=r"^fraction: 0\.99: the loss falls to"):
        # The norms pass those of the smallest loss on the way to those that noise sustains.
        escape_times(system_of(3, 1, second_layer="fixed"), eta=0.24, fraction=0.99, q0=0.1, **TWO_LEAD)
    with pytest.raises(InputError, match=r"^weight_decay: 5 leaves no plateau"):
        escape_times(interpreted(4, 2), eta=0.1, weight_decay=5.0)
