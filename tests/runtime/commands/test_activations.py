"""Polynomial activations as users meet them: commands, files of runs, sweeps, and analysis that refuses."""

from __future__ import annotations

import json
from fractions import Fraction

import click
import numpy as np
import pytest
import xarray
from all_commands import COMMANDS

import overlap_ode as oo
from runtime.analysis.recorded_runs import model_of_run
from runtime.output.figure_titles import title


def context_of(name):
    return click.Context(COMMANDS[name], info_name=name)


SMALL = "--p 2 --pstar 1 --eta 0.01 --alpha 2"


def test_every_command_with_a_model_takes_activations():
    for name, command in COMMANDS.items():
        options = {parameter.name: parameter for parameter in command.params}
        if "readout" in options:
            assert {"activation", "teacher_activation"} <= set(options), name
    help_text = COMMANDS["integrate"].get_help(context_of("integrate"))
    assert "sum such as he2+he3" in help_text
    assert "that of the students" in help_text


def test_completion_offers_the_names():
    option = next(p for p in COMMANDS["simulate"].params if p.name == "activation")
    found = option.shell_complete(context_of("simulate"), "")
    assert [item.value for item in found] == ["quadratic", "he1", "he2", "he3", "he4", "he5", "he6"]
    assert [item.value for item in option.shell_complete(context_of("simulate"), "q")] == ["quadratic"]


def test_run_names_its_activations_and_is_read_again(call, generated, tmp_path):
    options = f"{SMALL} --activation he3 --generated {generated}"
    code, out, _ = call(f"integrate {options} --teacher-activation he2 --out run.nc")
    assert code == 0
    assert out.splitlines()[-1].endswith("activation he3, teacher activation he2")
    with xarray.open_dataset(tmp_path / "run.nc") as run:
        assert model_of_run(run) == oo.Model(2, 1, activation="he3", teacher_activation="he2")
        assert "activation He$_3$, teacher activation He$_2$" in title(run)
    code, out, _ = call(
        f"integrate {options} --alpha 2,4 --teacher-activation he2 --overlaps run.nc --json"
    )
    later = json.loads(out)
    assert (code, later["status"], later["attributes"]["start_alpha"]) == (0, "ok", 2.0)


def test_teacher_with_the_activation_of_the_students_is_the_same_model(call, generated, tmp_path):
    lines = ("--activation he3", "--activation 0,-3,0,1 --teacher-activation he3")
    outputs = []
    for k, options in enumerate(lines):
        assert call(f"integrate {SMALL} {options} --out {k}.nc --generated {generated}")[0] == 0
        with xarray.open_dataset(tmp_path / f"{k}.nc") as run:
            assert "teacher_activation" not in run.attrs
            assert run.attrs["activation"] == "he3"
            outputs.append(run["loss"].values)
    assert np.array_equal(*outputs)


def test_runs_of_earlier_versions_are_quadratic():
    attributes = {"p": 2, "pstar": 1, "constraint": "free", "flow": "sgd", "teacher": "orthonormal"}
    run = xarray.Dataset(attrs={**attributes, "readout": "mean"})
    assert model_of_run(run) == oo.Model(2, 1)
    with pytest.raises(
        oo.InputError, match="run: has a wrong attribute activation: 'he9' is not quadratic"
    ):
        model_of_run(run.assign_attrs(activation="he9"))


def test_divergence_is_said(call, generated):
    """Quartic drift: the norms run away in finite time, and nothing is printed as if it were a loss."""
    line = "integrate --p 2 --pstar 1 --activation he3 --eta 1 --alpha 5"
    code, out, err = call(f"{line} --generated {generated}")
    assert code == 1
    assert "diverged; a smaller --eta may help" in err
    assert "nan" not in out.lower()
    assert out.splitlines()[-1].startswith("status diverged")


def test_ensembles_count_what_diverges(system_of):
    """The statistics are those of the trajectories that are left, and their number is told."""
    system = system_of(2, 1, activation="he3")
    # At N = 10 some students have norms that are large enough to run away.
    sampler = oo.OverlapSampler(2, 1, 10, 0)
    Q, R = oo.OverlapSampler(2, 1, 10, 0).draw(200)
    settings = {"eta": 0.02, "alpha": [0.0, 1.0, 5.0]}
    runs = oo.integrate_ensemble(system, Q, R, output="loss", **settings)
    ended = runs["status"].values == "ok"
    assert 50 < ended.sum() < 150
    assert set(runs["status"].values[~ended]) == {"diverged"}
    assert np.isfinite(runs["loss"].values[ended]).all()
    assert np.isnan(runs["loss"].values[~ended, -1]).all()
    found = oo.ensemble_statistics(system, sampler, 200, **settings)
    counted = dict(zip(found["status"].values, found["status_count"].values, strict=True))
    assert (counted["ok"], counted["diverged"]) == (ended.sum(), (~ended).sum())
    assert found["count"].values[[0, -1]].tolist() == [200, ended.sum()]
    assert found["loss_mean"].values[-1] == pytest.approx(runs["loss"].values[ended, -1].mean(), rel=1e-6)


def test_escape_times_by_a_level_of_the_loss(system_of):
    """What `cli escape` refuses is measured with a level: in ensembles as in single runs."""
    system = system_of(1, 1, activation="he3", flow="gradient", constraint="sphere")
    overlaps = np.array([0.01, 0.02, -0.02])
    level = float(system.loss(np.eye(1), [[0.5]]))
    runs = oo.integrate_ensemble(
        system,
        np.ones((3, 1, 1)),
        overlaps[:, None, None],
        eta=1.0,
        alpha=[0.0, 50.0],
        stop_loss=level,
        output="final",
    )
    exact = [(np.arctanh(0.5) - 2.0 - np.arctanh(r) + 1.0 / r) / 18.0 for r in overlaps[:2]]
    np.testing.assert_allclose(runs["escape_alpha"].values[:2], exact, rtol=1e-6)
    # From the other side it never comes down.
    assert np.isnan(runs["escape_alpha"].values[2])


# --- sweeps --------------------------------------------------------------------------------------


def test_sweep_over_activations(call, generated, tmp_path):
    line = f'sweep {SMALL} --activation "he2;0,1,1/2;0,-3,0,1" --out sweep --quiet --generated {generated}'
    code, out, err = call(line)
    assert (code, out, err) == (0, "sweep: 3 of 3 tasks done\n", "")
    assert call("merge sweep --out sweep.nc")[0] == 0
    with xarray.open_dataset(tmp_path / "sweep.nc") as merged:
        assert merged["activation"].values.tolist() == ["he2", "0,1,1/2", "he3"]
        single = call(f"integrate {SMALL} --activation he3 --json --generated {generated}")[1]
        assert merged["loss"].sel(activation="he3").values.tolist() == json.loads(single)["loss"]


def test_sweep_with_divergent_tasks_is_merged(call, generated, tmp_path):
    line = "sweep --p 2 --pstar 1 --activation he3 --alpha 0,2 --eta 0.01,1 --out sweep"
    assert call(f"{line} --quiet --generated {generated}")[0] == 0
    assert call("merge sweep --out sweep.nc")[0] == 0
    with xarray.open_dataset(tmp_path / "sweep.nc") as merged:
        assert merged["status"].values.tolist() == ["ok", "diverged"]
        assert np.isfinite(merged["loss"].values[0]).all()
        assert np.isfinite(merged["loss"].values[1, 0])
        assert np.isnan(merged["loss"].values[1, 1])
        assert merged["alpha_end"].values[1] < 2.0


@pytest.mark.parametrize(
    ("activation", "axis"),
    [
        ("he3", "he3"),
        ([0, Fraction(1, 2)], "0,1/2"),
        (["he2", "0,0,1"], ("he2", "quadratic")),
        ([[0, 1], "he2"], ("he1", "he2")),
    ],
)
def test_values_of_a_plan(activation, axis):
    from runtime.sweep.task_plan import Plan

    plan = Plan.of("ode", {"activation": activation})
    assert plan.values("activation") == axis
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("he2;he9", "activation: 'he9' is not quadratic"),
        ("he2;-1,0,1", "activation: he2 is given twice"),
        ([0.5, 1.0], "activation: 0.5 is not an integer, a fraction or a decimal in text"),
    ],
)
def test_wrong_values_of_a_plan(values, problem):
    from runtime.sweep.task_plan import Plan

    with pytest.raises(oo.InputError) as error:
        Plan.of("ode", {"activation": values})
    assert str(error.value).startswith(problem)


# --- models in Python ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "problem"),
    [
        ("tanh", "'tanh' is not quadratic, he1 to he6"),
        ([0.5, 1.0], "0.5 is not an integer, a fraction or a decimal in text"),
        (["0", "1/0"], "'1/0' is not an integer"),
        (["0", "nan"], "'nan' is not an integer"),
        ([1], "'1' is constant"),
        ([0] * 7 + [1], "'0,0,0,0,0,0,0,1' has degree 7, and at most 6"),
        (3, "3 is neither a name nor coefficients"),
        (None, "None is neither a name nor coefficients"),
        ([True, 1], "True is not an integer"),
    ],
)
@pytest.mark.parametrize("option", ["activation", "teacher_activation"])
def test_wrong_polynomials_are_named(option, activation, problem):
    if option == "teacher_activation" and activation is None:
        assert oo.Model(1, 1, teacher_activation=None) == oo.Model(1, 1)
        return
    with pytest.raises(oo.InputError) as error:
        oo.Model(2, 1, **{option: activation})
    assert str(error.value).startswith(f"{option}: {problem}")


# --- what is about quadratic networks ------------------------------------------------------------

REFUSED = {
    "plateau": "the plateau is known",
    "hessian": "zero-loss solutions and the Hessian are known",
    "bias": "the closest solution is known",
    "escape": "escape times are compared with theory",
    "sector": "the invariant sector is known",
    "derive --sector": "the invariant sector is known",
    "invariants": "conserved quantities are proved",
}


@pytest.mark.parametrize(("command", "what"), REFUSED.items())
@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ("--activation he3", "--activation: 'he3'"),
        ("--teacher-activation he2", "--teacher-activation: 'he2'"),
    ],
)
def test_commands_refuse_in_a_line(call, command, what, options, culprit, tmp_path):
    code, out, err = call(f"{command} {options}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    # What else can be done may follow.
    assert err.rstrip().partition(";")[0] == f"cli: {culprit}: {what} for quadratic networks only"
    assert not list(tmp_path.iterdir())


def test_functions_refuse(system_of):
    from derive.invariants import laws, prove_invariant, search
    from runtime.analysis.conservation.monitors import drift_monitors
    from runtime.analysis.landscape.critical_points import critical_point, flat_directions, solution
    from runtime.analysis.landscape.zero_loss_solutions import zero_loss_solution

    model = oo.Model(1, 1, flow="gradient", activation="he3")
    system, one = system_of(1, 1, flow="gradient", activation="he3"), np.eye(1)
    run = oo.integrate(system, one, 0.5 * one, eta=0.1, alpha=[0.0, 1.0])
    calls = [
        lambda: oo.plateau(system, eta=0.1),
        lambda: oo.plateau(system, eta=[0.1, 0.2]),
        lambda: oo.escape_times(system, n=100, eta=0.1),
        lambda: oo.largest_stable_eta(system, "plateau"),
        lambda: oo.largest_stable_eta(system, "solution"),
        lambda: oo.gradient_flow(model, one, one, eta=0.1),
        lambda: oo.closest_solution(model, one, one),
        lambda: oo.hessian_spectrum(model, one, one, n=10),
        lambda: oo.spectra_along(run, 10),
        lambda: oo.load_sector(oo.SectorModel.of(model)),
        lambda: laws(model),
        lambda: search(model, 1),
        lambda: prove_invariant("plateau", model),
        lambda: drift_monitors(run),
        lambda: critical_point(model, 0, 1),
        lambda: solution(model),
        lambda: flat_directions(model, 10),
        lambda: zero_loss_solution(model),
    ]
    for refused in calls:
        with pytest.raises(oo.InputError, match=r"^activation: 'he3': .* for quadratic networks only(;|$)"):
            refused()
