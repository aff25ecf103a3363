"""Run jobs in rounds, each job in a process of its own, and compare their times round by round.

Other work on the machine disturbs all jobs of a round alike, so ratios are of times of the same
round. Their minimum, median and maximum over the rounds show the remaining disturbance.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import click
import torch

ROOT = Path(__file__).resolve().parents[1]


def measured(method: str, network: str, **options: object) -> dict:
    """Run one job in a process of its own.

    Args:
        method: A key of `benchmarks.job.METHODS`.
        network: A network as `benchmarks.job.Job` names it.
        options: Other fields of the Job.

    Returns:
        Its seconds, its memory, and what else the method reports.

    Raises:
        ClickException: If the process fails.
    """
    job = {"method": method, "network": network} | options
    command = [sys.executable, "-m", "benchmarks.job", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"{method} on {network} failed")
    click.echo(f"  {method:10} {network:9} {done.stdout.strip()}", err=True)
    return json.loads(done.stdout.splitlines()[-1])


def rounds_of(rounds: int, jobs: dict[str, dict]) -> dict[str, list[dict]]:
    """Run every job once in each round; return the results of each job by its name."""
    results = [{name: measured(**job) for name, job in jobs.items()} for _ in range(rounds)]
    return {name: [result[name] for result in results] for name in jobs}


def ratio(these: list[dict], those: list[dict]) -> str:
    """Format min / median / max over the rounds of the ratio of the seconds."""
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(these, those, strict=True))
    return f"{ratios[0]:.2f} / {median(ratios):.2f} / {ratios[-1]:.2f}"


def middle(results: list[dict], key: str) -> float:
    """Take the median over the rounds."""
    return median(result[key] for result in results)


def machine(device: str, busy: bool) -> str:
    """Describe the processor, the threads and the version of torch."""
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    else:
        name = _processor()
    threads = "1 thread, processor time" if busy else f"{torch.get_num_threads()} threads"
    return f"{name}, {threads}, torch {torch.__version__}"


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            if "model name" in line:
                return line.split(":")[1].strip()
    return platform.processor()
