"""What is installed and handed on: the contents of wheel and sdist, and what the metadata promise."""

from __future__ import annotations

import email
import itertools
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from derive.version import VERSION
from runtime.commands.installation_checks import OLDEST_PYTHON

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = f"overlap_ode-{VERSION}"


def files(*folders: str) -> set[str]:
    """Every file of these folders, relative to the root, but what Python and benchmarks write there."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", "results"} & set(path.relative_to(ROOT).parts)
    }


def built(kind: str, folder: Path) -> Path:
    """A wheel or an sdist of this folder, as pip has it built."""
    from hatchling import build

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / getattr(build, f"build_{kind}")(str(folder))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    with tarfile.open(built("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.removeprefix(f"{NAME}/") for name in archive.getnames()}


def test_the_wheel_holds_the_program_and_nothing_else(wheel):
    modules = {path.name for path in ROOT.glob("*.py")}
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    expected = files("derive", "runtime") | modules | {f"{NAME}.dist-info/{name}" for name in about}
    expected.add("overlap_ode-stubs/__init__.pyi")
    assert sorted(wheel.namelist()) == sorted(expected)
    assert {"derive/py.typed", "runtime/py.typed", "runtime/report/report.css"} <= expected
    assert {"overlap_ode.py", "derive/__init__.pyi", "runtime/__init__.pyi"} <= expected


def test_the_metadata_tell_what_is_supported(wheel):
    metadata = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
    assert metadata["Version"] == VERSION
    assert metadata.get_all("Project-URL")
    oldest = ".".join(map(str, OLDEST_PYTHON))
    assert metadata["Requires-Python"] == f">={oldest}"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier")))
    assert pythons[0] == oldest
    supported = f"Python {oldest} or newer, tested on Linux with {oldest} to {pythons[-1]}"
    assert supported in (ROOT / "README.md").read_text()


def test_every_dependency_has_a_lowest_version():
    """.ci/subset installs it, and reads no other form than this one."""
    extras = PROJECT["project"]["optional-dependencies"]
    requirements = [*PROJECT["project"]["dependencies"], *itertools.chain(*extras.values())]
    assert [line for line in requirements if not re.fullmatch(r"[\w.-]+>=[\w.]+", line)] == []
    assert set(extras["cluster"]) <= set(extras["test"])


def test_the_sdist_holds_all_that_the_tests_need_and_nothing_generated(sdist):
    system = {f"generated/p4_pstar2/{name}" for name in ("manifest.json", "odes.py", "odes.tex")}
    needed = files(".ci", "benchmarks", "derive", "docs", "runtime", "tests") | system
    at_the_root = {name for name in sdist if "/" not in name}
    assert sorted(sdist - at_the_root) == sorted(needed)
    assert {"README.md", "LICENSE", "pyproject.toml", ".gitignore"} <= at_the_root
    assert {path.name for path in ROOT.glob("*.py")} <= at_the_root
