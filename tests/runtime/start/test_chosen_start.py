"""Starts that are chosen by an input dimension, a size or a file."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from rejections import rejected

from derive import Model
from runtime import InputError, random_overlaps
from runtime.start.chosen_start import ChosenStart, naming_choices
from runtime.start.parameter_values import RunParameters

GENERAL = Model(3, 2, teacher="general")


FIXED = Model(3, 2, second_layer="fixed")
TRAINED = Model(3, 2, second_layer="trained")


def start_of(model, starts=None, **choices):
    """The run-time parameters of a chosen start, and the start."""
    return ChosenStart(**choices).overlaps_of(model, starts)


def test_start_is_random_by_default():
    given, start = start_of(Model(3, 2), seed=3)
    expected = random_overlaps(3, 2, 10**6, 3)
    np.testing.assert_array_equal(start.Q0, expected[0])
    np.testing.assert_array_equal(start.R0, expected[1])
    assert given == {"T": None, "student_weights": None, "teacher_weights": None}
    assert start.origin == {"seed": 3, "q0": 1.0, "n": 10**6}
    assert start.alpha == 0.0


def test_ideal_start():
    _, start = start_of(Model(3, 2), seed=3, ideal=1e-3)
    expected = random_overlaps(3, 2, None, 3, scale=1e-3)
    np.testing.assert_array_equal(start.Q0, expected[0])
    np.testing.assert_array_equal(start.R0, expected[1])
    assert start.origin == {"seed": 3, "q0": 1.0, "ideal": 1e-3}


@pytest.fixture
def stored(tmp_path):
    """``stored(T=…)``: a file of overlaps (3, 2) and these arrays; and `stored.Q`, `stored.R`."""

    def stored(**arrays):
        np.savez(tmp_path / "start.npz", **{"Q": stored.Q, "R": stored.R, **arrays})
        return tmp_path / "start.npz"

    stored.Q, stored.R = random_overlaps(3, 2, 100, 4)
    return stored


def test_start_from_a_file(stored):
    path = stored(T=np.eye(2))
    given, start = start_of(Model(3, 2), seed=3, overlaps=path)
    np.testing.assert_array_equal(start.Q0, stored.Q)
    assert given["T"] is None
    assert start.origin == {"overlaps": str(path)}
    np.testing.assert_array_equal(start_of(GENERAL, overlaps=path)[0]["T"], np.eye(2))
    stored(T=0.9 * np.eye(2))
    with pytest.raises(InputError, match="--teacher general"):
        start_of(Model(3, 2), overlaps=path)
    stored(T=np.eye(2) + 1e-12)
    assert start_of(Model(3, 2), overlaps=path)[0]["T"] is None
    for T, problem in (
        (np.full((2, 2), np.nan), "T has entries that are not finite"),
        (-np.eye(2), "T is not"),
    ):
        with rejected("overlaps", problem):
            start_of(GENERAL, overlaps=stored(T=T))


def test_a_file_restores_second_layers_and_the_time(stored):
    v, fixed, teacher = np.array([0.5, -1.0, 2.0]), np.array([1.0, 1.0, -1.0]), np.array([1.0, -0.5])
    path = stored(v=v, student_weights=fixed, teacher_weights=teacher, alpha=200.0)
    given, start = start_of(TRAINED, overlaps=path)
    assert start.alpha == 200.0
    np.testing.assert_array_equal(given["student_weights"], v)
    np.testing.assert_array_equal(given["teacher_weights"], teacher)
    # A trained layer may be kept as it is, and a fixed one may be trained from there.
    np.testing.assert_array_equal(start_of(FIXED, overlaps=path)[0]["student_weights"], v)
    stored(student_weights=fixed)
    for model in (FIXED, TRAINED):
        given, start = start_of(model, overlaps=path)
        np.testing.assert_array_equal(given["student_weights"], fixed)
        assert given["teacher_weights"] is None
        assert start.alpha == 0.0
    stored(student_weights=np.ones(3), teacher_weights=np.ones(2))
    assert start_of(Model(3, 2), overlaps=path)[0]["student_weights"] is None


def test_what_the_command_says_of_second_layers_wins(stored):
    path = stored(student_weights=np.full(3, 2.0), teacher_weights=np.full(2, 3.0))
    given, _ = start_of(FIXED, overlaps=path, student_weights="-1,0,1", teacher_weights="power:1")
    np.testing.assert_array_equal(given["student_weights"], [-1.0, 0.0, 1.0])
    np.testing.assert_array_equal(given["teacher_weights"], [1.0, 0.5])
    stored(v=np.ones(3))
    assert start_of(FIXED, overlaps=path, student_weights=[1, 2, 3])[0]["student_weights"] == [1, 2, 3]
    with rejected("student_weights", "does not go with --overlaps: the file has a trained v"):
        start_of(TRAINED, overlaps=path, student_weights="1,2,3")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"v": np.ones(2)}, r"v has the shape \(2,\), not \(3,\)"),
        ({"teacher_weights": np.ones((1, 2))}, "teacher_weights has the shape"),
        (
            {"student_weights": np.array([1.0, 2.0, 1.0])},
            "student_weights in the file has entries that are not 1: .* --second",
        ),
        ({"v": np.array([1.0, np.nan, 1.0])}, "v in the file has entries that are not finite"),
        ({"alpha": -1.0}, "alpha = -1, which is not a time"),
        ({"alpha": np.nan}, "alpha = nan"),
        ({"alpha": np.array([1.0, 2.0])}, "alpha from 1 to 2: take the states of one time"),
    ],
)
def test_files_of_a_wrong_second_layer_or_time(stored, arrays, problem):
    with rejected("overlaps", problem), naming_choices():
        start_of(Model(3, 2), overlaps=stored(**arrays))


def test_many_starts_of_a_file_have_second_layers_of_their_own(stored):
    v = np.arange(12.0).reshape(4, 3)
    path = stored(Q=np.stack([stored.Q] * 4), R=np.stack([stored.R] * 4), v=v, teacher_weights=np.ones(2))
    given, start = start_of(TRAINED, 4, overlaps=path)
    assert start.many
    np.testing.assert_array_equal(given["student_weights"], v)
    assert given["teacher_weights"].shape == (2,)
    with rejected("trajectories", "5 is not the number of starts, 4"):
        start_of(TRAINED, 5, overlaps=path)


def test_random_second_layers_have_a_stream_of_their_own():
    chosen = ChosenStart(seed=3, student_weights="random", teacher_weights="random", n=100)
    one, start = chosen.overlaps_of(FIXED)
    many, starts = chosen.starts_of(FIXED, 5)
    more, _ = chosen.starts_of(FIXED, 9)
    assert many["student_weights"].shape == (5, 3)
    assert many["teacher_weights"].shape == (2,)
    np.testing.assert_array_equal(many["student_weights"][0], one["student_weights"])
    np.testing.assert_array_equal(more["student_weights"][:5], many["student_weights"])
    assert np.unique(np.append(more["student_weights"], more["teacher_weights"])).size == 29
    # The overlaps are those of a start without random second layers.
    np.testing.assert_array_equal(start.Q0, start_of(Model(3, 2), seed=3, n=100)[1].Q0)
    np.testing.assert_array_equal(starts.all()[1][0], start.R0)
    other = ChosenStart(seed=4, student_weights="random").overlaps_of(FIXED)[0]
    assert not np.intersect1d(other["student_weights"], one["student_weights"]).size
    drawn = ChosenStart(student_weights="random").starts_of(FIXED, 20_000)[0]["student_weights"]
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0.0, 1.0], atol=4 / np.sqrt(drawn.size))
    with rejected("trajectories", "for --student-weights random"):
        ChosenStart(student_weights="random").starts_of(FIXED, 10**10)


def test_a_file_of_other_widths_says_its_own(tmp_path):
    Q, R = random_overlaps(4, 1, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(1))
    words = r"holds p = 4 and p\* = 1, not 4 and 2: say --p 4 --pstar 1"
    for model in (Model(4, 2), Model(4, 2, teacher="general")):
        with pytest.raises(InputError, match=words) as caught:
            ChosenStart(seed=3, overlaps=path).overlaps_of(model)
        assert caught.value.option == "overlaps"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with pytest.raises(InputError, match=r"^overlaps: T has the shape \(2, 2\), not \(1, 1\)"):
        ChosenStart(seed=3, overlaps=path).overlaps_of(Model(4, 1))


@pytest.mark.parametrize("name", ["q0", "seed", "trajectories", "teacher_correlation"])
def test_a_file_needs_no_other_start(tmp_path, name):
    Q, R = random_overlaps(3, 2, 100, 4)
    path = tmp_path / "start.npz"
    np.savez(path, Q=Q, R=R, T=np.eye(2))
    with rejected(name, "does not go with --overlaps"):
        ChosenStart(overlaps=path, given=frozenset({"eta", name})).overlaps_of(GENERAL)


def test_a_chosen_teacher_goes_with_a_file_without_teacher(stored):
    for choice, value in (
        ("teacher_correlation", 0.3),
        ("T", [[1.0, 0.3], [0.3, 1.0]]),
        ("teacher_spectrum", "1,0.5"),
    ):
        teacher = start_of(GENERAL, overlaps=stored(), **{choice: value}, given=frozenset({choice}))[0]["T"]
        expected = np.diag([1.0, 0.5]) if choice == "teacher_spectrum" else [[1.0, 0.3], [0.3, 1.0]]
        np.testing.assert_allclose(teacher, expected)
        with rejected(choice, "does not go with --overlaps: the file has a T"):
            start_of(GENERAL, overlaps=stored(T=np.eye(2)), **{choice: value})


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.3, 1.0])
def test_correlated_teachers(correlation):
    teacher = start_of(GENERAL, teacher_correlation=correlation)[0]["T"]
    np.testing.assert_allclose(teacher, [[1.0, correlation], [correlation, 1.0]])


@pytest.mark.parametrize(
    ("spectrum", "expected"), [("1,0.25", [1.0, 0.25]), ("power:1", [1.0, 0.5]), ([2, 0], [2.0, 0.0])]
)
def test_teachers_of_a_spectrum(spectrum, expected):
    given, start = start_of(GENERAL, teacher_spectrum=spectrum, n=50)
    np.testing.assert_array_equal(given["T"], np.diag(expected))
    np.testing.assert_array_equal(start.R0, random_overlaps(3, 2, 50, T=np.diag(expected))[1])


def test_teachers_of_files(tmp_path):
    T = np.array([[1.0, 0.25], [0.25, 0.5]])
    np.save(tmp_path / "T.npy", T)
    np.savez(tmp_path / "T.npz", T=T, Q=np.eye(3))
    xarray.Dataset({"T": (("r", "s"), T)}).to_netcdf(tmp_path / "T.nc")
    (tmp_path / "T.csv").write_text("\ufeff1.0, 0.25\n0.25, 5e-1\n", "utf-8")
    (tmp_path / "T.txt").write_text("# teachers\n1 .25 # first\n\n0.25   0.5\n")
    for name in ("T.npy", "T.npz", "T.nc", "T.csv", "T.txt"):
        np.testing.assert_array_equal(start_of(GENERAL, T=tmp_path / name)[0]["T"], T)
        with rejected("T", "needs --teacher general"):
            start_of(Model(3, 2), T=str(tmp_path / name))
        with rejected("T", rf"{name} has the shape \(2, 2\), not \(3, 3\)"):
            start_of(Model(4, 3, teacher="general"), T=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("T.txt", "1 0\n0 nan", "entries that are not finite"),
        ("T.txt", "1 0\n0.5 1", "not symmetric"),
        ("T.txt", "1 2\n2 1", "not positive semi-definite"),
        ("T.txt", "1 0\n0", "damaged, or holds something other"),
        ("T.txt", "1 0", r"shape \(1, 2\), not \(p\*, p\*\)"),
        ("T.csv", "# none", "no numbers"),
        ("T.csv", b"\xff\xfe", "damaged"),
        ("T.npy", b"1 0", "not an .npy file"),
        ("T.npz", b"1 0", "not an .npz file"),
        ("T.nc", b"1 0", "not a netCDF file"),
        ("T.txt", b"1" * (2**22 + 1), "larger than 4 MiB"),
        (".", None, "not a regular file"),
        ("none.npy", None, "does not exist"),
    ],
)
def test_files_that_hold_no_teacher(tmp_path, name, content, problem):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with rejected("T", problem):
        start_of(GENERAL, T=tmp_path / name)


def test_archives_without_a_teacher(tmp_path):
    np.savez(tmp_path / "a.npz", Q=np.eye(2))
    np.save(tmp_path / "b.npy", np.array([[Model]], dtype=object))
    np.save(tmp_path / "c.npy", np.lib.stride_tricks.as_strided(np.zeros(1), (300, 300), (0, 0)))
    for name, problem in (
        ("a.npz", "has no array T"),
        ("b.npy", "something other"),
        ("c.npy", r"\(p\*, p"),
    ):
        with rejected("T", problem):
            start_of(GENERAL, T=tmp_path / name)


@pytest.mark.parametrize(
    ("model", "options", "option"),
    [
        (GENERAL, {"teacher_correlation": -1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": 1.01}, "teacher_correlation"),
        (GENERAL, {"teacher_correlation": float("nan")}, "teacher_correlation"),
        (Model(3, 2), {"teacher_correlation": 0.1}, "teacher_correlation"),
        (GENERAL, {"teacher_spectrum": "1"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "1,-0.5"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "1,inf"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "random"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "power:x"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "power:-2000"}, "teacher_spectrum"),
        (Model(3, 2), {"teacher_spectrum": "1,1"}, "teacher_spectrum"),
        (GENERAL, {"teacher_spectrum": "1,1", "T": np.eye(2)}, "T"),
        (GENERAL, {"teacher_spectrum": "1,1", "teacher_correlation": 0.1}, "teacher_spectrum"),
        (FIXED, {"student_weights": "1,2"}, "student_weights"),
        (FIXED, {"student_weights": "1,2,1_0"}, "student_weights"),
        (FIXED, {"student_weights": "1,2,"}, "student_weights"),
        (FIXED, {"student_weights": "1,2,random"}, "student_weights"),
        (FIXED, {"teacher_weights": "1,1e999"}, "teacher_weights"),
        (Model(3, 2), {"n": 100, "ideal": 0.1}, "ideal"),
        (Model(3, 2), {"ideal": 0.1, "overlaps": "a.npz"}, "overlaps"),
        (Model(3, 2), {"n": 1}, "n"),
    ],
)
def test_options_that_do_not_go_together(model, options, option):
    with rejected(option):
        start_of(model, **options)


def test_random_second_layers_beside_a_file_have_a_seed(stored):
    start = ChosenStart(overlaps=stored(), seed=3, student_weights="random", given=frozenset({"seed"}))
    expected = ChosenStart(seed=3, student_weights="random").overlaps_of(FIXED)[0]["student_weights"]
    np.testing.assert_array_equal(start.overlaps_of(FIXED)[0]["student_weights"], expected)
    for seed in (-1, 2**63, 0.5):
        with rejected("seed", "is not an integer from 0"):
            ChosenStart(seed=seed, teacher_weights="random").parameters(FIXED)


def test_second_layers_need_a_model_that_has_them():
    given = ChosenStart(student_weights="1,2,3").parameters(Model(3, 2))
    with rejected("student_weights", "second_layer = fixed or trained"):
        RunParameters.of(Model(3, 2), {"eta": 0.1, **given})
