"""The manifest vouches for the files, and the files are the same everywhere."""

import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import derive
from derive import VERSION, Model, SectorModel, overlap_odes, proof, sector_odes
from derive.emit import numba_module
from derive.expansion import expand, operation_count
from derive.pipeline import Pipeline

ROOT = Path(derive.__file__).parent.parent
REFERENCE = ROOT / "generated" / "p4_pstar2"
HASH_SEEDS = ("0", "1", "12345")
SYSTEMS = [
    Model(4, 2),
    Model(2, 3, "sphere", "gradient", "general", "sqrt"),
    Model(3, 2, "sphere", "sgd", "orthonormal", "sum"),
    Model(3, 2, second_layer="trained"),
    Model(2, 2, "sphere", "sgd", "general", "mean", "fixed"),
    Model(12, 5, "sphere", "sgd", "general"),
]
SECTORS = [SectorModel(2, readout="sqrt"), SectorModel(3, flow="gradient", readout="sum")]
GENERATE = """
import hashlib, json, sys
from derive import Model, SectorModel, overlap_odes, sector_odes
for sector, options in json.loads(sys.argv[1]):
    odes = sector_odes(SectorModel(**options)) if sector else overlap_odes(Model(**options))
    for name, text in odes.files().items():
        print(name, hashlib.sha256(text.encode()).hexdigest())
"""


@functools.cache
def derived(model):
    return sector_odes(model) if model in SECTORS else overlap_odes(model)


def content(model):
    return json.loads(derived(model).files()["manifest.json"])


@pytest.mark.parametrize("model", [*SYSTEMS, *SECTORS], ids=lambda model: model.name)
def test_files_model_state_and_proof_are_recorded(model):
    files = derived(model).files()
    assert list(files) == ["odes.py", "odes.tex", "manifest.json"]
    assert files["odes.py"].isascii()
    assert files["manifest.json"].isascii()
    assert files["manifest.json"].endswith("}\n")
    found = content(model)
    digests = {name: hashlib.sha256(files[name].encode()).hexdigest() for name in ("odes.py", "odes.tex")}
    assert found["files"] == digests
    assert found["format"] == 1
    assert found.get("kind") == ("sector" if model in SECTORS else None)
    assert found["name"] == model.name
    assert type(model).from_dict(found["model"]) == model
    assert found["state"] == list(model.state) == list(derived(model).state)
    assert found["parameters"] == list(model.parameters)
    assert found["proof"] == derived(model).proof.to_dict()
    # A changed comment in the source of the generator changes no generated folder.
    assert found["generator"] == {"name": "overlap-ode", "version": VERSION}


@pytest.mark.parametrize("model", SYSTEMS, ids=lambda model: model.name)
def test_proof_and_operations_are_those_of_the_program(model):
    found = content(model)
    small = proof.component_products(model) <= proof.POLYNOMIAL_BUDGET
    assert found["proof"]["method"] == ("polynomial identity" if small else "random points")
    assert found["proof"]["compared"] == model.state_size + 1
    for name, program in Pipeline.of(model).functions.items():
        count = sum(x.operations for s in program.statements for x in expand(program, s))
        assert found["operations"][name] == count
        form = "unrolled" if operation_count(program) <= numba_module.UNROLL_BUDGET else "loops"
        assert found["code"][name] == form
    assert set(found["operations"]) == set(found["code"]) == {"rhs", "loss", "tangent"}


def test_both_forms_of_code_occur():
    assert set(content(SYSTEMS[0])["code"].values()) == {"unrolled"}
    assert "loops" in content(SYSTEMS[-1])["code"].values()


def test_versions_differ_in_their_names_alone():
    ours, theirs = (Pipeline.of(Model(2, 1)).texts(version) for version in (VERSION, "99.0"))
    for name in ("odes.py", "odes.tex"):
        assert ours[name] != theirs[name] == ours[name].replace(f"ode {VERSION}:", "ode 99.0:")


def test_same_bytes_under_any_hash_seed():
    models = [*SYSTEMS, *SECTORS]
    options = json.dumps([(model in SECTORS, model.to_dict()) for model in models])
    expected = [
        f"{name} {hashlib.sha256(text.encode()).hexdigest()}"
        for model in models
        for name, text in derived(model).files().items()
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
