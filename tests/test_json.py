"""`--json`: what each command prints is what docs/schema says, in every form that it has."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import xarray
from all_commands import COMMANDS

import cli
from runtime.analysis.claims import Claim
from runtime.output import run_summaries

ROOT = Path(__file__).parent.parent
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs" / "schema").glob("*.json")}
SPEAKING = [name for name, command in COMMANDS.items() if any(p.name == "as_json" for p in command.params)]
SMALL = "--p 2 --pstar 1 --quiet"
FIXED = "--second-layer fixed"
TRAINED = "--second-layer trained --eta-second 0.1"

LINES = [
    "derive --p 2 --pstar 1 --constraint sphere",
    "derive --sector --pstar 1",
    "derive --fluctuations --p 1 --pstar 1",
    "derive --fluctuations --p 1 --pstar 1 --activation he3",
    "derive --fluctuations --p 1 --pstar 1 --flow gradient",
    f"integrate {SMALL} --alpha 0,1 --out run.nc",
    f"integrate {SMALL} --alpha 0,1 --eta 50",
    f"integrate {SMALL} --eta 0.1 --alpha 0,9,99 --stop-loss 0.4",
    f"integrate {SMALL} --alpha 0,1 --teacher general --ideal 0.1 --method scipy:LSODA",
    f"integrate {SMALL} --alpha 1,2 --overlaps run.nc",
    f"integrate {SMALL} --alpha 0,1 {TRAINED} --schedule 0:1,0.5:0.5 --out trained.nc",
    f"integrate {SMALL} --alpha 1,2 {TRAINED} --overlaps trained.nc",
    "sector --p 5 --alpha 0,1 --quiet",
    "sector --p 5 --alpha 0,1 --second-layer fixed --student-weights 2 --schedule inverse:5 --quiet",
    "sector --p 5 --pstar 2 --alpha 0,1 --singular-values 0.1,0.2 --quiet",
    "sector --p 1 --alpha 0,1 --singular-values 0.1 --eta 0.1 --quiet",
    f"fluctuations {SMALL} --alpha 0,1,99 --n 100 --covariance random --bias",
    f"fluctuations {SMALL} --alpha 0,1 {TRAINED} --schedule inverse:5",
    f"fluctuations {SMALL} --alpha 1,2 --overlaps run.nc",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --stop-loss 0.2",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output final",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output loss --ideal 0.1",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output all --stop-loss 0.2 --out runs.nc",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output all {TRAINED} --student-weights random",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 --output final {FIXED} --schedule inverse:5",
    f"ensemble {SMALL} --trajectories 3 --alpha 0,1 {FIXED} --student-weights random --eta 0.1",
    f"simulate {SMALL} --n 50 --trajectories 3 --alpha 0,1",
    f"simulate {SMALL} --n 50 --trajectories 3 --alpha 0,1 {TRAINED} --batch 2 --schedule inverse:5",
    f"simulate {SMALL} --n 50 --trajectories 1 --alpha 0,1 --ideal 0.1 --label-noise 0.1",
    f"compare {SMALL} --n 50,100 --trajectories 20 --alpha 0,1 --eta 0.05",
    f"compare {SMALL} --n 50,100 --trajectories 20 --alpha 1,2 --no-weights --overlaps run.nc",
    f"compare {SMALL} --n 50,100 --trajectories 20 --alpha 0,1 --eta 0.05 {TRAINED} --schedule inverse:5",
    f"plateau {SMALL}",
    f"plateau {SMALL} --eta 0.4 --flow gradient",
    f"plateau {SMALL} --eta 0.1,0.2 --second-layer fixed --student-weights 1,-0.5",
    f"hessian {SMALL}",
    f"hessian {SMALL} {FIXED} --student-weights 1,2 --eta 0.1",
    f"hessian {SMALL} --at solution",
    f"hessian {SMALL} --at start --constraint sphere",
    f"hessian {SMALL} --overlaps run.nc",
    "hessian --along run.nc --quiet",
    f"bias {SMALL} --n 50 --trajectories 3 --alpha 20 --conditions 1,3",
    f"bias {SMALL} --n 50 --trajectories 3 --alpha 20 --conditions 1 --flow gradient",
    "bias --run run.nc --quiet",
    "bias --run runs.nc --quiet",
    f"escape {SMALL} --eta 0.1 --n 1000,10000 --trajectories 20",
    f"escape {SMALL} --n 1000 --trajectories 20 --eta 0.1,0.2",
    f"escape {SMALL} --n 200 --trajectories 8 --eta 0.2 --simulate",
    f"escape {SMALL} --n 1000 --trajectories 20 {FIXED} --student-weights 1,2 --eta 0.1",
    "exponent --activation he2+he3 --n 100 --quiet",
    f"integrate {SMALL} --alpha 0,1 --eta 0.01 --activation he3 --teacher-activation he2",
    f"invariants {SMALL} --degree 0",
    "invariants --p 1 --pstar 1 --flow gradient --degree 3 --quiet",
    "invariants --monitor run.nc --degree 1 --quiet",
    "sweep --p 2 --pstar 1 --seed 0:2 --alpha 1 --quiet --out sweep --dry-run",
    "sweep --p 2 --pstar 1 --seed 0:2 --alpha 1 --quiet --out sweep",
    "sweep --out sweep --status",
    "merge sweep --out sweep.nc",
    f"report {SMALL} --eta 0.1 --alpha 100 --trajectories 0",
    "list",
    "doctor",
]


def allowed_by(name: str, value: object) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(value)


def strictly(text: str) -> object:
    """JSON without the NaN and Infinity that Python's reader would take."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


def test_what_every_command_prints_is_in_its_schema(folder, monkeypatch, capsys):
    """One test: later lines read what earlier ones wrote."""
    monkeypatch.chdir(folder)
    for line in LINES:
        words = line.split()
        code = cli.run([*words, "--json"])
        captured = capsys.readouterr()
        # A run that diverges is printed all the same.
        assert code == int("--eta 50" in line) or words[0] == "compare", (line, captured.err)
        allowed_by(words[0], strictly(captured.out))
    (folder / "generated" / "p2_pstar1" / "odes.tex").unlink()
    assert cli.run(["list", "--json"]) == 0
    entries = strictly(capsys.readouterr().out)
    allowed_by("list", entries)
    assert any("problem" in entry for entry in entries)


def test_claims_are_in_their_schema():
    """`cli reproduce` takes a minute; its --json is this list."""
    claims = [Claim("a", "A.", 1.0, 1.1, 0.1, 0.2), Claim("b", "B.", 1.0, float("nan"), None, 0.2)]
    allowed_by("reproduce", [claim.to_dict() for claim in claims])


def test_every_command_that_speaks_json_has_a_schema_and_a_line_here():
    assert set(SCHEMAS) == set(SPEAKING)
    assert {line.split()[0] for line in LINES} == set(SPEAKING) - {"reproduce"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas_that_describe_everything(name):
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"cli {name} --json"

    def look(part):
        if isinstance(part, dict):
            for key, value in part.get("properties", {}).items():
                described = "description" in value or "const" in value or "properties" in value
                assert described or "items" in value or "oneOf" in value or "$ref" in value, key
            for value in part.values():
                look(value)
        elif isinstance(part, list):
            for value in part:
                look(value)

    look(schema)


def test_schemas_and_tables_are_those_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    regenerate = importlib.import_module("regenerate")
    stale = [path.name for path, text in regenerate.files().items() if path.read_text("utf-8") != text]
    assert not stale, "run: python docs/regenerate.py"


def test_the_page_names_every_command_and_schema():
    page = (ROOT / "docs" / "json.md").read_text()
    for name in SCHEMAS:
        assert f"schema/{name}.json" in page


def test_attributes_that_are_no_numbers_are_null():
    run = xarray.Dataset(attrs={"deviation": np.float64("nan"), "limit": float("inf"), "n": np.int64(3)})
    assert run_summaries.as_json(run) == {"attributes": {"deviation": None, "limit": None, "n": 3}}


def test_a_schema_refuses_what_it_does_not_know():
    entry = [{"name": "a", "folder": "b", "problem": "c", "more": 1}]
    with pytest.raises(jsonschema.ValidationError):
        allowed_by("list", entry)
