"""Check a built site: the file and the anchor of each link exist; no page loads from outside."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note what one tag has."""
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        loads = found.get("src") if tag != "link" else found.get("href")
        if loads and found.get("rel") != "canonical":
            self.loaded.append(loads)


def wrong(site: Path, path: Path, pages: dict[Path, Page]) -> list[str]:
    """List what is wrong with the links of one page."""
    found = [f"loads {link}" for link in pages[path].loaded if urlsplit(link).netloc]
    for link in pages[path].links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        place = site / parts.path.lstrip("/") if parts.path[:1] == "/" else path.parent / parts.path
        there = Path(unquote(str(place))).resolve() if parts.path else path
        there = there / "index.html" if there.is_dir() else there
        if not there.exists():
            found.append(f"no file for {link}")
        elif there in pages and unquote(parts.fragment) not in pages[there].anchors:
            found.append(f"no anchor for {link}")
    return found


def main(site: Path) -> None:
    """Print what is wrong, or the number of links.

    Raises:
        SystemExit: If a link leads nowhere.
    """
    paths = [path for path in site.rglob("*.html") if path.name not in ("404.html", "play.html")]
    play = list(site.rglob("play.html"))
    pages = {path: Page(path.read_text()) for path in [*paths, *play]}
    found = [f"{p.relative_to(site)}: {text}" for p in paths for text in wrong(site, p, pages)]
    if found:
        sys.exit("\n".join(found))
    links = sum(len(page.links) for page in pages.values())
    print(f"{links:,} links of {len(pages)} pages lead somewhere")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
