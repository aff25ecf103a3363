"""Run jobs in rounds, each job in a process of its own, and compare their times round by round.

Other work on the machine disturbs all jobs of a round alike, so ratios are of times of the same
round. Their minimum, median and maximum over the rounds show the remaining disturbance.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import click
import torch

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "results/measured"


def options(command):
    """Add the options that every comparison has."""
    rounds = click.option("--rounds", default=3, show_default=True, help="Rounds of the jobs.")
    device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
    busy = click.option(
        "--busy",
        is_flag=True,
        help="Measure the processor time of one thread, on a machine with other work.",
    )
    return rounds(device(busy(to_json(command))))


def to_json(command):
    """Add the option --json."""
    text = "Also write each single measurement into this file."
    return click.option("--json", "file", type=click.Path(dir_okay=False), help=text)(command)


def named(allowed: Iterable[str]):
    """Make the decorator that adds --networks, a comma-separated part of the allowed names."""
    names = list(allowed)

    def chosen(_, option: click.Parameter, text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in names]:
            raise click.BadParameter(f"{unknown[0]} is none of {', '.join(names)}")
        return text.split(",")

    usual = {"default": ",".join(names), "show_default": True, "help": "Comma-separated."}
    return click.option("--networks", callback=chosen, **usual)


def keep(file: str | None, what: str, measurements: dict[str, object]) -> None:
    """Write single measurements as JSON: `what`, and row of the table -> measurements."""
    if file:
        Path(file).write_text(json.dumps({"what": what, "rows": measurements}, indent=1) + "\n")


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
    return spread([a["seconds"] / b["seconds"] for a, b in zip(these, those, strict=True)])


def spread(values: list[float]) -> str:
    """Format min / median / max."""
    return f"{min(values):.2f} / {median(values):.2f} / {max(values):.2f}"


def middle(results: list[dict], key: str) -> float:
    """Take the median over the rounds."""
    return median(result[key] for result in results)


def machine(device: str, busy: bool) -> str:
    """Describe the processor, the threads and the version of torch."""
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    else:
        name = processor()
    number = torch.get_num_threads()
    threads = "1 thread" if busy or number == 1 else f"{number} threads"
    threads += ", processor time" if busy else ""
    return f"{name}, {threads}, torch {torch.__version__}"


def processor() -> str:
    """Name the processor."""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if "model name" in line:
                return line.split(":")[1].strip()
    return platform.processor()


# ---- tables in Markdown ---------------------------------------------------------------------


def row(*cells: object) -> None:
    """Print a row."""
    click.echo("| " + " | ".join(map(str, cells)) + " |")


def heading(*cells: str) -> None:
    """Print the first row."""
    row(*cells)
    click.echo("|---" * len(cells) + "|")


def table(title: str, head: Sequence[str], rows: Iterable[list]) -> None:
    """Print a title and a table, each row as soon as it is measured."""
    click.echo(f"\n{title}\n")
    heading(*head)
    for cells in rows:
        row(*cells)
