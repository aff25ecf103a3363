"""`python -m benchmarks synflow`, `certified` and `data`: pruning beside plain code and passes."""

import tempfile

import click

from benchmarks.rounds import keep, machine, measured, middle, options, ratio, rounds_of, table
from prune import load_masks

IMAGES = 16  # of a batch; more take minutes for each GraSP of VGG-16

NETWORKS = ("mlp", "vgg16", "resnet18", "vgg19", "resnet50")
COLUMNS = "network", "(b) / (c)", "(a) / (b)", "(a) s", "(b) s", "(c) s"
COLUMNS += "(a) MiB", "(b) MiB", "(c) MiB"
CHECKED = "(a) float64 MiB", "weights that differ"


@click.command()
@options
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="Comma-separated.")
@click.option("--steps", default=100, show_default=True)
@click.option("--compression", default=100.0, show_default=True)
@click.option("--check", is_flag=True, help="Compare the masks with those of (a) in float64: slow.")
def synflow(rounds, device, busy, file, networks, steps, compression, check) -> None:
    """Compare SynFlow: (a) literal, float32; (b) ours, float64; (c) plain passes, float64."""
    how = {"steps": steps, "compression": compression, "device": device, "busy": busy}
    jobs = {name: how | {"network": name} for name in networks.split(",")}
    title = (
        f"SynFlow, {steps} steps to compression {compression:g}, on {machine(device, busy)}; "
        f"{rounds} rounds, ratios as min / median / max"
    )
    kept = {}

    def rows():
        for name, job in jobs.items():
            kept[name] = rounds_of(rounds, three(job))
            keep(file, title, kept)
            yield synflow_row(name, kept[name]) + (checked(job) if check else [])

    more = [*CHECKED] if check else []
    table(title, [*COLUMNS, *more], rows())


def three(job: dict) -> dict[str, dict]:
    """List the jobs (a), (b) and (c) of a network."""
    return {
        "a": job | {"method": "literal", "dtype": "float32"},
        "b": job | {"method": "ours"},
        "c": job | {"method": "passes"},
    }


def synflow_row(name: str, runs: dict[str, list[dict]]) -> list[str]:
    """Format the ratios, and the seconds and memory of (a), (b) and (c)."""
    ratios = [ratio(runs["b"], runs["c"]), ratio(runs["a"], runs["b"])]
    seconds = [f"{middle(runs[key], 'seconds'):.3g}" for key in "abc"]
    memory = [f"{middle(runs[key], 'peak_mib'):.0f}" for key in "abc"]
    return [name, *ratios, *seconds, *memory]


def checked(job: dict) -> list[str]:
    """Measure the memory of (a) in float64, and count the weights that differ from our masks."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{name}.npz" for name in ("literal", "ours")}
        runs = {name: measured(**job, method=name, masks=path) for name, path in paths.items()}
        literal, ours = (load_masks(path) for path in paths.values())
    differ = sum(int((literal[name] != ours[name]).sum()) for name in ours)
    kept = sum(int(mask.sum()) for mask in ours.values())
    click.echo(f"  {differ} of {kept} weights differ", err=True)
    return [f"{runs['literal']['peak_mib']:.0f}", f"{differ} of {kept}"]


@click.command()
@options
@click.option("--network", default="vgg16", show_default=True)
@click.option("--compression", default=100.0, show_default=True)
def certified(rounds, device, busy, file, network, compression) -> None:
    """Measure the certified schedule: steps, time, and overlap with the masks of 100 steps."""
    job = {"network": network, "compression": compression, "device": device, "busy": busy}
    title = f"certified to compression {compression:g}, on {machine(device, busy)}; {rounds} rounds"
    with tempfile.TemporaryDirectory() as folder:
        jobs = three(job)
        jobs["b"] |= {"masks": f"{folder}/100.npz"}
        jobs["certified"] = job | {"method": "certified", "masks": f"{folder}/certified.npz"}
        runs = rounds_of(rounds, jobs)
        of_100, of_certified = (load_masks(f"{folder}/{n}.npz") for n in ("100", "certified"))
    keep(file, title, {network: runs})
    both = sum(int((of_100[name] & mask).sum()) for name, mask in of_certified.items())
    share = f"{both / sum(int(mask.sum()) for mask in of_certified.values()):.1%}"
    fast = runs["certified"]
    ratios = [ratio(runs["a"], fast), ratio(runs["b"], fast), ratio(fast, runs["c"])]
    head = "network", "steps", "(a) / certified", "(b) / certified", "certified / (c)", "seconds"
    cells = [network, fast[0]["steps"], *ratios, f"{middle(fast, 'seconds'):.3g}", share]
    table(title, [*head, "kept by 100 steps too"], [cells])


@click.command()
@options
@click.option("--network", default="vgg16", show_default=True)
def data(rounds, device, busy, file, network) -> None:
    """Compare SNIP with a plain backward pass for each batch, GraSP with that and a double one."""
    job = {"network": network, "images": IMAGES, "device": device, "busy": busy}
    where = f"on {machine(device, busy)}; {rounds} rounds"
    title, kept = f"Scores of {network} in float64, batches of {IMAGES} images, {where}", {}

    def rows():
        for score, plain in (("snip", "backward"), ("grasp", "double")):
            jobs = {
                "few": job | {"method": score, "batches": 2},
                "score": job | {"method": score, "batches": 6},
                "plain": job | {"method": plain, "batches": 6},
            }
            kept[score] = runs = rounds_of(rounds, jobs)
            keep(file, title, kept)
            memory = [f"{middle(runs[k], 'peak_mib'):.0f}" for k in jobs]
            yield [score, ratio(runs["score"], runs["plain"]), *memory]

    head = "score", "score / plain, 6 batches", "MiB, 2 batches", "MiB, 6 batches", "plain MiB"
    table(title, head, rows())
