"""The version and the commit that a result file names; where git cannot answer, null."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import synflow
from experiments.runs import provenance as module
from experiments.runs import run
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import configured

UNKNOWN = {"synflow": synflow.__version__, "commit": None, "dirty": None}
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@b.c")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *AUTHOR, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def asked() -> dict:
    """Ask git anew, as another process does."""
    return module.provenance.__wrapped__()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with a commit that has the file which asks."""
    if subprocess.run(["git", "--version"], capture_output=True).returncode:
        pytest.skip("git is not here")
    path = tmp_path / module.THIS_FILE
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def test_a_clean_checkout_is_named_by_its_commit(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", head)
    assert asked() == {"synflow": synflow.__version__, "commit": head, "dirty": False}
    (checkout / "results.txt").write_text("a file that git does not track\n")
    assert asked()["dirty"] is False


@pytest.mark.parametrize("staged", [False, True])
def test_a_changed_file_makes_it_dirty(checkout, staged):
    (checkout / module.THIS_FILE).write_text("2\n")
    if staged:
        git(checkout, "add", ".")
    assert asked() == {**UNKNOWN, "commit": git(checkout, "rev-parse", "HEAD"), "dirty": True}


def test_git_is_asked_once_in_a_process(checkout):
    module.provenance.cache_clear()
    before = module.provenance()
    (checkout / module.THIS_FILE).write_text("2\n")
    git(checkout, "commit", "-am", "second")
    assert module.provenance() == before != asked()
    module.provenance.cache_clear()


def test_git_is_asked_before_a_run_computes(tmp_path, checkout, monkeypatch):
    """The files may change during a training of days; the code that computes does not."""
    module.provenance.cache_clear()
    before = module.provenance.__wrapped__()

    def edit_and_stop(*_):
        (checkout / module.THIS_FILE).write_text("2\n")
        raise InterruptedError

    monkeypatch.setattr(run, "initial_model", edit_and_stop)
    with pytest.raises(InterruptedError):
        run.run(configured(tmp_path / "results", epochs=0))
    assert module.provenance() == before != asked()
    module.provenance.cache_clear()


def test_somebody_elses_checkout_around_the_files_is_not_named(checkout):
    """As where the package is copied into a project under git, and not added."""
    git(checkout, "rm", "--cached", module.THIS_FILE)
    git(checkout, "commit", "--allow-empty", "-m", "without it")
    assert asked() == UNKNOWN


def test_a_folder_of_somebody_elses_checkout_is_not_named(checkout, monkeypatch):
    """As where a copy of the project is committed inside another one."""
    path = checkout / "vendor" / module.THIS_FILE
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "with a copy")
    monkeypatch.setattr(module, "ROOT", checkout / "vendor")
    assert asked() == UNKNOWN


def test_without_a_commit_nothing_is_named(checkout):
    git(checkout, "update-ref", "-d", "HEAD")
    assert asked() == UNKNOWN


@pytest.mark.parametrize("script", [None, "exit 128", "printf '\\377'; exit 0"])
def test_a_missing_or_failing_git_is_no_error(checkout, monkeypatch, script):
    (checkout / "bin").mkdir()
    if script:
        (checkout / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
        (checkout / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(checkout / "bin") + (os.pathsep + "/bin" if script else ""))
    assert asked() == UNKNOWN


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_this_checkout_is_named():
    found = asked()
    assert found["commit"] == git(ROOT, "rev-parse", "HEAD") and found["dirty"] in (True, False)
