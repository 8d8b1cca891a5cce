"""Derives the ODEs of one sector: proof, LaTeX, and the files that `runtime.load_sector` loads."""

from __future__ import annotations

from derive.arguments import one_of
from derive.generated_files import DerivedODEs, GeneratedFiles
from derive.sector.sector_document import sector_document, sector_equations
from derive.sector.sector_model import SectorModel
from derive.sector.sector_module import operations, sector_module
from derive.sector.sector_program import sector_program
from derive.sector.sector_proof import SectorProof, proof_record, prove_sector

SUBJECTS = ("odes", "loss")
SECTOR_FILES = GeneratedFiles(
    SectorModel,
    sector_module,
    sector_document,
    facts=lambda model: {"operations": operations(model)},
    proof=proof_record,
)


class SectorODEs(DerivedODEs[SectorModel]):
    """The closed ODEs of the 2p* + 1 numbers of a sector, for any p.

    They are compared with the full system when this object is made; `proof` says how.

    Raises
    ------
    derive.ProofError
        The reduction is wrong, which is a defect of this software.
    """

    def __init__(self, model: SectorModel) -> None:
        super().__init__(model, SECTOR_FILES)
        self.proof: SectorProof = prove_sector(model, sector_program(model))

    def latex(self, what: str = "odes") -> str:
        """LaTeX (amsmath) of the ``"odes"`` or the ``"loss"``; raises InputError otherwise."""
        one_of("what", what, SUBJECTS)
        return sector_equations(self.model, what)


def sector_odes(model: SectorModel) -> SectorODEs:
    """Derive the ODEs of the sector of `model`, and prove them."""
    return SectorODEs(model)
