"""The points of the Gauss-Hermite cubature that integrates the noise of polynomial activations exactly.

The covariance C of the pre-activations is LLᵀ with L lower triangular, students first, so that z = Lx with
independent x_k ~ N(0, 1). A Gauss-Hermite rule with m nodes integrates polynomials up to degree 2m − 1 in
one x_k (G. H. Golub and J. H. Welsch, Math. Comput. 23, 221 (1969)), and a grid of such rules does so in
all directions. With students of degree d and an error of degree D ≥ d, the product of two changes of a step
has the degree 4D + 4d − 4: that of e⁴ and of four slopes. The directions of teachers come last, and their
x_k are not in the fields of students. So only e⁴, or e² with the fields of two teachers, depends on them.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache
from math import factorial

from derive.errors import InputError
from derive.model import Model

# 𝓓 is evaluated some thousand times along a trajectory. So many points take about 0.1 s.
LARGEST_CUBATURE = 2_000_000
# Numbers with so many binary digits behind the point, of which a float keeps 53.
_BITS = 200
_ONE = 1 << _BITS


@dataclasses.dataclass(frozen=True)
class CubatureSize:
    """The numbers of nodes in the directions of students and of teachers, and of points of both grids.

    halved
        Whether the first direction has its nodes x ≥ 0 alone: if σ and σ* are both even or both odd, the
        points x and −x are worth the same.
    """

    student_nodes: int
    teacher_nodes: int
    student_points: int
    teacher_points: int
    halved: bool

    @property
    def points(self) -> int:
        """The number of points of the whole grid."""
        return self.student_points * self.teacher_points


def cubature_size(model: Model) -> CubatureSize:
    """The grid that is exact for the activations of a model."""
    student, teacher = model.activations
    error = max(student.degree, teacher.degree)
    student_nodes = 2 * error + 2 * student.degree - 1
    teacher_nodes = max(2 * teacher.degree, teacher.degree + 1) + 1
    halved = student.parity is not None and student.parity == teacher.parity
    first = (student_nodes + 1) // 2 if halved else student_nodes
    return CubatureSize(
        student_nodes,
        teacher_nodes,
        first * student_nodes ** (model.p - 1),
        teacher_nodes**model.pstar,
        halved,
    )


def check_cubature(model: Model) -> None:
    """Raise InputError for a model whose cubature has too many points."""
    points = cubature_size(model).points
    if points > LARGEST_CUBATURE:
        raise InputError(
            "activation",
            f"p = {model.p}, p* = {model.pstar} with {model.activation} needs {points:.2g} points of a"
            f" cubature for the diffusion matrix, and at most {LARGEST_CUBATURE:.0e} are summed: take"
            " smaller widths or degrees",
        )


@cache
def normal_rule(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights for N(0, 1), an odd number; the nodes are 0, the positive ones, the negative ones.

    They are the roots of He_m, and the weights are m!/(m He_{m−1}(x))². Both are computed in fixed-point
    numbers and rounded once, so that they are the same on every machine.
    """
    assert count % 2
    roots = [0, *_positive_roots(count)]
    weights = []
    for root in roots:
        _, below = _hermite(count, root)
        weights.append(factorial(count) * _ONE**2 / (count * below) ** 2)
    nodes = [root / _ONE for root in roots]
    negative = [-x for x in nodes[1:]]
    return (*nodes, *negative), (*weights, *weights[1:])


def _hermite(order: int, x: int) -> tuple[int, int]:
    """He_order and the polynomial before it at x, all in fixed point."""
    before, value = 0, _ONE
    for k in range(order):
        before, value = value, ((x * value) >> _BITS) - k * before
    return value, before


@cache
def _positive_roots(order: int) -> tuple[int, ...]:
    """The positive roots of He_order in fixed point, ascending; those of the order before lie between."""
    if order < 2:
        return ()
    inner = _positive_roots(order - 1)
    # An even polynomial has a root between 0 and the first one; all roots are smaller than 2√order.
    ends = [*inner, 2 * order * _ONE]
    if order % 2 == 0:
        ends = [0, *ends]
    found = []
    for low, high in itertools.pairwise(ends):
        sign = _hermite(order, high)[0] > 0
        while high - low > 1:
            middle = (low + high) // 2
            if (_hermite(order, middle)[0] > 0) == sign:
                high = middle
            else:
                low = middle
        found.append(high)
    return tuple(found)
