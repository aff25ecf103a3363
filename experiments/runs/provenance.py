"""The code that makes a result: the project's version and commit, and the packages."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from synflow import __version__

ROOT = Path(__file__).resolve().parents[2]
THIS_FILE = str(Path(__file__).resolve().relative_to(ROOT))


@cache
def provenance() -> dict[str, object]:
    """Name the code of this process: its version, and its commit if it is a git checkout of ours.

    Git is asked once in a process. Where it cannot answer (an installed package, no git, a
    folder that git does not trust), `commit` and `dirty` are None.

    Returns:
        "synflow": the version; "commit": 40 hexadecimal digits; "dirty": True if a file that
        git tracks differs from that commit.
    """
    commit = dirty = None
    if (ROOT / ".git").exists() and _git("ls-files", "--error-unmatch", THIS_FILE) is not None:
        commit = _git("rev-parse", "--verify", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
        dirty = None if commit is None or changes is None else changes != ""
    return {"synflow": __version__, "commit": commit, "dirty": dirty}


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that compute."""
    packages = {name: version(name) for name in ("numpy", "torch", "torchvision")}
    return {"python": platform.python_version(), **packages}


def _git(*arguments: str) -> str | None:
    """Run git in the checkout; its output, or None if it fails."""
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    options = {"stderr": subprocess.DEVNULL, "text": True, "timeout": 60}
    try:
        return subprocess.check_output(command, **options).strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
