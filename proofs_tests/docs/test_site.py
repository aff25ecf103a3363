"""The documentation site: every command of its pages runs, and its pages are those that exist."""

import importlib.util
import json
import re
import shutil
import sys
from datetime import date

import click
import pytest

import prune
from docs import gather
from proofs_tests.tools import ROOT
from proofs_tests.tools.site import BLOCK, PAGES, commands, execute, parsed, write_files

README = "README.md"  # the page of a folder
# of heavy commands that are not ours
PROGRAMS = {"eval", "mutmut", "mypy", "pip", "pre-commit", "pytest", "python", "ruff"}
LIGHT = [page for page in PAGES if commands(page, heavy=False)]
HEAVY = [page for page in PAGES if "<!-- heavy" in (ROOT / page).read_text()]
MARK = re.compile(r"<!-- heavy, (?:last run|rehearsed) (\d{4}-\d\d-\d\d) -->\n")
BEGUN = date(2026, 11, 24)  # the first commit


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """The folder in which a reader follows a page; modules of the reader are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def load(path):
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("one_thread", "one_process")
@pytest.mark.parametrize("page", LIGHT)
def test_the_commands_of_the_page_run_in_the_order_of_the_page(page, reader):
    write_files(page, reader)
    for words in commands(page, heavy=False):
        assert execute(words), words


def test_pages_with_commands_are_found():
    assert len(LIGHT) >= 10 and sum(len(commands(page, heavy=False)) for page in LIGHT) >= 22


@pytest.mark.parametrize("page", HEAVY)
def test_heavy_commands_have_options_that_exist(page):
    for words in commands(page, heavy=True):
        program = next(word for word in words if "=" not in word)
        assert parsed(words) or program in PROGRAMS, words


def undated(text: str) -> list[str]:
    """The marks of heavy blocks that have no date of the project's life, or stand elsewhere."""
    above = [mark for mark, _ in BLOCK.findall(text) if mark]
    marks = re.findall(r"^<!-- heavy.*?-->\n?", text, re.MULTILINE)
    dates = {
        mark: date.fromisoformat(found[1]) for mark in marks if (found := MARK.fullmatch(mark))
    }
    wrong = [str(day) for day in dates.values() if not BEGUN <= day <= date.today()]
    return [mark for mark in marks if mark not in dates or mark not in above] + wrong


@pytest.mark.parametrize("page", HEAVY)
def test_a_heavy_block_has_the_date_of_its_last_run(page):
    assert not undated((ROOT / page).read_text())


@pytest.mark.parametrize(
    ("mark", "is_right"),
    [
        ("<!-- heavy, last run 2026-11-28 -->", True),
        ("<!-- heavy, rehearsed 2026-11-28 -->", True),
        ("<!-- heavy, rehearsed -->", False),
        ("<!-- heavy, not run here -->", False),
        ("<!-- heavy -->", False),
        ("<!-- heavy, last run soon -->", False),
        ("<!-- heavy, last run 2025-01-01 -->", False),
        ("<!-- heavy, last run 3026-01-01 -->", False),
        ("<!-- heavy, rehearsed 2026-11-28 -->\n", False),  # a line between it and its block
    ],
)
def test_a_mark_without_a_date_is_found(mark, is_right):
    assert bool(undated(f"{mark}\n```sh\nsynflow run\n```\n")) != is_right


def test_an_option_that_does_not_exist_is_found():
    assert parsed(["synflow", "data", "fetch", "cifar10"]) == "fetch"
    with pytest.raises(click.NoSuchOption):
        parsed(["torchrun", "cli.py", "run", "--modle", "mlp"])


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_each_figure_of_the_gallery_is_the_committed_one(reader):
    """Drawn again in a copy of the results: the CSV behind it is the same byte for byte."""
    for name in ("laptop", "paper"):
        shutil.copytree(ROOT / "results" / name, reader / "results" / name)
    for words in commands("docs/gallery.md", heavy=True):
        execute(words)
    for path in (reader / "results").rglob("figures/*.csv"):
        assert path.read_bytes() == (ROOT / path.relative_to(reader)).read_bytes(), path


def test_the_gallery_shows_every_committed_figure():
    text = (ROOT / "docs/gallery.md").read_text()
    figures = [path.relative_to(ROOT) for path in (ROOT / "results").rglob("figures/*.png")]
    committed = [path for path in figures if path.parts[1] in ("laptop", "paper")]
    assert len(committed) == 11
    assert not [path for path in committed if f"](../{path.as_posix()})" not in text]


def test_the_api_page_has_all_stable_names():
    text = (ROOT / "docs/api.md").read_text()
    names = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("::: ")}
    assert set(prune.__all__) - {"SCORES"} <= names and "`SCORES`" in text


def test_pages_keep_their_place_and_every_linked_file_comes_along():
    files, written = gather.all_files()
    assert {"README.md", "reference/README.md", "docs/faq.md", "docs/play.html"} <= files
    assert {"prune/scores.py", "results/laptop/figures/figure6.png"} <= files
    assert "[zoo.jsonl](zoo.jsonl)" in written[f"results/measured/{README}"]
    assert all((ROOT / name).is_file() for name in files)


def test_a_link_to_a_folder_leads_to_its_page():
    page, text = "benchmarks/README.md", "[a](../prune/fast/) [b](literal.py) [c](#commands)"
    expected = text.replace("fast/", f"fast/{README}")
    assert gather.to_pages(page, text) == expected


def test_the_site_offers_the_notebook():
    _, written = gather.all_files()
    text = (ROOT / gather.LEARN).read_text()
    title, offer, _ = gather.offering(gather.LEARN, text).split("\n\n", 2)
    assert text.startswith(title) and "](README.ipynb)" in offer
    assert gather.offering("prune/README.md", text) == text
    assert json.loads(written["reference/README.ipynb"])["nbformat"] == 4


PAGE = '<html><p id="here"><a href="{}">a</a><img src="{}"></html>'


@pytest.mark.parametrize(
    ("link", "picture", "message"),
    [
        ("b.html#here", "p.png", None),
        ("https://example.org/a", "p.png", None),
        ("b.html#there", "p.png", "no anchor for b.html#there"),
        ("c.html", "p.png", "no file for c.html"),
        ("b.html", "q.png", "no file for q.png"),
        ("b.html", "https://example.org/p.png", "loads https://example.org/p.png"),
    ],
)
def test_a_wrong_link_of_the_built_site_is_found(link, picture, message, tmp_path):
    (tmp_path / "a.html").write_text(PAGE.format(link, picture))
    (tmp_path / "b.html").write_text(PAGE.format("a.html", "p.png"))
    (tmp_path / "p.png").touch()
    links = load(ROOT / ".ci/links.py")
    if message is None:
        links.main(tmp_path)
    else:
        with pytest.raises(SystemExit, match=f"^a.html: {message}$"):
            links.main(tmp_path)
