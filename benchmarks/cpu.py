"""`python -m benchmarks cpu`: all tables of benchmarks/README.md for one processor, in parts."""

from pathlib import Path

import click

from benchmarks.parts import Part, choose, measure, options, slug, without_data
from benchmarks.rounds import MEASURED, processor

LIMIT = 3600  # seconds of a part
WHOLE = {  # part -> its command
    "synflow": "synflow --busy --check --networks mlp,vgg16,resnet18",
    "synflow-224": "synflow --busy --check --steps 10 --networks resnet50,vgg19",
    "certified": "certified --busy",
    "data": "data --busy",
    "growth": "growth --busy",
    "runs": "runs",
    "training": "training",
    "training-cpu": "training-cpu",
    "start-up": "start-up",
}
QUICK = {
    "synflow": "synflow --rounds 1 --steps 3 --check --networks mlp",
    "synflow-224": "synflow --rounds 1 --steps 1 --networks mlp",
    "certified": "certified --rounds 1 --network mlp --compression 2",
    "data": "data --rounds 1 --network mlp",
    "growth": "growth --rounds 1 --quick",
    "runs": "runs --seeds 1 --compressions 10 --quick",
    "training": "training --rounds 1 --images 1000 --networks mlp",
    "training-cpu": "training-cpu --rounds 1 --networks vgg11",
    "start-up": "start-up --rounds 1",
}


@click.command()
@options(minutes=120.0)
@click.option("--to", default=str(MEASURED), help="The folder of the processor's folder.")
def cpu(minutes, wanted, again, quick, data_dir, to) -> None:
    """Measure all there is to measure on one processor, in parts, into TO/PROCESSOR."""
    name = processor()
    folder = Path(to).resolve() / slug(name)
    parts = measurements(QUICK if quick else WHOLE, folder, str(Path(data_dir).resolve()))
    absent = {} if quick else without_data("runs", data_dir)
    measure("cpu", choose(parts, wanted), folder, name, minutes, again, absent)


def measurements(commands: dict[str, str], folder: Path, data_dir: str) -> list[Part]:
    """List the parts; each also writes its single measurements, and growth its picture."""
    more = {"growth": ["--figure", str(folder / "growth.png")], "runs": ["--data-dir", data_dir]}
    parts = []
    for name, command in commands.items():
        file = ["--json", str(folder / f"{name}.json")]
        given = ["-m", "benchmarks", *command.split(), *file, *more.get(name, [])]
        parts.append(Part(name, LIMIT, given))
    return parts
