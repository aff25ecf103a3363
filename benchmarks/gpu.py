"""`python -m benchmarks gpu`: measure one card in parts, each with a time limit and a page."""

from collections.abc import Sequence
from pathlib import Path

import click
import torch

from benchmarks.parts import Part, choose, measure, options, slug, without_data
from benchmarks.rounds import MEASURED


def measurements(device: str, quick: bool, networks: Sequence[str]) -> list[Part]:
    """List the parts that need no data set, in their order."""
    how = ["--device", device, *(["--quick"] if quick else [])]
    tests = ["-m", "pytest", "-m", "gpu", "-q", "-o", "addopts=", "proofs_tests"]
    parts = "benchmarks.gpu_parts"
    return [
        Part("selfcheck", 200, ["cli.py", "selfcheck", "--device", device]),
        Part("tests", 120, [*tests, "-p", "no:cacheprovider"]),
        *(Part(f"synflow-{n}", 110, ["-m", parts, "synflow", n, *how]) for n in networks),
        Part("steps", 120, ["-m", parts, "steps", *how]),
    ]


def accuracies(device: str, quick: bool, data_dir: str, folder: Path) -> Part:
    """Make the part of Figure 6, which keeps its runs and goes on where it was stopped."""
    how = ["--device", device, *(["--quick"] if quick else [])]
    places = ["--data-dir", str(Path(data_dir).resolve()), "--results", str(folder / "runs")]
    return Part("figure6", 600, ["-m", "benchmarks.gpu_parts", "figure6", *how, *places])


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu for a try.")
@options(minutes=8.0)
@click.option("--to", default=str(MEASURED), help="The folder of the card's folder.")
def gpu(device, minutes, wanted, again, quick, data_dir, to) -> None:
    """Measure all there is to measure on one card, in parts, into TO/CARD."""
    name = card(device)
    folder = Path(to).resolve() / slug(name)
    networks = ("mlp",) if quick else ("vgg16", "resnet18", "resnet50")
    parts = measurements(device, quick, networks)
    chosen = choose([*parts, accuracies(device, quick, data_dir, folder)], wanted)
    absent = {} if quick else without_data("figure6", data_dir)
    measure("gpu", chosen, folder, name, minutes, again, absent)


def card(device: str) -> str:
    """Name the card, or the processor of a try.

    Raises:
        ClickException: If there is no such device.
    """
    if device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise click.ClickException(
            f"--device {device}: torch {torch.__version__} finds no CUDA device here; "
            "run this on a machine with one, or try it by --device cpu --quick"
        )
    try:
        return torch.cuda.get_device_name(device)
    except (AssertionError, RuntimeError, ValueError) as error:
        count = torch.cuda.device_count()
        raise click.ClickException(f"--device {device}: there are {count} CUDA devices") from error
