from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray

from runtime.output.plain_result import PlainResult
from runtime.output.run_summaries import as_json


@pytest.fixture
def result():
    return PlainResult(
        {
            "loss": (("alpha",), [0.5, np.nan]),
            "status": ((), "ok", {"long_name": "how it ended"}),
        },
        {"alpha": ("alpha", [0.0, 1.0], "time"), "i": np.arange(2)},
        {"method": "prince8", "eta": 0.4},
    )


def test_it_becomes_the_dataset_of_the_same_variables(result):
    dataset = result.dataset()
    assert isinstance(dataset, xarray.Dataset)
    assert dict(dataset.sizes) == {"alpha": 2, "i": 2}
    assert dataset.attrs == {**result.attrs, "Conventions": "CF-1.9"}
    assert dataset["alpha"].attrs == {"long_name": "time", "units": "1"}
    assert dataset["status"].attrs == {"long_name": "how it ended"}
    for name in ("loss", "status", "alpha", "i"):
        assert dataset[name].values.tolist() == pytest.approx(result[name].values.tolist(), nan_ok=True)
        assert dataset[name].attrs == result[name].attributes
    assert as_json(dataset) == as_json(result)
    assert as_json(result)["loss"] == [0.5, None]


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_trajectory_is_printed_without_xarray(call, monkeypatch, options):
    line = f"integrate --p 1 --pstar 1 --eta 0.1 {options}"
    expected = call(line)
    # Importing it raises ImportError.
    monkeypatch.setitem(sys.modules, "xarray", None)
    assert call(line) == expected
    assert expected[0] == 0
    assert call(f"{line} --out run.nc")[0] == 1
