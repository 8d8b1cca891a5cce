"""What `cli integrate` prints."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.output.text_tables import as_json, as_table
from runtime.trajectory.single_run import integrate


@pytest.fixture(scope="module")
def failed(system_of):
    """A run that diverged between its outputs."""
    return integrate(
        system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[0.0, 1e-6, 1.0, 2.0]
    )


def test_json_has_everything_and_no_nan(failed):
    content = json.loads(json.dumps(as_json(failed), allow_nan=False))
    assert content["attributes"] == failed.attrs
    assert content["alpha"] == [0.0, 1e-6, 1.0, 2.0]
    assert content["status"] == "diverged"
    assert content["Q"][1] == failed["Q"].values[1].tolist()
    assert content["Q"][2] == [[None, None], [None, None]]
    assert content["loss"][2:] == [None, None]
    assert set(content) == {"attributes", "alpha", *failed.data_vars}


def test_table_shows_both_ends_and_the_status(escape, failed):
    lines = as_table(escape, 9).splitlines()
    assert len(lines) == 11
    assert lines[0].split() == ["alpha", "loss", "mean", "Q_ii", "max", "|R_ir|"]
    first, last = (line.split() for line in (lines[1], lines[-2]))
    assert float(first[0]) == 0.0
    assert float(last[0]) == 200.0
    assert float(last[1]) == pytest.approx(escape["loss"].values[-1], rel=1e-6)
    assert float(last[2]) == pytest.approx(np.trace(escape["Q"].values[-1]) / 4, abs=1e-6)
    assert float(last[3]) == pytest.approx(np.abs(escape["R"].values[-1]).max(), abs=1e-6)
    assert f"status ok, {escape['steps'].item()} steps" in lines[-1]
    assert "prince8" in lines[-1]
    assert "status diverged" in as_table(failed, 100)
    assert len(as_table(failed, 100).splitlines()) == 6
