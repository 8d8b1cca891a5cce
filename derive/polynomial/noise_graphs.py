"""Route 2 for any polynomial activation: Gaussian moments as sums over multigraphs, for any widths.

For Gaussian z with covariance C, E[Πᵤ hᵤ(zᵤ)] is the sum over all multigraphs between the factors, with
n_uv ≥ 0 edges between u and v, of Π C_uv^{n_uv}/n_uv! · Πᵤ E[hᵤ^(deg u)(zᵤ)], where each factor is
differentiated once for each edge at it. This is Wick's theorem with all pairings of the same kind counted
together: the edges are the pairs of different factors, and the moments are the pairs within one factor. The
sum is finite for polynomials. It holds for singular C too, and so also where two factors have the same z.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import factorial, prod

# The factors of the noise E[e² σ'(λᵢ) σ'(λⱼ)]: two units m and n of the error, which are summed over, and
# the students i and j. The edges between them are in this order.
IN_M, IN_N, IN_I, IN_J = range(4)
EDGES = tuple(itertools.combinations(range(4), 2))


@dataclasses.dataclass(frozen=True, order=True)
class NoiseGraph:
    """A multigraph between m, n, i and j.

    edges
        The numbers of edges mn, mi, mj, ni, nj and ij.
    """

    edges: tuple[int, ...]

    def between(self, u: int, v: int) -> int:
        """The number of edges between two factors."""
        return self.edges[EDGES.index((min(u, v), max(u, v)))]

    def degree(self, u: int) -> int:
        """The number of edges at a factor: how often it is differentiated."""
        return sum(self.between(u, v) for v in range(4) if v != u)

    def relabelled(self, to: Sequence[int]) -> NoiseGraph:
        """The graph with other names: factor u becomes to[u]."""
        found = {}
        for (u, v), count in zip(EDGES, self.edges, strict=True):
            found[min(to[u], to[v]), max(to[u], to[v])] = count
        return NoiseGraph(tuple(found[edge] for edge in EDGES))

    @property
    def exchanged(self) -> NoiseGraph:
        """The graph with m and n exchanged, which has the same value."""
        return self.relabelled(_EXCHANGED_SUMS)

    @property
    def mirrored(self) -> NoiseGraph:
        """The graph with i and j exchanged, whose value is the transpose."""
        return self.relabelled(_EXCHANGED_ENDS)

    @property
    def symmetry_factor(self) -> Fraction:
        """1 / Π n_uv!"""
        return Fraction(1, prod(map(factorial, self.edges)))


_EXCHANGED_SUMS, _EXCHANGED_ENDS = (IN_N, IN_M, IN_I, IN_J), (IN_M, IN_N, IN_J, IN_I)


@dataclasses.dataclass(frozen=True)
class NoiseTerm:
    """The graphs that follow from one by exchanging m with n, which have its value, and i with j.

    graph
        One of them.
    multiplicity
        How many have its value.
    symmetric
        Whether they include those with i and j exchanged, whose value is the transpose.
    """

    graph: NoiseGraph
    multiplicity: int
    symmetric: bool


def multigraphs(most: Sequence[int]) -> Iterator[NoiseGraph]:
    """All multigraphs with at most most[u] edges at factor u."""

    def extend(edges: tuple[int, ...], left: tuple[int, ...]) -> Iterator[NoiseGraph]:
        if len(edges) == len(EDGES):
            yield NoiseGraph(edges)
            return
        u, v = EDGES[len(edges)]
        for count in range(min(left[u], left[v]) + 1):
            rest = tuple(x - count * (w in (u, v)) for w, x in enumerate(left))
            yield from extend((*edges, count), rest)

    yield from extend((), tuple(most))


def noise_terms(degree: int, student_degree: int) -> Iterator[NoiseTerm]:
    """The terms of the noise for activations of at most `degree`, and students of `student_degree`."""
    most = (degree, degree, student_degree - 1, student_degree - 1)
    for graph in multigraphs(most):
        same = {graph, graph.exchanged}
        mirrored = {each.mirrored for each in same}
        # One graph of each kind is taken.
        if graph == max(same | mirrored):
            yield NoiseTerm(graph, len(same), symmetric=same == mirrored)
