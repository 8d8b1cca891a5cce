"""Datasets in files: read back as they were, written whole or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest
import xarray
from limits import files_up_to

from derive.atomic_files import replacing
from runtime import InputError, save_netcdf
from runtime.output.output_files import check_output, check_outputs
from runtime.trajectory.single_run import integrate


@pytest.fixture(scope="module")
def run(system_of):
    """A short trajectory."""
    return integrate(system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=0.3, alpha=5.0)


def refused(path, *words, suffixes=(".nc",)):
    with pytest.raises(InputError) as caught:
        check_output(path, suffixes)
    assert caught.value.option == "out"
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_round_trip(run, tmp_path):
    path = save_netcdf(run, tmp_path / "run.nc")
    assert path == tmp_path / "run.nc"
    read = xarray.load_dataset(path)
    xarray.testing.assert_equal(read, run)
    for name, variable in run.variables.items():
        assert read[name].attrs == variable.attrs, name
    assert {name: value for name, value in read.attrs.items() if value != run.attrs[name]} == {}
    assert set(read.attrs) == set(run.attrs)


def test_round_trip_of_a_diverged_run(system_of, tmp_path):
    run = integrate(system_of(2, 1), np.eye(2), np.full((2, 1), 0.1), eta=100.0, alpha=[0.0, 1.0])
    read = xarray.load_dataset(save_netcdf(run, tmp_path / "run.nc"))
    assert read["status"].item() == "diverged"
    xarray.testing.assert_equal(read, run)


def test_text_and_upper_case_are_fine(run, tmp_path):
    assert save_netcdf(run, str(tmp_path / "RUN.NC")).stat().st_size > 0


def test_existing_file_is_replaced(run, tmp_path):
    (tmp_path / "run.nc").write_text("old")
    save_netcdf(run, tmp_path / "run.nc")
    xarray.testing.assert_equal(xarray.load_dataset(tmp_path / "run.nc"), run)
    assert os.listdir(tmp_path) == ["run.nc"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [None, b"old"])
def test_failure_leaves_what_was_there(run, tmp_path, monkeypatch, old, error):
    if old is not None:
        (tmp_path / "run.nc").write_bytes(old)

    def fail(_, path, **__):
        path.write_bytes(b"half of")
        raise error

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", fail)
    with pytest.raises(type(error)) as caught:
        save_netcdf(run, tmp_path / "run.nc")
    assert isinstance(error, KeyboardInterrupt) or caught.value.filename == str(tmp_path / "run.nc")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == ({} if old is None else {"run.nc": old})


def test_a_reader_of_the_old_file_keeps_it(run, tmp_path):
    path = tmp_path / "run.nc"
    path.write_text("old")
    with path.open() as reader:
        save_netcdf(run, path)
        assert reader.read() == "old"
    xarray.testing.assert_equal(xarray.load_dataset(path), run)


def test_files_have_ordinary_permissions(run, tmp_path):
    before = os.umask(0o027)
    try:
        save_netcdf(run, tmp_path / "run.nc")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "run.nc").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["run", "run.txt", "run.nc.gz", "run.npz", ".nc.txt", ""])
def test_wrong_suffix(tmp_path, name):
    refused(tmp_path / name, "does not end in .nc")


def test_a_suffix_alone_is_no_name(tmp_path):
    refused(tmp_path / ".nc", ".nc' has no name before the .nc")
    refused(tmp_path / ".PNG", "no name before", suffixes=(".png", ".pdf"))


def test_all_suffixes_are_named(tmp_path):
    refused(tmp_path / "run.gif", ".png or .pdf", suffixes=(".png", ".pdf"))


def test_wrong_places(tmp_path):
    refused(tmp_path / "nowhere" / "run.nc", "not an existing folder")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "run.nc", "not an existing folder")
    (tmp_path / "folder.nc").mkdir()
    refused(tmp_path / "folder.nc", "is a folder")
    os.mkfifo(tmp_path / "pipe.nc")
    refused(tmp_path / "pipe.nc", "not a regular file")
    refused(tmp_path / "nul\0.nc", "no file name can have")
    refused(str(tmp_path / "nul\0" / "run.nc"), "no file name can have")


def test_folder_or_file_without_permission(tmp_path, monkeypatch):
    # The check is patched because root may write everywhere.
    (tmp_path / "run.nc").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        refused(tmp_path / "run.nc", "cannot be written")

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    refused(tmp_path / "run.nc", "cannot be written: Permission denied")


def test_a_full_disk_is_no_fault_of_the_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "/somewhere/.temporary")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.nc'$"):
        check_output(tmp_path / "run.nc", (".nc",))


@pytest.mark.parametrize("size", [0, 5000])
def test_what_the_library_cannot_write_is_said_by_the_system(tmp_path, size):
    run = xarray.Dataset({"x": ("t", np.arange(5000.0))})
    with files_up_to(size), pytest.raises(OSError, match=r"File too large: '.*run\.nc'$"):
        save_netcdf(run, tmp_path / "run.nc")
    assert not list(tmp_path.iterdir())


def test_in_a_sticky_folder_files_of_others_stay(tmp_path, monkeypatch):
    (tmp_path / "run.nc").write_text("old")
    check_output(tmp_path / "run.nc", (".nc",))
    tmp_path.chmod(0o1777)
    check_output(tmp_path / "run.nc", (".nc",))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    refused(tmp_path / "run.nc", "belongs to another user")
    check_output(tmp_path / "new.nc", (".nc",))


def test_symbolic_link_stays_and_its_file_is_replaced(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.nc"
    target.write_text("old")
    (tmp_path / "link.nc").symlink_to(target)
    save_netcdf(run, tmp_path / "link.nc")
    assert (tmp_path / "link.nc").readlink() == target
    xarray.testing.assert_equal(xarray.load_dataset(target), run)
    assert os.listdir(tmp_path / "elsewhere") == ["real.nc"]


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ({"run.nc": "run.nc"}, "leads nowhere"),
        ({"run.nc": "b.nc", "b.nc": "run.nc"}, "leads nowhere"),
        ({"run.nc": "nowhere/run.nc"}, "nowhere' is not an existing folder"),
        ({"run.nc": "a/../nowhere/run.nc", "a": "."}, "nowhere' is not an existing folder"),
        ({"run.nc": "a/run.nc", "a": "a"}, "leads nowhere"),
        ({"run.nc": "."}, "is a folder"),
    ],
)
def test_links_that_lead_nowhere(tmp_path, links, words):
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    refused(tmp_path / "run.nc", words)
    assert set(os.listdir(tmp_path)) == set(links)


def test_link_to_a_file_that_is_not_there_yet(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").symlink_to("folder")
    (tmp_path / "run.nc").symlink_to("a/../folder/new.nc")
    with replacing(check_output(tmp_path / "run.nc", (".nc",))) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "folder" / "new.nc").read_text() == "new"


@pytest.mark.parametrize("link", ["run.nc", "folder"])
def test_links_of_others_are_not_followed_where_everyone_can_put_them(tmp_path, owned, link):
    """As Linux's protected_symlinks: a link in /tmp could lead to any file of the user."""
    (tmp_path / "real").mkdir()
    (tmp_path / link).symlink_to("real/run.nc" if link == "run.nc" else "real")
    path = tmp_path / ("run.nc" if link == "run.nc" else "folder/run.nc")
    with owned(tmp_path / link):
        check_output(path, (".nc",))
        tmp_path.chmod(0o1777)
        refused(path, "is a symbolic link of another user")
        with pytest.raises(PermissionError), replacing(path) as temporary:
            temporary.write_text("new")
        with owned(tmp_path):
            check_output(path, (".nc",))


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link.nc").symlink_to("figure.png")
    figure, link = tmp_path / "figure.png", tmp_path / "link.nc"
    check_outputs(("out", link, (".nc",)), ("plot", None, (".png",)))
    check_outputs(("out", tmp_path / "figure.nc", (".nc",)), ("plot", figure, (".png",)))
    with pytest.raises(InputError, match=r"^plot: .*figure\.png is also the file of --out$"):
        check_outputs(("out", link, (".nc",)), ("plot", figure, (".png",)))


def test_names_that_are_no_text(run, tmp_path):
    name = os.fsdecode(b"r\xff")
    assert save_netcdf(run, tmp_path / f"{name}.nc").is_file()
    (tmp_path / name).mkdir()
    refused(tmp_path / name / "run.nc", "UTF-8")
    check_output(tmp_path / name / "run.png", (".png",))


def test_longest_names(run, tmp_path):
    assert save_netcdf(run, tmp_path / ("x" * 252 + ".nc")).is_file()
