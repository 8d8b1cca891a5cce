r"""The printed equations as numbers: every formula is read back and compared with the proved program."""

import cmath
import itertools
import re

import latex_values
import numpy as np
import pytest

from derive import Model
from derive.expansion import evaluate
from derive.model import OPTIONS
from derive.odes import latex
from derive.overlap_program import DQ, DR, DV, FREE_DQ, FREE_DR, LOSS
from derive.parameters import NUMBERS
from derive.pipeline import Pipeline
from derive.readout import weights

# Small enough that f(y + ih) − f(y) has no rounding error, so the derivative is exact.
STEP = 1e-30
DRIFTS = {
    name: rf"\frac{{\mathrm{{d}}{name}}}{{\mathrm{{d}}\alpha}}" for name in ("Q", "R", "v_i")
}
OPTION_SETS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*(option.values for option in OPTIONS.values()))
]
# p* ≥ 10 and p ≥ 10 need commas between indices; the readouts have roots whose products are rational.
COMPONENT_MODELS = [
    Model(1, 1),
    Model(4, 2),
    Model(2, 3, "sphere", "gradient", "general", "sum"),
    Model(3, 2, "sphere", "sgd", "general", "sqrt"),
    Model(4, 1, "free", "sgd", "orthonormal", "sqrt", "fixed"),
    Model(2, 3, "sphere", "sgd", "general", "mean", "trained"),
    Model(2, 2, "free", "sgd", "orthonormal", "sqrt", "trained"),
    Model(2, 11, "sphere", "sgd", "general", "mean"),
    Model(11, 2, "sphere", "sgd", "orthonormal", "mean", "fixed"),
]
SMALL_MODELS = [
    Model(2, 1),
    Model(2, 2, "sphere", "sgd", "general"),
    Model(2, 1, second_layer="trained"),
    Model(2, 2, "sphere", "sgd", "general", "sqrt", "trained"),
    Model(2, 1, "free", "gradient", "orthonormal", "mean", "fixed"),
]


def by_name(model):
    return model.name


class Point:
    """Random values of all order parameters and run-time parameters, of either sign, and of a and b."""

    def __init__(self, model, seed):
        generator = np.random.default_rng(seed)
        self.model = model
        names = (*model.parameters, *model.state)
        values = generator.uniform(0.3, 0.9, len(names)) * generator.choice([-1, 1], len(names))
        self.values = dict(zip(names, values, strict=True))
        self.values |= {name: abs(self.values[name]) for name in model.parameters if name.isalpha()}
        self.values["inverse_batch"] = 1 / 3
        self.values |= dict(zip("ab", weights(model), strict=True))

    def program(self, values=None, outputs=(), exact=None):
        """The program's outputs by name, all or some of them."""
        program = Pipeline.of(self.model).program
        if outputs:
            program = program.restricted_to(outputs)

        def combine(terms):
            return sum(float(c) * np.prod(factors) for c, factors in terms)

        return evaluate(program, values or self.values, combine, lambda value: 1 / value)

    def jacobian(self):
        """The derivatives of the drift: by the order parameter, then by the name of the drift."""
        return {
            name: {
                entry: value.imag / STEP
                for entry, value in self.program(
                    self.values | {name: self.values[name] + 1j * STEP}
                ).items()
            }
            for name in self.model.state
        }

    def matrix(self, name, values=None):
        """A matrix or a vector from its entries."""
        values = self.values if values is None else values
        sizes = {"p": self.model.p, "r": self.model.pstar}
        rows, columns = {"Q": "pp", "R": "pr", "T": "rr", "v": "p ", "vstar": "r "}[name.removeprefix("d").removeprefix("f")]
        if columns == " ":
            return np.array([values[f"{name}_{i}"] for i in range(1, sizes[rows] + 1)])
        found = np.empty((sizes[rows], sizes[columns]), complex if np.iscomplexobj(list(values.values())) else float)
        for i, j in np.ndindex(found.shape):
            low, high = sorted((i, j)) if rows == columns else (i, j)
            found[i, j] = values[f"{name}_{low + 1}_{high + 1}"]
        return found
