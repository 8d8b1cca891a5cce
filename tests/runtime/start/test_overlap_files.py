"""Overlaps from files: what is read of them, and which files are rejected."""

from __future__ import annotations

import gc
import os
import warnings
import zipfile

import numpy as np
import pytest
import xarray
from rejections import rejected

import runtime
from runtime import overlaps_from_file, random_overlaps

SUFFIXES = (".npz", ".nc")


def cannot_be_read(path, *words):
    with rejected("file", *words) as caught:
        overlaps_from_file(path)
    return str(caught.value)


@pytest.fixture
def overlaps():
    return random_overlaps(3, 2, n=50, seed=11)


def dataset(Q, R):
    return xarray.Dataset({"Q": (("i", "j"), Q), "R": (("i", "r"), R)})


def test_npz_round_trip(tmp_path, overlaps):
    Q, R = overlaps
    np.savez(tmp_path / "a.npz", Q=Q, R=R)
    read = overlaps_from_file(tmp_path / "a.npz")
    np.testing.assert_array_equal(read[0], Q)
    np.testing.assert_array_equal(read[1], R)
    assert read[2] is None
    np.savez_compressed(tmp_path / "b.npz", Q=Q, R=R, T=np.eye(2), other=np.zeros(3))
    np.testing.assert_array_equal(overlaps_from_file(str(tmp_path / "b.npz"))[2], np.eye(2))


def test_netcdf_of_a_run_gives_its_last_state(tmp_path, system_of):
    system = system_of(3, 2, teacher="general")
    T = np.array([[1.0, 0.3], [0.3, 1.0]])
    Q0, R0 = random_overlaps(3, 2, n=50, seed=11, T=T)
    whole = runtime.integrate(system, Q0, R0, eta=0.3, alpha=[0.0, 5.0, 10.0], T=T)
    half = runtime.integrate(system, Q0, R0, eta=0.3, alpha=[0.0, 5.0], T=T)
    Q, R, read_T = overlaps_from_file(runtime.save_netcdf(half, tmp_path / "half.nc"))
    np.testing.assert_array_equal(Q, half["Q"].values[-1])
    np.testing.assert_array_equal(R, half["R"].values[-1])
    np.testing.assert_array_equal(read_T, T)
    rest = runtime.integrate(system, Q, R, eta=0.3, alpha=[5.0], T=read_T)
    np.testing.assert_allclose(rest["Q"].values[-1], whole["Q"].values[-1], atol=1e-7)


def test_netcdf_without_times_is_read_as_it_is(tmp_path, overlaps):
    dataset(*overlaps).to_netcdf(tmp_path / "a.nc")
    read = overlaps_from_file(tmp_path / "a.nc")
    np.testing.assert_array_equal(read[0], overlaps[0])
    assert read[2] is None


def test_pickled_arrays_are_not_loaded(tmp_path, overlaps):
    np.savez(tmp_path / "a.npz", Q=np.array([Evil(tmp_path)], dtype=object), R=overlaps[1])
    assert "allow_pickle" not in cannot_be_read(tmp_path / "a.npz", "other than arrays of numbers")
    assert not (tmp_path / "ran").exists()


class Evil:
    """Leaves a trace where it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (open, (str(self.folder / "ran"), "w"))


def test_links_to_files_are_followed(tmp_path, overlaps):
    np.savez(tmp_path / "a.npz", Q=overlaps[0], R=overlaps[1])
    (tmp_path / "b.npz").symlink_to("a.npz")
    np.testing.assert_array_equal(overlaps_from_file(tmp_path / "b.npz")[0], overlaps[0])


@pytest.mark.parametrize("suffix", [".npy", ".txt", "", ".npz.gz", ".h5"])
def test_other_types_of_file_are_rejected(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    cannot_be_read(path, "neither an .npz nor an .nc file")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_paths_without_a_regular_file_are_rejected(tmp_path, time_limit, suffix):
    cannot_be_read(tmp_path / f"a{suffix}", "does not exist")
    (tmp_path / f"b{suffix}").mkdir()
    cannot_be_read(tmp_path / f"b{suffix}", "cannot be read")
    cannot_be_read(f"nul\0{suffix}", "cannot be read")
    os.mkfifo(tmp_path / f"fifo{suffix}")
    for name, target in (("link", f"fifo{suffix}"), ("device", os.devnull)):
        (tmp_path / f"{name}{suffix}").symlink_to(target)
    # Nobody writes to the fifo: waiting for it would take for ever.
    with time_limit(20.0):
        for name in ("fifo", "link", "device"):
            cannot_be_read(tmp_path / f"{name}{suffix}", "not a regular file")


@pytest.fixture
def content(tmp_path, overlaps):
    """``content(suffix)``: the bytes of a file with these overlaps."""

    def content(suffix):
        path = tmp_path / f"content{suffix}"
        if suffix.lower() == ".npz":
            with path.open("wb") as file:
                np.savez(file, Q=overlaps[0], R=overlaps[1])
        else:
            dataset(*overlaps).to_netcdf(path)
        return bytearray(path.read_bytes())

    return content


@pytest.mark.parametrize("suffix", [".NPZ", ".NC"])
def test_capitals_in_the_suffix_do_not_matter(tmp_path, content, overlaps, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content(suffix))
    np.testing.assert_allclose(overlaps_from_file(tmp_path / f"a{suffix}")[0], overlaps[0], rtol=1e-15)


# NumPy closes damaged files only where they are collected: see test_damaged_npz_files_are_closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_rejected(tmp_path, content, suffix):
    whole, path = content(suffix), tmp_path / f"a{suffix}"
    for kept in (0.0, 0.01, 0.5, 0.999):
        path.write_bytes(whole[: int(kept * len(whole))])
        cannot_be_read(path, "cannot be read")
    path.write_text("Q = 1\n" * 100)
    kind = "a netCDF" if suffix == ".nc" else "an .npz"
    assert cannot_be_read(path) == f"file: {path} cannot be read: it is not {kind} file"


def test_damage_inside_an_npz_is_noticed(tmp_path, content):
    path, whole = tmp_path / "a.npz", content(".npz")
    with zipfile.ZipFile(tmp_path / "content.npz") as archive:
        start = archive.infolist()[0].header_offset
    # Inside the numbers of Q only the checksum tells.
    flipped = whole.copy()
    flipped[start + 200] ^= 0xFF
    # The header of Q, the first member, says that its data start after the end of the file.
    early = whole.copy()
    early[28:30] = b"\xff\xff"
    for damaged in (flipped, early):
        path.write_bytes(damaged)
        cannot_be_read(path, "cannot be read")
    with path.open("wb") as file:
        np.save(file, np.eye(3))
    cannot_be_read(path, "cannot be read")


@pytest.mark.parametrize("missing", ["Q", "R"])
def test_missing_arrays_are_named(tmp_path, overlaps, missing):
    arrays = dict(zip("QR", overlaps, strict=True))
    del arrays[missing]
    np.savez(tmp_path / "a.npz", **arrays)
    cannot_be_read(tmp_path / "a.npz", f"has no array {missing}")


def test_damaged_npz_files_are_closed(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cannot_be_read(tmp_path / "a.npz")
        gc.collect()
    assert not [warning for warning in caught if issubclass(warning.category, ResourceWarning)]
