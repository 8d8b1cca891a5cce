"""`cli invariants`: what it proves, finds and measures, and how it refuses."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import xarray

import cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with gradient.nc (2, 1), ensemble.nc of all states, and wide.nc (6, 2)."""
    folder = tmp_path_factory.mktemp("runs")
    common = f"--quiet --generated {folder / 'generated'} --json --n 100"
    flow = "--flow gradient --rtol 1e-11 --atol 1e-13 --alpha 8"
    line = f"integrate --p 2 --pstar 1 {flow} --out {folder}/gradient.nc {common}"
    assert cli.run(shlex.split(line)) == 0
    run = xarray.load_dataset(folder / "gradient.nc")
    ensemble = xarray.concat([run] * 3, "trajectory")
    ensemble.to_netcdf(folder / "ensemble.nc")
    ensemble.drop_vars(["Q", "R"]).to_netcdf(folder / "losses.nc")
    wide = {"Q": (("alpha", "i", "j"), [np.eye(6)] * 2), "R": (("alpha", "i", "r"), [np.eye(6)[:, :2]] * 2)}
    attributes = run.attrs | {"p": 6, "pstar": 2, "flow": "sgd"}
    xarray.Dataset(wide, {"alpha": [0.0, 1.0]}, attributes).to_netcdf(folder / "wide.nc")
    return folder


def test_claims_and_findings_of_gradient_flow(call):
    code, out, err = call("invariants --flow gradient")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("p2_pstar1_gradient, for all a, b, eta, Delta")
    assert any(line.startswith("proved") and "dK = 8ab eta K" in line for line in lines)
    assert any(line.startswith("proved") and "(R'R)^(-1/2) are constant" in line for line in lines)
    assert not any(line.startswith(("refuted", "undecided")) for line in lines)
    assert any(line.strip().startswith("f1 = det(S), S = Q - RR':  df1 = (") for line in lines)
    assert "  conserved: f1^-2 f2^-3 f3^4" in lines
    assert "  no polynomial is conserved" in lines


def test_sgd_refutes_what_gradient_flow_conserves(call):
    code, out, _ = call("invariants --p 1 --pstar 1")
    assert code == 0
    assert any(line.startswith("refuted") and "dK = 8ab eta K" in line for line in out.splitlines())
    assert "cofactors of another form" in out


def test_json_is_complete(call):
    code, out, err = call("invariants --p 1 --pstar 2 --flow gradient --degree 2 --json --quiet")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert set(result) == {"version", "model", "laws", "search"}
    assert result["model"]["pstar"] == 2
    keys = {"name", "statement", "on", "status", "reason", "conditions", "otherwise"}
    assert keys == set(result["laws"][0])
    assert result["laws"][0]["conditions"] == {
        "flow": "gradient",
        "constraint": "free",
        "teacher": "orthonormal",
        "weights": "all 1",
        "decay": "any",
    }
    search = result["search"]
    assert (search["degree"], search["complete"], search["polynomials"]) == (2, True, [])
    assert {"a": "1", "b": "1/2"}.items() <= search["values"].items()
    polynomials = [found["polynomial"] for found in search["darboux"]]
    assert {"R_1_1", "R_1_2"} <= set(polynomials)
    (ratio, *_) = search["first_integrals"]
    assert sorted(power["power"] for power in ratio["powers"]) == [-1, 1]
    assert (ratio["rate"], ratio["symbolic"]) == ("0", True)


def test_conditions_of_second_layers_stand_in_brackets(call):
    code, out, err = call("invariants --flow gradient --second-layer trained --degree 2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "v and v* = diagonal matrices" in lines[0]
    assert any(
        line.startswith("proved") and line.endswith("Q_ii - 2(eta/eta_v) v_i^2 is constant  [gamma = 0]")
        for line in lines
    )
    failed = next(k for k, line in enumerate(lines) if line.startswith("refuted") and "rotating" in line)
    assert lines[failed + 1].endswith("does not vanish; it holds with second_layer = fixed, equal v")
    assert "  conserved polynomial: -28*Q_1_1 + 9*v_1**2" in lines
    code, out, _ = call("invariants --flow gradient --second-layer fixed --degree 0 --json")
    conditions = {law["name"]: law["conditions"] for law in json.loads(out)["laws"]}
    assert conditions["growth of K"]["weights"] == "equal v"
    assert conditions["opposite students"]["weights"] == "v_j = -v_i"


def test_what_has_no_search_is_proved_all_the_same(call):
    code, out, err = call("invariants --constraint sphere --second-layer trained")
    assert code == 0
    assert err.startswith("nothing is searched: on the sphere a trained v = 0 is not at rest")
    assert "the Q_ii are constant" in out
    code, out, err = call("invariants --constraint sphere --second-layer trained --degree 1")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_no_search_without_a_degree(call):
    code, out, _ = call("invariants --p 2 --pstar 2 --constraint sphere --degree 0")
    assert code == 0
    assert "search" not in out
    assert "the Q_ii are constant" in out


def test_wide_systems_are_searched_to_a_lower_degree(call):
    code, out, err = call("invariants --p 4 --pstar 2 --flow gradient")
    assert (code, err) == (0, "18 order parameters: searched up to degree 2; --degree changes that\n")
    assert "search up to degree 2" in out


def test_monitors_of_a_run(call, runs):
    code, out, err = call(f"invariants --monitor {runs}/gradient.nc --degree 0 --out drift.nc")
    assert (code, err) == (0, "wrote drift.nc\n")
    lines = out.splitlines()
    assert lines[0].startswith("p2_pstar1_gradient")
    rows = {line.split()[0]: line.split()[1:] for line in lines if " yes " in line or " no " in line}
    assert rows["K_shape"][0] == rows["first_integral"][0] == "yes"
    assert rows["polar_factor"][0] == "no"
    assert abs(float(rows["K_growth"][1])) < 1e-8
    assert float(rows["K_rate"][1]) == pytest.approx(8 / 2 * 0.4, rel=1e-8)
    assert "K_rate in theory: 8ab eta = 1.6" in lines
    assert "what is conserved, against alpha:" in lines
    with xarray.open_dataset("drift.nc") as drift:
        assert drift["K_growth"].dims == ("alpha",)
        assert drift["K_growth"].size == 201


def test_monitors_as_json(call, runs):
    code, out, _ = call(f"invariants --monitor {runs}/ensemble.nc --json")
    assert code == 0
    result = json.loads(out)
    assert result["model"]["flow"] == "gradient"
    assert np.shape(result["monitors"]["K_shape"]) == (3, 201)
    assert result["monitors"]["conserved"]["K_shape"] is True
    assert result["monitors"]["conserved"]["polar_factor"] is False


def test_ensembles_have_a_table_without_times(call, runs):
    code, out, _ = call(f"invariants --monitor {runs}/ensemble.nc --degree 0")
    assert code == 0
    assert "row_space" in out
    assert "against alpha" not in out


def test_wide_runs_are_measured_without_proofs(call, runs):
    code, out, err = call(f"invariants --monitor {runs}/wide.nc")
    assert code == 0
    assert "p6_pstar2 has 33 order parameters, more than 30: nothing is proved" in err
    assert "proved" not in out
    assert "row_space" in out
