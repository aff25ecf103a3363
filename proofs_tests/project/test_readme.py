"""The pages people read are run: every `>>>` line of a README gives what the page says."""

import ast
import inspect
import re
from math import ceil

import pytest
from torch import nn

from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import corrected, examples, failures
from prune import connected
from reference.pruning import synflow_prune

FOLDERS = (
    ".",
    "reference",
    "prune",
    "train",
    "experiments",
    "proofs_tests",
    "benchmarks",
    "docs",
    "examples",
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
SPEED = (BENCHMARKS, "docs/faq.md")  # pages all of whose tables are of speed
MEASURED = ROOT / "results/measured"  # that output, one file per command; by card


def quoted(page):
    """List the quoted lines of a page: its ```text blocks, and its tables of speed."""
    text, flags = (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    speed = text if page in SPEED else ""
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
    kept = {line for path in MEASURED.rglob("*.md") for line in path.read_text().splitlines()}
    assert len(quoted(BENCHMARKS)) > 35 and len(quoted("experiments/README.md")) > 4
    assert len(quoted("docs/faq.md")) > 8
    for page in PAGES:
        assert not [line for line in quoted(page) if line not in kept], page


def test_the_readme_is_short_and_names_every_page():
    """At most 8,192 bytes, so that it is read; it is not a place for what belongs to a folder."""
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 8192
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", text.decode()))
    readmes = {p for p in PAGES if p.endswith("README.md") and p.count("/") == 1}
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


def test_the_torch_code_of_the_worked_example_runs():
    """Its one block without `>>>` prunes the reader's own network: 1 % is left, and a path."""
    (block,) = plain_blocks("reference/README.md")
    model = readers_model()
    variables = {"model": model}
    exec(block, variables)
    masks = variables["masks"]
    assert sum(int(mask.sum()) for mask in masks.values()) == ceil((8 * 27 + 5120) / 100)
    assert connected(model, masks, (3, 32, 32))
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def readers_model():
    """The model of a reader, for blocks that begin with one."""
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    return nn.Sequential(*layers)


def plain_blocks(page):
    """The blocks of Python of a page that have no `>>>` and are no file with a title."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    return [block for block in blocks if ">>>" not in block]


@pytest.mark.parametrize("page", [page for page in PAGES if plain_blocks(page)])
def test_blocks_without_prompts_run(page):
    for block in plain_blocks(page):
        exec(block, {"model": readers_model(), "exponential": None})


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
