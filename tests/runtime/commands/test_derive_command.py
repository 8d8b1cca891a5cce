"""`cli derive`, `cli latex` and `cli list`: what they print and write, and systems that are damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import derive

ROOT = Path(__file__).parents[3]


def test_derive_prints_the_folder_and_writes_it(call, tmp_path):
    code, out, err = call("derive --p 2 --pstar 1")
    assert (code, out) == (0, "generated/p2_pstar1\n")
    assert "two derivations agree" in err
    written = {path.name for path in (tmp_path / "generated" / "p2_pstar1").iterdir()}
    assert written == {"odes.py", "odes.tex", "manifest.json"}
    assert {path.name for path in (tmp_path / "generated").iterdir()} == {"p2_pstar1"}


def test_derive_takes_every_option_and_speaks_json(call):
    line = "derive --p 2 --pstar 3 --constraint sphere --flow gradient --teacher general --readout sqrt"
    code, out, err = call(f"{line} --json --quiet")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["folder"] == "generated/p2_pstar3_sphere_gradient_general_sqrt"
    assert facts["proof"]["method"] == "polynomial identity"
    assert facts["model"]["readout"] == "sqrt"


@pytest.mark.parametrize("sector", ["", " --sector"])
def test_stages_are_printed_and_nothing_is_written(call, tmp_path, sector):
    files = derive.sector_odes(derive.SectorModel(2)) if sector else derive.overlap_odes(derive.Model(4, 2))
    for stage, name in (("python", "odes.py"), ("latex", "odes.tex")):
        assert call(f"derive{sector} --show {stage}") == (0, files.files()[name], "")
    code, out, _ = call(f"derive{sector} --show equations")
    assert code == 0
    assert "dR/dalpha = (-kappa s - decay) R - 2 kappa Y\n" in out
    code, out, _ = call(f"derive{sector} --show program --flow gradient")
    assert code == 0
    assert "\nkappa = 2 a eta\n" in out
    assert "label_noise" not in out.partition("kappa")[2]
    assert list(tmp_path.iterdir()) == []


def test_vector_code_is_a_stage_too(call):
    code, out, _ = call("derive --p 2 --pstar 1 --show llvm")
    assert code == 0
    assert "; p2_pstar1 with prince8" in out
    assert "define" in out


def test_latex_for_any_widths_and_for_given_ones(call, tmp_path):
    symbolic = call("latex")
    assert symbolic[0] == 0
    assert r"\frac{1}{p^*}" in symbolic[1]
    given = call("latex --p 4 --pstar 2 --form components --what loss")
    assert given[1] == derive.overlap_odes(derive.Model(4, 2)).latex("components", "loss")
    expanded = call("latex --form expanded --no-definitions --second-layer fixed")
    assert expanded[1] == derive.latex_for_any_widths(
        form="expanded", definitions=False, second_layer="fixed"
    )
    code, out, _ = call("latex --what jacobian --out jacobian.tex")
    assert (code, out) == (0, "")
    assert (tmp_path / "jacobian.tex").read_text() == derive.latex_for_any_widths("jacobian")


def test_list_shows_systems_and_problems(call, tmp_path):
    derive.overlap_odes(derive.Model(1, 1)).write(tmp_path / "here")
    derive.overlap_odes(derive.Model(2, 1)).write(tmp_path / "here")
    with (tmp_path / "here" / "p2_pstar1" / "odes.tex").open("a") as file:
        file.write("edited")
    code, out, _ = call("list --generated here")
    good, bad = out.splitlines()
    assert code == 0
    assert re.match(r"p1_pstar1 +2 order parameters", good)
    assert "PROBLEM" in bad
    assert "cli derive --p 2 --pstar 1" in bad
    entries = json.loads(call("list --json --generated here")[1])
    assert [("problem" in entry) for entry in entries] == [False, True]
    assert call("list --generated nothing")[0] == 0


def test_derive_imports_no_compiler(tmp_path):
    """Deriving must be quick from a cold start: no Numba, SciPy or xarray."""
    code = (
        "import sys, cli; cli.run(['derive', '--p', '1', '--pstar', '1', '--quiet']);"
        "print(sorted({'numba', 'scipy', 'xarray', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("damage", ["edited", "emptied", "missing", "other version", "no manifest"])
def test_damaged_systems_are_not_run_and_the_remedy_works(call, tmp_path, damage):
    folder = derive.overlap_odes(derive.Model(1, 1)).write(tmp_path / "generated")
    manifest = folder / "manifest.json"
    if damage == "edited":
        module = folder / "odes.py"
        module.write_text(module.read_text().replace("s_1 =", "s_1 = 2.0 *", 1))
    elif damage == "emptied":
        manifest.write_text("")
    elif damage == "missing":
        (folder / "odes.tex").unlink()
    elif damage == "other version":
        manifest.write_text(manifest.read_text().replace(f'"{derive.VERSION}"', '"0.0.1"'))
    else:
        manifest.unlink()
    code, out, err = call("integrate --p 1 --pstar 1 --eta 0.1 --alpha 1 --out run.nc")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "regenerate with `cli derive" in err
    assert not (tmp_path / "run.nc").exists()
    assert call("derive --p 1 --pstar 1")[0] == 0
    assert call("integrate --p 1 --pstar 1 --eta 0.1 --alpha 1")[0] == 0
