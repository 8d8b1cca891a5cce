"""The stages of the derivation of one sector, in order, from the equations to the generated files."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from derive.arguments import one_of
from derive.equations import OverlapEquations, overlap_equations
from derive.expansion import operation_count
from derive.generated_files import STAGES, GeneratedFiles
from derive.overlap_program import LOSS
from derive.program import Program
from derive.sector.sector_document import sector_document
from derive.sector.sector_model import SectorModel
from derive.sector.sector_module import sector_module
from derive.sector.sector_program import SectorProgram, drift_outputs, sector_program, written_out
from derive.sector.sector_proof import SectorProof, proof_record, prove_sector
from derive.sector.sector_text import sector_equations_text, sector_program_text


class SectorPipeline(GeneratedFiles[SectorModel]):
    """The stages for one sector; each is computed when it is first asked for."""

    model_class = SectorModel

    @cached_property
    def equations(self) -> OverlapEquations:
        """The drift and the loss without indices, which are those of the full system."""
        return overlap_equations(self.model.flow)

    @cached_property
    def program(self) -> SectorProgram:
        """The equations restricted to one direction, and to what lies outside all directions."""
        return sector_program(self.model, self.equations)

    @cached_property
    def proof(self) -> SectorProof:
        """The comparison of the program with full systems; raises ProofError if they differ."""
        return prove_sector(self.model, self.program)

    @cached_property
    def proof_record(self) -> SectorProof:
        return proof_record(self.model)

    @cached_property
    def functions(self) -> dict[str, Program]:
        """The programs of the generated functions, with every direction written out."""
        program = written_out(self.program)
        drift = program.restricted_to(drift_outputs(self.model.pstar))
        return {"rhs": drift, "loss": program.restricted_to((LOSS,))}

    @cached_property
    def operations(self) -> dict[str, int]:
        """The floating-point operations of each function."""
        return {name: operation_count(program) for name, program in self.functions.items()}

    @cached_property
    def python(self) -> str:
        """The Numba module, odes.py."""
        return sector_module(self.model, self.program, self.operations["rhs"])

    @cached_property
    def latex(self) -> str:
        """The document odes.tex."""
        return sector_document(self.model, self.program, self.equations)

    @property
    def facts(self) -> dict[str, Any]:
        return {"operations": self.operations}

    def text_of(self, stage: str) -> str:
        match one_of("stage", stage, STAGES):
            case "equations":
                return sector_equations_text(self.equations, self.model)
            case "program":
                return sector_program_text(self.program)
            case "python":
                return self.python
            case _:
                return self.latex
