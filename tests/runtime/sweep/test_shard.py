"""Shards: whole or absent, and nothing else is taken for one."""

from __future__ import annotations

import errno
import os
import tempfile
import time

import netCDF4
import numpy as np
import pytest
import xarray
from limits import files_up_to

from runtime.sweep import shard_netcdf
from runtime.sweep.durable_files import StorageError
from runtime.sweep.shard import DamagedShardError, verified, write_shard

TASK = "a" * 64


@pytest.fixture
def dataset():
    return xarray.Dataset(
        {"x": (("t",), np.array([1.0, np.nan, -0.0])), "k": ((), 3), "word": ((), "größer")},
        {"t": [1, 2, 3]},
        {"eta": 0.1, "name": "Δ", "n": 10**18},
    )


@pytest.fixture
def shard(tmp_path, dataset):
    write_shard(tmp_path / "0000000.nc", dataset, TASK)
    return tmp_path / "0000000.nc"


def test_a_shard_comes_back_bit_for_bit(shard, dataset):
    result = shard_netcdf.decode(verified(shard, TASK))
    np.testing.assert_array_equal(result["x"].values.view(np.int64), dataset["x"].values.view(np.int64))
    assert result["k"].item() == 3
    assert result["word"].item() == "größer"
    assert result.attrs == dataset.attrs


def test_any_reader_of_netcdf_reads_it(shard):
    with xarray.open_dataset(shard) as file:
        assert file["word"].item() == "größer"
    with netCDF4.Dataset(shard) as file:
        assert file["k"][...] == 3


def test_the_same_data_are_the_same_bytes_at_any_time(tmp_path, dataset, monkeypatch):
    write_shard(tmp_path / "first.nc", dataset, TASK)
    # HDF5 has a clock of its own, of whole seconds.
    second = int(time.time())
    while int(time.time()) == second:
        pass
    monkeypatch.setattr(time, "time", lambda: 0.0)
    write_shard(tmp_path / "second.nc", dataset.copy(deep=True), TASK)
    assert (tmp_path / "first.nc").read_bytes() == (tmp_path / "second.nc").read_bytes()


def test_no_shard_is_not_a_damaged_one(tmp_path):
    assert verified(tmp_path / "none.nc", TASK) is None


def cut(content):
    return content[: len(content) // 2]


def flip(content, place=None):
    place = len(content) // 3 if place is None else place
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda _: b"", "empty"),
        (cut, "cut off"),
        (lambda content: content[:-1], "cut off"),
        (lambda content: content + b"\n", "cut off"),
        (flip, "other bytes than were written"),
        (lambda content: flip(content, 0), "other bytes than were written"),
        (lambda content: flip(content, len(content) - 2), "not|cut off"),
        (lambda content: content.replace(b"task=a", b"task=b"), "another task, model or version"),
        (lambda content: b"\0" * len(content), "cut off"),
        (lambda content: content[-1000:], "other bytes than were written"),
    ],
)
def test_damage_is_seen_and_named(shard, damage, word):
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DamagedShardError, match=word):
        verified(shard, TASK)


def test_every_flipped_bit_is_seen(shard):
    content = shard.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 200):
        shard.write_bytes(flip(content, int(place)))
        with pytest.raises(DamagedShardError):
            verified(shard, TASK)


def test_shards_of_other_tasks_are_refused(shard):
    with pytest.raises(DamagedShardError, match="another task"):
        verified(shard, "b" * 64)


def test_links_pipes_and_folders_are_no_shards(shard, tmp_path):
    (tmp_path / "link.nc").symlink_to(shard)
    os.mkfifo(tmp_path / "pipe.nc")
    (tmp_path / "folder.nc").mkdir()
    for name, word in (("link", "symbolic link"), ("pipe", "empty"), ("folder", "cannot be read")):
        with pytest.raises(DamagedShardError, match=word):
            verified(tmp_path / f"{name}.nc", TASK)


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_what_cannot_be_stored_leaves_the_old_file_and_no_other(shard, dataset, monkeypatch, call, number):
    before = shard.read_bytes()

    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(StorageError) as refused:
        write_shard(shard, dataset, "b" * 64)
    monkeypatch.undo()
    assert refused.value.strerror == os.strerror(number)
    assert refused.value.filename == str(shard)
    assert shard.read_bytes() == before
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_what_the_library_cannot_write_is_said_by_the_system(shard, dataset, size):
    """HDF5 itself says that it failed, or that permission is denied."""
    before = shard.read_bytes()
    with files_up_to(size), pytest.raises(StorageError) as refused:
        write_shard(shard, dataset, "b" * 64)
    assert (refused.value.strerror, refused.value.filename) == (os.strerror(errno.EFBIG), str(shard))
    assert shard.read_bytes() == before
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_other_folders_are_not_used(tmp_path, dataset, monkeypatch):
    """As that of temporary files, which may be full or missing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    write_shard(tmp_path / "0000000.nc", dataset, TASK)
    assert verified(tmp_path / "0000000.nc", TASK)


def test_names_of_folders_may_be_any_bytes(tmp_path, dataset, shard):
    folder = tmp_path / os.fsdecode(b"gr\xf6\xdfe")
    folder.mkdir()
    write_shard(folder / shard.name, dataset, TASK)
    assert (folder / shard.name).read_bytes() == shard.read_bytes()


def test_complex_numbers_have_no_place(tmp_path):
    with pytest.raises(TypeError, match="complex128"):
        shard_netcdf.encode(xarray.Dataset({"z": ((), 1j)}), tmp_path / "z.nc")
