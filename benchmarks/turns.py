"""Contenders take turns, each in a process of its own; their times are compared turn by turn."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import click
import torch

ROOT = Path(__file__).resolve().parents[1]


def measured(contender: str, network: str, **job) -> dict:
    """Run one contender in a process of its own; its seconds, memory and what else it says."""
    job = {"contender": contender, "network": network} | job
    command = [sys.executable, "-m", "benchmarks.contender", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise click.ClickException(f"{contender} on {network} failed")
    click.echo(f"  {contender:10} {network:9} {done.stdout.strip()}", err=True)
    return json.loads(done.stdout.splitlines()[-1])


def rounds_of(rounds: int, contenders: dict[str, dict]) -> dict[str, list[dict]]:
    """Let the contenders take turns."""
    turns = [{name: measured(**job) for name, job in contenders.items()} for _ in range(rounds)]
    return {name: [turn[name] for turn in turns] for name in contenders}


def ratio(these: list[dict], those: list[dict], key: str = "seconds") -> str:
    """Min, median and max over the rounds."""
    ratios = sorted(a[key] / b[key] for a, b in zip(these, those))
    return f"{ratios[0]:.2f} / {median(ratios):.2f} / {ratios[-1]:.2f}"


def middle(runs: list[dict], key: str) -> float:
    return median(run[key] for run in runs)


def machine(device: str, busy: bool) -> str:
    """What it was measured on."""
    name = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line),
        platform.processor(),
    )
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    threads = "1 thread, processor time" if busy else f"{torch.get_num_threads()} threads"
    return f"{name}, {threads}, torch {torch.__version__}"
