"""The derived sector: statements, proof, LaTeX, and the folder that `runtime.sector` loads."""

from __future__ import annotations

from pathlib import Path

from derive.arguments import one_of
from derive.emit.manifest import FILE_NAME as MANIFEST
from derive.generated_folder import write_files
from derive.sector.manifest import sector_manifest
from derive.sector.reduce import reduce
from derive.sector.sector_document import sector_document, sector_equations
from derive.sector.sector_model import SectorModel
from derive.sector.sector_module import sector_module
from derive.sector.sector_proof import SectorProof, prove_sector

MODULE = "odes.py"
DOCUMENT = "odes.tex"
SUBJECTS = ("odes", "loss")


class SectorODEs:
    """The closed ODEs of the sector's 2p* + 1 numbers, for any p.

    They are compared with the full system when this object is made; `proof` says how.

    Raises
    ------
    derive.ProofError
        The reduction is wrong: a defect of this program.
    """

    def __init__(self, model: SectorModel) -> None:
        self.model = model
        self.proof: SectorProof = prove_sector(model, reduce(model))

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the order parameters in order."""
        return self.model.state

    def latex(self, what: str = "odes") -> str:
        """LaTeX (amsmath) of the ``"odes"`` or the ``"loss"``; raises InputError otherwise."""
        one_of("what", what, SUBJECTS)
        return sector_equations(self.model, what)

    def files(self) -> dict[str, str]:
        """The generated files by name, the manifest last; the same text on any machine."""
        files = {MODULE: sector_module(self.model), DOCUMENT: sector_document(self.model)}
        files[MANIFEST] = sector_manifest(self.model, files, self.proof)
        return files

    def write(self, folder: str | Path = "generated") -> Path:
        """Write the sector to `folder`/<model name>, and return that path.

        Files appear whole or not at all; existing ones are replaced.

        Raises
        ------
        InputError
            The folder cannot be written, or is a symbolic link.
        OSError
            Writing failed.
        """
        target = Path(folder) / self.model.name
        write_files(target, self.files())
        return target


def sector_odes(model: SectorModel) -> SectorODEs:
    """Reduce the ODEs to the sector of `model`, and prove it."""
    return SectorODEs(model)
