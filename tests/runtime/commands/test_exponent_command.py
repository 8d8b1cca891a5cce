"""`cli exponent`: its table, JSON, files and figure, and how it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray


def test_table_and_figure(call, generated, tmp_path):
    line = "exponent --n 100,10000 --plot exponents.svg --out exponents.nc --quiet"
    code, out, err = call(f"{line} --generated {generated}")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split() == ["N", "he1", "he2", "he3"]
    # ηα by artanh ½ − artanh 0.1 and the like.
    assert lines[2].split() == ["100", "0.448971", "0.437063", "0.469387"]
    assert lines[-1] == "he3: information exponent 3, eta alpha of order N^(1/2)"
    text = (tmp_path / "exponents.svg").read_text()
    # A line and its points for each activation.
    for colour in ("#0072b2", "#d55e00", "#009e73"):
        assert len(re.findall(f"stroke: {colour}", text)) >= 1
    with xarray.open_dataset(tmp_path / "exponents.nc") as stored:
        assert stored["exponent"].values.tolist() == [1, 2, 3]
        assert stored.attrs["overlap"] == 0.5
        assert "activation" not in stored.attrs


def test_json_of_other_activations(call, generated):
    code, out, _ = call(
        f'exponent --activation "he2+he3;0,1" --n 400 --overlap 0.9 --json --generated {generated}'
    )
    found = json.loads(out)
    assert code == 0
    assert found["activation"] == ["he2+he3", "he1"]
    assert found["law"] == ["ln N", "1"]
    assert found["scaled_time"][1][0] == pytest.approx(np.arctanh(0.9) - np.arctanh(0.05), rel=1e-8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--activation he3;", "cli: --activation: '' is not quadratic, he1 to he6"),
        ("--n 100,100", "cli: --n: needs ascending dimensions, such as 1000,10000,100000"),
        ("--overlap 0.01 --n 100", "cli: --n: 100: the start 1/√N is not below the overlap 0.01"),
        ("--plot exponents.gif", "cli: --plot:"),
    ],
)
def test_refusals_write_nothing(call, options, line, tmp_path):
    code, out, err = call(f"exponent {options}")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(line)
    assert not list(tmp_path.iterdir())
