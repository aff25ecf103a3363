"""Callbacks of --log, named `proofs_tests.tools.callbacks:NAME`."""

import json
from pathlib import Path

from proofs_tests.tools.runs import Killed

LINES = "seen.jsonl"  # in the run's folder: what the callback got


def keep(step, values, run):
    """Add a line to a file in the run's folder."""
    with open(Path(run["directory"]) / LINES, "a") as file:
        file.write(json.dumps({"step": step, **values, "run": run}) + "\n")


def killed(step, values, run):
    """Keep the values, and end the process at step 1 as a kill would."""
    keep(step, values, run)
    if step == 1:
        raise Killed


def failing(step, values, run):
    """Fail at step 1 unless a file named `mended` is in the run's folder."""
    if step == 1 and not (Path(run["directory"]) / "mended").exists():
        raise ConnectionError("no\nnetwork")
    keep(step, values, run)


def leaving(step, values, run):
    raise SystemExit(3)


def other_arguments(epoch):
    """Take too few arguments."""


def seen(directory: Path) -> list[dict]:
    """The lines in a run's folder."""
    return [json.loads(line) for line in (directory / LINES).read_text().splitlines()]
