"""Gather the pages of the site from where they stand: a hook of mkdocs (see mkdocs.yml).

A page has the same path on the site as in the repository, so its links hold on both. Nothing is
copied into docs/. The notebook of reference/README.md is made beside that page.
"""

import json
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "benchmarks",
    "docs",
    "examples",
    "experiments",
    "proofs_tests",
    "prune",
    "reference",
    "results",
    "train",
)
SHOWN = (".gif", ".html", ".md", ".png")  # what a folder gives without being linked
LEARN, NOTEBOOK = "reference/README.md", "reference/README.ipynb"
OFFER = "[This page as a notebook](README.ipynb), to be saved in `reference/` of a checkout.\n\n"
LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def pages() -> list[str]:
    """List the pages, pictures and web pages of the repository, as paths from its root."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    shown = [*ROOT.glob("*.md"), *(path for path in found if path.suffix in SHOWN)]
    return sorted(path.relative_to(ROOT).as_posix() for path in shown)


def target(page: str, link: str) -> str:
    """Return the path from the root to which a link of a page leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def linked(page: str, text: str) -> Iterator[str]:
    """Find the files and folders of the repository that a page links to."""
    for link, _ in LINK.findall(text):
        if (ROOT / target(page, link)).exists():
            yield target(page, link)


def listing(folder: str) -> str:
    """Write a page of links for a folder that is linked and has no page of its own."""
    files = sorted(path for path in (ROOT / folder).iterdir() if path.is_file())
    return "\n".join([f"# {folder}\n", *(f"- [{path.name}]({path.name})" for path in files), ""])


def all_files() -> tuple[set[str], dict[str, str]]:
    """Return the files of the site, and the text of each page that is written for it."""
    from docs.notebook import notebook  # the root is on sys.path by now

    files, written = set(pages()), {}
    for page in [name for name in files if name.endswith(".md")]:
        for name in linked(page, (ROOT / page).read_text()):
            if (ROOT / name).is_file():
                files.add(name)
            elif f"{name}/README.md" not in files:
                written[f"{name}/README.md"] = listing(name)
    for page, text in written.items():
        files.update(linked(page, text))
    written[NOTEBOOK] = json.dumps(notebook((ROOT / NOTEBOOK).parent), indent=1)
    return files, written


def to_pages(page: str, text: str) -> str:
    """Lead the links of a page that name a folder to the page of that folder."""

    def whole(match: re.Match) -> str:
        link, anchor = match.groups(default="")
        if not (ROOT / target(page, link)).is_dir():
            return match.group()
        return f"]({posixpath.join(link, 'README.md')}{anchor})"

    return LINK.sub(whole, text)


def offering(page: str, text: str) -> str:
    """Offer the notebook below the title of its page."""
    title, gap, rest = text.partition("\n\n")
    return title + gap + OFFER + rest if page == LEARN else text


def on_startup(**_):
    """Let mkdocs-click import cli.py."""
    sys.path.insert(0, str(ROOT))


def on_files(files, config):
    """Give mkdocs the files of the repository instead of those of docs/."""
    from mkdocs.structure.files import File, Files

    names, written = all_files()
    place = {"dest_dir": config.site_dir, "use_directory_urls": config.use_directory_urls}
    found = [File(name, src_dir=str(ROOT), **place) for name in sorted(names)]
    found += [File.generated(config, name, content=text) for name, text in written.items()]
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *found])


def on_page_markdown(markdown, page, **_):
    """Rewrite the links of a page."""
    return offering(page.file.src_uri, to_pages(page.file.src_uri, markdown))
