"""The bias of the mean overlaps at order 1/N against the means of many runs of the exact chain."""

from __future__ import annotations

import numpy as np
import pytest
from matrix import matrix

import runtime

Q0, R0 = np.array([[1.2, 0.2], [0.2, 0.8]]), np.array([[0.5], [-0.1]])
SPHERE = {"constraint": "sphere"}
TRAINED = {"teacher": "general", "second_layer": "trained"}
WEIGHTS = {"T": [[1.3]], "eta_second": 0.2, "student_weights": [1.2, 0.5], "teacher_weights": [0.9]}
# Options, parameters, schedule, and whether runs start from random weights.
CASES = {
    "sphere": (SPHERE, {"eta": 0.3, "label_noise": 0.1}, None, False),
    "sphere, batch": (SPHERE, {"eta": 0.6, "batch": 3}, "inverse:2", False),
    "free, decay": ({}, {"eta": 0.4, "label_noise": 0.1, "weight_decay": 0.5, "batch": 4}, None, False),
    "trained": (TRAINED, {"eta": 0.1, "label_noise": 0.1, **WEIGHTS}, None, False),
    "random weights": ({}, {"eta": 0.1}, None, True),
    "random weights, sphere": (SPHERE, {"eta": 0.3}, None, True),
}


@pytest.mark.parametrize("case", [matrix(case) for case in CASES])
def test_means_of_runs(system_of, case):
    options, parameters, schedule, random = CASES[case]
    system, n, runs = system_of(2, 1, **options), 1000, 40_000
    overlaps = (np.eye(2), np.zeros((2, 1))) if random else (Q0, R0)
    if options == SPHERE and not random:
        overlaps = Q0 * [[1.0 / 1.2, 1.0], [1.0, 1.0 / 0.8]], R0
    given = parameters | {"schedule": schedule, "alpha": [0.0, 1.0]}
    theory = runtime.fluctuations(
        system, *overlaps, covariance="random weights" if random else None, bias=True, **given
    )
    start = {} if random else {"Q0": overlaps[0], "R0": overlaps[1]}
    sample = runtime.simulate(system.model, n=n, trajectories=runs, seed=4, **start, **given)
    assert np.all(sample.status == "ok")
    expected, found, errors = [], [], []
    for name in ("Q", "R", "v", "loss"):
        if name in sample and name in theory:
            values = n * (sample[name].values[:, 1] - theory[name].values[1]).reshape(runs, -1)
            found.append(values.mean(axis=0))
            errors.append(values.std(axis=0) / np.sqrt(runs))
            expected.append(theory[f"{name}_bias"].values[1].ravel())
    found, errors, expected = (np.concatenate(parts) for parts in (found, errors, expected))
    # On the sphere Q_ii is fixed.
    free = errors > 1e-6
    assert np.abs((found - expected)[free] / errors[free]).max() < 4.0
    assert np.abs(expected[free] / errors[free]).max() > 5.0
