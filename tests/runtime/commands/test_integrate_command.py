"""What the command line does with its options, and what it prints; the rest is in test_cli."""

from __future__ import annotations

import json

import numpy as np
import pytest

from derive import Model
from runtime import InputError, random_overlaps
from runtime.commands.integrate import initial_overlaps
from runtime.output.text_tables import as_json, as_table
from runtime.trajectory.single_run import integrate

OPTIONS = {
    "n": None,
    "ideal": None,
    "overlaps": None,
    "teacher_correlation": 0.0,
    "seed": 3,
    "q0": 1.0,
}
GENERAL = Model(3, 2, teacher="general")


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


def test_start_is_random_by_default():
    Q, R, teacher, origin = initial_overlaps(Model(3, 2), OPTIONS)
    expected = random_overlaps(3, 2, 10**6, 3)
    np.testing.assert_array_equal(Q, expected[0])
    np.testing.assert_array_equal(R, expected[1])
    assert teacher is None
    assert origin == {"seed": 3, "q0": 1.0, "n": 10**6}


def test_ideal_start():
    Q, R, _, origin = initial_overlaps(Model(3, 2), {**OPTIONS, "ideal": 1e-3})
    expected = random_overlaps(3, 2, None, 3, scale=1e-3)
    np.testing.assert_array_equal(Q, expected[0])
    np.testing.assert_array_equal(R, expected[1])
    assert origin == {"seed": 3, "q0": 1.0, "ideal": 1e-3}


def test_start_from_a_file(tmp_path):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    read = initial_overlaps(Model(3, 2), {**OPTIONS, "overlaps": path})
    np.testing.assert_array_equal(read[0], Q)
    assert read[2] is None
    assert read[3] == {"overlaps": str(path)}
    np.testing.assert_array_equal(initial_overlaps(GENERAL, {**OPTIONS, "overlaps": path})[2], np.eye(2))
    np.savez(path, Q=Q, R=R, T=0.9 * np.eye(2))
    with pytest.raises(InputError, match="--teacher general"):
        initial_overlaps(Model(3, 2), {**OPTIONS, "overlaps": path})
    np.savez(path, Q=Q, R=R, T=np.eye(2) + 1e-12)
    assert initial_overlaps(Model(3, 2), {**OPTIONS, "overlaps": path})[2] is None


def test_a_file_of_other_widths_says_its_own(tmp_path):
    Q, R = random_overlaps(4, 1, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(1))
    words = r"holds p = 4 and p\* = 1, not 4 and 2: say --p 4 --pstar 1"
    for model in (Model(4, 2), Model(4, 2, teacher="general")):
        with pytest.raises(InputError, match=words) as caught:
            initial_overlaps(model, {**OPTIONS, "overlaps": path})
        assert caught.value.option == "overlaps"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with pytest.raises(InputError, match=r"^T: has the shape \(2, 2\), not \(1, 1\)"):
        initial_overlaps(Model(4, 1), {**OPTIONS, "overlaps": path})


@pytest.mark.parametrize("name", ["q0", "seed", "trajectories", "teacher_correlation"])
def test_a_file_needs_no_other_start(tmp_path, name):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with pytest.raises(InputError, match="does not go with --overlaps") as caught:
        initial_overlaps(GENERAL, {**OPTIONS, "overlaps": path}, frozenset({"eta", name}))
    assert caught.value.option == name


def test_a_correlation_goes_with_a_file_without_teacher(tmp_path):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R)
    options = {**OPTIONS, "overlaps": path, "teacher_correlation": 0.3}
    teacher = initial_overlaps(GENERAL, options, frozenset({"teacher_correlation"}))[2]
    np.testing.assert_allclose(teacher, [[1.0, 0.3], [0.3, 1.0]])


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.3, 1.0])
def test_correlated_teachers(correlation):
    *_, teacher, _ = initial_overlaps(GENERAL, {**OPTIONS, "teacher_correlation": correlation})
    np.testing.assert_allclose(teacher, [[1.0, correlation], [correlation, 1.0]])


@pytest.mark.parametrize(
    ("model", "options", "option"),
    [
        (GENERAL, {"teacher_correlation": -1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": 1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": float("nan")}, "teacher_correlation"),
        (Model(3, 2), {"teacher_correlation": 0.1}, "teacher_correlation"),
        (Model(3, 2), {"n": 100, "ideal": 0.1}, "ideal"),
        (Model(3, 2), {"ideal": 0.1, "overlaps": "a.npz"}, "overlaps"),
        (Model(3, 2), {"n": 1}, "n"),
    ],
)
def test_options_that_do_not_go_together(model, options, option):
    with pytest.raises(InputError) as caught:
        initial_overlaps(model, {**OPTIONS, **options})
    assert caught.value.option == option
