"""Folders that another user could write, or whose way another user could bend, are refused."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from runtime.system.private_folder import NotPrivateError, objection, private_folder


@pytest.fixture
def folder(tmp_path):
    """above/between/folder, all of them private; tmp_path is free of links."""
    path = tmp_path.resolve() / "above" / "between" / "folder"
    for made in (path.parents[1], path.parent, path):
        made.mkdir(mode=0o700)
    return path


def test_a_private_folder_is_itself(folder):
    assert private_folder(folder) == folder
    assert private_folder(folder / ".." / "folder") == folder


@pytest.mark.parametrize(
    ("modes", "refused"),
    [
        ({}, None),
        ({0: 0o755, 1: 0o755, 2: 0o755}, None),
        ({0: 0o500}, None),
        ({0: 0o770}, 0),
        ({0: 0o720}, 0),
        ({0: 0o702}, 0),
        ({0: 0o777}, 0),
        # Others may put there what is not there yet.
        ({0: 0o1777}, 0),
        ({1: 0o770}, 1),
        ({2: 0o707}, 2),
        ({1: 0o777, 2: 0o777}, 2),
        # As /tmp.
        ({1: 0o1777}, None),
        ({2: 0o1770}, None),
    ],
)
def test_permissions_of_a_folder_and_of_those_above(folder, modes, refused):
    places = [folder, *folder.parents]
    for number, mode in modes.items():
        places[number].chmod(mode)
    if refused is None:
        assert private_folder(folder) == folder
        return
    with pytest.raises(NotPrivateError, match=f"^{places[refused]} can be written by other users"):
        private_folder(folder)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("sticky", [False, True])
def test_owners_of_a_folder_and_of_those_above(folder, owned, number, sticky):
    place = [folder, *folder.parents][number]
    if sticky:
        place.parent.chmod(0o1777)
    with owned(place), pytest.raises(NotPrivateError, match=f"^{place} belongs to another user$"):
        private_folder(folder)
    with owned(place, 0):
        assert private_folder(folder) == folder


@pytest.mark.parametrize(
    ("name", "members", "mode", "private"),
    [
        ("me", [], 0o770, True),
        ("me", ["me"], 0o775, True),
        ("me", ["me", "you"], 0o770, False),
        ("staff", [], 0o770, False),
        ("me", [], 0o777, False),
        (None, [], 0o770, False),
        ("root", [], 0o770, False),
    ],
)
def test_a_group_of_this_user_alone_may_write_above(folder, monkeypatch, name, members, mode, private):
    group = folder.parent.stat().st_gid
    number = 0 if name == "root" else 12345

    def group_of(_):
        if name is None:
            raise KeyError
        return grp.struct_group((name, "x", group, members))

    user = pwd.struct_passwd(("root" if name == "root" else "me", "x", number, group, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(grp, "getgrgid", group_of)
    folder.parent.chmod(mode)
    if private:
        assert private_folder(folder) == folder
    else:
        with pytest.raises(NotPrivateError, match=f"^{folder.parent} can be written by other users"):
            private_folder(folder)
    # The folder itself never.
    folder.parent.chmod(0o700)
    folder.chmod(0o770)
    with pytest.raises(NotPrivateError, match=f"^{folder} can be written by other users"):
        private_folder(folder)


def test_root_may_have_another_number(folder, owned, monkeypatch):
    """A container that does not map users shows the files of root as somebody's."""
    monkeypatch.setattr(os, "getuid", lambda: os.stat(folder).st_uid)
    with owned(Path("/")):
        assert private_folder(folder) == folder


def test_links_lead_to_the_folder(folder, tmp_path):
    real = folder.parents[1]
    (real / "absolute").symlink_to(folder)
    (real / "relative").symlink_to(Path("between", "..", "between", "folder"))
    (real / "chain").symlink_to("relative")
    for name in ("absolute", "relative", "chain"):
        assert private_folder(real / name).samefile(folder)
    (real / "up").symlink_to("between")
    assert private_folder(real / "up" / "folder") == folder
    assert not any(place.is_symlink() for place in (tmp_path, *tmp_path.parents))


def test_links_of_others_and_to_places_of_others_are_refused(folder, owned):
    link = folder.parents[1] / "link"
    link.symlink_to(folder)
    with owned(link), pytest.raises(NotPrivateError, match=f"^{link} belongs to another user$"):
        private_folder(link)
    with owned(folder.parent), pytest.raises(NotPrivateError, match=f"^{folder.parent} belongs"):
        private_folder(link)
    folder.parent.chmod(0o777)
    with pytest.raises(NotPrivateError, match=f"^{folder.parent} can be written"):
        private_folder(link)
    folder.parent.chmod(0o700)
    # Whoever can write where a link lies can exchange it.
    link.parent.chmod(0o777)
    with pytest.raises(NotPrivateError, match=f"^{link.parent} can be written"):
        private_folder(link)


def test_links_in_circles_end(folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(OSError, match="leads nowhere"):
        private_folder(folder / "a")


def test_what_is_missing_is_made_for_this_user_alone(folder):
    wanted = folder / "new" / "er"
    with pytest.raises(FileNotFoundError):
        private_folder(wanted)
    before = os.umask(0)
    try:
        assert private_folder(wanted, make=True) == wanted
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (wanted, wanted.parent)} == {0o700}
    # Nothing is made where others could write.
    folder.chmod(0o777)
    with pytest.raises(NotPrivateError):
        private_folder(folder / "other", make=True)
    assert not (folder / "other").exists()


def test_a_folder_that_another_process_makes_meanwhile_is_looked_at(folder, monkeypatch):
    def faster(place, _):
        Path(place).symlink_to("/")
        raise FileExistsError

    monkeypatch.setattr(os, "mkdir", faster)
    assert private_folder(folder / "new", make=True) == Path("/")


@pytest.mark.parametrize("below", ["file", "file/folder"])
def test_a_file_is_no_folder(folder, below):
    (folder / "file").write_text("")
    (folder / "file").chmod(0o600)
    with pytest.raises(NotADirectoryError):
        private_folder(folder / below, make=True)


def test_relative_paths_are_those_of_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert private_folder(Path("folder")) == folder


def test_without_users_nothing_is_objected_to(folder, owned, monkeypatch):
    monkeypatch.delattr(os, "getuid")
    folder.chmod(0o777)
    with owned(folder):
        assert objection(os.lstat(folder)) is None
        assert private_folder(folder) == folder
