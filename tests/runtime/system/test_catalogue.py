"""The list of derived systems shows the broken ones as well."""

from __future__ import annotations

import json

import pytest

import derive
from runtime import InputError
from runtime.system.catalogue import system_line, systems


@pytest.fixture
def generated(tmp_path):
    for p, pstar in ((3, 2), (1, 1)):
        derive.overlap_odes(derive.Model(p, pstar)).write(tmp_path)
    return tmp_path


def test_systems_in_the_order_of_their_names(generated):
    first, second = systems(generated)
    assert (first["name"], second["name"]) == ("p1_pstar1", "p3_pstar2")
    assert second["model"] == derive.Model(3, 2).to_dict()
    assert second["state_size"] == 12
    assert second["proof"] == "polynomial identity"
    assert second["operations"] > first["operations"] > 0
    assert second["folder"] == str(generated / "p3_pstar2")
    json.dumps([first, second])


def test_broken_systems_are_listed_with_their_problem(generated):
    (generated / "p1_pstar1" / "odes.py").write_text("")
    (generated / "empty").mkdir()
    empty, broken, whole = systems(generated)
    assert "manifest.json is missing" in empty["problem"]
    assert "edited or damaged" in broken["problem"]
    assert "problem" not in whole
    assert "PROBLEM" in system_line(broken)
    assert "edited or damaged" in system_line(broken)


def test_files_and_hidden_folders_are_not_systems(generated):
    (generated / "notes.txt").write_text("mine")
    (generated / ".p4_pstar2.tmp").mkdir()
    (generated / "__pycache__").mkdir()
    assert len(systems(generated)) == 2


def test_lines_are_aligned(generated):
    lines = [system_line(entry) for entry in systems(generated)]
    assert all("order parameters" in text and "\n" not in text for text in lines)
    assert len({text.index("order parameters") for text in lines}) == 1


def test_nothing_derived_yet(tmp_path):
    assert systems(tmp_path) == []
    assert systems(tmp_path / "nowhere") == []


def test_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a folder") as caught:
        systems(tmp_path / "file")
    assert caught.value.option == "generated"


@pytest.mark.parametrize("proof", [None, "", {}])
def test_manifest_without_proof_is_a_problem(generated, proof):
    path = generated / "p1_pstar1" / "manifest.json"
    content = json.loads(path.read_text())
    content["proof"] = proof
    path.write_text(json.dumps(content))
    assert "problem" in systems(generated)[0]
