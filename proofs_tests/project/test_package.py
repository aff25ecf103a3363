"""The wheel and the sdist hold every file that they should, whatever folders are added."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import synflow
from proofs_tests.tools import ROOT

PACKAGES = ("experiments", "prune", "reference", "train")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


def tracked() -> set[str]:
    """The files that git tracks, as they are now."""
    try:
        words = ["git", "ls-files"]
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git checkout")
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, set[str]]:
    """A copy of the tracked files, without what earlier builds may have left, and their names."""
    folder, names = tmp_path_factory.mktemp("project"), tracked()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder, names


@pytest.fixture(scope="module")
def built(project, tmp_path_factory) -> tuple[set[str], set[str], str]:
    """The files of the wheel and of the sdist, and the wheel's metadata."""
    pytest.importorskip("setuptools")
    out = tmp_path_factory.mktemp("dist")
    for kind in ("wheel", "sdist"):
        words = [sys.executable, "-c", BUILD.format(kind), str(out)]
        subprocess.run(words, cwd=project[0], capture_output=True, text=True, check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = wheel.read(metadata).decode()
    with tarfile.open(next(out.glob("*.tar.gz"))) as sdist:
        members = {m.name.partition("/")[2] for m in sdist.getmembers() if m.isfile()}
    return {name for name in names if ".dist-info/" not in name}, members, text


def test_the_wheel_has_every_file_of_the_packages_and_no_other(project, built):
    """Modules and data: pictures, tables, pages, py.typed."""
    own = {n for n in project[1] if n.startswith(tuple(f"{p}/" for p in PACKAGES))}
    assert {"reference/py.typed", "prune/py.typed", "train/digits.npz"} <= own
    assert built[0] == own | {"cli.py", "synflow.py"}


def test_the_sdist_has_all_but_what_is_hidden(project, built):
    """Tests, benchmarks, results and the change log, so that whoever packages it can test it."""
    shown = {name for name in project[1] if not name.startswith(".")}
    assert shown <= built[1]
    assert built[1] - shown <= {"PKG-INFO", "setup.cfg"} | {
        name for name in built[1] if ".egg-info/" in name
    }


def test_the_metadata_has_the_version_of_the_module_and_forbids_an_upload(built):
    lines = built[2].splitlines()
    assert f"Version: {synflow.__version__}" in lines
    assert "Classifier: Private :: Do Not Upload" in lines


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {synflow.__version__}" in citation
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(version for version in changes if version != "Unreleased") == synflow.__version__


def test_the_lowest_versions_are_the_bounds():
    """The lower bounds are those of `.ci/lowest.txt`: x >= 2.9 was tested as x == 2.9.0."""
    project, lowest = (ROOT / "pyproject.toml").read_text(), (ROOT / ".ci/lowest.txt").read_text()
    bounds = dict(re.findall(r'"([a-z]+)>=([\d.]+)"', project))
    pins = dict(re.findall(r"^([a-z]+)==([\d.]+)\.0\b", lowest, flags=re.MULTILINE))
    assert {"numpy", "torch", "torchvision", "click", "matplotlib"} < set(bounds)
    assert bounds == {name: pins[name] for name in bounds}


def test_a_folder_of_modules_is_a_package(project):
    """Without __init__.py it would be a namespace package, which another folder could extend."""
    modules = (
        ROOT / n for n in project[1] if n.endswith(".py") and n.partition("/")[0] in PACKAGES
    )
    assert all((path.parent / "__init__.py").exists() for path in modules)
