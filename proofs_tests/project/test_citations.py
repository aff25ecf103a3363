"""Citations lead somewhere: numbers of the paper, tests, pages, and rows of DEPARTURES.md."""

import fnmatch
import re
from pathlib import Path

import pytest

from proofs_tests.tools import ROOT

NUMBERS = [*(f"Eq. {n}" for n in range(1, 11)), *(f"Theorem {n}" for n in range(1, 5))]
NUMBERS.append("Algorithm 1")
OTHERS = ("benchmarks", "docs", "results")  # pages only
FOLDERS = ("reference", "prune", "train", "experiments", "proofs_tests")
PYTHON = [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")) if p != Path(__file__)]
PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for f in (*FOLDERS, "benchmarks", "docs", "results")
        for page in (ROOT / f).rglob("*.md")
    ),
]
SOURCES = [*ROOT.glob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *PYTHON, *PAGES]
DEPARTURES = ROOT / "experiments/figures/published/DEPARTURES.md"
DRAWN = {"Eq. 4", "Eq. 5", "Eq. 6", "Theorem 1", "Theorem 2", "Theorem 4", "Algorithm 1"}


def cited(number, *folders):
    """The Python files in these folders which cite exactly this number."""
    pattern = re.compile(rf"{re.escape(number)}(?!\d)")
    return [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path in PYTHON and pattern.search(path.read_text())
    ]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_is_found_at_its_definition_and_at_its_test(number):
    """`grep "Eq. 6"` finds it in reference/ and in proofs_tests/; and so for all numbers."""
    assert cited(number, "reference")
    assert cited(number, "proofs_tests")
    assert number in (ROOT / "reference/README.md").read_text()


@pytest.mark.parametrize("number", sorted(DRAWN))
def test_numbers_that_a_figure_shows_are_found_there(number):
    """`grep "Eq. 6"` also finds the figure, of the paper or the worked example's."""
    assert cited(number, "experiments/figures")


def test_no_other_spelling_hides_a_number():
    """Plurals and abbreviations would not be found."""
    hidden = re.compile(r"\bEqs\b|\bEqns?\b|\bEq\.?\d|\bEq \d|\bThms?\b")
    odd = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in PYTHON
        for line in path.read_text().splitlines()
        if hidden.search(line)
    ]
    assert not odd


def test_the_tests_that_the_page_names_exist():
    """Each `test_...` of reference/README.md, a name or a pattern, is some test's name."""
    tests = {
        name
        for path in (ROOT / "proofs_tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_[\w*]+)`", (ROOT / "reference/README.md").read_text()))
    assert len(named) > 10
    assert all(fnmatch.filter(tests, name) for name in named)


def missing(text: str, folder: Path) -> set[str]:
    """The pages that a text in this folder cites and that are not in the project."""
    pages = {f"/{page.relative_to(ROOT).as_posix()}" for page in PAGES}
    names = set(re.findall(r"[\w./-]+\.md\b", text))
    return {
        name
        for name in names
        if not (folder / name).exists() and not any(page.endswith(f"/{name}") for page in pages)
    }


def test_every_cited_page_exists():
    """Its path is that from the project's folder or the file's own, or the end of it."""
    assert len(SOURCES) > 150
    found = {source: missing(source.read_text(), source.parent) for source in SOURCES}
    assert {str(source): names for source, names in found.items() if names} == {}


def test_every_cited_row_of_departures_exists():
    rows = set(re.findall(r"^\| (\d+) \|", DEPARTURES.read_text(), flags=re.MULTILINE))
    cite = re.compile(r"DEPARTURES\.md,\s+rows? (\d+(?:(?:, | and )\d+)*)")
    found = [n for source in SOURCES for text in cite.findall(source.read_text())
             for n in re.findall(r"\d+", text)]  # fmt: skip
    assert len(found) > 5 and set(found) <= rows


def test_a_missing_page_is_found():
    text = "see FACTS.md, reference/README.md, published/DEPARTURES.md and ../train/DIGITS.md"
    assert missing(text, ROOT / "prune") == {"FACTS.md"}
    assert missing("published/FACTS.md, xREADME.md", ROOT) == {"published/FACTS.md", "xREADME.md"}
