"""Figures of networks at initialisation: drawn from saved cells, beside the published numbers."""

import sys
from pathlib import Path

import pytest

from experiments.figures import (
    cells,
    layer_conservation,
    layer_density,
    one_shot,
    prune_cut_ratio,
    published,
    walks,
)
from experiments.figures.published import published_rows
from proofs_tests.tools.network_figures import (
    AT_INITIALISATION,
    figure,
    paper,
    tiny,
    tiny_options,
)


@pytest.mark.parametrize("number", AT_INITIALISATION)
def test_a_figure_is_drawn_from_saved_cells_alone(number, computed, few_steps, monkeypatch):
    """No network is built, and a second drawing is the same in every byte."""
    monkeypatch.setattr("experiments.runs.build.build", None)
    folder = Path(computed.results)
    picture = folder / "figures" / f"figure{number}.png"
    drawings = []
    for _ in range(2):
        outcome = figure(number, folder, *tiny_options())
        assert outcome.exit_code == 0, outcome.output
        assert outcome.stdout.splitlines()[-1] == f"figure: {picture}"
        drawings.append((picture.read_bytes(), picture.with_suffix(".csv").read_bytes()))
    assert drawings[0] == drawings[1] and len(drawings[0][0]) > 10_000


def test_the_rows_of_figure_2_are_the_counts_of_the_cells(computed, few_steps):
    rows = layer_density.draw([computed]).rows
    assert {row["pruner"] for row in rows} == {*one_shot.PRUNERS, "grasp-text reversed"}
    cell = layer_density.synflow_cells()[3]
    kept = {
        row["name"]: row["kept"]
        for row in rows
        if (row["pruner"], row["compression"]) == ("synflow", cell.compression)
    }
    assert kept == cells.load(cell.path(computed))["kept"]


def test_figure_2_is_drawn_without_any_power_of_four(tmp_path):
    """The ticks are those of the layers, whichever compressions a cell has."""
    config = tiny(tmp_path)
    layers = [{"name": name, "size": 8} for name in ("a", "b", "c")]
    cell = {"layers": layers, "images": None, "kept": {"2": [4, 4, 4]}, "kept_reversed": None}
    cells.save(one_shot.cell_path(config, "magnitude"), cell)
    [axis] = layer_density.draw([config]).figure.axes
    assert list(axis.get_xticks()) == [1, 3]


def test_a_figure_without_cells_or_runs_is_refused_and_the_command_is_named(tmp_path):
    for number in (*AT_INITIALISATION, "precision"):
        outcome = figure(number, tmp_path)
        assert outcome.exit_code == 1 and f"figure {number} --compute" in outcome.output
    for number in "156":
        outcome = figure(number, tmp_path)
        assert outcome.exit_code == 1 and "no finished run" in outcome.output


@pytest.mark.parametrize(
    "number, options",
    [("1", ["--compute"]), ("6", ["--full"]), ("3", ["--best"]), ("2", ["--full"]),
     ("7", ["--data-dir", "elsewhere"]), ("0", ["--seed", "1"]), ("5", ["--init", "paper"])],
)  # fmt: skip
def test_an_option_that_a_figure_does_not_take_is_refused(number, options, tmp_path):
    outcome = figure(number, tmp_path, *options)
    assert outcome.exit_code == 2 and "means nothing to figure" in outcome.output


def test_a_damaged_cell_is_named(tmp_path):
    config = tiny(tmp_path)
    cells.save(one_shot.cell_path(config, "random"), {})
    one_shot.cell_path(config, "random").write_text("{")
    outcome = figure("4", tmp_path, *tiny_options())
    assert outcome.exit_code == 1 and "scores-random.json is damaged" in outcome.output


def test_without_matplotlib_the_extra_is_named(computed, few_steps, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = figure("7", Path(computed.results), *tiny_options())
    assert outcome.exit_code == 1 and "synflow[figures]" in outcome.output


# The paper's published numbers


def test_figure_7_notes_the_difference_of_each_cell_from_the_published(tmp_path):
    config, cell = paper(tmp_path), walks.Cell("exponential", 10**1.5, 50)
    cells.save(cell.path(config), {"max_prune_cut_ratio": 1.05 * 0.5642909662})
    drawing = prune_cut_ratio.draw([config])
    [note] = drawing.notes
    assert note == "exponential 10^1.5 in 50 steps: 0.5925 (published 0.5643, +5.0 %)"


def test_figure_2_notes_the_layer_that_is_farthest_from_the_published(tmp_path):
    """A cell has the published counts, except one that is 1.2 times as large."""
    config = paper(tmp_path)
    rows = [row for row in published_rows("figure2") if row["pruner"] == "magnitude"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    kept: dict[str, list[int]] = {}
    for row in rows:
        kept.setdefault(row["compression"], []).append(int(row["kept"]))
    layers = [{"name": n, "size": k} for n, k in zip(names, kept["1"], strict=True)]
    kept["64"][3] = round(1.2 * kept["64"][3])
    cell = {"pruner": "magnitude", "layers": layers, "kept": kept, "kept_reversed": None}
    cells.save(one_shot.cell_path(config, "magnitude"), cell)
    [note] = layer_density.draw([config]).notes
    assert note.startswith("magnitude: no empty layer up to 4^4 (published 4^4)")
    assert "features.7.weight at 64" in note and "a factor of 1.200" in note


def test_figure_4_finds_the_published_slopes_in_the_published_scores(tmp_path):
    """Slopes of random, magnitude, SNIP, GraSP and SynFlow, from cells of the published scores."""
    config = paper(tmp_path)
    for pruner in one_shot.PRUNERS:
        rows = [row for row in published_rows("figure4") if row["pruner"] == pruner]
        layers = [published_layer(row) for row in rows]
        cells.save(one_shot.cell_path(config, pruner), {"layers": layers, "images": "none"})
    notes = layer_conservation.draw([config]).notes
    slopes = [note.split("slope ")[1][:5] for note in notes]
    assert slopes == ["0.000", "0.201", "0.555", "1.021", "1.000"]
    for slope, note in zip(slopes, notes, strict=True):
        assert f"published {slope}" in note


def published_layer(row: dict[str, str]) -> dict:
    """The layer of a cell that gives the published average score."""
    size, total = int(row["size"]), float(row["average_score"]) * int(row["size"])
    return {
        "name": row["name"],
        "size": size,
        "size_with_biases": size,
        "score_sum": total,
        "score_abs_sum": total,
    }


def test_published_numbers_are_shown_for_the_papers_network_only(computed, few_steps):
    for module in (layer_density, layer_conservation, prune_cut_ratio):
        rows = module.draw([computed]).rows
        assert {v for row in rows for k, v in row.items() if k.startswith("published")} == {None}


def test_the_published_tables_are_small_and_each_is_cited():
    files = sorted(published.FOLDER.glob("*.csv"))
    readme = (published.FOLDER / "README.md").read_text()
    assert sum(path.stat().st_size for path in files) < 200_000
    assert all(f"| {path.name} |" in readme for path in files) and "9dfa57a" in readme
