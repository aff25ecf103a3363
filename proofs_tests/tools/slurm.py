"""A Slurm of one node on loopback, started by .ci/slurm; its daemons and jobs can be killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from proofs_tests.tools import ROOT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def missing() -> str:
    """List the programs that this machine lacks for a Slurm; "" if none."""
    lacks = [name for name in PROGRAMS if not which(name)]
    lacks += [] if find_spec("submitit") else ["submitit"]
    return ", ".join([*lacks, *([] if os.getuid() == 0 else ["root"])])


class Slurm:
    """The cluster whose files are in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self.environment |= {"OMP_NUM_THREADS": "1"}
        self.do("start")

    def do(self, action: str) -> None:
        """Start or stop it, or start its node's daemon again."""
        subprocess.run([ROOT / ".ci" / "slurm", action, self.folder], check=True, timeout=90)

    def command(self, *arguments: object, seconds: float = 60) -> str:
        """The output of a command of Slurm, or of ours that uses it."""
        text = [str(argument) for argument in arguments]
        done = subprocess.run(
            text, env=self.environment, capture_output=True, text=True, check=True, timeout=seconds
        )
        return done.stdout

    def crash(self) -> None:
        """Kill the node's daemon with the processes of its jobs, as when the machine is lost."""
        jobs = list(self._processes())
        watchers = {parent for pid in jobs if is_watcher(parent := parent_of(pid))}
        for pid in (int((self.folder / "slurmd.pid").read_text()), *watchers, *jobs):
            kill(pid)
        (self.folder / "slurmd.pid").unlink()

    def left(self) -> set[int]:
        """The processes that have a file of this cluster open."""
        links = Path("/proc").glob("[0-9]*/fd/*")
        here = (link for link in links if target(link).startswith(f"{self.folder}/"))
        return {int(link.parts[2]) for link in here}

    def _processes(self):
        """The processes of this cluster's jobs."""
        here = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended
            if here in variables and any(v.startswith(b"SLURM_JOB_ID=") for v in variables):
                yield int(path.parent.name)


def is_watcher(pid: int) -> bool:
    """True for slurmstepd, the process that reports the end of a job."""
    return named(pid, "comm").startswith("slurmstepd")


def parent_of(pid: int) -> int:
    """The parent of a process; 0 if it has ended."""
    return int(named(pid, "stat").rpartition(")")[2].split()[1] if named(pid, "stat") else 0)


def named(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return ""


def target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # it is closed


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait_until(true: Callable[[], object], seconds: float) -> None:
    """Poll until the condition holds; fail after some seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.05)
