"""The rule of learning-rate schedules: the factor g(α), stated once for scalar and for vector code.

As those of `controller`, the rule acts on values through the operations `do`, which `controller.over`
replaces by those on vectors of lanes. `runtime.start.schedules` has the same formulas for arrays of NumPy.
"""

from __future__ import annotations

from runtime.start.schedule_kinds import CONSTANT, EXPONENTIAL, INVERSE
from runtime.system.compilation import part
from runtime.trajectory import number_operations as do


@part
def schedule_factor(kind, ratio):
    """The factor g of the learning rates where α is `ratio` times τ, for a kind of schedule.

    It is 1 for piecewise constant schedules, whose factors solvers multiply with at each jump.
    """
    if kind == CONSTANT:
        return 1.0
    if kind == EXPONENTIAL:
        return do.exp(do.subtract(0.0, ratio))
    if kind == INVERSE:
        return do.divide(1.0, do.add(1.0, ratio))
    return do.divide(1.0, do.sqrt(do.add(1.0, ratio)))
