"""The pages people read are run: every `>>>` line of a README gives what the page says."""

import re

import pytest

from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import corrected, examples, failures

LAPTOP, DEPARTURES = "results/laptop/README.md", "experiments/figures/published/DEPARTURES.md"
NAMES = ("README.md", "reference/README.md", "results/paper/README.md", LAPTOP, DEPARTURES)
PAGES = [page for page in NAMES if (ROOT / page).exists()]
MEASURED = ROOT / "results/measured"  # what commands printed here; README says which commands


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
