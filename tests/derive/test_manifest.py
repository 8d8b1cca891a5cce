"""The manifest vouches for the files, and the files are the same everywhere."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import derive
from derive import VERSION, Model, overlap_odes, proof
from derive.emit import numba_module
from derive.program import expand, operation_count

ROOT = Path(derive.__file__).parent.parent
REFERENCE = ROOT / "generated" / "p4_pstar2"
HASH_SEEDS = ("0", "1", "12345")
MODELS = [
    Model(4, 2),
    Model(2, 3, "sphere", "gradient", "general", "sqrt"),
    Model(3, 2, "sphere", "sgd", "orthonormal", "sum"),
    Model(12, 5, "sphere", "sgd", "general"),
]
GENERATE = """
import hashlib, json, sys
from derive import Model, overlap_odes
for options in json.loads(sys.argv[1]):
    for name, text in overlap_odes(Model(**options)).files().items():
        print(name, hashlib.sha256(text.encode()).hexdigest())
"""


def by_name(model):
    return model.name


def content(model):
    return json.loads(overlap_odes(model).files()["manifest.json"])


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_digests_are_those_of_the_files(model):
    files = overlap_odes(model).files()
    recorded = json.loads(files["manifest.json"])["files"]
    assert list(files) == ["odes.py", "odes.tex", "manifest.json"]
    assert set(recorded) == {"odes.py", "odes.tex"}
    for name, digest in recorded.items():
        assert digest == hashlib.sha256(files[name].encode()).hexdigest()


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_model_state_and_proof_are_recorded(model):
    found = content(model)
    assert found["name"] == model.name
    assert Model.from_dict(found["model"]) == model
    assert found["state"] == list(model.state)
    assert found["parameters"] == list(model.parameters)
    assert found["proof"] == overlap_odes(model).proof.to_dict()
    assert found["proof"]["compared"] == model.state_size + 1
    small = proof.component_products(model) <= proof.POLYNOMIAL_BUDGET
    assert found["proof"]["method"] == ("polynomial identity" if small else "random points")


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_operations_are_those_of_the_expansion(model):
    found = content(model)
    for name, program in numba_module.programs(model).items():
        count = sum(x.operations for s in program.statements for x in expand(program, s))
        assert found["operations"][name] == count
        form = "unrolled" if operation_count(program) <= numba_module.UNROLL_BUDGET else "loops"
        assert found["code"][name] == form
    assert set(found["operations"]) == set(found["code"]) == {"rhs", "loss", "tangent"}


def test_both_forms_of_code_occur():
    assert set(content(MODELS[0])["code"].values()) == {"unrolled"}
    assert "loops" in content(MODELS[-1])["code"].values()


def test_the_generator_is_recorded_by_its_version_alone():
    """A changed comment in its source changes no generated folder."""
    assert content(Model(1, 1))["generator"] == {"name": "overlap-ode", "version": VERSION}


def test_manifest_is_plain_text():
    text = overlap_odes(Model(2, 1)).files()["manifest.json"]
    assert text.isascii()
    assert text.endswith("}\n")
    assert json.loads(text)["format"] == 1


def test_same_bytes_under_any_hash_seed():
    options = json.dumps([model.to_dict() for model in MODELS])
    expected = [
        f"{name} {hashlib.sha256(text.encode()).hexdigest()}"
        for model in MODELS
        for name, text in overlap_odes(model).files().items()
    ]
    for seed in HASH_SEEDS:
        result = subprocess.run(
            [sys.executable, "-c", GENERATE, options],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert result.stdout.splitlines() == expected


def test_committed_reference_is_what_the_generator_writes():
    if not REFERENCE.is_dir():
        pytest.fail(f"{REFERENCE} is missing: write it with `cli derive --p 4 --pstar 2` and commit it")
    files = overlap_odes(Model(4, 2)).files()
    present = {path.name for path in REFERENCE.iterdir() if path.is_file()}
    assert present == set(files)
    for name, text in files.items():
        same = (REFERENCE / name).read_bytes() == text.encode()
        assert same, f"{name} is stale: regenerate with `cli derive --p 4 --pstar 2` and commit it"
