"""A run on several devices: torchrun starts its ranks, each of which executes this file."""

import json
import subprocess
import sys
from dataclasses import asdict

from experiments.config import RunConfig
from experiments.runs.files import FAILURE
from experiments.sweeps import workers
from train import launch


def attempt(config: RunConfig, count: int) -> workers.Outcome:
    """Do a run in `count` ranks on this machine, and return its outcome."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [*torchrun, "-m", __name__, json.dumps(asdict(config))]
    failure = config.directory / FAILURE
    failure.unlink(missing_ok=True)
    code = subprocess.run([sys.executable, *command]).returncode
    if code == 0:
        return workers.Outcome(config, "finished")
    reason = failure.read_text().strip() if failure.exists() else f"its ranks died ({code})"
    return workers.Outcome(config, "failed", reason)


def main(text: str) -> str | int:
    """Do a run as one of its ranks, and return what `sys.exit` takes: a reason, or a code.

    The rank that prints records a failure.
    """
    fields = json.loads(text)
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    outcome = workers.attempt(RunConfig(**fields | lists))
    if outcome.state == "finished":
        return 0
    if not launch.speaker():
        return 1
    workers.record_failure(outcome)
    return outcome.reason


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
