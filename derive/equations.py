"""The drift of the order parameters and the loss, derived from one SGD step in terms of Wick diagrams.

With the error e = f − y and κᵢ = 2aηvᵢ a step is wᵢ ← wᵢ − κᵢ e λᵢ x/√N, and then wᵢ ← (1 − ηγ/N) wᵢ
where weights decay. Multiplying out wᵢ·w*ᵣ/N and wᵢ·wⱼ/N, and with |x|²/N → 1, the mean change per unit of
time α = steps/N is (D. Saad and S. A. Solla, Phys. Rev. E 52, 4225 (1995), for this activation)

    dRᵢᵣ/dα = −κᵢ E[e λᵢλ*ᵣ] − ηγ Rᵢᵣ,
    dQᵢⱼ/dα = −(κᵢ + κⱼ) E[e λᵢλⱼ] + κᵢκⱼ E[e² λᵢλⱼ]/B − 2ηγ Qᵢⱼ,
    dvᵢ/dα = −η_v a E[e λᵢ²],

where the mean over a batch of B samples leaves 1/B of the noise, and the last line holds if the second
layer is trained. The population loss is ε = ½ E[e²] without label noise. Here the expectations are sums of
diagrams (route 2); `proof` writes the same lines in components (route 1).
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
# The names of κ = 2aη, of κ²/B and ηγ, of the readout weights, and of run-time parameters.
STEP, NOISE_STEP, DECAY = "kappa", "kappa2", "decay"
READOUT_STUDENT, READOUT_TEACHER = "a", "b"
LEARNING_RATE, NOISE = "eta", "label_noise"
SECOND_RATE, WEIGHT_DECAY, INVERSE_BATCH = "eta_second", "weight_decay", "inverse_batch"


@dataclasses.dataclass(frozen=True)
class OverlapEquations:
    """The moments of a step as Σₘ coefficientₘ · C(DC)ᵐ, and the scalars that they are multiplied with.

    step, noise_step, decay
        κ = 2aη, κ²/B and ηγ in the readout weight a and the run-time parameters.
    mean
        The coefficients of E[e z zᵀ] by m, in s and t.
    noise
        Those of E[e² z zᵀ], in s, t and Δ; none in gradient flow, which has no noise.
    loss
        The generalisation error ε.
    """

    step: ScalarPolynomial
    noise_step: ScalarPolynomial
    decay: ScalarPolynomial
    mean: Mapping[int, ScalarPolynomial]
    noise: Mapping[int, ScalarPolynomial]
    loss: ScalarPolynomial

    @property
    def scalars(self) -> dict[str, ScalarPolynomial]:
        """The scalars that occur, κ, κ²/B and ηγ, each after those that it depends on."""
        scalars = {STEP: self.step, NOISE_STEP: self.noise_step, DECAY: self.decay}
        if not self.noise:
            del scalars[NOISE_STEP]
        return scalars

    @property
    def dR(self) -> dict[int, ScalarPolynomial]:
        """The coefficients of dR/dα by m, in κ and ηγ, where all second-layer weights are 1."""
        return _combined((-1 * _name(STEP), self.mean), (-1 * _name(DECAY), _ITSELF))

    @property
    def dQ(self) -> dict[int, ScalarPolynomial]:
        """The coefficients of dQ/dα by m, in κ, κ²/B and ηγ, where all second-layer weights are 1."""
        return _combined(
            (-2 * _name(DECAY), _ITSELF),
            (-2 * _name(STEP), self.mean),
            (_name(NOISE_STEP), self.noise),
        )


_name = ScalarPolynomial.name
# C is the chain without D.
_ITSELF = {0: ScalarPolynomial.constant(1)}


def _combined(
    *parts: tuple[ScalarPolynomial, Mapping[int, ScalarPolynomial]],
) -> dict[int, ScalarPolynomial]:
    """Σ factor · chains."""
    total: dict[int, ScalarPolynomial] = {}
    for factor, chains in parts:
        for chain, value in chains.items():
            total[chain] = total.get(chain, ScalarPolynomial()) + factor * value
    return total


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
    eta = _name(LEARNING_RATE)
    loss = ScalarPolynomial()
    for diagram, multiplicity in error_moment(2, outer=False).items():
        if diagram.noise == 0:
            loss = loss + Fraction(1, 2) * _coefficient(diagram, multiplicity)
    return OverlapEquations(
        step=2 * _name(READOUT_STUDENT) * eta,
        noise_step=_name(STEP) * _name(STEP) * _name(INVERSE_BATCH),
        decay=eta * _name(WEIGHT_DECAY),
        mean=_by_chain(error_moment(1)),
        noise=_by_chain(error_moment(2)) if flow == "sgd" else {},
        loss=loss,
    )
