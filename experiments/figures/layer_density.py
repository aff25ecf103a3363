"""Figure 2: where layer-collapse occurs: the fraction of weights remaining in each layer."""

from collections.abc import Iterator, Sequence

from experiments.config import RunConfig
from experiments.figures import cells, one_shot, style, walks
from experiments.figures.published import published_rows
from experiments.runs.progress import Progress

STEPS = 100  # of SynFlow
MANY = 1000  # only layers with more kept weights than this are compared with the published
POWERS = tuple(4**n for n in range(12))  # the compressions of the figure
CAPTION = (
    "Fraction of weights remaining in each layer of {model} at initialisation, for compressions "
    "4^0 (solid) to 4^11 (faint). Dashed: some layer is empty (cross), so no path is left. "
    "Circles: published (one run, float32{sign}). {images}"
)


def synflow_cells() -> list[walks.Cell]:
    """List the cells of SynFlow: compressions 4^1, ..., 4^11, in 100 steps each."""
    return [walks.Cell("exponential", power, STEPS) for power in POWERS[1:]]


def compute(configs: Sequence[RunConfig], progress: Progress) -> None:
    """Compute and save the missing cells, the quickest first."""
    [config] = configs
    one_shot.compute(config, progress)
    walks.compute(config, synflow_cells(), progress)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw the saved cells.

    Raises:
        FileNotFoundError: If there is none.
    """
    [config] = configs
    rows = list(_rows(config))
    pruners = [p for p in one_shot.PRUNERS if any(row["pruner"] == p for row in rows)]
    if not pruners:
        raise cells.nothing(config, 2)
    text = CAPTION.format(
        model=cells.title(config),
        images=one_shot.images_note(config),
        sign=", GraSP with the reversed sign" if "grasp-text" in pruners else "",
    )
    figure, axes = style.grid(len(pruners), text, sharey=True)
    for axis, pruner in zip(axes, pruners, strict=True):
        _panel(axis, [row for row in rows if row["pruner"] == pruner], style.LOOKS[pruner])
    style.label_all(axes, "layer", "fraction of weights remaining")
    return style.Drawing(figure, rows, list(_notes(rows)) if cells.comparable(config) else [])


def _rows(config: RunConfig) -> Iterator[dict]:
    """Make one row per pruner, compression and tensor, with the published count if there is one."""
    known = {}
    if cells.comparable(config):
        for row in published_rows("figure2"):
            key = row["pruner"], int(row["compression"]), row["name"]
            known[key] = int(row["kept"])
    for pruner, compression, kept, sizes in _kept(config):
        source = pruner.removesuffix(" reversed")
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
    """Read the counts of all saved cells.

    Yields:
        The pruner, the compression, the weights kept by tensor, and the sizes by tensor.
    """
    sizes: dict[str, int] = {}
    for pruner in one_shot.PRUNERS:
        cell = cells.load(one_shot.cell_path(config, pruner))
        if cell is None:
            continue
        sizes = {layer["name"]: layer["size"] for layer in cell["layers"]}
        if pruner == "synflow":
            continue  # Fig. 2 shows it in 100 steps, not in one
        for key, suffix in (("kept", ""), ("kept_reversed", " reversed")):
            for compression, kept in (cell[key] or {}).items():
                by_tensor = dict(zip(sizes, kept, strict=True))
                yield pruner + suffix, int(compression), by_tensor, sizes
    yield from _kept_by_synflow(config, sizes)


def _kept_by_synflow(
    config: RunConfig, sizes: dict[str, int]
) -> Iterator[tuple[str, int, dict[str, int], dict[str, int]]]:
    """Read the cells of SynFlow as `_kept` does, after the dense network; `sizes` may be empty."""
    loaded = [cells.load(cell.path(config)) for cell in synflow_cells()]
    found = [cell for cell in loaded if cell is not None]
    if found:
        sizes = sizes or found[0]["sizes"]
        yield "synflow", 1, sizes, sizes
    for cell in found:
        yield "synflow", int(cell["compression"]), cell["kept"], sizes


def _panel(axis, rows: list[dict], look: style.Look) -> None:
    floor = 0.05 / max(row["size"] for row in rows)
    for compression, opacity in zip(POWERS, style.fading(len(POWERS)), strict=True):
        layers = [row for row in rows if row["compression"] == compression]
        if layers:
            _curve(axis, layers, floor, color=look.color, alpha=opacity)
            _circles(axis, layers)
    style.log(axis, "y")
    axis.set_ylim(floor / 2000, 2)  # leaves room for the text below the crosses
    tensors = len({row["name"] for row in rows})
    axis.set_xticks([1, 5, 10, 15, 19] if tensors == 19 else [1, tensors])
    style.title(axis, look.label, look.color)
    exponent = _exponent(_largest(rows))
    style.corner(axis, f"no empty layer\nup to 4^{exponent}", "lower left")


def _curve(axis, layers: list[dict], floor: float, **options) -> None:
    """Draw the fractions of all layers, and a cross at the height `floor` for an empty one."""
    x = range(1, len(layers) + 1)
    empty = [i for i, row in enumerate(layers, 1) if row["kept"] == 0]
    fractions = [row["fraction"] or float("nan") for row in layers]
    axis.plot(x, fractions, "--" if empty else "-", lw=1.4, **options)
    axis.plot(empty, [floor] * len(empty), "x", ms=3.5, **options)


def _circles(axis, layers: list[dict]) -> None:
    """Draw the published fractions of the layers that have one and are not empty."""
    points = [
        (i, row["published_kept"] / row["size"])
        for i, row in enumerate(layers, 1)
        if row["published_kept"]
    ]
    if points:
        x, y = zip(*points, strict=True)
        axis.plot(x, y, "o", mfc="none", mec=style.INK, mew=0.4, ms=2.6, alpha=0.7)


def _largest(rows: list[dict], column: str = "kept") -> int:
    """Find the largest power of 4 up to which no tensor is empty."""
    largest = 1
    for compression in sorted({row["compression"] for row in rows} & set(POWERS)):
        kept = [row[column] for row in rows if row["compression"] == compression]
        if not all(kept):
            break
        largest = compression
    return largest


def _exponent(power: int) -> int:
    return POWERS.index(power)


def _notes(rows: list[dict]) -> Iterator[str]:
    for pruner in dict.fromkeys(row["pruner"] for row in rows):
        own = [row for row in rows if row["pruner"] == pruner and row["published_kept"] is not None]
        ours, theirs = _exponent(_largest(own)), _exponent(_largest(own, "published_kept"))
        text = f"{pruner}: no empty layer up to 4^{ours} (published 4^{theirs})"
        if many := [row for row in own if row["published_kept"] > MANY]:
            worst = max(many, key=_factor)
            text += (
                f"; of layers with over {MANY:,} weights the farthest from published is "
                f"{worst['name']} at {worst['compression']}: {worst['kept']:,} weights for "
                f"{worst['published_kept']:,}, a factor of {_factor(worst):.3f}"
            )
        yield text


def _factor(row: dict) -> float:
    """Compute the factor between our count and the published one, at least 1."""
    ours, theirs = row["kept"] or 0.5, row["published_kept"]
    return max(ours / theirs, theirs / ours)
