"""The choice of vectors, and the machine code that comes out of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import llvmlite.binding as llvm
import pytest
from llvmlite import ir
from vector_code import Programs, compile_function, random_lanes

from derive import Model
from runtime import InputError
from runtime.ensemble.kernels.compiled_kernels import KERNELS, SystemKernels, compile_kernels
from runtime.ensemble.kernels.form_by_size import FORMS
from runtime.trajectory.tableaux import TABLEAUX
from runtime.vector import jit
from runtime.vector.jit import CompiledModule

FEATURES = {"avx512": "avx512f", "avx2": "avx2", "baseline": None}
WRITERS = ("write_states", "write_losses", "write_both")
INNER = ("inner_rhs", "inner_loss", *WRITERS)
X86 = llvm.get_process_triple().startswith("x86_64")
WIDTHS = {"unrolled": (4, 2), "written out": (6, 3), "looped": (12, 6)}


def target_of(kind: str) -> jit.Target:
    """The target of this name; skips the test where the processor lacks it."""
    if not X86:
        pytest.skip("the names of vector registers are those of x86-64")
    feature = FEATURES[kind]
    if feature is not None and not llvm.get_host_cpu_features().get(feature):
        pytest.skip(f"this processor has no {feature}")
    target = jit.target(kind)
    assert target.name == kind
    return target


@pytest.fixture
def pretend(monkeypatch) -> Callable[..., None]:
    """Make this processor look like one with these features only, or like another architecture."""

    def set_processor(*features: str, triple: str = "x86_64-unknown-linux-gnu") -> None:
        present = llvm.targets.FeatureMap({name: name in features for name in ("fma", "avx2", "avx512f")})
        monkeypatch.setattr(jit.llvm, "get_host_cpu_features", lambda: present)
        monkeypatch.setattr(jit.llvm, "get_process_triple", lambda: triple)

    monkeypatch.delenv(jit.ENVIRONMENT, raising=False)
    return set_processor


# The choice.


def test_widest_that_the_processor_has(pretend):
    pretend("fma", "avx2", "avx512f")
    widest = jit.target()
    assert (widest.name, widest.lanes, widest.fma) == ("avx512", 8, True)
    # LLVM would use half the vector on some processors.
    assert "-prefer-256-bit" in widest.features.split(",")
    pretend("fma", "avx2")
    assert (jit.target().name, jit.target().lanes, jit.target().fma) == ("avx2", 4, True)
    # Not without fused multiply-adds, which LLVM would replace with calls of the C library.
    for features in ((), ("avx2",), ("avx2", "avx512f")):
        pretend(*features)
        assert (jit.target().name, jit.target().fma) == ("baseline", False)


def test_restriction_to_what_is_not_there_takes_the_next(pretend):
    pretend("fma", "avx2")
    assert jit.target("avx512").name == "avx2"
    pretend()
    assert jit.target("avx512").name == jit.target("avx2").name == "baseline"


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin23.0.0"])
def test_arm(pretend, triple):
    pretend(triple=triple)
    target = jit.target()
    assert (target.name, target.fma) == ("neon", True)
    assert target.lanes % 2 == 0


def test_unknown_architecture_has_a_baseline(pretend):
    pretend(triple="riscv64-unknown-linux-gnu")
    assert (jit.target().name, jit.target().fma) == ("baseline", False)


@pytest.mark.parametrize("kind", FEATURES)
def test_environment_variable_restricts(monkeypatch, kind):
    target_of(kind)
    monkeypatch.setenv(jit.ENVIRONMENT, kind)
    assert jit.target().name == kind
    # What the caller asks for counts more.
    assert jit.target("baseline").name == "baseline"


def test_empty_environment_variable_does_not_restrict(monkeypatch):
    monkeypatch.delenv(jit.ENVIRONMENT, raising=False)
    widest = jit.target()
    monkeypatch.setenv(jit.ENVIRONMENT, "")
    assert jit.target() == widest


@pytest.mark.parametrize("value", ["AVX2", "sse", "avx-512", "none"])
def test_unknown_restriction_is_an_error(monkeypatch, value):
    with pytest.raises(InputError, match=value):
        jit.target(value)
    monkeypatch.setenv(jit.ENVIRONMENT, value)
    with pytest.raises(InputError, match=value):
        jit.target()


# The machine code.


def functions(assembly: str) -> dict[str, list[str]]:
    """Instructions by function, from the text that LLVM prints."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in assembly.splitlines():
        if label := re.fullmatch(r"([a-z_]\w*):.*", line):
            name = label[1]
        elif name and re.match(r"\t[a-z]", line):
            found.setdefault(name, []).append(line.strip())
    return found


def matching(pattern: str, code: list[str]) -> list[str]:
    return [line for line in code if re.match(pattern, line)]


@pytest.fixture(params=itertools.product(FEATURES, WIDTHS), ids="-".join, scope="module")
def machine_code(request) -> tuple[str, dict[str, list[str]]]:
    """Kind of vectors and functions of a compiled module."""
    kind, way = request.param
    kernels = compile_kernels(Model(*WIDTHS[way]), "dop853", target_of(kind))
    found = functions(kernels.compiled.assembly())
    assert set(found) == {*INNER, *KERNELS}
    return kind, found


def test_only_vector_arithmetic(machine_code):
    kind, code = machine_code
    register = {"avx512": "zmm", "avx2": "ymm", "baseline": "xmm"}[kind]
    for name in (*INNER, "start", "advance", "watch", "commit", "dense", "evaluate"):
        packed = matching(r"v?(f[n]?m(add|sub)\w*|add|sub|mul|div)pd\b", code[name])
        # Arithmetic of one number at a time: none. Loads of one number to all lanes are fine.
        assert not matching(r"v?(f[n]?m(add|sub)\w*|add|sub|mul|div|sqrt)sd\b", code[name])
        assert packed or name == "commit"
        assert all(register in line for line in packed)


def test_fused_multiply_adds_dominate(machine_code):
    kind, code = machine_code
    fused = {name: len(matching(r"vfn?m(add|sub)\w*pd\b", code[name])) for name in code}
    if kind == "baseline":
        assert not any(fused.values())
        return
    rest = {name: len(matching(r"v(add|sub|mul|div)pd\b", code[name])) for name in code}
    assert fused["inner_rhs"] > 1.5 * rest["inner_rhs"]
    assert fused["inner_loss"] > rest["inner_loss"]


def test_no_wider_registers_than_allowed(machine_code):
    kind, code = machine_code
    text = "\n".join(itertools.chain.from_iterable(code.values()))
    assert ("zmm" in text) == (kind == "avx512")
    assert ("ymm" in text) == (kind in ("avx512", "avx2"))


def test_no_library_calls_in_the_arithmetic(machine_code):
    kind, code = machine_code
    lines = list(itertools.chain.from_iterable(code.values()))
    # Far calls load the address first: movabsq $name, %register.
    called = {match[1] for line in lines if (match := re.match(r"movabsq\s+\$([A-Za-z_]\w*)", line))}
    called -= {*INNER, *KERNELS}
    # Whole arrays may be copied; rounding down came with SSE 4.1, and is done once a step.
    assert called <= {"memcpy", *(["floor"] if kind == "baseline" else [])}


def test_two_vectors_a_step_for_small_systems():
    target = target_of("avx512")
    kernels = compile_kernels(Model(1, 1), "tsit5", target)
    assert kernels.lanes == 2 * target.lanes
    code = functions(kernels.compiled.assembly())["inner_rhs"]
    assert all("zmm" in line for line in matching(r"v\w+pd\b", code))


def test_lanes_are_whole_vectors_in_arm_code():
    """Without an ARM processor: the same text, compiled for one."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = jit.Target("neon", 4, True, "", "")
    module = SystemKernels(Model(4, 2), TABLEAUX["tsit5"], target).module
    module.triple = "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(module.triple).create_target_machine(opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    code = functions(machine.emit_assembly(parsed))
    assert len(matching(r"fml[as]\s+v\d+\.2d", code["inner_rhs"])) > 100
    assert not matching("bl", code["inner_rhs"])


# The same numbers.


@pytest.mark.parametrize("form", FORMS)
def test_all_fused_vectors_give_the_same_bits(form):
    wide, narrow = target_of("avx512"), target_of("avx2")
    model = Model(5, 3, constraint="sphere", teacher="general")
    states, parameters = random_lanes(model, wide.lanes, seed=8)
    narrow_code, wide_code = (Programs(model, target, form) for target in (narrow, wide))
    for name in ("rhs", "loss"):
        together = wide_code(name, states, parameters)
        for first in range(0, wide.lanes, narrow.lanes):
            part = slice(first, first + narrow.lanes)
            half = narrow_code(name, states[part], parameters[part])
            assert half.tobytes() == together[part].tobytes()


def test_the_optimizer_does_not_reorder():
    """(x + y) − y is not x: sums are in the order of the program."""
    target = jit.target()

    def emit(vector):
        source, result = vector.arguments
        x, y = vector.load(source, 0), vector.load(source, 1)
        vector.store(vector.subtract(vector.add(x, y), y), result)

    compiled = compile_function(target, 2, emit)
    code = functions(compiled.assembly())["f"]
    assert len(matching(r"v?(add|sub)pd|fadd|fsub", code)) >= 2


def test_damaged_code_is_rejected():
    module = ir.Module("test")
    function = ir.Function(module, ir.FunctionType(ir.IntType(64), []), "f")
    ir.IRBuilder(function.append_basic_block())
    with pytest.raises(RuntimeError):
        CompiledModule(module, jit.target())
