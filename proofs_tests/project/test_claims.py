"""CLAIMS.md: each claim has a verdict and evidence that exists; its numbers are run as a page."""

import re
from collections import Counter

import pytest

from proofs_tests.tools import ROOT

VERDICTS = {"reproduced", "in part", "contradicted", "not tested here"}
TEXT = (ROOT / "CLAIMS.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")][1:]


def named(row):
    """Return what a row is called in a report."""
    return f"{row[0]}: {row[1]}"


@pytest.mark.parametrize("row", ROWS, ids=map(named, ROWS))
def test_a_claim_has_a_verdict_and_a_file(row):
    _, claim, verdict, evidence = row
    assert claim and verdict in VERDICTS
    links = [link for link in re.findall(r"\]\(([^)]*)\)", evidence) if not link.startswith("#")]
    assert links and all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize("row", ROWS, ids=map(named, ROWS))
def test_a_test_that_is_named_exists_in_the_file_that_follows(row):
    parts = re.split(r"\]\(([^)#]+)\)", row[3])
    for text, path in zip(parts[::2], parts[1::2]):
        for name in re.findall(r"`(test_\w+)`", text):
            assert f"def {name}(" in (ROOT / path).read_text()


def test_anchors_are_headings_of_the_page():
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors


def test_every_theorem_and_figure_of_the_paper_is_judged():
    places = " ".join(row[0] for row in ROWS)
    for number in range(1, 8):
        assert f"Fig. {number}" in places
    for number in range(1, 5):
        assert f"Theorem {number}" in places
    assert len(ROWS) > 30 and Counter(row[2] for row in ROWS)["contradicted"] > 3


def test_the_readme_links_to_the_claims_first():
    assert re.search(r"\]\(([^)]*)\)", (ROOT / "README.md").read_text())[1] == "CLAIMS.md"
