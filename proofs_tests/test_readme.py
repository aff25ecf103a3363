"""The pages people read are run: every `>>>` line of a README gives what the page says.

`python -m proofs_tests.test_readme PAGE` puts what the code gives into a page.
"""

import doctest
import re
import sys
from math import ceil
from pathlib import Path

import pytest
from torch import nn

from prune import connected

ROOT = Path(__file__).parents[1]
LAPTOP, DEPARTURES = "results/laptop/README.md", "experiments/published/DEPARTURES.md"
NAMES = ("README.md", "reference/README.md", "results/paper/README.md", LAPTOP, DEPARTURES)
PAGES = [page for page in NAMES if (ROOT / page).exists()]
MEASURED = ROOT / "results/measured"  # what commands printed here; README says which commands


def examples(text, name):
    """The `>>>` examples of a page; a fence ends the output above it."""
    unfenced = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(unfenced, {}, name, name, 0)


def failures(test):
    """What the examples give where it is not what the page says."""
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return "".join(report)


class Noted(doctest.DocTestRunner):
    """Keeps what each wrong example gave: line -> (lines of source, lines expected, text)."""

    def __init__(self):
        super().__init__(verbose=False)
        self.wrong = {}

    def report_failure(self, out, test, example, got):
        lengths = example.source.count("\n"), example.want.count("\n")
        self.wrong[example.lineno] = (*lengths, got)

    def report_unexpected_exception(self, out, test, example, exc_info):
        raise exc_info[1]


def corrected(text):
    """The page with what its examples give."""
    runner, lines = Noted(), text.splitlines(keepends=True)
    runner.run(examples(text, "page"), out=lambda _: None)
    for start, (source, want, got) in sorted(runner.wrong.items(), reverse=True):
        lines[start + source : start + source + want] = [got]
    return "".join(lines)


def quoted(text):
    """The lines of a page that commands printed: tables on speed, and all ```text blocks."""
    (speed,) = re.findall(r"^## How fast$(.*?)^## ", text, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    rows = [line for line in speed.splitlines() if line.startswith("|")]
    return rows + [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_the_page_is_what_the_code_gives(page, monkeypatch):
    """All examples of a README run in order, in one namespace, and print what it says."""
    monkeypatch.chdir(ROOT)
    if wrong := failures(examples((ROOT / page).read_text(), page)):
        pytest.fail(wrong, pytrace=False)


def test_what_the_readme_quotes_was_printed_and_is_kept():
    """Numbers that differ from machine to machine cannot be made again here, but looked up."""
    kept = {line for path in MEASURED.iterdir() for line in path.read_text().splitlines()}
    lines = quoted((ROOT / "README.md").read_text())
    assert len(lines) > 30
    assert not [line for line in lines if line not in kept]


def test_the_worked_example_is_run_at_all():
    """The page has its dozens of examples, and a wrong digit in it is found."""
    text = (ROOT / "reference/README.md").read_text()
    assert len(examples(text, "page").examples) > 60
    assert failures(examples(text.replace("\n38\n", "\n39\n"), "page"))


def test_the_torch_code_of_the_worked_example_runs():
    """Its one block without `>>>` prunes the reader's own network: 1 % is left, and a path."""
    text = (ROOT / "reference/README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if ">>>" not in block)
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    variables = {"model": (model := nn.Sequential(*layers))}
    exec(block, variables)
    masks = variables["masks"]
    assert sum(int(mask.sum()) for mask in masks.values()) == ceil((8 * 27 + 5120) / 100)
    assert connected(model, masks, (3, 32, 32))
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def test_a_page_is_corrected_where_it_is_wrong_and_nowhere_else():
    """Also where more lines are printed than the page has, and inside a fence."""
    page = (
        "# 2\n```\n>>> x = 2\n>>> print(1, x,\n...       sep='\\n')\n1\n3\n```\n\n>>> x\n5\n\n5\n"
    )
    right = (
        "# 2\n```\n>>> x = 2\n>>> print(1, x,\n...       sep='\\n')\n1\n2\n```\n\n>>> x\n2\n\n5\n"
    )
    assert corrected(page) == corrected(right) == right
    assert corrected(page.replace("1\n3\n", "1\n")) == right
    with pytest.raises(ZeroDivisionError):
        corrected(">>> 1 / 0\n1\n")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(corrected(path.read_text()))
