"""Derives the ODEs of one sector: proof, LaTeX, and the files that `runtime.load_sector` loads."""

from __future__ import annotations

from derive.arguments import one_of
from derive.emit.latex_lines import single_display
from derive.generated_files import DerivedODEs
from derive.sector.sector_document import sector_definitions, sector_equations
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

    def latex(self, what: str = "odes", *, definitions: bool = True) -> str:
        """LaTeX (amsmath) of the ``"odes"`` or the ``"loss"``, in lines that fit a column of 246 pt.

        Sentences that define all symbols come first, unless `definitions` is false. Raises InputError for
        another subject.
        """
        one_of("what", what, SUBJECTS)
        pipeline = self._pipeline
        text = sector_equations(self.model, pipeline.program, pipeline.equations, what)
        return (sector_definitions(self.model, what) if definitions else "") + text

    def _repr_latex_(self) -> str:
        """The equations, for notebooks."""
        return single_display(self.latex(definitions=False))


def sector_odes(model: SectorModel) -> SectorODEs:
    """Derive the ODEs of the sector of `model`, and prove them."""
    return SectorODEs(model)
