"""A model is derived where it has no folder, and a folder is loaded as what it says."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

import runtime
from derive.model import Model
from derive.pipeline import Pipeline
from runtime import LoadError
from runtime.system.loading import load, model_and_manifest

MODEL = Model(2, 1, constraint="sphere")
FILES = ("odes.py", "odes.tex", "manifest.json")


def test_model_is_derived_on_demand_and_then_reused(tmp_path, monkeypatch):
    generated = tmp_path / "new" / "generated"
    first = load(MODEL, generated)
    assert first.folder == generated / "p2_pstar1_sphere"
    assert not first.folder.exists()
    assert first.operations > 0
    before = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert set(before) == set(FILES)

    def must_not_write(pipeline, _):
        raise AssertionError(f"{pipeline.model} written again")

    monkeypatch.setattr(Pipeline, "write", must_not_write)
    again = load(MODEL, str(generated))
    assert (again.folder, again.operations) == (first.folder, first.operations)
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before


def test_models_go_to_generated_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = load(MODEL)
    assert system.folder == Path("generated/p2_pstar1_sphere")
    # The folder is that of the working directory when the system was asked for.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert system.operations > 0
    assert (tmp_path / "generated/p2_pstar1_sphere/manifest.json").is_file()


def test_damaged_folder_of_a_model_is_not_replaced(folder):
    (folder / "odes.py").write_text("mine")
    with pytest.raises(LoadError, match="edited or damaged"):
        load(MODEL, folder.parent).operations  # noqa: B018
    assert (folder / "odes.py").read_text() == "mine"


def test_folder_that_holds_another_model(folder, tmp_path):
    folder.rename(tmp_path / "p2_pstar1")
    with pytest.raises(LoadError, match=r"holds p2_pstar1_sphere; .*`cli derive --p 2 --pstar 1`"):
        load(Model(2, 1), tmp_path).operations  # noqa: B018
    # Under its new name it still is what it says.
    assert load(tmp_path / "p2_pstar1").model == MODEL


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(runtime.InputError, match="generated"):
        load(MODEL, tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a" * 5000, "cannot be read: File name too long"),
        ("nul\0", "cannot be the name of a folder"),
        ("\ud800", "cannot be the name of a folder"),
    ],
    ids=["too long", "null character", "half a surrogate pair"],
)
def test_name_that_the_folder_of_a_model_cannot_have(name, words):
    with pytest.raises(runtime.InputError, match=words) as caught:
        load(MODEL, name)
    assert caught.value.option == "generated"
    assert str(caught.value).isprintable()


def test_describe_gives_model_and_manifest(pristine):
    model, manifest = model_and_manifest(pristine)
    assert model == MODEL
    assert manifest["state"] == list(MODEL.state)


def test_the_same_text_is_imported_once(folder, pristine):
    assert load(folder).module is load(pristine).module
    Q, R = np.eye(2), np.full((2, 1), 0.1)
    for one, other in zip(load(folder).rhs(Q, R, 0.1), load(pristine).rhs(Q, R, 0.1), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("source", [None, 3, object()])
def test_what_is_neither_a_model_nor_a_path_is_refused(source):
    with pytest.raises(runtime.InputError, match="source: is of the type"):
        load(source)


@pytest.mark.parametrize("generated", [None, 3, b"generated"])
def test_a_folder_that_is_no_path_is_refused(generated):
    with pytest.raises(runtime.InputError, match=r"^generated: is of the type .*, not a folder's path$"):
        load(MODEL, generated)


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda system: pickle.loads(pickle.dumps(system))]
)
@pytest.mark.parametrize("source", ["model", "folder"])
def test_a_copy_works_where_it_arrives(source, way, pristine):
    system = load(pristine) if source == "folder" else load(MODEL, pristine.parent)
    Q, R = np.eye(2), np.full((2, 1), 0.1)
    expected = system.rhs(Q, R, 0.1)
    other = way(system)
    assert (other.model, other.folder) == (system.model, system.folder)
    np.testing.assert_equal(other.rhs(Q, R, 0.1), expected)


def test_threads_that_use_systems_first_do_not_wait_for_each_other(tmp_path):
    """While one system is verified, two threads begin with another; the test would hang."""
    slow, system = load(MODEL, tmp_path), load(Model(1, 1), tmp_path)
    verify, entered, go_on = slow._verify, threading.Event(), threading.Event()

    def verify_slowly():
        entered.set()
        go_on.wait()
        return verify()

    slow._verify = verify_slowly
    uses = [
        lambda: slow.module,
        lambda: system.module,
        lambda: system.compiled_rhs,
        lambda: system.compiled_loss,
    ]
    threads = [threading.Thread(target=use, daemon=True) for use in uses]
    for thread in threads:
        thread.start()
        entered.wait()
    go_on.set()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
