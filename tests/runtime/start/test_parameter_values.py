"""Values of run-time parameters, of which some are replaced."""

from __future__ import annotations

import numpy as np
from rejections import rejected

from derive import Model
from runtime.start.parameter_values import RunParameters

T = np.array([[1.0, 0.3], [0.3, 1.0]])


def test_some_values_are_replaced_and_checked_again():
    model = Model(3, 2, teacher="general")
    first = RunParameters.of(model, {"eta": 0.1, "label_noise": 0.2, "T": T})
    changed = first.replaced(eta=0.5)
    assert changed.attributes == {"eta": 0.5, "label_noise": 0.2, "weight_decay": 0.0, "batch": 1.0}
    np.testing.assert_array_equal(changed.T, T)
    np.testing.assert_array_equal(changed.packed, [[0.5, 0.2, 1.0, 0.3, 1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(RunParameters.of(model, changed.keywords).packed, changed.packed)
    for name, wrong in (("eta", 0.0), ("label_noise", -1.0), ("T", np.zeros((2, 3))), ("mass", 1.0)):
        with rejected(name):
            first.replaced(**{name: wrong})
