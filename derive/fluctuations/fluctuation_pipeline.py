"""The stages of the derivation of the fluctuations of one model, up to the generated files."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from derive.arguments import one_of
from derive.fluctuations.bias_module import bias_functions, bias_operations, derivatives
from derive.fluctuations.bias_program import bias_program
from derive.fluctuations.cubature_module import cubature_function, cubature_operations
from derive.fluctuations.cubature_proof import cubature_proof_record, prove_cubature
from derive.fluctuations.fluctuation_document import fluctuation_document
from derive.fluctuations.fluctuation_model import FluctuationModel
from derive.fluctuations.fluctuation_module import (
    diffusion_function,
    diffusion_operations,
    fluctuation_module,
    no_diffusion,
    rhs_operations,
)
from derive.fluctuations.fluctuation_program import FluctuationProgram, fluctuation_program
from derive.fluctuations.fluctuation_proof import fluctuation_proof_record, prove_bias, prove_fluctuations
from derive.generated_files import STAGES, GeneratedFiles
from derive.pipeline import Pipeline
from derive.program import Program
from derive.proof import Proof


class FluctuationPipeline(GeneratedFiles[FluctuationModel]):
    """The stages for the fluctuations of one model; each is computed when it is first asked for."""

    model_class = FluctuationModel

    @cached_property
    def drift(self) -> Pipeline:
        """The stages of the ODE of the order parameters."""
        return Pipeline.of(self.model.base)

    @property
    def _cubature(self) -> bool:
        """Whether the diffusion matrix is a sum over points, and no program."""
        return self.model.flow == "sgd" and not self.model.quadratic

    @cached_property
    def program(self) -> FluctuationProgram:
        """The moments of one step of a quadratic model as statements on matrices."""
        return fluctuation_program(self.model)

    @cached_property
    def bias_program(self) -> Program:
        """The moments of the mean of one step at order 1/N as statements on matrices."""
        return bias_program(self.model)

    @cached_property
    def derivatives(self) -> dict[str, Program]:
        """First and second derivatives of the drift and the loss, for the bias of a quadratic model."""
        return derivatives(self.model, self.drift.functions) if self.model.quadratic else {}

    @cached_property
    def proof(self) -> Proof:
        """The comparison of the programs with integration by parts; raises ProofError if they differ."""
        if self._cubature:
            return prove_cubature(self.model)
        prove_bias(self.model, self.bias_program)
        return prove_fluctuations(self.model, self.program)

    @cached_property
    def proof_record(self) -> Proof:
        return cubature_proof_record(self.model) if self._cubature else fluctuation_proof_record(self.model)

    @cached_property
    def operations(self) -> dict[str, int]:
        """About the floating-point operations of each function."""
        of_noise = cubature_operations if self._cubature else diffusion_operations
        diffusion = of_noise(self.model) if self.model.flow == "sgd" else 0
        rhs = rhs_operations(self.model, self.drift.functions, diffusion)
        if not self.derivatives:
            return {"rhs": rhs, "diffusion": diffusion}
        with_bias = rhs + diffusion + bias_operations(self.model, self.derivatives)
        return {"rhs": rhs, "diffusion": diffusion, "rhs_with_bias": with_bias}

    @cached_property
    def python(self) -> str:
        """The Numba module, odes.py."""
        if self._cubature:
            diffusion = cubature_function(self.model)
        elif self.model.flow == "sgd":
            diffusion = diffusion_function(self.model, self.program)
        else:
            diffusion = no_diffusion()
        bias: list[str] = []
        if self.derivatives:
            bias = bias_functions(self.model, self.derivatives, self.bias_program)
        return fluctuation_module(self.model, self.drift.functions, diffusion, bias)

    @cached_property
    def latex(self) -> str:
        """The document odes.tex."""
        return fluctuation_document(self.model)

    @property
    def facts(self) -> dict[str, Any]:
        return {"operations": self.operations}

    def text_of(self, stage: str) -> str:
        one_of("stage", stage, STAGES)
        # The document has the equations, and the code has the statements of the program.
        return self.latex if stage in ("equations", "latex") else self.python
