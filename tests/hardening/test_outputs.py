"""Outputs of every command are tried before any work, all of them, and refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Commands with what they need besides, and the types of --out; the others have no output.
SINGLE = {
    "integrate": ("", ".nc"),
    "ensemble": ("", ".nc"),
    "simulate": ("", ".nc"),
    "compare": ("", ".nc"),
    "sector": ("", ".nc"),
    "fluctuations": ("", ".nc"),
    "hessian": ("--along run.nc", ".nc"),
    "plateau": ("", ".nc"),
    "bias": ("", ".nc"),
    "escape": ("", ".nc"),
    "invariants": ("--monitor run.nc", ".nc"),
    "report": ("", ".html"),
    "latex": ("", ".tex"),
    "merge": ("sweep", ".nc"),
}
WITHOUT_PLOT = ("invariants", "latex", "merge", "report")


def refused(call, folder: Path, line: str, option: str, words: str) -> None:
    before = sorted(folder.rglob("*"))
    code, out, err = call(line)
    assert (code, out) == (2, "")
    assert err.startswith(f"cli: {option}: ")
    assert words in err
    assert err.count("\n") == 1
    # Nothing was derived either: the output comes first.
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", SINGLE)
def test_a_link_that_leads_nowhere_is_refused_before_the_work(call, tmp_path, command):
    more, suffix = SINGLE[command]
    (tmp_path / f"gone{suffix}").symlink_to(f"nowhere/file{suffix}")
    refused(call, tmp_path, f"{command} {more} --out gone{suffix}", "--out", "not an existing folder")
    if command not in WITHOUT_PLOT:
        (tmp_path / "gone.png").symlink_to("gone.png")
        line = f"{command} {more} --out fine{suffix} --plot gone.png"
        refused(call, tmp_path, line, "--plot", "leads nowhere")


@pytest.mark.parametrize("command", [name for name in SINGLE if name not in WITHOUT_PLOT])
def test_two_outputs_that_are_one_file_are_refused(call, tmp_path, command):
    more, suffix = SINGLE[command]
    (tmp_path / f"link{suffix}").symlink_to("file.png")
    line = f"{command} {more} --out link{suffix} --plot file.png"
    refused(call, tmp_path, line, "--plot", "is also the file of --out")


def test_every_figure_of_a_reproduction_is_tried_first(call, tmp_path):
    (tmp_path / "figures" / "simulation.png").mkdir(parents=True)
    refused(call, tmp_path, "reproduce --out figures", "--out", "simulation.png is a folder")
    (tmp_path / "gone").symlink_to("nowhere")
    refused(call, tmp_path, "reproduce --out gone", "--out", "cannot be made")


def test_an_interrupted_reproduction_leaves_no_empty_folder(call, tmp_path, monkeypatch):
    from runtime.analysis.reproduction import all_claims

    def interrupted(_settings):
        assert (tmp_path / "figures").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(all_claims, "STUDIES", {"plateau": interrupted})
    code, _, err = call("reproduce --out figures --quiet")
    assert (code, err) == (130, "cli: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["derive --p 2 --pstar 1", "derive --sector", "integrate --alpha 1"])
def test_a_folder_of_systems_that_cannot_be_made_is_refused_before_the_proof(
    call, tmp_path, monkeypatch, line
):
    def prove(*_):
        raise AssertionError("the proof came first")

    monkeypatch.setattr("derive.pipeline.prove", prove)
    monkeypatch.setattr("derive.sector.sector_pipeline.prove_sector", prove)
    (tmp_path / "gone").symlink_to("gone")
    refused(call, tmp_path, f"{line} --generated gone", "--generated", "")
    (tmp_path / "file").write_text("mine")
    refused(call, tmp_path, f"{line} --generated file", "--generated", "")


@pytest.mark.parametrize(("link", "target"), [("gone", "nowhere"), ("gone", "gone"), ("x" * 300, None)])
def test_a_sweep_is_not_begun_where_no_folder_can_be(call, tmp_path, link, target):
    if target is not None:
        (tmp_path / link).symlink_to(target)
    refused(call, tmp_path, f"sweep --p 1 --pstar 1 --eta 0.1,0.2 --out {link}", "--out", "")


@pytest.mark.parametrize("out", ["folder", "folder/runs"])
def test_a_sweep_does_not_follow_links_of_others(call, tmp_path, out):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    tmp_path.chmod(0o1777)
    try:
        os.lchown(tmp_path / "folder", 12345, 12345)
    except OSError:
        pytest.skip("needs root")
    line = f"sweep --p 1 --pstar 1 --eta 0.1,0.2 --out {out}"
    refused(call, tmp_path, line, "--out", "is a symbolic link of another user")
