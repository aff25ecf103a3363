"""The elements of an HTML page that stands alone: style, sections, tables; every text is escaped.

The page has the colours of paper or, where the reader's system asks for it, those of the dark
theme. It forbids itself to load anything.
"""

import shlex
from collections.abc import Iterable, Sequence
from html import escape

from experiments.figures.canvas import SYNFLOW
from experiments.figures.dark import in_dark

COLOURS = {
    "paper": "#ffffff",
    "ink": "#222222",
    "quiet": "#5c5c5c",
    "rule": "#dcdcdc",
    "box": "#f5f5f5",
    "curve": SYNFLOW,
}
STYLE = """
body { margin: 0 auto; padding: 1rem; max-width: 46rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.25; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-top: 1px solid var(--rule); padding-top: 1rem; }
figure { margin: 1rem 0; max-width: 34rem; }
figcaption, .quiet { color: var(--quiet); font-size: .875rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; overflow-wrap: normal; }
th, td { padding: .2rem .75rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { color: var(--quiet); font-weight: normal; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: var(--box); padding: .75rem; border-radius: .3rem; white-space: pre-wrap; }
pre span { display: inline-block; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 11px; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.grid { stroke: var(--rule); } .frame { fill: none; stroke: var(--quiet); }
.level { stroke: var(--ink); stroke-dasharray: 1 3; }
.a, .b { fill: none; stroke-width: 1.6; }
.a { stroke: var(--curve); } .a circle { fill: var(--curve); }
.b { stroke: var(--ink); stroke-dasharray: 4 3; }
.b circle { r: 4.5px; fill: var(--paper); stroke-dasharray: none; }
"""


def document(title: str, body: str) -> str:
    """The whole page; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{_colours()}{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


def _colours() -> str:
    """The colours by name, of paper and of the dark theme."""
    light = "".join(f"--{name}: {color};" for name, color in COLOURS.items())
    dark = "".join(f"--{name}: {turned(color)};" for name, color in COLOURS.items())
    media = f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return f":root {{ {light} }}\n{media}"


def turned(color: str) -> str:
    """The colour of the dark theme, both as #rrggbb."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in in_dark(channels))


def section(title: str, body: str) -> str:
    """A part of the page with a heading; nothing if `body` is empty."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>\n"


def command(words: Sequence[str]) -> str:
    """A command, which breaks into lines before its options."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return f"<pre>{' '.join(f'<span>{escape(shlex.join(line))}</span>' for line in lines)}</pre>\n"


def figure(picture: str, caption: str) -> str:
    """A picture, as SVG, with a caption of plain text."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls sideways where it is too wide; the first cell of a row is its name.

    Without `heads` it has two columns: names and texts.
    """
    kind = "n" if heads else ""
    top = "".join(f'<th scope="col"{_named(kind, i)}>{escape(h)}</th>' for i, h in enumerate(heads))
    lines = [_row(row, kind) for row in rows]
    head = f"<thead><tr>{top}</tr></thead>" if heads else ""
    return f'<div class="wide"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>\n'


def _row(row: Sequence[object], kind: str) -> str:
    name, *cells = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row)
    cells = "".join(f"<td{_named(kind, 1)}>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _named(kind: str, column: int) -> str:
    """The class of a cell; names are the first column."""
    return f' class="{kind}"' if kind and column else ""
