"""The command line: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
from all_commands import COMMANDS
from processes import started

import cli
import derive
from derive import model as derive_model
from runtime.start import chosen_start

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def derived(tmp_path_factory):
    """A folder with the (4, 2) system, so that most tests do not derive."""
    folder = tmp_path_factory.mktemp("cli") / "generated"
    derive.overlap_odes(derive.Model(4, 2)).write(folder)
    return folder


def process(*arguments: str, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


# --- what works --------------------------------------------------------------------------


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


def test_latex_for_any_widths_and_for_given_ones(call, tmp_path):
    symbolic = call("latex")
    assert symbolic[0] == 0
    assert r"\frac{1}{p^*}" in symbolic[1]
    given = call("latex --p 4 --pstar 2 --form components --what loss")
    assert given[1] == derive.overlap_odes(derive.Model(4, 2)).latex("components", "loss")
    code, out, _ = call("latex --what jacobian --out jacobian.tex")
    assert (code, out) == (0, "")
    assert (tmp_path / "jacobian.tex").read_text() == derive.latex_for_any_widths("jacobian")


def test_integrate_derives_on_demand_and_prints_a_table(call, tmp_path):
    code, out, err = call("integrate --p 2 --pstar 1 --alpha 10")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["alpha", "loss", "mean", "Q_ii", "max", "|R_ir|"]
    assert lines[-1].startswith("status ok")
    assert float(lines[-2].split()[0]) == 10.0
    assert (tmp_path / "generated" / "p2_pstar1" / "manifest.json").exists()


def test_integrate_alone_shows_the_escape_from_the_plateau(call, derived):
    code, out, _ = call("integrate --json --generated", str(derived))
    run = json.loads(out)
    assert code == 0
    loss = np.array(run["loss"])
    assert run["status"] == "ok"
    assert (len(run["alpha"]), run["alpha"][0], run["alpha"][-1]) == (200, 0.0, 200.0)
    # The known plateau: 0.67376 at η = 0.4; then the escape.
    assert np.min(np.abs(loss - 0.67376)) < 2e-3
    assert loss[-1] < 1e-3
    assert np.shape(run["Q"]) == (200, 4, 4)
    assert run["attributes"]["n"] == 10**6


def test_integrate_writes_netcdf_and_figures_and_goes_on_from_them(call, derived, tmp_path):
    options = f"--generated {derived} --eta 0.3 --label-noise 0.1"
    code, _, err = call(f"integrate {options} --alpha 0,5,10 --out run.nc --plot run.svg")
    assert code == 0
    assert err.splitlines() == ["wrote run.nc", "wrote run.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.nc", "run.svg"]
    with xarray.open_dataset(tmp_path / "run.nc") as first:
        np.testing.assert_array_equal(first["alpha"], [0.0, 5.0, 10.0])
        assert first.attrs["eta"] == 0.3
        last = first["Q"].values[-1]
    code, out, _ = call(f"integrate {options} --overlaps run.nc --alpha 0,1 --json")
    assert code == 0
    np.testing.assert_array_equal(json.loads(out)["Q"][0], last)


def test_seeds_start_different_trajectories_and_the_same_ones_again(call, derived):
    outputs = [
        call(f"integrate --generated {derived} --alpha 1 --seed {seed}")[1] for seed in ("1", "1", "2")
    ]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize("method", ["tsit5", "scipy:LSODA", "scipy:DOP853"])
def test_methods_agree(call, derived, method):
    line = f"integrate --generated {derived} --alpha 0,60 --ideal 0.01 --json --method"
    ours, other = (json.loads(call(f"{line} {name}")[1]) for name in ("prince8", method))
    np.testing.assert_allclose(other["R"], ours["R"], atol=2e-6)


def test_correlated_teachers_and_the_sphere(call):
    line = "integrate --p 2 --pstar 3 --constraint sphere --teacher general --alpha 5 --json"
    code, out, _ = call(f"{line} --teacher-correlation 0.3")
    run = json.loads(out)
    assert code == 0
    np.testing.assert_allclose(run["T"], 0.7 * np.eye(3) + 0.3)
    np.testing.assert_array_equal(np.diagonal(run["Q"], axis1=1, axis2=2), 1.0)


def test_a_diverging_trajectory_is_a_result(call, derived):
    code, out, err = call(f"integrate --generated {derived} --eta 100 --json")
    run = json.loads(out)
    assert code == 0
    assert run["status"] == "diverged"
    assert "stopped at alpha" in err
    assert run["loss"][0] is not None
    assert run["loss"][-1] is None


def test_ensemble_prints_quantiles_and_draws_them(call, derived, tmp_path):
    line = f"ensemble --generated {derived} --trajectories 50 --alpha 0,40,80 --out e.nc --plot e.svg"
    code, out, err = call(line)
    lines = out.splitlines()
    assert (code, err.splitlines()) == (0, ["wrote e.nc", "wrote e.svg"])
    assert lines[-1] == "status: 50 ok, prince8"
    assert [float(line.split()[0]) for line in lines[1:-1]] == [0.0, 40.0, 80.0]
    with xarray.open_dataset(tmp_path / "e.nc") as statistics:
        np.testing.assert_array_equal(statistics["count"], 50)
        low, *_, high = statistics["loss_quantile"].values
        assert np.all(low <= high)
    assert call(line)[1] == out


@pytest.mark.parametrize("output", ["final", "loss", "all"])
def test_ensemble_keeps_what_is_asked_for(call, derived, output):
    line = f"ensemble --generated {derived} --trajectories 3 --alpha 0,10 --seed 5 --json --output"
    code, out, _ = call(f"{line} {output}")
    runs = json.loads(out)
    assert code == 0
    assert runs["status"] == ["ok"] * 3
    assert np.shape(runs["loss"]) == ((3,) if output == "final" else (3, 2))
    assert ("Q" in runs) == (output != "loss")
    single = json.loads(call(f"integrate --generated {derived} --alpha 0,10 --seed 5 --json")[1])
    last = np.reshape(runs["loss"], (3, -1))[0, -1]
    assert last == pytest.approx(single["loss"][-1], abs=1e-9)


def test_ensemble_reports_when_losses_come_down(call, derived):
    code, out, _ = call(f"ensemble --generated {derived} --trajectories 20 --stop-loss 0.1 --quiet")
    assert code == 0
    assert "loss came down to 0.1 in 20 of 20; alpha at 5 %, 50 %, 95 %:" in out
    # How many the means are of.
    lines = out.splitlines()
    assert lines[0].split()[-1] == "running"
    assert [line.split()[-1] for line in (lines[1], lines[11])] == ["20", "0"]
    assert lines[11].split()[1:-1] == ["-"] * 6
    assert "nan" not in out


def test_quantiles_that_are_not_reached_are_dashes(call, derived):
    """Of 40 starts a few escape: what is printed is the sorted times of all, and the others are later."""
    line = f"ensemble --generated {derived} --trajectories 40 --stop-loss 0.3 --alpha 0,39 --quiet"
    out = call(f"{line} --output final")[1]
    escapes = json.loads(call(f"{line} --output final --json")[1])["escape_alpha"]
    times = sorted(np.inf if time is None else time for time in escapes)
    low = times[1] + 0.95 * (times[2] - times[1])
    assert 3 <= np.isfinite(times).sum() < 20
    assert f"in {np.isfinite(times).sum()} of 40; alpha at 5 %, 50 %, 95 %: {low:.6g}, -, -" in out
    # Some have come down to the threshold, so the smallest losses of all are not known.
    table = call(line)[1].splitlines()
    assert table[2].split()[2] == "-"
    assert "-" not in table[2].split()[3:]
    assert table[3] == "-: this quantile of all is among those that have stopped or failed"
    statistics = json.loads(call(f"{line} --json")[1])
    assert [row[-1] is None for row in statistics["loss_quantile"]] == [True, *[False] * 4]


def test_last_losses_are_those_before_the_stop(call, derived):
    line = f"ensemble --generated {derived} --trajectories 20 --stop-loss 0.1 --output loss --quiet"
    code, out, _ = call(line)
    runs = json.loads(call(f"{line} --json")[1])
    last = [[loss for loss in losses if loss is not None][-1] for losses in runs["loss"]]
    expected = ", ".join(f"{x:.4e}" for x in np.quantile(last, (0.05, 0.5, 0.95)))
    assert code == 0
    assert out.splitlines()[0] == f"last loss, quantiles 5 %, 50 %, 95 %: {expected}"
    assert out.splitlines()[-1] == "status: 20 ok, prince8"


def test_ensembles_that_all_diverge_have_no_last_loss(call, derived):
    line = f"ensemble --generated {derived} --trajectories 3 --eta 30 --alpha 1 --quiet"
    assert "5 %, 50 %, 95 %: none\nstatus: 3 diverged" in call(f"{line} --output loss")[1]
    table = call(line)[1].splitlines()
    assert table[0].split()[-1] == "running"
    assert table[-2].split() == ["1", *["-"] * 6, "0"]


def test_tables_of_one_trajectory_have_no_nan_and_no_endless_numbers(call, derived):
    for line in ("--eta 30", "--q0 1e300", "--q0 1e12"):
        code, out, _ = call(f"integrate --generated {derived} --alpha 1 --quiet {line}")
        assert code == 0
        assert "nan" not in out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trajectories", "0"),
        ("--trajectories", "1e3"),
        ("--threads", "0"),
        ("--method", "scipy:LSODA"),
        ("--output", "everything"),
        ("--stop-loss", "nan"),
        ("--eta", "-1"),
        ("--ideal", "2"),
        ("--out", "run.txt"),
    ],
)
def test_ensemble_refuses_bad_values(call, tmp_path, option, value):
    code, out, err = call("ensemble", option, value)
    assert (code, out) == (2, "")
    assert err.startswith(f"cli: {option}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


TOO_LARGE = "cli: --ideal: 0.33 is too large: no weights have Q0 = 1 and this R0\n"


@pytest.mark.parametrize("command", ["ensemble --trajectories 1000", "report --trajectories 500"])
def test_starts_that_are_too_large_name_the_option_before_the_work(call, tmp_path, command):
    """The first start is allowed, a later one is not."""
    assert call(f"{command} --ideal 0.33 --alpha 1") == (2, "", TOO_LARGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", ["ensemble", "ensemble --output final", "report --trajectories 1000 --quiet"]
)
def test_starts_drawn_later_name_the_option_too(call, derived, command, monkeypatch):
    """In a very large ensemble only the starts at the front are drawn before the work."""
    monkeypatch.setattr(chosen_start, "_CHECKED", 1)
    assert call(f"{command} --ideal 0.33 --alpha 1 --generated {derived}") == (2, "", TOO_LARGE)


def test_a_report_without_ensemble_draws_the_first_start_only(call, derived):
    line = f"report --ideal 0.33 --alpha 1 --trajectories 0 --quiet --generated {derived}"
    assert call(line) == (0, "report.html\n", "")


@pytest.mark.parametrize(
    "line", ["integrate --q0 1", "integrate --seed 0", "report --seed 0", "report --trajectories 200"]
)
def test_what_a_start_from_a_file_makes_superfluous_is_refused(call, tmp_path, line):
    np.savez(tmp_path / "start.npz", Q=np.eye(4), R=np.zeros((4, 2)))
    code, out, err = call(f"{line} --overlaps start.npz")
    option = line.split()[1]
    assert (code, out) == (2, "")
    assert err == f"cli: {option}: does not go with --overlaps: the start is that of the file\n"
    assert [path.name for path in tmp_path.iterdir()] == ["start.npz"]


@pytest.mark.parametrize("command", ["integrate", "ensemble", "report"])
def test_the_size_of_the_start_does_not_go_with_the_dimension(call, command):
    code, _, err = call(f"{command} --ideal 1e-3 --n 100")
    assert (code, err) == (2, "cli: --ideal: does not go with --n\n")


def test_ensembles_that_cannot_fit_are_refused_before_they_start(call, tmp_path):
    code, _, err = call("ensemble --trajectories 100000000 --output all")
    assert code == 2
    assert "--output statistics" in err
    code, _, err = call("ensemble --output final --plot a.png")
    assert code == 2
    assert err.startswith("cli: --plot: ")
    assert list(tmp_path.iterdir()) == []


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


def test_help_and_version(call):
    assert "\nAnalyse:\n" in call("--help")[1]
    assert "\nAnalyse:\n" in call("")[1]
    for command in ("derive", "latex", "integrate", "ensemble", "report", "list"):
        code, out, _ = call(f"{command} --help")
        assert code == 0
        assert "Example" in out
    assert derive.VERSION in call("--version")[1]


def test_choices_are_those_of_the_model():
    """The options repeat them so that --help need not import derive."""
    for name in ("derive", "latex", "integrate", "sector", "ensemble", "report"):
        choices = {
            option.name: tuple(option.type.choices)
            for option in COMMANDS[name].params
            if option.name in ("constraint", "flow", "teacher", "readout")
        }
        assert choices == {
            "constraint": derive_model.CONSTRAINTS,
            "flow": derive_model.FLOWS,
            "teacher": derive_model.TEACHERS,
            "readout": derive_model.READOUTS,
        }


def test_help_imports_nothing_heavy():
    code = (
        "import sys, cli; cli.run(['--help']);"
        "print(sorted({'numpy', 'sympy', 'numba', 'scipy', 'xarray', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.splitlines()[-1] == "[]"


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


# --- what is refused ---------------------------------------------------------------------

WIDTHS = ["0", "-1", "1.5", "1e6", "1000000", "257", "１６", "1_6", " 4", "", "nan", "9" * 30, "0x4"]
RATES = ["nan", "inf", "-inf", "-1", "0", "1e400", "", "x", "1,2", "٣", "0x1p3", "1_0"]
TIMES = ["0", "-1", "nan", "inf", "1e400", "3,2", "1,1", "-1,2", "1,,2", ",", "1,nan"]
BAD = [
    *(("--p", value) for value in WIDTHS),
    *(("--pstar", value) for value in WIDTHS),
    *(("--eta", value) for value in RATES),
    *(("--alpha", value) for value in TIMES),
    *(("--label-noise", value) for value in ("-1", "nan", "inf")),
    *(("--n", value) for value in ("0", "1", "-5", "1.5", "1" + "0" * 19)),
    *(("--seed", value) for value in ("-1", "1.0", str(2**63))),
    *(("--q0", value) for value in ("0", "-1", "nan")),
    *(("--ideal", value) for value in ("-1", "2", "nan")),
    *(("--rtol", value) for value in ("0", "-1", "1e-20", "nan")),
    *(("--atol", value) for value in ("0", "-1", "nan")),
    *(("--method", value) for value in ("", "euler", "scipy:", "scipy:lsoda")),
    *(("--constraint", value) for value in ("", "ball", "FREE")),
    *(("--flow", value) for value in ("", "adam")),
    *(("--teacher", value) for value in ("", "none")),
    *(("--readout", value) for value in ("", "max")),
    *(("--out", value) for value in ("run.txt", "run", ".", "", "no/folder/run.nc", "/dev/null")),
    *(("--plot", value) for value in ("run.gif", "run", ".", "no/folder/run.png")),
    *(("--overlaps", value) for value in ("missing.npz", "missing.nc", "run.txt", ".")),
    *(("--teacher-correlation", value) for value in ("0.5", "nan")),
    ("--generated", "a" * 300),
]


@pytest.mark.parametrize(("option", "value"), BAD)
def test_bad_values_name_the_option_in_one_line_and_write_nothing(call, tmp_path, option, value):
    code, out, err = call("integrate", option, value)
    assert (code, out) == (2, "")
    assert err.startswith(f"cli: {option}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "integrate --n 100 --ideal 0.1",
        "integrate --n 100 --overlaps a.npz",
        "integrate --teacher general --teacher-correlation 1.5",
        "integrate --nonsense",
        "nonsense",
        "integrate extra",
        "latex --p 4",
        "latex --pstar 4",
        "latex --form components",
        "latex --form pretty",
        "latex --what everything",
        "latex --out equations.doc",
        "latex --p 0 --pstar 1",
        "derive --p",
        "derive --generated /dev/null",
        "derive --generated /dev/null/deeper",
        "list --generated /dev/null",
        f"list --generated {'a' * 300}",
    ],
)
def test_bad_command_lines_are_one_line_and_write_nothing(call, tmp_path, line):
    code, out, err = call(line)
    assert (code, out) == (2, "")
    assert err.startswith("cli: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


OVERLAPS = {
    "asymmetric": ("Q", np.eye(4) + 0.1 * np.eye(4, k=1), "symmetric"),
    "not positive": ("Q", np.diag([1.0, 1.0, 1.0, -0.5]), "positive semi-definite"),
    "wrong shape": ("Q", np.eye(3), "shape"),
    "not finite": ("R", np.full((4, 2), np.nan), "finite"),
    "too aligned": ("R", np.full((4, 2), 0.9), "positive semi-definite"),
    "strings": ("R", np.array([["a"] * 2] * 4), "real numbers"),
    "another teacher": ("T", 2 * np.eye(2), "--teacher general"),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlaps_that_no_weights_have(call, tmp_path, name):
    key, value, word = OVERLAPS[name]
    arrays = {"Q": np.eye(4), "R": np.zeros((4, 2)), key: value}
    np.savez(tmp_path / "start.npz", **arrays)
    code, out, err = call("integrate --overlaps start.npz")
    assert (code, out) == (2, "")
    assert err.startswith("cli: --overlaps: ")
    assert word in err
    assert err.count("\n") == 1
    assert not (tmp_path / "generated").exists()


def test_wrong_overlaps_are_named_once(call, tmp_path):
    np.savez(tmp_path / "q.npz", Q=-np.eye(4), R=np.zeros((4, 2)))
    np.savez(tmp_path / "r.npz", Q=np.eye(4), R=np.full((4, 2), 0.9))
    _, _, err = call("integrate --overlaps q.npz")
    assert err == "cli: --overlaps: Q0 is not positive semi-definite: its diagonal has -1\n"
    _, _, err = call("integrate --overlaps r.npz")
    words = "R0 belongs to no weights: [[Q0, R0], [R0', T]] is not positive semi-definite"
    assert err.startswith(f"cli: --overlaps: {words}: smallest")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("integrate --overlaps text.nc", "a netCDF"),
        ("integrate --overlaps text.npz", "an .npz"),
        ("bias --run text.npz", "a netCDF"),
        ("invariants --monitor text.npz", "a netCDF"),
        ("hessian --along text.nc", "a netCDF"),
    ],
)
def test_files_of_another_kind_are_refused_in_plain_words(call, tmp_path, line, kind):
    for name in ("text.nc", "text.npz"):
        (tmp_path / name).write_text("Q = 1\n")
    code, out, err = call(line)
    option, path = line.split()[1:]
    assert (code, out) == (2, "")
    assert err == f"cli: {option}: {path} cannot be read: it is not {kind} file\n"


def test_overlaps_from_a_pipe_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "start.npz")
    refused = process("integrate", "--overlaps", "start.npz", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "cli: --overlaps: start.npz cannot be read: it is not a regular file\n"


def test_files_that_hold_python_objects_are_not_unpickled(call, tmp_path):
    np.savez(tmp_path / "start.npz", Q=np.array([print], dtype=object), R=np.zeros((4, 2)))
    code, _, err = call("integrate --overlaps start.npz")
    assert code == 2
    assert "start.npz" in err


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
    code, out, err = call("integrate --p 1 --pstar 1 --alpha 1 --out run.nc")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "regenerate with `cli derive" in err
    assert not (tmp_path / "run.nc").exists()
    assert call("derive --p 1 --pstar 1")[0] == 0
    assert call("integrate --p 1 --pstar 1 --alpha 1")[0] == 0


# --- as a process ------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_nowhere_to_print_to(streams, tmp_path):
    program = f'"{sys.executable}" "{ROOT / "cli.py"}"'
    # doctor asks of each stream whether it is a terminal.
    commands = {"latex": 0, "latex --what nonsense": 2, **({"doctor": 0} if streams == ">&- 2>&-" else {})}
    for command, code in commands.items():
        result = subprocess.run(
            ["bash", "-c", f"{program} {command} {streams}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == code
        assert result.stderr.count("\n") == (code == 2 and "2>&-" not in streams)
        assert ">&-" not in streams.split() or result.stdout == ""


def test_a_closed_pipe_is_no_error_message():
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'cli.py'))} latex | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout == "\\[\n"
    assert result.stderr == ""


def test_ctrl_c_stops_at_once_with_one_line(derived, tmp_path):
    """A trajectory that would take hours; the signal comes when the compiled loop runs."""
    arguments = ["integrate", "--generated", str(derived), "--alpha", "1e12", "--out", "run.nc"]
    command = [sys.executable, str(ROOT / "tests" / "telling_cli.py"), *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(command, cwd=tmp_path, **streams) as running:
        assert running.stdout.readline() == "running\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert set(out.split()) <= {"running"}
    assert err == "cli: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_running_the_file_is_the_command(call, tmp_path):
    line = "integrate --p 1 --pstar 1 --eta 0.1"
    here = call(line)
    there = process(*line.split(), cwd=tmp_path)
    assert (there.returncode, there.stdout, there.stderr) == here
    assert (here[0], here[2]) == (0, "")


def test_without_compilation_a_command_says_why_it_cannot_run(tmp_path):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, cli.__file__, "integrate", "--p", "1", "--pstar", "1"]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("cli: NUMBA_DISABLE_JIT is set, but this runs compiled code only: unset it\n")
