"""Damaged files of every kind that a command reads: one line, no surprise, nothing run."""

from __future__ import annotations

import functools
import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runtime
from derive import Model, overlap_odes
from derive.errors import InputError
from runtime.start.start_files import overlaps_from_file
from runtime.system.load_error import LoadError

FUZZED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@functools.cache
def sample(suffix: str) -> bytes:
    """A file of overlaps that can be read."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"overlaps{suffix}"
        Q, R = np.eye(2), np.full((2, 1), 0.1)
        if suffix == ".npz":
            np.savez(path, Q=Q, R=R)
        else:
            import xarray

            runtime.save_netcdf(xarray.Dataset({"Q": (("i", "j"), Q), "R": (("i", "r"), R)}), path)
        return path.read_bytes()


@st.composite
def damaged(draw, suffix: str) -> bytes:
    """A readable file with bytes changed, cut out, doubled, or cut off."""
    data = bytearray(sample(suffix))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["set", "cut", "double", "end", "zero"]))
        length = draw(st.integers(1, 64))
        if kind == "set":
            data[at : at + length] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "zero":
            data[at : at + length] = bytes(len(data[at : at + length]))
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


def check(path: Path) -> None:
    """The overlaps are those of the sample, or the error names the file and says what is wrong."""
    problem = ""
    try:
        Q, R, T = overlaps_from_file(path)
    except InputError as error:
        problem = str(error)
    if problem:
        assert re.match(rf"file: {re.escape(str(path))} (cannot be read: \w|has no array )", problem)
    else:
        np.testing.assert_array_equal(Q, np.eye(2))
        np.testing.assert_array_equal(R, np.full((2, 1), 0.1))
        assert T is None


@FUZZED
@given(data=damaged(".npz"))
def test_damaged_npz(tmp_path, data):
    path = tmp_path / "overlaps.npz"
    path.write_bytes(data)
    check(path)


# Other damage is not tried since HDF5 itself may loop forever over it (docs/known-issues.md).
@settings(FUZZED, max_examples=60)
@given(kept=st.floats(0.0, 0.999), signature=st.binary(max_size=8))
def test_netcdf_cut_off_or_of_another_kind(tmp_path, kept, signature):
    whole = sample(".nc")
    path = tmp_path / "overlaps.nc"
    path.write_bytes((signature + whole[len(signature) :])[: int(kept * len(whole))])
    check(path)


@pytest.mark.parametrize(
    "entry",
    [
        np.array([[object()]], dtype=object),
        np.array([["1.0"]]),
        np.array([[1.0 + 1.0j]]),
        np.array([[True]]),
        np.array([["2026-01-01"]], dtype="datetime64[D]"),
        np.zeros((1, 1), dtype=[("x", "f8")]),
        np.array([[np.nan]]),
        np.zeros((1, 1, 1)),
        np.float64(1.0),
        np.zeros((0, 0)),
    ],
    ids=lambda entry: f"{entry.dtype}{entry.shape}",
)
def test_arrays_of_other_types(call, tmp_path, entry):
    np.savez(tmp_path / "odd.npz", Q=entry, R=np.full((1, 1), 0.1))
    before = sorted(tmp_path.iterdir())
    code, out, err = call("integrate --p 1 --pstar 1 --eta 0.1 --alpha 1 --overlaps odd.npz")
    assert (code, out) == (2, "")
    assert err.startswith("cli: --overlaps: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("shape", [(10**9, 10**9), (10**19, 0)])
def test_array_that_claims_to_be_huge(call, tmp_path, shape):
    """A header of 10¹⁸ entries and no data: refused before memory is asked for, without NumPy's words."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("Q.npy", header.getvalue())
        archive.writestr("R.npy", header.getvalue())
    code, _, err = call("integrate --overlaps huge.npz")
    assert code == 2
    assert err.startswith("cli: --overlaps: ")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    return overlap_odes(Model(1, 1)).write(folder)


@settings(FUZZED, max_examples=80)
@given(data=st.data())
def test_generated_folder_with_changed_bytes(tmp_path, pristine, data):
    """Whatever is changed, nothing but the installed generator's text is run."""
    folder = tmp_path / pristine.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    name = data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir() if p.is_file())))
    text = bytearray((folder / name).read_bytes())
    at = data.draw(st.integers(0, len(text)))
    trap = f"\nopen({str(tmp_path / 'trap')!r}, 'w')\n".encode()
    text[at : at + data.draw(st.integers(0, 40))] = data.draw(
        st.one_of(st.binary(max_size=40), st.just(trap), st.just(b""))
    )
    changed = bytes(text) != (folder / name).read_bytes()
    (folder / name).write_bytes(bytes(text))
    problem = ""
    try:
        runtime.load(folder).operations  # noqa: B018
    except LoadError as error:
        problem = str(error)
    assert problem == "" or str(folder) in problem
    # A manifest may be spelled otherwise; the code and the LaTeX may not.
    assert problem or not changed or name == "manifest.json"
    assert not (tmp_path / "trap").exists()
