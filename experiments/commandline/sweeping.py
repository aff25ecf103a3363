"""The command `sweep`: its options, and what is done with its runs."""

from dataclasses import replace
from functools import partial

import click

from experiments.commandline.console import parse, program, unfinished
from experiments.commandline.options import CLUSTER, LAUNCHERS, epochs_of, part_of
from experiments.commandline.output import Report

FIELDS = [name.replace("-", "_") for name in LAUNCHERS]


def sweep(bar, preset: list[str] | None, **given) -> Report:
    """Do the runs that the options name, or list them."""
    from experiments.commandline import reports
    from experiments.sweeps import status
    from experiments.sweeps import sweep as sweeps
    from experiments.sweeps.plan import plan

    where = {name: given.pop(name) for name in FIELDS}
    launcher = _launcher(where)
    configs = _configs(preset, given, where)
    if where["status"]:
        rows = status.status(configs)
        return Report(reports.status(rows), {"runs": rows, **status.counts(rows)})
    jobs = where["jobs"] or 1
    if where["dry_run"]:
        found = plan(configs, jobs)
        return Report(reports.plan(found, program()), found)
    outcomes = sweeps.sweep(configs, jobs, bar, launcher)
    rows = sweeps.summary(configs)
    runs = [_run(config, outcomes) for config in configs]
    error = unfinished(outcomes, len(configs))
    return Report(reports.summary(rows), {"runs": runs, "summary": rows}, error)


def _run(config, outcomes: list) -> dict:
    """The name, the folder and the state of a run, and the reason of a failure."""
    found = {outcome.config: outcome for outcome in outcomes}.get(config)
    state, reason = (found.state, found.reason) if found else ("finished", "")
    place = config.directory
    return {"run": place.name, "directory": place, "state": state, "reason": reason}


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
