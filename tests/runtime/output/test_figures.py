"""Figures: written in every format, the same bytes each time, also for runs that failed."""

from __future__ import annotations

import re
from collections import Counter

import matplotlib as mpl
import numpy as np
import pytest
import xarray

from runtime import InputError, save_netcdf
from runtime.output.figure_titles import figure_title, title, wrapped
from runtime.output.figures import SUFFIXES
from runtime.trajectory.single_run import integrate
from runtime.trajectory.trajectory_figure import trajectory_drawing

MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".svg": b"<?xml"}


@pytest.fixture(scope="module")
def failed(system_of):
    """A run that diverged."""
    system, R0 = system_of(2, 1), np.full((2, 1), 0.1)
    return integrate(system, np.eye(2), R0, eta=100.0, alpha=np.linspace(0.0, 1e-4, 50))


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG"])
def test_every_format_is_written(escape, tmp_path, suffix):
    path = trajectory_drawing(escape).save(tmp_path / f"escape{suffix}")
    assert path == tmp_path / f"escape{suffix}"
    content = path.read_bytes()
    assert content.startswith(MAGIC[suffix.lower()])
    assert len(content) > 5000
    assert [path.name for path in tmp_path.iterdir()] == [f"escape{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_run_gives_the_same_bytes(escape, tmp_path, suffix):
    one, other = (
        trajectory_drawing(escape).save(tmp_path / f"{name}{suffix}").read_bytes()
        for name in ("one", "other")
    )
    assert one == other


def test_another_run_gives_other_bytes(escape, failed, tmp_path):
    one, other = (trajectory_drawing(run).save(tmp_path / "a.svg").read_bytes() for run in (escape, failed))
    assert one != other


def test_one_curve_for_the_loss_and_each_overlap(escape, tmp_path):
    text = trajectory_drawing(escape).save(tmp_path / "a.svg").read_text()
    strokes = Counter(re.findall(r'style="fill: none; stroke: (#[0-9a-f]{6})', text))
    # The loss, R of four students and the legend; norms of four students and the legend.
    assert strokes["#0072b2"] == 1 + (4 + 1) + (4 + 1)
    assert strokes["#d55e00"] == 4 + 1
    # Overlaps of six pairs of students are dashed, and so is their line of the legend.
    assert len(re.findall(r"stroke-dasharray: [^;]*; stroke-dashoffset: 0; stroke: #d55e00", text)) == 6 + 1


def test_a_trained_second_layer_has_a_curve_for_each_student(trained_run, tmp_path):
    text = trajectory_drawing(trained_run).save(tmp_path / "a.svg").read_text()
    strokes = Counter(re.findall(r'style="fill: none; stroke: (#[0-9a-f]{6})', text))
    # The loss, R, norms, and v of the first student, the last three with a line of the legend.
    assert strokes["#0072b2"] == 1 + (3 + 1) + (3 + 1) + 2
    assert strokes["#009e73"] == 2
    without = trajectory_drawing(trained_run.drop_vars("v")).save(tmp_path / "b.svg").read_text()
    assert "#009e73" not in without


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failed_run_can_be_drawn_and_says_so(failed, tmp_path, suffix):
    assert trajectory_drawing(failed).save(tmp_path / f"a{suffix}").stat().st_size > 5000
    assert "stopped: diverged" in title(failed)


@pytest.mark.parametrize(
    ("eta", "alpha"), [(0.3, [0.0]), (0.3, [5.0]), (100.0, [0.0, 1.0]), (100.0, [1.0])], ids=str
)
def test_runs_with_one_point_or_none_can_be_drawn(system_of, tmp_path, eta, alpha):
    run = integrate(system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=eta, alpha=alpha)
    assert trajectory_drawing(run).save(tmp_path / "a.png").stat().st_size > 5000


def test_perfect_student_can_be_drawn(system_of, tmp_path):
    # Its loss is zero, which has no logarithm.
    run = integrate(system_of(1, 1), [[1.0]], [[1.0]], eta=0.1, alpha=1.0)
    assert not run["loss"].values.any()
    assert trajectory_drawing(run).save(tmp_path / "a.png").stat().st_size > 5000


def test_more_teachers_than_colours(system_of, tmp_path):
    run = integrate(system_of(1, 9), np.eye(1), np.full((1, 9), 0.1), eta=0.01, alpha=1.0)
    assert trajectory_drawing(run).save(tmp_path / "a.png").stat().st_size > 5000


def test_run_from_a_file_is_drawn_the_same(escape, tmp_path):
    read = xarray.load_dataset(save_netcdf(escape, tmp_path / "run.nc"))
    one, other = (trajectory_drawing(run).save(tmp_path / "a.svg").read_bytes() for run in (escape, read))
    assert one == other


def test_title_says_what_was_integrated(escape, system_of):
    start = r"given start"
    assert title(escape) == rf"ODE of one-pass SGD, $p=4$, $p^{{*}}=2$, $\eta=0.4$, free norms, {start}"
    system = system_of(3, 1, constraint="sphere", flow="gradient")
    run = integrate(system, np.eye(3), np.zeros((3, 1)), eta=0.1, alpha=200.0)
    words = r"gradient flow, $p=3$, $p^{*}=1$, $\eta=0.1$, norms on the sphere"
    assert title(run) == f"{words}, {start}"
    noisy = integrate(system_of(2, 1), np.eye(2), np.zeros((2, 1)), eta=0.1, alpha=5.0, label_noise=0.5)
    assert title(noisy).endswith(rf"free norms, $\Delta=0.5$, {start}, $\alpha \leq 5$")
    other = noisy.assign_attrs(
        weight_decay=0.1, batch=4.0, second_layer="fixed", schedule="inverse:50", n=10**6, seed=3, q0=2.0
    )
    other["student_weights"] = ("i", [1.0, -0.5])
    ending = (
        r"free norms, $\Delta=0.5$, $\gamma=0.1$, $B=4$, fixed second layer, schedule inverse:50,"
        r" $v$ = ($1$, $-0.5$), random weights at $N=10^{6}$, seed 3, q0 $2$, $\alpha \leq 5$"
    )
    assert title(other).endswith(ending)
    long = noisy.assign_attrs(schedule="0:1,50:0.5,100:0.25,150:0.125,200:0.0625,250:0.03125")
    assert f"schedule {long.attrs['schedule'][:40]}…" in title(long)
    hermite = noisy.assign_attrs(activation="he3", teacher_activation="he2+he3")
    assert "activation He$_3$, teacher activation He$_2$+He$_3$" in title(hermite)


def test_long_titles_are_wrapped(escape):
    parts = [
        part
        for line in figure_title(escape, "integrate", {"sgd": "ODE"}, more=["$N=100$"])
        for part in line
    ]
    assert wrapped(parts, 1000) == [", ".join(parts)]
    lines = wrapped(parts, 24)
    assert len(lines) == 3
    assert " ".join(lines) == ", ".join(parts)
    # A command of LaTeX counts as one letter.
    assert all(
        len(line.replace(r"\eta", "x").replace("$", "").translate({ord(c): None for c in "{}^"})) <= 25
        for line in lines
    )
    # A part that is too long by itself stays whole.
    assert wrapped(["a", "b" * 30, "c"], 10) == ["a,", "b" * 30 + ",", "c"]


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.svg.gz", "nowhere/a.svg"])
def test_wrong_names_are_refused(escape, tmp_path, name):
    with pytest.raises(InputError) as caught:
        trajectory_drawing(escape).save(tmp_path / name)
    assert caught.value.option == "plot"
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_old_figure(escape, tmp_path, monkeypatch):
    def fail(_, path, **__):
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        trajectory_drawing(escape).save(tmp_path / "a.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_settings_of_the_user_stay(escape, tmp_path):
    with mpl.rc_context({"font.size": 23.0}):
        trajectory_drawing(escape).save(tmp_path / "a.png")
        assert mpl.rcParams["font.size"] == 23.0
