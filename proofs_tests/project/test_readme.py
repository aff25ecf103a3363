"""The pages people read are run: every `>>>` line of a README gives what the page says."""

import re

import pytest

from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import corrected, examples, failures

LAPTOP, DEPARTURES = "results/laptop/README.md", "experiments/figures/published/DEPARTURES.md"
NAMES = ("README.md", "reference/README.md", "results/paper/README.md", LAPTOP, DEPARTURES)
PAGES = [page for page in NAMES if (ROOT / page).exists()]
BENCHMARKS = "benchmarks/README.md"
QUOTING = ("README.md", BENCHMARKS)  # pages that quote the output of commands
MEASURED = ROOT / "results/measured"  # that output, one file per command


def quoted(page):
    """List the quoted lines of a page: its ```text blocks, and its tables of speed.

    All tables of benchmarks/README.md are of speed, and those of a section "How fast" elsewhere.
    """
    text, flags = (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    sections = re.findall(r"^## How fast$(.*?)(?=^## |\Z)", text, flags)
    speed = text if page == BENCHMARKS else "".join(sections)
    rows = [line for line in speed.splitlines() if line.startswith("|")]
    blocks = re.findall(r"^```text\n(.*?)^```$", text, flags)
    return rows + [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_the_page_is_what_the_code_gives(page, monkeypatch):
    """All examples of a README run in order, in one namespace, and print what it says."""
    monkeypatch.chdir(ROOT)
    if wrong := failures(examples((ROOT / page).read_text(), page)):
        pytest.fail(wrong, pytrace=False)


def test_every_quoted_line_is_in_a_file_of_results_measured():
    """Numbers that differ from machine to machine are looked up, not computed again."""
    kept = {line for path in MEASURED.iterdir() for line in path.read_text().splitlines()}
    assert len(quoted(BENCHMARKS)) > 35
    for page in QUOTING:
        assert not [line for line in quoted(page) if line not in kept], page


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
