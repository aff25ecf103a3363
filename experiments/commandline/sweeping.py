"""The command `sweep`: its options, and what is done with its runs."""

from dataclasses import replace
from functools import partial

import click

from experiments.commandline.console import parse, program, progress, refuse_unfinished, remedy
from experiments.commandline.options import CLUSTER, LAUNCHERS, epochs_of, part_of

FIELDS = [name.replace("-", "_") for name in LAUNCHERS]


def sweep(preset: list[str] | None, **given) -> None:
    """Do the runs that the options name, or list them."""
    from experiments.commandline import reports
    from experiments.sweeps import status
    from experiments.sweeps import sweep as sweeps

    where = {name: given.pop(name) for name in FIELDS}
    launcher = _launcher(where)
    configs = _configs(preset, given, where)
    if where["status"]:
        click.echo(reports.status(status.status(configs)))
        return
    jobs = where["jobs"] or 1
    if where["dry_run"]:
        click.echo(reports.plan(sweeps.plan(configs, jobs), jobs))
        for error in sweeps.missing(configs):
            click.echo(f"{error}{remedy(error, program())}")
        return
    with progress() as bar:
        outcomes = sweeps.sweep(configs, jobs, bar, launcher)
    click.echo(reports.summary(sweeps.summary(configs)))
    refuse_unfinished(outcomes, len(configs))


def _configs(preset: list[str] | None, given: dict, where: dict) -> list:
    """The runs of a preset or a grid: a part of them, or those that have failed."""
    from experiments.sweeps import grid, presets, status

    given["lr_drops"] = parse(epochs_of, given["lr_drops"])
    configs = parse(presets.preset, preset, given) if preset else parse(grid.of_lists, given)
    if where["gpus_per_run"]:
        configs = [on_gpu(config, given) for config in configs]
    if where["shard"]:
        configs = parse(lambda: grid.shard(configs, *part_of(where["shard"])))
    return status.failed(configs) if where["retry_failed"] else configs


def on_gpu(config, given: dict):
    """The run as a job with a GPU does it, also if this machine has none.

    Its precision is bfloat16, as on every GPU that has it, unless another one is given.
    """
    if config.device != "cpu" or given["device"] == "cpu":
        return config
    return replace(config, device="cuda", precision=given["precision"] or "bfloat16")


def _launcher(where: dict):
    """The function that does runs on a cluster; None for processes here."""
    from experiments.resolve import at_least
    from experiments.sweeps import slurm

    cluster = {name: where[name] for name in CLUSTER if where[name] is not None}
    if where["launcher"] == "slurm":
        if where["jobs"] is not None:
            raise click.UsageError("--jobs is for --launcher local: Slurm starts all that it can")
        return partial(slurm.work, cluster=slurm.Cluster(**cluster))
    if cluster:
        option = next(iter(cluster)).replace("_", "-")
        raise click.UsageError(f"--{option} is for --launcher slurm")
    parse(at_least, "jobs", 1 if where["jobs"] is None else where["jobs"], 1)
    return None
