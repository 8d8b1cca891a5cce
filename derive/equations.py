"""The drift of the overlaps and the loss, derived from one SGD step in terms of Wick diagrams.

With the error e = f − y and κ = 2aη a step is wᵢ ← wᵢ − κ e λᵢ x/√N. Multiplying out wᵢ·w*ᵣ/N and
wᵢ·wⱼ/N, and with |x|²/N → 1, the mean change per unit of time α = samples/N is (D. Saad and S. A. Solla,
Phys. Rev. E 52, 4225 (1995), for this activation)

    dR/dα = −κ E[e λ λ*ᵀ],    dQ/dα = −2κ E[e λ λᵀ] + κ² E[e² λ λᵀ],

and the population loss is ε = ½ E[e²] without label noise. Here the expectations are
sums of diagrams (route 2); `proof` writes the same three lines in components (route 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

from derive.arguments import one_of
from derive.model import OPTIONS
from derive.scalar_polynomials import ScalarPolynomial
from derive.wick import Diagram, error_moment

# The names of the closed loops tr(DC) and tr(DCDC) in code and LaTeX. Longer loops do not occur, since
# the drift has no moment with more than e².
LOOP_NAMES = {1: "s", 2: "t"}
# The names of κ = 2aη, of the readout weights, and of the run-time parameters η and Δ.
STEP = "kappa"
READOUT_STUDENT, READOUT_TEACHER = "a", "b"
LEARNING_RATE, NOISE = "eta", "label_noise"


@dataclasses.dataclass(frozen=True)
class OverlapEquations:
    """The drift as Σₘ coefficientₘ · C(DC)ᵐ, and the loss, as polynomials in κ, s, t and parameters.

    step
        κ = 2aη, in the readout weight a and the run-time parameters.
    dR, dQ
        The coefficients by m; each chain stands for its student-teacher block in dR, and for its
        student-student block in dQ.
    loss
        The generalisation error ε.
    """

    step: ScalarPolynomial
    dR: Mapping[int, ScalarPolynomial]
    dQ: Mapping[int, ScalarPolynomial]
    loss: ScalarPolynomial


def _coefficient(diagram: Diagram, multiplicity: int) -> ScalarPolynomial:
    names = [LOOP_NAMES[length] for length in diagram.loops] + [NOISE] * diagram.noise
    return ScalarPolynomial({tuple(sorted(names)): multiplicity})


def _by_chain(moment: Mapping[Diagram, int]) -> dict[int, ScalarPolynomial]:
    chains: dict[int, ScalarPolynomial] = {}
    for diagram, multiplicity in moment.items():
        assert diagram.chain is not None
        previous = chains.get(diagram.chain, ScalarPolynomial())
        chains[diagram.chain] = previous + _coefficient(diagram, multiplicity)
    return chains


def overlap_equations(flow: str) -> OverlapEquations:
    """The equations for any widths; `flow` is "sgd" or "gradient" (no κ² term), else InputError."""
    one_of("flow", flow, OPTIONS["flow"].values)
    name = ScalarPolynomial.name
    kappa, step = name(STEP), 2 * name(READOUT_STUDENT) * name(LEARNING_RATE)
    mean = _by_chain(error_moment(1))
    dR = {chain: -1 * kappa * value for chain, value in mean.items()}
    dQ = {chain: -2 * kappa * value for chain, value in mean.items()}
    if flow == "sgd":
        for chain, value in _by_chain(error_moment(2)).items():
            dQ[chain] = dQ.get(chain, ScalarPolynomial()) + kappa * kappa * value
    loss = ScalarPolynomial()
    for diagram, multiplicity in error_moment(2, outer=False).items():
        if diagram.noise == 0:
            loss = loss + Fraction(1, 2) * _coefficient(diagram, multiplicity)
    return OverlapEquations(step=step, dR=dR, dQ=dQ, loss=loss)
