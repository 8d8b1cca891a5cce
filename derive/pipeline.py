"""The stages of the derivation of one model, in order, from its equations to the generated files.

    route 2: diagrams (`wick`) ─► equations ─► program ─► functions ─► python, latex ─► texts
    route 1: moments by component (`isserlis`) ─► proof, which compares them with the program

`cli derive --show` prints a stage. The sector has the same stages in `derive.sector.sector_pipeline`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from derive.arguments import one_of
from derive.emit.latex_document import odes_document
from derive.emit.latex_graph_document import graph_document
from derive.emit.numba_module import is_unrolled, numba_module
from derive.emit.plain_graphs import graph_equations_text
from derive.emit.plain_text import equations_text, program_text
from derive.equations import OverlapEquations, overlap_equations
from derive.expansion import operation_count
from derive.generated_files import STAGES, GeneratedFiles
from derive.model import Model
from derive.overlap_program import LOSS, drift_of, overlap_program, state_of
from derive.polynomial.graph_program import graph_program
from derive.polynomial.graph_proof import check_size, graph_proof_record, prove_graphs
from derive.program import Program
from derive.proof import Proof, proof_record, prove
from derive.tangent import differentiate


class Pipeline(GeneratedFiles[Model]):
    """The stages for one model; each is computed when it is first asked for.

    Raises InputError for a model whose derivation would take longer than some minutes.
    """

    model_class = Model

    def __init__(self, model: Model) -> None:
        check_size(model)
        super().__init__(model)

    @cached_property
    def equations(self) -> OverlapEquations:
        """The drift and the loss without indices: Wick diagrams with their coefficients."""
        return overlap_equations(self.model.flow)

    @cached_property
    def program(self) -> Program:
        """The same as statements on matrices that share their products."""
        if self.model.quadratic:
            return overlap_program(self.model, self.equations)
        return graph_program(self.model)

    @cached_property
    def proof(self) -> Proof:
        """The comparison of the program with the moments by component; raises ProofError if they differ."""
        if self.model.quadratic:
            return prove(self.model, self.program)
        return prove_graphs(self.model, self.program)

    @cached_property
    def proof_record(self) -> Proof:
        if self.model.quadratic:
            return proof_record(self.model)
        return graph_proof_record(self.model)

    @cached_property
    def functions(self) -> dict[str, Program]:
        """The programs of the generated functions: rhs, loss, and tangent for the Jacobian."""
        drift, loss = (self.program.restricted_to(outputs) for outputs in (drift_of(self.model), (LOSS,)))
        return {"rhs": drift, "loss": loss, "tangent": differentiate(drift, state_of(self.model))}

    @cached_property
    def operations(self) -> dict[str, int]:
        """The floating-point operations of each function."""
        return {name: operation_count(program) for name, program in self.functions.items()}

    @cached_property
    def python(self) -> str:
        """The Numba module, odes.py."""
        return numba_module(self.model, self.functions)

    @cached_property
    def latex(self) -> str:
        """The document odes.tex."""
        if self.model.quadratic:
            return odes_document(self.model, self.equations)
        return graph_document(self.model)

    @property
    def facts(self) -> dict[str, Any]:
        functions = self.functions.items()
        forms = {
            name: "unrolled" if is_unrolled(self.model, name, program) else "loops"
            for name, program in functions
        }
        return {"operations": self.operations, "code": forms}

    def text_of(self, stage: str) -> str:
        match one_of("stage", stage, STAGES):
            case "equations":
                if self.model.quadratic:
                    return equations_text(self.equations, self.model)
                return graph_equations_text(self.model)
            case "program":
                return program_text(self.program)
            case "python":
                return self.python
            case _:
                return self.latex
