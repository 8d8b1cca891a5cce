"""`cli plateau`: the table, JSON, files and figure over learning rates, and how it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray

from runtime.analysis.plateau.plateau_curve import plateau


def test_table_of_given_learning_rates(call, generated):
    code, out, err = call(f"plateau --eta 0.4,1.3 --generated {generated}")
    assert (code, err) == (0, "1 of 2 learning rates have no plateau\n")
    rows = [line.split() for line in out.splitlines()]
    # The numbers of the paper's conventions, item 2 of the claims; above 1.2 the norms run away.
    assert rows[1] == ["0.4", "0.763932", "0.673762", "0.17082", "8", "yes"]
    assert rows[2] == ["1.3", "-", "-", "-", "0", "no", "plateau"]
    assert out.splitlines()[-2:] == [
        "largest eta with a plateau that attracts at R = 0: 1.2",
        "largest eta at which SGD escapes from it: 1.2",
    ]


def test_json_is_that_of_the_library(call, generated, interpreted):
    options = (
        "--eta 0.1,0.3 --weight-decay 0.05 --batch 2 --second-layer fixed --student-weights 1,0.5,-1,2"
    )
    code, out, _ = call(f"plateau {options} --json --generated {generated}")
    result = json.loads(out)
    assert code == 0
    one, weights = interpreted(4, 2, second_layer="fixed"), [1.0, 0.5, -1.0, 2.0]
    expected = plateau(one, [0.1, 0.3], weight_decay=0.05, batch=2, student_weights=weights)
    for name in ("q", "loss", "rate", "norm", "multiplicity", "stable", "student_weights"):
        np.testing.assert_allclose(result[name], expected[name].values, rtol=1e-13)
    assert result["attributes"]["batch"] == 2
    assert result["attributes"]["largest_eta_plateau"] == pytest.approx(
        expected.attrs["largest_eta_plateau"], rel=1e-12
    )


def test_curve_up_to_the_largest_eta_with_a_figure(call, generated, tmp_path):
    line = "plateau --p 3 --label-noise 2 --out plateau.nc --plot plateau.svg"
    code, out, err = call(f"{line} --generated {generated}")
    assert (code, err.splitlines()) == (0, ["wrote plateau.nc", "wrote plateau.svg"])
    assert len(out.splitlines()) == 1 + 11 + 2
    with xarray.open_dataset(tmp_path / "plateau.nc") as curve:
        assert curve["eta"].values[-1] == pytest.approx(curve.attrs["largest_eta_plateau"], rel=1e-8)
        assert curve.sizes["eta"] == 24
        assert np.all(np.isfinite(curve["loss"]))
        # With so much label noise the plateau attracts before it ends.
        assert curve.attrs["largest_eta_escape"] < 0.95 * curve.attrs["largest_eta_plateau"]
        assert curve["rate"].values[0] > 0.0 > curve["rate"].values[-1]
    text = (tmp_path / "plateau.svg").read_text()
    # A curve in each panel, and a line at each end in each panel and in the legend.
    assert len(re.findall(r"stroke: #0072b2", text)) == 3
    dashes = re.findall(r"stroke-dasharray: ([\d., ]+); stroke-dashoffset", text)
    assert len(dashes) == 8
    assert len(set(dashes)) == 2


def test_students_with_different_norms_have_a_curve_each(call, generated, tmp_path):
    line = "plateau --p 2 --second-layer fixed --student-weights 1,2 --eta 0.1,0.2 --plot a.svg --quiet"
    code, _, _ = call(f"{line} --generated {generated}")
    assert code == 0
    text = (tmp_path / "a.svg").read_text()
    # Curves of norms, loss and rate, with a key in the legend; each with a marker.
    assert text.count("fill: none; stroke: #d55e00") == 2
    assert text.count("fill: none; stroke: #0072b2") == 4


def test_gradient_flow_and_the_sphere(call, generated):
    code, out, _ = call(f"plateau --flow gradient --generated {generated}")
    assert code == 0
    assert out.splitlines()[-2:] == [
        "no largest eta with a plateau that attracts at R = 0",
        "no largest eta at which SGD escapes from it",
    ]
    code, out, _ = call(f"plateau --constraint sphere --q0 1 --eta 0.5 --json --generated {generated}")
    result = json.loads(out)
    assert (code, result["loss"]) == (0, [pytest.approx(0.75)])
    assert result["attributes"]["largest_eta_plateau"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--eta 0.2,0.1", "--eta: needs ascending learning rates: 0.1,0.2,0.4"),
        ("--eta 0", "--eta: 0.0 is not a finite number greater than 0"),
        ("--eta ,", "--eta: '' is not a finite number"),
        ("--q0 2", "--q0: needs --constraint sphere: free norms follow from the plateau"),
        ("--constraint sphere --q0 -1", "--q0: -1.0 is not a finite number greater than 0"),
        (
            "--second-layer trained --eta-second 1",
            "--second-layer: 'trained': there is no plateau, the second",
        ),
        ("--plot a.gif", "--plot: 'a.gif' does not end in .png"),
        ("--weight-decay -1", "--weight-decay: -1.0 is not a finite number of at least 0"),
        ("--student-weights 1,1,1,1", "--student-weights: is not a parameter of p4_pstar2"),
    ],
)
def test_refusals(call, tmp_path, line, message):
    code, out, err = call(f"plateau {line}")
    assert (code, out) == (2, "")
    assert err.startswith(f"cli: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_plateau_at_any_eta(call, generated):
    code, out, err = call(f"plateau --flow gradient --weight-decay 9 --generated {generated}")
    assert (code, out) == (2, "")
    assert err == ("cli: --weight-decay: 9 leaves no plateau, the norms of the students shrink to zero\n")
