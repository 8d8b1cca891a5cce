"""Trajectories of the invariant sector: equal to the full system's, and possible at any p."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import rejected

import runtime
from derive import Model
from derive.sector import SectorModel, sector_odes
from derive.sector.sector_pipeline import SectorPipeline
from runtime import InputError, LoadError
from runtime.sector import SectorStart, integrate_sector, load_sector, sector_overlaps
from runtime.system.verification import verified

TIGHT = {"rtol": 1e-12, "atol": 1e-14}
TIMES = np.array([0.0, 3.0, 20.0, 60.0, 150.0])


@pytest.fixture(scope="module")
def sector(generated):
    """The sector of p* = 2 with the defaults."""
    return load_sector(SectorModel(2), generated)


FIXED = {"second_layer": "fixed"}
CASES = [
    pytest.param(4, 2, {}, {}, id="4-2"),
    pytest.param(4, 2, {}, {"label_noise": 0.3}, id="4-2-noise"),
    pytest.param(2, 3, {"flow": "gradient", "readout": "sqrt"}, {}, id="2-3-gradient-sqrt"),
    pytest.param(3, 3, {"readout": "sqrt"}, {"label_noise": 0.1, "eta": 0.1}, id="3-3-sqrt-noise"),
    pytest.param(5, 1, {"flow": "gradient"}, {}, id="5-1-gradient"),
    pytest.param(1, 2, {}, {"label_noise": 0.2, "eta": 0.05}, id="1-2-noise"),
    pytest.param(4, 2, {}, {"label_noise": 0.3, "weight_decay": 0.02, "batch": 3}, id="4-2-decay-batch"),
    pytest.param(
        4,
        2,
        FIXED,
        {"weight_decay": 0.02, "batch": 2, "student_weights": 0.8, "teacher_weights": [1.5, 1.5]},
        id="4-2-fixed",
    ),
    pytest.param(
        3,
        2,
        FIXED | {"flow": "gradient"},
        {"schedule": "inverse:30", "student_weights": [-1.2] * 3, "teacher_weights": -0.7},
        id="3-2-fixed-gradient-schedule",
    ),
]


@pytest.mark.parametrize(("p", "pstar", "options", "settings"), CASES)
def test_sector_and_full_system_agree(system_of, generated, p, pstar, options, settings):
    model = Model(p, pstar, **options)
    R0 = 0.2 * np.random.default_rng([p, pstar]).standard_normal((p, pstar))
    Q0 = 0.9 * np.eye(p) + 0.5 * R0 @ R0.T
    settings = {"eta": 0.3, "alpha": TIMES, **TIGHT} | settings
    # The full system takes vectors.
    widths = {"student_weights": p, "teacher_weights": pstar}
    vectors = {
        name: np.full(width, settings[name]) if name in settings else None for name, width in widths.items()
    }
    full = runtime.integrate(system_of(p, pstar, **options), Q0, R0, **settings | vectors)
    reduced = load_sector(SectorModel.of(model), generated)
    run = integrate_sector(reduced, SectorStart.from_overlaps(Q0, R0), **settings)
    assert full["status"].item() == run["status"].item() == "ok"
    Q, R = sector_overlaps(run)
    np.testing.assert_allclose(Q, full["Q"].values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(R, full["R"].values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run["loss"].values, full["loss"].values, rtol=0, atol=1e-10)
    assert run.sizes["k"] == min(p, pstar)
    assert ("q_perp" in run) == (p > pstar)
    # The directions are those of the full system at all times.
    left, right = run["left"].values, run["right"].values
    inside = np.einsum("ik,tij,jl->tkl", left, full["Q"].values, left)
    overlaps = np.einsum("ik,tir,rl->tkl", left, full["R"].values, right)
    for found, diagonal in ((inside, run["q"].values), (overlaps, run["m"].values)):
        expected = diagonal[:, :, None] * np.eye(min(p, pstar))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_starts_of_either_kind_are_the_same_trajectory(sector):
    R0 = 0.1 * np.random.default_rng(1).standard_normal((6, 2))
    m = np.linalg.svd(R0, compute_uv=False)
    of_matrices = integrate_sector(sector, SectorStart.from_overlaps(np.eye(6), R0), eta=0.4, alpha=TIMES)
    of_numbers = integrate_sector(sector, SectorStart.from_singular_values(6, 2, m), eta=0.4, alpha=TIMES)
    for name in ("q", "m", "q_perp", "loss"):
        np.testing.assert_allclose(of_matrices[name].values, of_numbers[name].values, rtol=1e-9)
    assert "left" not in of_numbers
    Q, R = sector_overlaps(of_numbers)
    np.testing.assert_array_equal(R[0][:2], np.diag(m))
    np.testing.assert_array_equal(Q[0], np.eye(6))


def test_a_state_of_a_run_is_a_start(sector):
    """Q(α) is in the algebra of RRᵀ and 1 although it is no longer a multiple of 1."""
    R0 = 0.1 * np.random.default_rng(2).standard_normal((5, 2))
    whole = integrate_sector(
        sector, SectorStart.from_overlaps(np.eye(5), R0), eta=0.4, alpha=np.array([30.0, 60.0]), **TIGHT
    )
    Q, R = sector_overlaps(whole)
    rest = integrate_sector(
        sector, SectorStart.from_overlaps(Q[0], R[0]), eta=0.4, alpha=np.array([30.0]), **TIGHT
    )
    for found, expected in zip(sector_overlaps(rest), (Q, R), strict=True):
        np.testing.assert_allclose(found[0], expected[1], atol=1e-10)


@pytest.mark.parametrize("p", [10**3, 10**6, 10**9])
def test_time_scales_with_p_and_the_plateau_is_known(sector, p):
    """In units of p/η the escape depends on p* alone; ε starts from 1/(p+2) + 1/p* for small η/p."""
    start = SectorStart.from_singular_values(p, 2, np.array([1e-3, 5e-4]))
    run = integrate_sector(sector, start, eta=0.4, alpha=p * np.linspace(0.0, 400.0, 201))
    assert run["status"].item() == "ok"
    assert run["steps"].item() < 1000
    loss = run["loss"].values
    # The η² term moves the plateau by a part of order η/p.
    assert loss[2] == pytest.approx(1 / (p + 2) + 1 / 2, abs=1 / p)
    np.testing.assert_allclose(run["m"].values[-1], np.sqrt(p / 2), rtol=1e-2)
    rate = np.log(run["m"].values[3] / run["m"].values[2]) / (2.0 * p)
    np.testing.assert_allclose(rate * p, 4 * 0.4 / 2, rtol=0.02 if p == 10**3 else 2e-3)


def test_unlimited_width_is_a_limit(sector):
    """Scaled by their value at zero loss, trajectories converge as p → ∞ from the same start."""
    scaled = []
    for p in (10**4, 10**6, 10**8):
        start = SectorStart.from_singular_values(p, 2, np.sqrt(p) * np.array([0.3, 0.1]), 0.2 * p, 1.0)
        run = integrate_sector(sector, start, eta=0.4, alpha=p * np.linspace(0.0, 20.0, 5), **TIGHT)
        scaled.append(run["m"].values / np.sqrt(p))
    first, second = (np.max(np.abs(scaled[k] - scaled[k + 1])) for k in (0, 1))
    assert second < 0.02 * first < 0.02 * 1e-2


def test_random_starts_have_the_law_of_gaussian_overlaps():
    p, pstar, scale, count = 50, 3, 0.02, 400
    starts = [SectorStart.random(p, pstar, scale, seed) for seed in range(count)]
    rng = np.random.default_rng(0)
    matrices = scale * rng.standard_normal((count, p, pstar))
    direct = np.linalg.svd(matrices, compute_uv=False)
    found = np.array([start.m for start in starts])
    for k in range(pstar):
        error = np.hypot(found[:, k].std(), direct[:, k].std()) / np.sqrt(count)
        assert abs(found[:, k].mean() - direct[:, k].mean()) < 5 * error
    again = SectorStart.random(p, pstar, scale, 7)
    np.testing.assert_array_equal(again.m, starts[7].m)
    wide = SectorStart.random(10**9, 2, 1e-6, 0)
    np.testing.assert_allclose(wide.m, np.sqrt(1e9) * 1e-6, rtol=1e-3)


def test_divergence_is_reported(sector):
    start = SectorStart.from_singular_values(4, 2, 0.1, 1e3)
    run = integrate_sector(sector, start, eta=10.0, alpha=100.0)
    assert run["status"].item() == "diverged"
    assert np.isnan(run["loss"].values[-1])
    assert np.isnan(run["q"].values[-1]).all()


def test_results_are_files_like_others(sector, tmp_path):
    import xarray

    start = SectorStart.random(10**6, 2, 1e-6, 3)
    run = integrate_sector(sector, start, eta=0.4, alpha=1e6, label_noise=0.1, method="tsit5")
    with xarray.open_dataset(runtime.save_netcdf(run, tmp_path / "run.nc")) as read:
        np.testing.assert_array_equal(read["m"].values, run["m"].values)
        assert read.attrs["p"] == 10**6
        assert (read.attrs["method"], read.attrs["label_noise"]) == ("tsit5", 0.1)


# --- refusals ------------------------------------------------------------------------------


def refused(option, words, function, *arguments, **keywords):
    with pytest.raises(InputError, match=words) as error:
        function(*arguments, **keywords)
    assert error.value.option == option
    assert "\n" not in str(error.value)


def test_overlaps_outside_the_sector_are_refused():
    R0 = 0.1 * np.random.default_rng(3).standard_normal((4, 2))
    refused("Q0", "algebra", SectorStart.from_overlaps, np.diag([1.0, 1.0, 1.0, 1.1]), R0)
    random = runtime.random_overlaps(4, 2, n=1000, seed=0)
    refused("Q0", "algebra", SectorStart.from_overlaps, *random)
    refused("R0", "shape", SectorStart.from_overlaps, np.eye(4), R0[0])
    refused("Q0", "shape", SectorStart.from_overlaps, np.eye(3), R0)
    refused("m", "no weights", SectorStart.from_overlaps, np.eye(4), 30 * R0)


def test_wrong_numbers_are_refused():
    make = SectorStart.from_singular_values
    refused("p", "integer", make, 0, 2, 0.1)
    refused("p", "integer", make, 1e6, 2, 0.1)
    refused("m", "too large", make, 4, 2, np.array([0.1, 1.1]))
    refused("m", "shape", make, 4, 2, np.array([0.1, 0.1, 0.1]))
    refused("m", "shape", make, 1, 2, np.array([0.1, 0.1]))
    refused("q", "at least 0", make, 4, 2, 0.0, -1.0)
    refused("q_perp", "required", make, 4, 2, 0.1, np.array([1.0, 2.0]))
    refused("q_perp", "leaves no students", make, 2, 2, 0.1, 1.0, 1.0)
    refused("q_perp", "at least 0", make, 4, 2, 0.1, 1.0, -1.0)
    refused("scale", "too large", SectorStart.random, 10**6, 2, 0.1)
    refused("seed", "integer", SectorStart.random, 10**6, 2, 1e-6, -1)


@pytest.mark.parametrize(("p", "pstar"), [(5, 2), (3, 3), (2, 4)])
def test_students_in_the_span_of_the_teachers_are_a_start(p, pstar):
    """Q0 = R0 R0ᵀ leaves no norm beyond the overlaps, and rounding may leave less than none."""
    for seed in range(20):
        R0 = 0.5 * np.random.default_rng(seed).standard_normal((p, pstar))
        start = SectorStart.from_overlaps(R0 @ R0.T, R0)
        assert 0.0 <= start.q_perp < 1e-14
        np.testing.assert_allclose(start.q, start.m**2, rtol=1e-6)


def test_a_run_that_goes_on_has_the_schedule_of_the_whole(sector):
    start = SectorStart.from_singular_values(4, 2, [0.1, 0.05])
    settings = {"eta": 0.4, "schedule": "0:1,20:0.5,70:0.1", **TIGHT}
    whole = integrate_sector(sector, start, alpha=[30.0, 100.0], **settings)
    q, m, perp = (whole[name].values[0] for name in ("q", "m", "q_perp"))
    half = SectorStart.from_singular_values(4, 2, m, q, perp)
    rest = integrate_sector(sector, half, alpha=[100.0], start_alpha=30.0, **settings)
    np.testing.assert_allclose(rest["m"].values[-1], whole["m"].values[-1], rtol=1e-10)
    late = integrate_sector(sector, half, alpha=[70.0], **settings)
    assert abs(late["m"].values[-1] / whole["m"].values[-1] - 1.0).max() > 1e-3
    assert whole.attrs["schedule"] == settings["schedule"]
    assert (rest.attrs["start_alpha"], "start_alpha" in whole.attrs) == (30.0, False)


def test_unequal_second_layers_are_refused(sector, generated):
    start = SectorStart.from_singular_values(4, 2, 0.1)
    fixed = load_sector(SectorModel(2, second_layer="fixed"), generated)
    run = integrate_sector(fixed, start, eta=0.1, alpha=1.0, student_weights=2, teacher_weights=[3, 3])
    assert (run.attrs["student_weights"], run.attrs["teacher_weights"]) == (2.0, 3.0)
    for option, value, words in (
        ("student_weights", [1, 1, 1, 2], "needs equal weights"),
        ("teacher_weights", [1, -1], "needs equal weights"),
        ("teacher_weights", [1, 1, 1], "shape"),
        ("student_weights", "power:1", "number"),
        ("student_weights", np.inf, "finite"),
    ):
        refused(option, words, integrate_sector, fixed, start, eta=0.1, alpha=1.0, **{option: value})
    refused("student_weights", "second_layer", integrate_sector, sector, start, eta=0.1, student_weights=2)


def test_wrong_settings_are_refused(sector):
    start = SectorStart.from_singular_values(4, 2, 0.1)
    refused("start", "p\\* = 3", integrate_sector, sector, SectorStart.random(9, 3, 0.01), eta=0.1)
    refused("eta", "greater than 0", integrate_sector, sector, start, eta=0.0)
    refused("label_noise", "at least 0", integrate_sector, sector, start, eta=0.1, label_noise=-1.0)
    refused("method", "prince8", integrate_sector, sector, start, eta=0.1, method="scipy:LSODA")
    refused("rtol", "at least", integrate_sector, sector, start, eta=0.1, rtol=0.0)


def test_matrices_too_large_to_rebuild_are_refused(sector):
    run = integrate_sector(sector, SectorStart.random(10**6, 2, 1e-6), eta=0.4, alpha=np.array([1.0]))
    refused("p", "Q and R at 1 times would take", sector_overlaps, run)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("q", {"q": np.ones(3)}),
        ("m", {"m": np.zeros(1)}),
        ("left", {"left": np.ones((2, 4))}),
        ("right", {"right": np.ones((3, 2))}),
        ("q_perp", {"q_perp": np.ones(2)}),
        ("p", {"p": 2.5}),
    ],
)
def test_starts_of_wrong_shapes_are_refused(option, values):
    right = {"p": 4, "pstar": 2, "q": [1, 1], "m": np.zeros(2, dtype=np.float32), "q_perp": 1}
    assert SectorStart(**right).q.dtype == SectorStart(**right).m.dtype == np.float64
    with pytest.raises(InputError) as caught:
        SectorStart(**right | values)
    assert caught.value.option == option


def test_wrong_sector_states_are_refused(sector):
    for option, states, p in (
        ("states", np.zeros((3, 4)), 4),
        ("states", np.zeros(5), 4),
        ("states", "text", 4),
        ("p", np.zeros((3, 5)), 0),
        ("p", np.zeros((3, 5)), 2.5),
    ):
        with pytest.raises(InputError) as caught:
            sector.loss_of_states(states, p)
        assert caught.value.option == option
    states = np.arange(10.0).reshape(2, 5)
    expected = sector.loss_of_states(states, 4)
    for same in (states.tolist(), np.asfortranarray(states), states.astype(np.float32)):
        np.testing.assert_array_equal(sector.loss_of_states(same, 4), expected)


# --- loading -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return sector_odes(SectorModel(1, flow="gradient")).write(tmp_path)


COMMAND = "cli derive --sector --pstar 1 --flow gradient"


def not_loaded(folder, *words):
    with pytest.raises(LoadError) as error:
        load_sector(folder)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_untouched_folder_loads(folder):
    """Folders of sectors are verified as those of systems are: tests/runtime/system/test_loading.py."""
    system = load_sector(folder)
    assert system.model == SectorModel(1, flow="gradient")
    assert verified(folder, SectorPipeline)[1]["operations"]["rhs"] == system.operations


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("odes.py", "2", "3", ("odes.py was edited", COMMAND)),
        ("odes.tex", "2", "3", ("odes.tex was edited", COMMAND)),
        ("manifest.json", '"rhs": ', '"rhs": 1', ("manifest.json is damaged or was edited", COMMAND)),
        ("manifest.json", "identity", "\\u001b[2Jidentity", ("was edited", COMMAND)),
        (
            "manifest.json",
            '"pstar": 1',
            '"pstar": 0',
            ("damaged or of another version", "cli derive --sector`"),
        ),
        ("manifest.json", '"sector"', '"system"', ("holds a system, not a sector", "cli derive --sector`")),
    ],
)
def test_edited_folders_are_rejected(folder, name, old, new, words):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    not_loaded(folder, *words)


def test_other_folders_are_rejected(folder, tmp_path, system):
    assert system.operations
    not_loaded(system.folder, "holds a system, not a sector")
    not_loaded(tmp_path / "nothing", "does not exist", "cli derive --sector`")
    with pytest.raises(InputError, match="source: is of the type Model, not a SectorModel or a folder"):
        load_sector(system.model)
    folder.rename(tmp_path / "sector_pstar3")
    with pytest.raises(LoadError, match=r"holds sector_pstar1_gradient; .*`cli derive --sector --pstar 3`"):
        load_sector(SectorModel(3), tmp_path).operations  # noqa: B018 (verified on first use)


def test_a_sector_is_derived_when_it_is_first_used(tmp_path):
    """All arguments are checked before, so that wrong ones leave nothing behind."""
    lazy = load_sector(SectorModel(1), tmp_path)
    start = SectorStart.from_singular_values(2, 1, m=0.1)
    for wrong in ({"eta": 0.0}, {"label_noise": -1.0}, {"alpha": 0.0}, {"rtol": 0.0}, {"method": "euler"}):
        with rejected(next(iter(wrong))):
            integrate_sector(lazy, start, **({"eta": 0.1} | wrong))
    assert not list(tmp_path.iterdir())
    assert integrate_sector(lazy, start, eta=0.1, alpha=1.0)["status"] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["sector_pstar1"]


@pytest.mark.parametrize("size", [1e-14, 1e-7, 1.0, 1e14])
def test_units_of_the_students_do_not_matter(size):
    """What is refused at norms of order one is refused at any, and the other way round."""
    assert SectorStart.from_singular_values(4, 2, m=0.9 * np.sqrt(size), q=size).q_perp == size
    refused("m", "too large", SectorStart.from_singular_values, 4, 2, 1.01 * np.sqrt(size), size)
    R0 = np.sqrt(size) * 0.1 * np.eye(3, 2)
    assert SectorStart.from_overlaps(size * np.eye(3), R0).q_perp == pytest.approx(size, rel=1e-12, abs=0.0)
    Q0 = size * (np.eye(3) + 1e-6 * (np.eye(3, k=1) + np.eye(3, k=-1)))
    refused("Q0", "not in the algebra", SectorStart.from_overlaps, Q0, R0)
