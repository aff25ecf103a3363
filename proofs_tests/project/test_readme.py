"""The pages people read are run: every `>>>` line of a README gives what the page says."""

import ast
import inspect
import re

import pytest

from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import corrected, examples, failures
from reference.pruning import synflow_prune

FOLDERS = (
    ".",
    "reference",
    "prune",
    "train",
    "experiments",
    "proofs_tests",
    "benchmarks",
    "results",
)
PAGES = sorted(
    {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
        if "measured" not in path.parts
    }
)
BENCHMARKS = "benchmarks/README.md"
MEASURED = ROOT / "results/measured"  # that output, one file per command


def quoted(page):
    """List the quoted lines of a page: its ```text blocks, and its tables of speed.

    All tables of benchmarks/README.md are of speed.
    """
    text, flags = (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    speed = text if page == BENCHMARKS else ""
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
    assert len(quoted(BENCHMARKS)) > 35 and len(quoted("experiments/README.md")) > 4
    for page in PAGES:
        assert not [line for line in quoted(page) if line not in kept], page


def test_the_readme_is_short_and_names_every_page():
    """At most 8,192 bytes, so that it is read; it is not a place for what belongs to a folder."""
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 8192
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", text.decode()))
    readmes = {p for p in PAGES if p.endswith("/README.md") and p.count("/") == 1}
    assert readmes | {"CONTRIBUTING.md"} <= linked


def test_links_between_pages_lead_somewhere():
    """Files only; anchors are not checked."""
    for page in PAGES:
        for link in re.findall(r"\]\(([\w./-]+\.\w+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_the_method_in_the_readme_is_the_code_of_the_reference():
    """Without types, docstring and comments, `synflow_prune` is the block of the README."""
    source = ast.parse(inspect.getsource(synflow_prune)).body[0]
    source.body, source.returns = source.body[1:], None
    for argument in source.args.args:
        argument.annotation = None
    blocks = re.findall(
        r"^```python\n(def .*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    assert [block.strip() for block in blocks] == [ast.unparse(source)]


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
