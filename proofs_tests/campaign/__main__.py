"""`python -m proofs_tests.campaign`: faults of all kinds in turn, and a page with their counts."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import torch

from proofs_tests.campaign import disturbed, hostile
from proofs_tests.campaign.bench import FAULTS, Bench
from train.files import whole

KINDS: dict[str, Callable[[Bench], str]] = disturbed.KINDS | hostile.KINDS
Trouble = tuple[str, str, str, str]  # kind, detail, a word of FAULTS, a sentence


def one(bench: Bench, kind: str) -> list[Trouble]:
    """Inject one fault. Returns what went wrong."""
    bench.problems = []
    detail = KINDS[kind](bench)
    bench.outside()
    return [(kind, detail, *problem) for problem in dict.fromkeys(bench.problems)]


def page(done: Counter, troubles: list[Trouble], seconds: float, seed: int) -> str:
    """The report as Markdown: counts by kind, then every trouble."""
    wrong = Counter((kind, fault) for kind, _, fault, _ in troubles)
    rows = [[kind, done[kind], *(wrong[kind, fault] for fault in FAULTS)] for kind in KINDS]
    totals = ["all", *(sum(column) for column in list(zip(*rows))[1:])]
    cells = [["kind", "faults", *FAULTS], ["---"] * (2 + len(FAULTS)), *rows, totals]
    table = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells)
    told = "".join(
        f"- {kind} ({detail}): {fault}: `{text}`\n" for kind, detail, fault, text in troubles
    )
    head = f"# Campaign of {sum(done.values())} faults of {len(done)} kinds\n\n"
    made = f"`python -m proofs_tests.campaign --seed {seed}`, {seconds / 60:.1f} minutes, torch "
    return (
        f"{head}{made}{torch.__version__}.\n\n{table}\n\n{told or 'Nothing went wrong.'}".rstrip()
        + "\n"
    )


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Stop after this time.")
@click.option("--faults", type=int, help="Stop after this number of faults.")
@click.option("--seed", default=0, show_default=True, help="Of all that is drawn.")
@click.option("--kind", type=click.Choice([*KINDS]), multiple=True, help="Only this kind.  [all]")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="The page.")
def main(minutes: float, faults: int | None, seed: int, kind: tuple, report: Path | None) -> None:
    """Disturb the program in every way, one fault after the other, and count what goes wrong."""
    torch.set_num_threads(1)
    begun, done, troubles = time.monotonic(), Counter(), []
    with tempfile.TemporaryDirectory(prefix="campaign-") as root:
        bench, kinds = Bench(Path(root) / "bench", seed), kind or tuple(KINDS)
        while (spent := time.monotonic() - begun) < 60 * minutes and done.total() != faults:
            name = kinds[done.total() % len(kinds)]
            found = one(bench, name)
            done[name], troubles = done[name] + 1, troubles + found
            _tell(done.total(), spent, minutes, name, found)
            _write(report, page(done, troubles, time.monotonic() - begun, seed))
    click.echo(page(done, troubles, time.monotonic() - begun, seed))
    raise SystemExit(bool(troubles))


def _tell(count: int, spent: float, minutes: float, name: str, found: list[Trouble]) -> None:
    left = f"{minutes - spent / 60:.1f} minutes left"
    click.echo(f"{count} {name}: {found or 'right'}; {left}", err=True)


def _write(report: Path | None, text: str) -> None:
    if report:
        with whole(report) as partial:
            partial.write_text(text, errors="backslashreplace")


if __name__ == "__main__":
    main()
