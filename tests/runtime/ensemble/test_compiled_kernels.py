"""The text of the vector kernels, as `cli derive --show llvm` prints it."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from derive import Model
from runtime import InputError
from runtime.ensemble.kernels.compiled_kernels import KERNELS, llvm_text
from runtime.trajectory.tableaux import TABLEAUX
from runtime.vector import jit

MODEL = Model(4, 2)


def test_llvm_reads_the_text_and_finds_every_kernel():
    module = llvm.parse_assembly(llvm_text(MODEL))
    module.verify()
    assert module.triple == llvm.get_process_triple()
    visible = [
        function.name
        for function in module.functions
        if not function.is_declaration and function.linkage == llvm.Linkage.external
    ]
    assert sorted(visible) == sorted(KERNELS)


def test_text_is_that_of_the_method_and_of_the_vectors(monkeypatch):
    assert len({llvm_text(MODEL, method) for method in TABLEAUX}) == len(TABLEAUX)
    monkeypatch.setenv(jit.ENVIRONMENT, "baseline")
    machine, text = jit.target(), llvm_text(MODEL)
    heading = f"; p4_pstar2 with prince8: {machine.lanes} trajectories at once ({machine.name}).\n"
    assert text.startswith(heading)
    assert ("llvm.fma" in text) == machine.fma


def test_unknown_method():
    with pytest.raises(InputError, match="'rk4' is not one of prince8, dop853, tsit5"):
        llvm_text(MODEL, "rk4")
