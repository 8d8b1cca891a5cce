"""Titles of figures: two runs that differ in any option of the tables have different titles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray
from matrix import matrix

import cli
import overlap_ode as oo
from runtime import run_options
from runtime.output.figure_titles import title
from runtime.plot.kinds_of_results import KINDS, drawing_of

# What each command runs, quickly; the widths and the file of --out come after it.
BASES = {
    "integrate": "--alpha 0,1 --n 50",
    "ensemble": "--alpha 0,1 --n 50 --trajectories 4",
    "fluctuations": "--alpha 0,1 --n 50",
    "simulate": "--alpha 0,1 --n 50 --trajectories 4",
    "compare": "--alpha 0,1 --n 20,40 --trajectories 16 --no-weights",
    "sector": "--alpha 0,1",
    "escape": "--n 1000 --trajectories 8 --eta 0.1",
    "plateau": "--eta 0.05,0.1",
    "bias": "--eta 0.1 --alpha 5 --n 20 --trajectories 4 --conditions 1,3",
    "hessian": "--n 50 --eta 0.1",
    "exponent": "--n 100,1000",
}
# Another value of each option, after what both runs need for that.
GENERAL, FIXED, TRAINED = "--teacher general", "--second-layer fixed", "--second-layer trained"
CHANGES = {
    "p": ("", "3"),
    "pstar": ("", "2"),
    "constraint": ("", "sphere"),
    "flow": ("", "gradient"),
    "teacher": ("", "general"),
    "readout": ("", "sum"),
    "second_layer": ("", "fixed"),
    "activation": ("", "he2"),
    "teacher_activation": ("", "he2"),
    "eta": ("", "0.21"),
    "label_noise": ("", "0.5"),
    "weight_decay": ("", "0.01"),
    "batch": ("", "2"),
    "eta_second": (f"{TRAINED} --eta-second 0.1", "0.2"),
    "student_weights": (FIXED, "1,2"),
    "teacher_weights": (FIXED, "2"),
    "teacher_correlation": (f"{GENERAL} --pstar 2", "0.3"),
    "teacher_spectrum": (f"{GENERAL} --pstar 2", "1,0.5"),
    "T": (f"{GENERAL} --pstar 2", "T.txt"),
    "alpha": ("", "0,2"),
    "schedule": ("", "inverse:50"),
    "method": ("", "tsit5"),
    "rtol": ("", "1e-6"),
    "atol": ("", "1e-8"),
    "stop_loss": ("", "0.1"),
    "trajectories": ("", "20"),
    "ideal": ("", "0.05"),
    "n": ("", "60"),
    "q0": ("", "0.9"),
    "seed": ("", "1"),
    "overlaps": ("", "start.npz"),
    "fraction": ("", "0.4"),
    "conditions": ("", "1,5"),
    "scale": ("", "1e-5"),
    "overlap": ("", "0.4"),
    "tolerance": ("", "1e-5"),
    "covariance": ("", "random"),
    "simulate": ("", ""),
    "bias": ("", ""),
}
# They change neither what is run nor what is known of it.
NO_PART_OF_A_RUN = {"threads", "output"}
# What axes and legends show, and titles need not; and an option without effect on this command.
SHOWN = {
    *(("plateau", "eta"), ("compare", "n"), ("escape", "n"), ("bias", "n"), ("exponent", "n")),
    *(("bias", "conditions"), ("plateau", "seed")),
}
# Commands that take other values.
OTHERS = {
    ("simulate", "method"): ("", "weights"),
    ("sector", "student_weights"): (FIXED, "2"),
    ("bias", "alpha"): ("", "6"),
    ("plateau", "q0"): ("--constraint sphere", "0.9"),
    ("hessian", "q0"): ("--at start", "0.9"),
    ("hessian", "seed"): ("--at start", "1"),
}
# What commands refuse, since their theory is not known for it.
REFUSED = {
    *(("simulate", "flow"), ("compare", "flow"), ("sector", "constraint"), ("sector", "teacher")),
    *(("bias", "constraint"), ("bias", "student_weights")),
    *itertools.product(
        ("sector", "escape", "plateau", "bias", "hessian"),
        ("activation", "teacher_activation", "eta_second"),
    ),
}


def options_of(command):
    """The options of a command by name, from all tables."""
    found = dict(run_options.options_of(command))
    if command != "exponent":
        found |= run_options.MODEL_OPTIONS | run_options.numbers_of(command)
    return {name: option for name, option in found.items() if name not in NO_PART_OF_A_RUN}


def test_every_option_has_another_value():
    names = {name for command in BASES for name in options_of(command)}
    assert names == set(CHANGES)
    assert {kind.command for kind in KINDS} == {*BASES, "invariants"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that options name."""
    folder = tmp_path_factory.mktemp("titles")
    np.savez(folder / "start.npz", Q=np.eye(2), R=np.full((2, 1), 0.1))
    (folder / "T.txt").write_text("1 0.2\n0.2 1\n")
    return folder


def result_of(folder, generated, line):
    """The result that a command writes to a file; None if it refuses its options."""
    path = folder / "result.nc"
    words = [*line.split(), "--quiet", "--out", str(path)]
    if line.split()[0] != "exponent":
        words += ["--generated", str(generated)]
    code = cli.run(words)
    return None if code == 2 else xarray.load_dataset(path)


def words_of(result):
    """All words above a figure."""
    return [part for line in drawing_of(result).title for part in line]


CASES = [
    (command, name) for command in BASES for name in options_of(command) if (command, name) not in SHOWN
]
# Options of models need systems of their own, which takes a while.
QUICK = [
    (command, name)
    for command, name in CASES
    if command == "integrate" and not CHANGES[name][0] and name not in run_options.MODEL_OPTIONS
]


@pytest.mark.parametrize(
    ("command", "name"), [case if case in QUICK else matrix(case) for case in CASES], ids=str
)
def test_titles_of_runs_that_differ_in_an_option_differ(
    command, name, folder, generated, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    needed, value = OTHERS.get((command, name), CHANGES[name])
    widths = "--p 2 --pstar 1" if command != "exponent" else ""
    base = f"{command} {BASES[command]} {widths} {needed}"
    if name in ("overlaps", "ideal") and command in ("integrate", "ensemble"):
        base = base.replace("--n 50", "")
    one, other = (
        result_of(folder, generated, f"{base} {more}")
        for more in ("", f"--{name.replace('_', '-')} {value}")
    )
    printed = capsys.readouterr().err
    if (command, name) in REFUSED:
        assert other is None
        return
    assert one is not None, printed
    assert other is not None, printed
    assert words_of(one) != words_of(other)


OF_MODELS = {
    "p": 5,
    "pstar": 3,
    "constraint": "sphere",
    "flow": "gradient",
    "readout": "sum",
    "teacher": "general",
    "second_layer": "fixed",
    "activation": "he2",
    "teacher_activation": "he2",
}


def test_titles_name_every_option_of_the_model(escape):
    assert set(OF_MODELS) == set(run_options.MODEL_OPTIONS)
    titles = [title(escape.assign_attrs({name: value})) for name, value in OF_MODELS.items()]
    assert len({title(escape), *titles}) == 1 + len(titles)


def test_titles_tell_matrices_and_long_vectors_apart(escape):
    def of_teacher(T):
        return title(escape.assign_attrs(teacher="general").assign(T=(("r", "s"), T)))

    teachers = [
        [[1.0, 0.3], [0.3, 1.0]],
        [[1.0, 0.0], [0.0, 0.5]],
        [[1.0, 0.3], [0.3, 0.5]],
        [[1.0, -0.3], [-0.3, 0.5]],
    ]
    titles = [of_teacher(T) for T in teachers]
    assert len(set(titles)) == 4
    assert r"$T_{rs}=0.3$ for $r$ ≠ $s$" in titles[0]
    assert "$T$ = diag($1$, $0.5$)" in titles[1]
    assert "$T$ of eigenvalues $0.359488$ to $1.14051$" in titles[2]

    def of_layer(v):
        layer = escape.drop_dims("i").assign_attrs(second_layer="fixed")
        return title(layer.assign(student_weights=("i", v)))

    long, other = np.ones(9), np.ones(9)
    long[4], other[4] = 2.0, 3.0
    assert of_layer(long) != of_layer(other)
    assert "$v$ = ($1$, …, $1$) (" in of_layer(long)
    assert "$v$ =" not in of_layer(np.ones(9))


def test_simulations_from_given_overlaps_are_not_said_to_start_at_random_weights():
    model, (Q, R) = oo.Model(2, 1), oo.random_overlaps(2, 1, n=50)
    settings = {"n": 100, "eta": 0.3, "alpha": [0.0, 0.1]}
    given = title(oo.simulate(model, Q0=Q, R0=R, **settings), "simulate")
    assert "given start at $N=100$" in given
    drawn = title(oo.simulate(model, trajectories=1, **settings), "simulate")
    assert "random weights at $N=100$" in drawn


def test_titles_name_the_covariance_of_the_start(escape):
    assert "covariance of the start: given" in title(escape.assign_attrs(start_covariance="given"))
    assert "covariance" not in title(escape.assign_attrs(start_covariance="none"))
