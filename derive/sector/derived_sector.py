"""Derives the ODEs of one sector: proof, LaTeX, and the files that `runtime.load_sector` loads."""

from __future__ import annotations

from derive.arguments import one_of
from derive.generated_files import DerivedODEs
from derive.sector.sector_document import sector_equations
from derive.sector.sector_model import SectorModel
from derive.sector.sector_pipeline import SectorPipeline
from derive.sector.sector_proof import SectorProof

SUBJECTS = ("odes", "loss")


class SectorODEs(DerivedODEs[SectorModel]):
    """The closed ODEs of the 2p* + 1 numbers of a sector, for any p.

    They are compared with the full system when this object is made; `proof` says how.

    Raises
    ------
    derive.ProofError
        The reduction is wrong, which is a defect of this software.
    """

    def __init__(self, model: SectorModel) -> None:
        self._pipeline = SectorPipeline.of(model)
        super().__init__(self._pipeline)
        self.proof: SectorProof = self._pipeline.proof

    def latex(self, what: str = "odes") -> str:
        """LaTeX (amsmath) of the ``"odes"`` or the ``"loss"``; raises InputError otherwise."""
        one_of("what", what, SUBJECTS)
        pipeline = self._pipeline
        return sector_equations(self.model, pipeline.program, pipeline.equations, what)


def sector_odes(model: SectorModel) -> SectorODEs:
    """Derive the ODEs of the sector of `model`, and prove them."""
    return SectorODEs(model)
