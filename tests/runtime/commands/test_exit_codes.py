"""Runs that diverge: of all a warning and exit code 1, of some their number on stderr and exit code 0."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

from runtime.analysis.escape import escape_measurement
from runtime.analysis.exponent import mediocre_start

SMALL = "--p 2 --pstar 1"
# Norms of a few of these students are large enough to run away.
HE3 = f"{SMALL} --activation he3 --n 10 --eta 0.02 --alpha 0,5"
# Lines of which nothing finishes, and the first words of the warning.
NOTHING = {
    "integrate --p 1 --pstar 1 --alpha 3 --out run.nc": "stopped at alpha = ",
    "integrate --eta 100 --alpha 3 --method scipy:RK45 --out run.nc": "stopped at alpha = ",
    f"fluctuations {SMALL} --eta 5 --alpha 3 --out run.nc": "stopped at alpha = ",
    "sector --p 1 --pstar 1 --eta 3 --alpha 0,1,1000 --out run.nc": "stopped at alpha = ",
    "ensemble --trajectories 3 --eta 30 --alpha 1 --out run.nc": "3 of 3 trajectories diverged; ",
    "ensemble --trajectories 3 --eta 30 --alpha 1 --output all --out run.nc": "3 of 3 trajectories d",
    "ensemble --trajectories 1 --eta 30 --alpha 1 --output final --out run.nc": "1 of 1 trajectories dive",
    f"simulate {SMALL} --n 10 --trajectories 9 --eta 5 --alpha 20 --out run.nc": "9 of 9 runs diverged; ",
    f"compare {SMALL} --n 10,20 --eta 5 --alpha 5 --trajectories 20 --no-weights --out run.nc": (
        "40 of 40 runs diverged; "
    ),
    f"escape {SMALL} --n 1000 --trajectories 20 --out run.nc": "20 of 20 trajectories diverged; ",
    f"report {SMALL} --eta 5 --alpha 3 --trajectories 0 --out run.html": "stopped at alpha = ",
}
# Lines of which something finishes, and what is counted.
SOME = {
    f"ensemble {HE3} --trajectories 50": "15 of 50 trajectories diverged; a smaller --eta may help",
    f"ensemble {HE3} --trajectories 50 --output loss": "15 of 50 trajectories diverged; a smaller",
    f"simulate {SMALL} --n 10 --trajectories 9 --eta 0.6 --alpha 0,2": "of 9 runs diverged; ",
    f"bias {SMALL} --n 20 --trajectories 8 --alpha 20 --conditions 1 --eta 0.3": "of 24 runs diverged; ",
}


@pytest.mark.parametrize("line", NOTHING)
def test_nothing_that_finishes_is_a_warning_and_code_1(call, tmp_path, line):
    code, out, err = call(line)
    assert code == 1
    assert out
    warnings = [text for text in err.splitlines() if text.startswith("cli: ")]
    assert [text.startswith(f"cli: warning: {NOTHING[line]}") for text in warnings] == [True]
    # What was asked for is written, and the reason for the exit code is told to those who want no messages.
    assert len(list(tmp_path.glob("run.*"))) == 1
    assert call(f"{line} --quiet")[::2] == (1, warnings[0] + "\n")


@pytest.mark.parametrize("line", SOME)
def test_a_part_that_diverges_is_counted(call, line):
    code, out, err = call(line)
    assert (code, out != "") == (0, True)
    assert SOME[line] in err.splitlines()[-1]
    assert "warning" not in err
    assert call(f"{line} --quiet")[::2] == (0, "")


@pytest.mark.parametrize(
    "line", ["integrate", "ensemble --trajectories 3", "simulate --n 50 --trajectories 3"]
)
def test_what_finishes_says_nothing(call, line):
    assert call(f"{line} {SMALL} --eta 0.1 --alpha 0,1")[::2] == (0, "")


@pytest.mark.parametrize("diverged", [0, 3])
def test_a_part_of_the_escapes_that_diverges(call, monkeypatch, diverged):
    """All of these starts come to the same end, so that divergence is put in by hand."""
    measure = escape_measurement.measure_escapes

    def with_divergence(*arguments) -> xarray.Dataset:
        result = measure(*arguments)
        result["diverged"][:] = diverged
        return result

    monkeypatch.setattr(escape_measurement, "measure_escapes", with_divergence)
    code, _, err = call(f"escape {SMALL} --eta 0.1 --n 1000 --trajectories 20")
    assert (code, "warning" in err) == (0, False)
    assert (f"{diverged} of 20 trajectories diverged; " in err) == (diverged > 0)


@pytest.mark.parametrize(("missing", "code"), [(0, 0), (1, 0), (2, 1)])
def test_mediocre_starts_that_do_not_arrive(call, monkeypatch, missing, code):
    time, left = mediocre_start._time, iter(range(2))
    monkeypatch.setattr(
        mediocre_start, "_time", lambda *given: np.nan if next(left) < missing else time(*given)
    )
    found, _, err = call("exponent --activation he2 --n 100,1000")
    assert found == code
    assert (f"{missing} of 2 runs do not come to the overlap" in err) == (missing > 0)
    assert err.startswith("cli: warning: ") == (code == 1)
