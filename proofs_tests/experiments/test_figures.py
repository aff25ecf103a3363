"""Figures of runs: curves and panels from result files alone; the options of all figures."""

import inspect

import pytest

from experiments.figures import (
    accuracy,
    catalogue,
    collect,
    iterative_magnitude,
    style,
    variants,
    walks,
)
from experiments.figures.published import published_rows
from experiments.figures.tables import differences
from experiments.series import Series
from proofs_tests.tools.network_figures import figure
from proofs_tests.tools.sweeps import ablated, recorded, result, sweep


def test_curves_of_all_pruners_begin_with_the_same_dense_network(tmp_path):
    sweep(tmp_path)
    [panel] = collect.panels(collect.runs(tmp_path), {})
    curves = collect.curves(panel.rows)
    magnitude, synflow = Series("magnitude"), Series("synflow")
    assert list(curves) == [magnitude, synflow]
    for series, shift in ((magnitude, [0, -1]), (synflow, [5, 6])):
        points = dict(collect.points(curves[series], "final_top1"))
        assert points[1] == [90, 91] and points[10] == [80 + s for s in shift]
    assert collect.critical(curves[magnitude]) == {0: 100, 1: 10}
    assert collect.critical(curves[synflow]) == {0: 100, 1: 100}


def test_runs_of_other_settings_are_in_other_panels(tmp_path):
    sweep(tmp_path)
    result(tmp_path, "synflow", 10, 50.0, options={"width": 0.5})
    result(tmp_path, "synflow", 10, 50.0, options={"epochs": 3, "lr_drops": ()})
    panels = collect.panels(collect.runs(tmp_path), {})
    assert sorted(len(panel.rows) for panel in panels) == [1, 1, 10]
    assert len(accuracy.draw_all(tmp_path, {}).rows) == 12
    with pytest.raises(ValueError, match="choose by --model"):
        accuracy.draw_one(tmp_path, {})
    assert len(accuracy.draw_one(tmp_path, {"width": 0.5}).rows) == 1


@pytest.mark.parametrize("number", ["1", "6"])
def test_final_accuracy_is_drawn_by_default_and_the_axis_names_the_epoch(
    number, tmp_path, monkeypatch
):
    sweep(tmp_path)
    drawn = []
    monkeypatch.setattr(style, "write", lambda drawing, *_: drawn.append(drawing) or tmp_path)
    for options in ([], ["--best"]):
        assert figure(number, tmp_path, *options).exit_code == 0
    axes = [drawing.figure.axes[0] for drawing in drawn]
    assert "last epoch" in axes[0].get_ylabel()
    assert "best epoch" in axes[1].get_ylabel()
    for axis, best in zip(axes, (0, 1), strict=True):
        [line] = [line for line in axis.lines if line.get_label() == "SynFlow"]
        assert list(line.get_ydata()) == [90.5 + best, 85.5 + best, 65.5 + best]


def test_the_published_means_are_drawn_over_the_same_network(tmp_path):
    options = {"model": "vgg16", "dataset": "cifar100"}
    result(tmp_path, "synflow", 10, 70.0, options=options)
    [text] = accuracy.draw_all(tmp_path, {}, best=True).notes
    [published] = [
        row
        for row in published_rows("figure6")
        if [row["model"], row["dataset"], row["pruner"], row["compression"]]
        == ["vgg16", "cifar100", "synflow", "10"]
    ]
    assert f"from published {71 - float(published['best_top1']):+.2f} points" in text


def test_a_damaged_result_is_named_and_left_out(tmp_path):
    sweep(tmp_path)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "result.json").write_text('{"config": ')
    outcome = figure("6", tmp_path)
    assert outcome.exit_code == 0 and "torn/result.json is damaged" in outcome.stderr


def test_figure_5_shows_cycles_of_imp_with_and_without_rewinding(tmp_path):
    sweep(tmp_path)
    for cycles in (1, 2):
        for rewind in (True, False):
            imp = {"cycles": cycles, "rewind": rewind}
            result(tmp_path, "magnitude", 10, 70.0 + cycles, config=imp)
    drawing = iterative_magnitude.draw(tmp_path, {})
    labels = {line.get_label() for line in drawing.figure.axes[0].lines}
    assert {"1 cycle", "1 cycle, not rewound", "2 cycles", "2 cycles, not rewound"} <= labels


def test_variants_have_a_figure_of_their_own_and_are_not_in_figures_1_and_6(tmp_path):
    sweep(tmp_path)
    before = accuracy.draw_all(tmp_path, {}).rows
    ablated(tmp_path, "synflow", 10, 70.0)
    ablated(tmp_path, "synflow", 10, 71.0, score_dtype="float32")
    ablated(tmp_path, "synflow", 10, 73.0, allocation="erk")
    ablated(tmp_path, "synflow", 10, 74.0, scope="local")
    result(tmp_path, "snip", 10, 75.0, config={"bn": "batch"})
    result(tmp_path, "magnitude", 10, 72.0, config={"cycles": 2})
    assert accuracy.draw_all(tmp_path, {}).rows == before == accuracy.draw_one(tmp_path, {}).rows
    drawing = variants.draw(tmp_path, {})
    assert {row["series"] for row in drawing.rows} == {
        "synflow",
        "synflow shuffle",
        "synflow float32",
        "synflow erk",
        "synflow local",
        "snip bn batch",
    }
    shown = {
        line.get_label(): list(line.get_ydata())
        for axis in drawing.figure.axes
        for line in axis.lines
    }
    assert shown["as usual"] == [85.5, 65.5] and shown["shuffle"] == [70]
    assert (shown["erk"], shown["local"], shown["bn batch"]) == ([73], [74], [75])
    for words in ("erk: the number of weights", "local: the same share", "bn batch: scores with"):
        assert words in caption(drawing.figure)


def caption(figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_pruner_in_many_steps_is_a_curve_of_its_own_in_figure_6(tmp_path):
    sweep(tmp_path)
    result(tmp_path, "snip", 10, 70.0)
    result(tmp_path, "snip", 10, 75.0, options={"steps": 100})
    [axis] = accuracy.draw_all(tmp_path, {}).figure.axes
    shown = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert (shown["SNIP"][-1], shown["SNIP, 100 steps"][-1]) == (70, 75)


def test_a_variant_is_compared_with_its_pruner_at_the_same_compression_and_seed(tmp_path):
    """SynFlow has 85 and 86 at 10, and 65 and 66 at 100; a seed without a partner is left out."""
    sweep(tmp_path)
    for seed, top1 in ((0, 84.0), (1, 87.0), (2, 10.0)):
        ablated(tmp_path, "synflow", 10, top1, seed)
    ablated(tmp_path, "synflow", 100, 65.25, ablate="invert")
    drawing = variants.draw(tmp_path, {})
    assert drawing.notes == [
        "MLP, digits, SynFlow invert at 100: +0.25 points (+0.25 to +0.25, seeds: 1)",
        "MLP, digits, SynFlow shuffle at 10: +0.00 points (-1.00 to +1.00, seeds: 2)",
    ]


def test_variants_have_a_panel_for_each_pruner_and_one_look_in_all_panels(tmp_path):
    sweep(tmp_path)
    ablated(tmp_path, "magnitude", 10, 70.0, ablate="invert")
    ablated(tmp_path, "magnitude", 10, 70.0)
    ablated(tmp_path, "synflow", 10, 70.0)
    axes = variants.draw(tmp_path, {}).figure.axes
    assert [axis.get_title() for axis in axes] == ["Magnitude", "SynFlow"]
    lines = [{line.get_label(): line for line in axis.lines} for axis in axes]
    assert lines[0]["shuffle"].get_color() == lines[1]["shuffle"].get_color()
    assert lines[0]["shuffle"].get_color() != lines[0]["invert"].get_color()
    assert "invert" not in lines[1]


def test_panels_of_variants_name_the_network_where_there_are_several(tmp_path):
    sweep(tmp_path)
    for options in ({}, {"width": 0.5}):
        result(tmp_path, "random", 10, 50.0, options=options | {"allocation": "erk"})
        result(tmp_path, "random", 10, 49.5, options=options)
    drawing = variants.draw(tmp_path, {})
    titles = [axis.get_title() for axis in drawing.figure.axes]
    assert titles == ["Random\nMLP (width 0.5), digits", "Random\nMLP, digits"]
    drawing.figure.draw_without_rendering()
    title = drawing.figure.axes[0].title.get_window_extent()
    assert title.y1 <= drawing.figure.legends[0].get_window_extent().y0
    with pytest.raises(ValueError, match="figure of differences shows one of these"):
        differences(tmp_path)
    assert differences(tmp_path, width=0.5).split("\n") == ["variant     10", "Random erk  +0.5"]


@pytest.mark.parametrize("options", [{"scope": "local"}, {"score_dtype": "float32"}])
def test_a_dense_run_is_no_variant(options, tmp_path):
    """Nothing is pruned in it, so it is the dense network of all curves."""
    result(tmp_path, "synflow", 1, 90.0, options=options)
    [row] = accuracy.draw_all(tmp_path, {}).rows
    assert row["series"] == "dense"


def test_figure_variants_without_such_a_run_names_the_options_that_make_one(tmp_path):
    sweep(tmp_path)
    outcome = figure("variants", tmp_path)
    assert outcome.exit_code == 1
    assert f"no run in {tmp_path} has one of these: --ablate, --alloc" in outcome.output


def test_figure_5_gives_the_slope_of_recorded_weights_over_training(tmp_path):
    """The mean squares are size^-1/2 at first and size^-1 at the end."""
    recorded(tmp_path)
    [note] = iterative_magnitude.draw(tmp_path, {}).notes
    assert "slope 0.500 at initialisation, 1.000 after 2 epochs" in note


def test_figure_5_without_such_a_run_names_the_option_that_makes_one(tmp_path):
    sweep(tmp_path)
    outcome = figure("5", tmp_path)
    assert outcome.exit_code == 1 and "--record-weights" in outcome.output


def test_a_figure_is_written_in_each_format_that_is_named(tmp_path):
    sweep(tmp_path)
    outcome = figure("6", tmp_path, "--format", "svg,pdf,png")
    assert outcome.exit_code == 0 and outcome.output.endswith("figure6.svg\n")
    drawn = {path.suffix: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert drawn.keys() == {".csv", ".svg", ".pdf", ".png"}
    assert drawn[".pdf"].startswith(b"%PDF") and b"<svg" in drawn[".svg"]
    figure("6", tmp_path, "--format", "svg,pdf,png")
    again = {path.suffix: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert again == drawn  # no date, no random names
    refused = figure("6", tmp_path, "--format", "png,jpg")
    assert refused.exit_code == 2 and "--format must be one of png, pdf, svg" in refused.output


def test_a_legend_has_rows_of_equal_length():
    drawn, [axis] = style.panels(1, 1, (6.2, 3.6), "")
    for i in range(6):  # four fit beside each other
        axis.plot([0, 1], [i, i], label=f"curve number {i}")
    style.legend_above(drawn, [axis])
    assert drawn.legends[0]._ncols == 3


def test_each_figure_of_the_paper_has_its_options():
    of_runs = ["0", "1", "5", "6", "cost", "variants", "table"]
    assert list(catalogue.OPTIONS) == [*of_runs, "2", "3", "4", "7", "precision", "critical"]


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("number", catalogue.AT_INITIALISATION)
def test_each_figure_at_initialisation_has_the_functions_that_the_protocol_names(number):
    """A figure takes `full` if and only if its options have it."""
    module = catalogue.AT_INITIALISATION[number]
    more = [name for name in ("full",) if name in catalogue.OPTIONS[number]]
    protocol = catalogue.NetworkFigure
    assert ["self", *parameters(module.compute)] == [*parameters(protocol.compute), *more]
    assert ["self", *parameters(module.draw)] == parameters(protocol.draw)


def test_full_computes_the_papers_numbers_of_steps(tmp_path, monkeypatch):
    """Without `full` figure 7 has four numbers of steps."""
    wanted = []
    monkeypatch.setattr(walks, "compute", lambda config, cells, progress: wanted.append(cells))
    for options in (["--compute"], ["--compute", "--full"]):
        figure("7", tmp_path, *options)
    assert [len({cell.steps for cell in cells}) for cells in wanted] == [4, 11]
