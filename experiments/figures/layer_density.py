"""Figure 2: where layer-collapse occurs. The fraction of weights that remains in each layer."""

from collections.abc import Iterator, Sequence

from experiments.config import RunConfig
from experiments.figures import cells, one_shot, style, walks
from experiments.runs.progress import Progress

STEPS = 100  # of SynFlow
MANY = 1000  # layers that keep more weights than this are compared with the published ones
CAPTION = (
    "Fraction of weights remaining in each layer of {model} at initialisation, for compressions "
    "4^0 (solid) to 4^11 (faint). Dashed: some layer is empty (cross), so no path is left. "
    "Circles: published (one run, float32{sign}). {images}"
)


def synflow_cells() -> list[walks.Cell]:
    """SynFlow pruned to 4^1, ..., 4^11 in 100 steps."""
    return [walks.Cell("exponential", 4**n, STEPS) for n in range(1, 12)]


def compute(configs: Sequence[RunConfig], progress: Progress, full: bool = False) -> None:
    """Compute and save the cells that are missing, the quickest first."""
    [config] = configs
    one_shot.compute(config, progress)
    walks.compute(config, synflow_cells(), progress)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw what is computed.

    Raises:
        FileNotFoundError: If nothing is.
    """
    [config] = configs
    rows = list(_rows(config))
    pruners = [p for p in one_shot.PRUNERS if any(row["pruner"] == p for row in rows)]
    if not pruners:
        raise cells.nothing(config, 2)
    text = CAPTION.format(
        model=cells.title(config),
        images=one_shot.images_note(config),
        sign=", GraSP with the reversed sign" if "grasp" in pruners else "",
    )
    figure, axes = style.panels(1, len(pruners), (2.15, 2.5), text, sharey=True)
    for axis, pruner in zip(axes, pruners):
        _panel(axis, [row for row in rows if row["pruner"] == pruner], style.LOOKS[pruner])
    style.labels(axes[0], y="fraction of weights remaining")
    return style.Drawing(figure, rows, list(_notes(rows)) if cells.comparable(config) else [])


def _rows(config: RunConfig) -> Iterator[dict]:
    """One row per pruner, compression and tensor; where it is known, what was published."""
    known = {}
    if cells.comparable(config):
        for row in style.published("figure2"):
            key = row["pruner"], int(row["compression"]), row["name"]
            known[key] = int(row["kept"])
    for pruner, compression, kept, sizes in _kept(config):
        source = "grasp" if pruner == "grasp reversed" else pruner
        for name, n in kept.items():
            yield {
                "pruner": pruner,
                "compression": compression,
                "name": name,
                "size": sizes[name],
                "kept": n,
                "fraction": n / sizes[name],
                "published_kept": known.get((source, compression, name)),
            }


def _kept(config: RunConfig) -> Iterator[tuple[str, int, dict[str, int], dict[str, int]]]:
    """(pruner, compression, weights kept by tensor, sizes by tensor) of all cells that exist."""
    sizes = {}
    for pruner in one_shot.PRUNERS:
        if (cell := cells.load(one_shot.path(config, pruner))) is None:
            continue
        sizes = {layer["name"]: layer["size"] for layer in cell["layers"]}
        if pruner == "synflow":
            continue  # Fig. 2 shows it in 100 steps, not in one
        for key, suffix in (("kept", ""), ("kept_reversed", " reversed")):
            for compression, kept in (cell[key] or {}).items():
                yield pruner + suffix, int(compression), dict(zip(sizes, kept)), sizes
    found = [cells.load(cell.path(config)) for cell in synflow_cells()]
    found = [cell for cell in found if cell is not None]
    if found:
        sizes = sizes or found[0]["sizes"]
        yield "synflow", 1, sizes, sizes
    for cell in found:
        yield "synflow", int(cell["compression"]), cell["kept"], sizes


def _panel(axis, rows: list[dict], look: style.Look) -> None:
    shown = [4**n for n in range(12)]
    floor = 0.05 / max(row["size"] for row in rows)
    for compression, opacity in zip(shown, style.fading(len(shown))):
        layers = [row for row in rows if row["compression"] == compression]
        if not layers:
            continue
        x = range(1, len(layers) + 1)
        y = [row["fraction"] or None for row in layers]
        empty = [i for i, row in zip(x, layers) if row["kept"] == 0]
        line = "--" if empty else "-"
        axis.plot(x, [v or float("nan") for v in y], line, color=look.color, alpha=opacity, lw=1.4)
        axis.plot(empty, [floor] * len(empty), "x", color=look.color, alpha=opacity, ms=3.5)
        _circles(axis, layers)
    style.log(axis, "y")
    axis.set_ylim(floor / 2000, 2)  # room for the words below the crosses
    axis.set_xticks([1, 5, 10, 15, 19] if len(x) == 19 else [1, len(x)])
    style.title(axis, look.label, look.color)
    style.labels(axis, x="layer")
    largest = _power(_largest(rows)).replace("4^", "")
    style.corner(axis, f"no empty layer\nup to $4^{{{largest}}}$", "lower left")


def _circles(axis, layers: list[dict]) -> None:
    points = [(i, r["published_kept"] / r["size"]) for i, r in enumerate(layers, 1)
              if r["published_kept"]]  # fmt: skip
    if points:
        axis.plot(*zip(*points), "o", mfc="none", mec=style.INK, mew=0.4, ms=2.6, alpha=0.7)


def _largest(rows: list[dict], column: str = "kept") -> int:
    """The largest power of 4 up to which no tensor is empty."""
    largest = 1
    for compression in sorted({row["compression"] for row in rows if _is_power(row)}):
        kept = [row[column] for row in rows if row["compression"] == compression]
        if not all(kept):
            break
        largest = compression
    return largest


def _is_power(row: dict) -> bool:
    return row["compression"] in [4**n for n in range(12)]


def _power(compression: int) -> str:
    return f"4^{(compression.bit_length() - 1) // 2}"


def _notes(rows: list[dict]) -> Iterator[str]:
    for pruner in dict.fromkeys(row["pruner"] for row in rows):
        own = [row for row in rows if row["pruner"] == pruner and row["published_kept"] is not None]
        ours, theirs = _power(_largest(own)), _power(_largest(own, "published_kept"))
        text = f"{pruner}: no empty layer up to {ours} (published {theirs})"
        if many := [row for row in own if row["published_kept"] > MANY]:
            worst = max(many, key=_factor)
            text += (
                f"; of layers with over {MANY:,} weights the farthest from published is "
                f"{worst['name']} at {worst['compression']}: {worst['kept']:,} weights for "
                f"{worst['published_kept']:,}, a factor of {_factor(worst):.3f}"
            )
        yield text


def _factor(row: dict) -> float:
    """How far ours is from the published, at least 1."""
    ours, theirs = row["kept"] or 0.5, row["published_kept"]
    return max(ours / theirs, theirs / ours)
