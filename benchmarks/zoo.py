"""`python -m benchmarks zoo`: prune many models of other libraries, each in a process of its own.

A model passes if its counts are exact, a path is left and it is as before, or if there is one clear
sentence. Results are kept in a file, so that an interrupted run goes on where it was.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import click

from benchmarks.zoo_models import library, names, published

LARGE = 150_000_000
HEAD = "model | weights | input | steps | kept at 10 | kept at 100 | connected | said | s"
Row = dict[str, Any]
How = tuple[int | None, str]  # steps, device


@click.command()
@click.option("--models", help="Parts of names, comma-separated; = is an end: timm:,vgg16=.")
@click.option("--jobs", default=1, show_default=True, help="Processes, of one thread each.")
@click.option("--steps", type=int, help="Pruning iterations; 100 by default.")
@click.option("--minutes", default=30.0, show_default=True, help="The limit for one model.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--large", is_flag=True, help="With the models of more than 150 million weights.")
@click.option("--table", "only_table", is_flag=True, help="Run nothing; print what is recorded.")
@click.option("--again", is_flag=True, help="Also run the models that did not pass before.")
@click.option(
    "--cache", default="zoo.jsonl", show_default=True, help="Results, one line for each model."
)
def zoo(models, jobs, steps, minutes, device, large, only_table, again, cache) -> None:
    """Prune the models of torchvision, timm and transformers by SynFlow, at 10 and at 100."""
    wanted = chosen(models)
    done = (recorded(Path(cache)) if only_table else {}) | recorded(Path(cache), steps or 100)
    left_out = {} if large else too_large(wanted)
    passed = [name for name in done if not again or fate(done[name]) == "pruned"]
    todo = [name for name in wanted if not only_table and name not in {*left_out, *passed}]
    for kind in {name.partition(":")[0] for name in todo}:
        library(kind)
    for row in ran(todo, (steps, device), jobs, 60 * minutes):
        done[row["model"]] = row
        with open(cache, "a") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(f"  {row['model']:40} {fate(row)} {row['seconds']} s", err=True)
    click.echo(page([done.get(name) or absent(name, left_out) for name in wanted]))


def chosen(models: str | None) -> list[str]:
    """Return the names that contain one of the parts, or that are one of those after a "="."""
    parts = (models or ":").split(",")
    if not (wanted := [name for name in names() if any(part in f"={name}=" for part in parts)]):
        raise click.ClickException(f"--models {models}: no model has such a name")
    return wanted


def too_large(wanted: list[str]) -> dict[str, int]:
    """Return the parameters of the models that need --large."""
    vision = {name: name.partition(":")[2] for name in wanted if name.startswith("torchvision:")}
    sizes = {name: published(model) for name, model in vision.items()}
    return {name: size for name, size in sizes.items() if size > LARGE}


def absent(name: str, left_out: dict[str, int]) -> Row:
    """Return the row of a model that was not run."""
    if name in left_out:
        return {"model": name, "absent": f"{left_out[name] / 1e6:.0f} M weights: needs --large"}
    return {"model": name, "absent": "not run yet"}


def recorded(cache: Path, steps: int | None = None) -> dict[str, Row]:
    """Read the results of earlier runs, with this number of steps; the latest of a model counts."""
    lines = cache.read_text().splitlines() if cache.exists() else []
    rows = (json.loads(line) for line in lines)
    return {row["model"]: row for row in rows if steps in (None, row["steps"] or 100)}


# ---- processes ------------------------------------------------------------------------------


def ran(todo: Iterable[str], how: How, jobs: int, limit: float) -> Iterable[Row]:
    """Yield the result of each model, as its process ends; `how` is (steps, device).

    The processes are forked, so that the libraries are loaded once.
    """
    waiting, running = list(todo), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            process, name, end = started(waiting.pop(0), how)
            running[process] = name, end, time.monotonic()
        connection.wait([end for _, end, _ in running.values()], 1)  # a dead process closes its end
        for process, (name, end, start) in list(running.items()):
            seconds = time.monotonic() - start
            if end.poll() or seconds > limit:
                yield ended(process, end) or without_result(name, how, seconds, seconds > limit)
                del running[process]


def started(name: str, how: How) -> tuple[Any, str, Any]:
    """Start the process of one model; return it, the name, and the end of its pipe."""
    context = get_context("fork")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(name, how, its))
    process.start()
    its.close()
    return process, name, mine


def work(name: str, how: How, pipe: Any) -> None:
    """Examine a model and send the result."""
    from benchmarks.zoo_job import examined

    pipe.send(examined(name, *how))


def ended(process: Any, end: Any) -> Row | None:
    """Return the result that a process has sent, or None; end the process."""
    try:
        row = end.recv() if end.poll() else None
    except EOFError:
        row = None
    process.kill()
    process.join()
    return row


def without_result(name: str, how: How, seconds: float, late: bool) -> Row:
    """Return the row of a model whose process was stopped or died."""
    text = f"no result after {seconds / 60:.1f} minutes" if late else "the process died"
    error = {"kind": "process", "text": text, "sentence": False}
    steps, device = how
    row = {"model": name, "steps": steps, "device": device, "error": error}
    return row | {"seconds": round(seconds)}


# ---- table ----------------------------------------------------------------------------------


def fate(row: Row) -> str:
    """Return one word or two for a result."""
    if "absent" in row:
        return "absent"
    if row["error"]:
        return "sentence" if row["error"]["sentence"] else "traceback"
    if row["changed"]:
        return "changed"
    outcomes = row["pruned"].values()
    if not all(outcome["exact"] for outcome in outcomes):
        return "inexact"
    if all(outcome["connected"] for outcome in outcomes):
        return "pruned"
    said = any(text.startswith("LayerCollapse") for text in row["said"])
    return "collapse" if said else "silent collapse"


def page(rows: list[Row]) -> str:
    """Return the table in Markdown, and a line that counts the rows of each kind."""
    counts = Counter(fate(row) + with_steps(row) for row in rows)
    summary = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    lines = [" | ".join(cells(row)) for row in rows]
    table = "\n".join(f"| {line} |" for line in [HEAD, " | ".join(["---"] * 9), *lines])
    return f"SynFlow on {len(rows)} models: {summary}\n\n{table}"


def with_steps(row: Row) -> str:
    """Return the number of steps unless it is the default."""
    return f" in {row['steps']} steps" if row.get("steps") else ""


def cells(row: Row) -> list[str]:
    """Return the cells of one model."""
    if "absent" in row:
        return [row["model"], *[""] * 6, row["absent"], ""]
    pruned = row.get("pruned", {})
    kept = [f"{pruned[rho]['kept']:,}" if rho in pruned else "" for rho in ("10", "100")]
    paths = ["yes" if outcome["connected"] else "no" for outcome in pruned.values()]
    count = f"{row['weights']:,}" if row.get("weights") else ""
    steps = str(row["steps"] or 100)
    first = [row["model"], count, row.get("input", ""), steps, *kept, ", ".join(paths)]
    device = "" if row["device"] == "cpu" else f" ({row['device']})"
    return [*first, remarks(row), f"{row['seconds']:.0f}{device}"]


def remarks(row: Row) -> str:
    """Return the error and the warnings, and what else went wrong, in one cell."""
    error = row["error"]
    texts = [f"{error['kind']}: {error['text']}"] if error else []
    texts += row.get("said", [])
    texts += [f"changed: {', '.join(row['changed'][:3])}"] if row.get("changed") else []
    texts += [fate(row)] if fate(row) in ("inexact", "silent collapse") else []
    return "; ".join(shortened(text) for text in texts)


def shortened(text: str, most: int = 110) -> str:
    """Return a text as one line without a |, cut at `most` characters."""
    line = " ".join(text.replace("|", "/").split())
    return line if len(line) <= most else line[: most - 3] + "..."
