"""Proves what the overlap ODEs conserve, exactly, and searches for more (docs/conserved-quantities.md).

overlap_ring(model)                            the polynomials in the overlaps and the parameters
lie_derivative(candidate, model)               the rate of change of a polynomial or a Rational
prove_conserved(candidate, model, on=None)     the proof that it vanishes, everywhere or on a named set
laws(model)                                    known claims, each proved or refuted, with its conditions
search(model, degree)                          all polynomial and Darboux invariants up to a degree
as_expression(polynomial)                      a polynomial as an expression of SymPy

The weight decay γ is 0 unless `decay=True` makes it an indeterminate; `laws` tries both.
"""

from derive.invariants.conservation_laws import laws
from derive.invariants.conservation_proofs import (
    Verdict,
    cofactor,
    prove_conserved,
    prove_growth,
    prove_invariant,
)
from derive.invariants.invariant_search import Darboux, Findings, Invariant, search
from derive.invariants.invariant_sets import NAMED_SETS, InvariantSet, named_set
from derive.invariants.model_matrices import Law
from derive.invariants.ring import OverlapRing, as_expression, overlap_ring
from derive.invariants.vector_field import Rational, drift_field, lie_derivative

__all__ = [
    "NAMED_SETS",
    "Darboux",
    "Findings",
    "Invariant",
    "InvariantSet",
    "Law",
    "OverlapRing",
    "Rational",
    "Verdict",
    "as_expression",
    "cofactor",
    "drift_field",
    "laws",
    "lie_derivative",
    "named_set",
    "overlap_ring",
    "prove_conserved",
    "prove_growth",
    "prove_invariant",
    "search",
]
