"""`cli reproduce`: claims that can fail, figures that come out the same."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from matrix import matrix

import cli
from runtime.analysis.claims import Claim, claims_table
from runtime.analysis.reproduction import (
    all_claims,
    conservation_claim,
    decay_claim,
    escape_claim,
    hessian_claim,
    plateau_claim,
)
from runtime.analysis.reproduction.studies import Reproduction
from runtime.sgd import comparison


@pytest.fixture
def narrow(monkeypatch):
    """Widths whose equations compile quickly."""
    # The theory at order 1/N is left out of the comparison.
    monkeypatch.setattr(comparison, "predicted", lambda *_: {})
    monkeypatch.setattr(plateau_claim, "_WIDTHS", (2, 4))
    monkeypatch.setattr(escape_claim, "_QUICK_WIDTHS", (2, 4))
    monkeypatch.setattr(hessian_claim, "_WIDTHS", ((1, 1), (2, 2), (4, 2)))


@pytest.fixture
def two_studies(monkeypatch, narrow):  # noqa: ARG001
    """Those that take seconds."""
    monkeypatch.setattr(all_claims, "STUDIES", {"decay": decay_claim.study, "hessian": hessian_claim.study})


def claim(measured: float, allowed: float = 0.5) -> Claim:
    return Claim("name", "a sentence", 1.0, measured, 0.1, allowed)


@pytest.mark.parametrize(("measured", "holds"), [(1.5, True), (0.5, True), (1.6, False), (np.nan, False)])
def test_verdicts(measured, holds):
    assert claim(measured).holds is holds
    assert claim(measured).to_dict()["verdict"] == ("holds" if holds else "fails")


def test_not_a_number_is_null():
    assert claim(np.nan).to_dict()["measured"] is None
    json.dumps(claim(np.inf).to_dict(), allow_nan=False)


def test_table_names_failures():
    text = claims_table([claim(1.0), claim(3.0)]).as_text()
    assert text.count("FAILS") == 1
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("widths", ["narrow", matrix("all")])
def test_all_claims_hold(tmp_path, generated, capsys, request, monkeypatch, widths):
    if widths == "narrow":
        request.getfixturevalue(widths)
        monkeypatch.setattr(all_claims, "FORMATS", (".png",))
    options = ["--quick", "--quiet", "--generated", str(generated)]
    code = cli.run(["reproduce", *options, "--out", str(tmp_path / "figures")])
    assert code == 0, capsys.readouterr().out
    assert len(all_claims.STUDIES) >= 6
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"claims.json"} | {
        f"{name}{suffix}" for name in all_claims.STUDIES for suffix in all_claims.FORMATS
    }


def test_a_claim_is_about_what_its_figure_shows(generated):
    """The largest change that is drawn is the one that is judged."""
    study = conservation_claim.study(Reproduction(True, 1, generated))
    figure = study.drawing.figure()
    *curves, allowed = figure.axes[0].lines
    judged = [claim for claim in study.claims if claim.name.endswith("is_conserved")]
    assert len(curves) == len(judged) == 2
    for curve, claim in zip(curves, judged, strict=True):
        assert max(curve.get_ydata()) == claim.measured < claim.allowed == allowed.get_ydata()[0]
        assert claim.claim.endswith(f"alpha to {curve.get_xdata()[-1]:g})")


@pytest.mark.usefixtures("two_studies")
def test_command(tmp_path, generated, capsys):
    arguments = ["reproduce", "--quick", "--quiet", "--generated", str(generated)]
    assert cli.run([*arguments, "--out", str(tmp_path / "one"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "one" / "claims.json").read_text())
    assert written["all_hold"]
    assert written["claims"] == printed
    assert len(printed) == 15
    assert cli.run([*arguments, "--out", str(tmp_path / "two")]) == 0
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"claims.json", "decay.pdf", "decay.png", "hessian.pdf", "hessian.png"}
    for name in names:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name


def test_a_wrong_prediction_fails(monkeypatch, tmp_path, generated, capsys):
    def wrong(reproduction):
        study = decay_claim.study(reproduction)
        changed = tuple(dataclasses.replace(c, prediction=1.05 * c.prediction) for c in study.claims)
        return dataclasses.replace(study, claims=changed)

    monkeypatch.setattr(all_claims, "STUDIES", {"decay": wrong})
    options = ["--quick", "--quiet", "--generated", str(generated), "--out", str(tmp_path / "out")]
    assert cli.run(["reproduce", *options]) == 1
    assert capsys.readouterr().out.count("FAILS") == 3
    assert not json.loads((tmp_path / "out" / "claims.json").read_text())["all_hold"]


@pytest.mark.parametrize("out", ["no/folder", "file"])
def test_folders_that_cannot_be_made(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert cli.run(["reproduce", "--quick", "--out", out]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("cli: --out: ")
    assert len(captured.err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file"}
