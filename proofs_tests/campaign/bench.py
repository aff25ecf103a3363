"""A folder in which commands are disturbed, and the judgement of each command's end.

A command runs in a fork of this process, which has imported all that commands import: that takes
a third of a second instead of four. Everything else is as in a process of its own.
"""

import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from proofs_tests.tools.runs import timeless
from train import checkpoint

LIMIT = 120  # seconds, after which a command hangs
IMPORTED = (  # by the commands, and what torch imports for an optimiser
    *("experiments.runs.imp", "experiments.runs.export", "experiments.figures.catalogue"),
    *("experiments.sweeps.status", "torch._dynamo", "torch.export", "matplotlib.figure"),
)
MEMORY = 1 << 30  # bytes that a command may take beside the code
FAULTS = ("lost", "traceback", "crash", "hang", "no sentence", "left over", "outside")
SMALL = ["--device", "cpu", "--train-images", "200", "--results", "{results}"]
RUN = ["run", "--epochs", "2", "--steps", "3", "--compression", "50", *SMALL]
COMMANDS = {
    "run": RUN,
    "run, masked": [*RUN, "--no-compact"],
    "imp": ["imp", "--epochs", "1", "--cycles", "2", *SMALL],
    "sweep": [
        *("sweep", "--pruners", "random,magnitude", "--compressions", "10"),
        *("--seeds", "0", "--epochs", "1", *SMALL),
    ],
    "figure": ["figure", "0", "--results", "{results}"],
    "export": ["export", "{run}", "--device", "cpu"],
    "inspect": ["inspect", "{run}"],
    "data verify": ["data", "verify", "digits"],
}


class Answer(NamedTuple):
    """The end of a command."""

    code: int | None  # negative for a signal, None after LIMIT
    out: str
    err: str


class Bench:
    """The folders of a campaign.

    Attributes:
        results: Of the fault at hand; empty, or what `prepare` put there.
        problems: What went wrong in the fault at hand: a word of FAULTS and a sentence.
        whole: The content of the results of each undisturbed command.
        seconds: The time that each undisturbed command took.
    """

    def __init__(self, root: Path, seed: int):
        self.root, self.random = root, random.Random(seed)
        self.results, self.here = root / "results", root / "here"
        self.problems: list[tuple[str, str]] = []
        self.whole: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        self.here.mkdir(parents=True)
        for name in IMPORTED:
            importlib.import_module(name)

    def prepare(self, name: str) -> list[str]:
        """Empty the results, or put the finished run there that a command reads; its words."""
        shutil.rmtree(self.results, ignore_errors=True)
        if name in ("export", "inspect"):
            shutil.copytree(self.root / "kept" / "run", self.results)
        return self.words(name)

    def words(self, name: str) -> list[str]:
        run = next(self.results.glob("mlp*"), self.results)
        return [word.format(results=self.results, run=run) for word in COMMANDS[name]]

    def measure(self, name: str) -> None:
        """Run a command undisturbed, once; keep its results."""
        if name in self.whole:
            return
        if name in ("export", "inspect"):
            self.measure("run")
        begun = time.monotonic()
        answer = self.call(self.prepare(name))
        self.seconds[name] = time.monotonic() - begun
        if answer.code != 0:
            raise RuntimeError(f"{name} fails undisturbed: {answer.err}")
        self.whole[name] = content(self.results)
        if self.results.exists():
            shutil.copytree(self.results, self.root / "kept" / name)

    def finish(self, name: str) -> None:
        """Run the command again; its results must be those of the undisturbed one."""
        self.compare(name, self.check(self.call(self.words(name))))

    def compare(self, name: str, answer: Answer) -> None:
        if answer.code != 0:
            self.problems.append(("lost", f"{name} does not go on: {last(answer.err)}"))
        elif (found := content(self.results)) != self.whole[name]:
            keys = found.keys() | self.whole[name].keys()
            other = sorted(k for k in keys if found.get(k) != self.whole[name].get(k))
            self.problems.append(("lost", f"{name} ends with other {', '.join(other)}"))

    def begin(self, words: list[str], limits: Callable[[], None] = lambda: None) -> int:
        """Start a command; returns its process id, with which `end` waits for it."""
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the command runs
        if (child := os.fork()) == 0:
            with suppress(BaseException):
                _command(words, self.here, self.root / "log", limits)
            os._exit(70)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child

    def end(self, child: int, wait: float = LIMIT) -> Answer:
        """Wait for a command, and kill it after a while."""
        until, code = time.monotonic() + wait, None
        while code is None and time.monotonic() < until:
            time.sleep(0.01)
            done, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if done else None
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        log = self.root / "log"
        texts = [(log / f"{kind}-{child}") for kind in ("out", "err")]
        return Answer(code, *(t.read_text(errors="replace") if t.exists() else "" for t in texts))

    def call(self, words: list[str], limits: Callable[[], None] = lambda: None) -> Answer:
        return self.end(self.begin(words, limits))

    def check(self, answer: Answer) -> Answer:
        """Note whatever is wrong with the end of a command that no signal has ended."""
        self.problems += [(fault, last(answer.err)) for fault in wrong(answer)]
        parts = [str(p) for p in self.results.rglob("*") if ".part" in p.name]
        self.problems += [("left over", part) for part in parts]
        return answer

    def outside(self) -> None:
        """Note every file beside the results."""
        allowed = {"results", "here", "kept", "log", "data", "file", "loop"}
        found = [p for p in self.root.iterdir() if p.name not in allowed]
        self.problems += [("outside", str(p)) for p in (*found, *self.here.iterdir())]


def _command(words: list[str], here: Path, log: Path, limits: Callable[[], None]) -> None:
    """Become the command, in the child."""
    from cli import main

    log.mkdir(exist_ok=True)
    for kind, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(log / f"{kind}-{os.getpid()}", os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (  # as Python opens them
        open(n, "w", buffering=1, closefd=False, errors=errors)
        for n, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    os.chdir(here)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY, 2 * MEMORY))
    code = 70
    try:
        limits()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        main(words, "synflow")
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:  # before or after the command
        code = 1
        print("Error: interrupted", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def wrong(answer: Answer) -> list[str]:
    """The faults in the end of a command, by the words of FAULTS."""
    if answer.code is None:
        return ["hang"]
    found = ["traceback"] if "Traceback (most recent" in answer.err else []
    if answer.code not in (0, 1, 2):
        return [*found, "crash"]
    sentence = re.search(r"^Error: \S", answer.err, re.MULTILINE)
    return found if answer.code == 0 or sentence else [*found, "no sentence"]


def last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing is printed"])[-1][:300]


def content(folder: Path) -> dict[str, object]:
    """The content of all result files under a folder, without times.

    `.trained` is none: it is only for other runs, which may share a training. `untrained.json` is
    read by an unfinished training only; what it says is in the result.
    """
    skipped = (".lock", ".trained", "failure.txt", "untrained.json")
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in skipped]
    kept = [p for p in files if p.suffix != ".pt2" and ".part" not in p.name]
    return {str(p.relative_to(folder)): _content(p) for p in kept}


def _content(path: Path) -> object:
    try:
        if path.suffix == ".pt":
            state = checkpoint.load(path, torch.device("cpu"))
            return {name: tensor.numpy().tobytes() for name, tensor in state["model"].items()}
        if path.suffix == ".npz":  # not the dates of the archive
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name].tobytes() for name in arrays.files}
        return _timeless(json.loads(path.read_text())) if path.suffix == ".json" else timeless(path)
    except Exception as error:
        return f"damaged: {type(error).__name__}"


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        left_out = ("seconds", "commit", "dirty")
        return {k: _timeless(v) for k, v in value.items() if k not in left_out}
    return [_timeless(v) for v in value] if isinstance(value, list) else value
