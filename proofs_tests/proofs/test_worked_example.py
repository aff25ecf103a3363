"""Figure 0 shows the network of reference/README.md, and the numbers that the page derives."""

import csv
import doctest
import sys
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from experiments.figures import worked_example as figure_0
from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import examples
from reference.pruning import keep_top
from reference.saliency import synflow_scores


def test_the_picture_is_of_the_network_of_the_page():
    """The weights, and the masks after one shot and after two steps, are those of the page."""
    page = examples((ROOT / "reference/README.md").read_text(), "page")
    doctest.DocTestRunner(verbose=False).run(page, out=lambda text: None, clear_globs=False)
    assert all(map(np.array_equal, page.globs["net"].weights, figure_0.NETWORK.weights))
    one_shot, half, final = figure_0.pruned_panels()
    at_once = keep_top(page.globs["scores"], figure_0.DENSE.masks, 3)
    assert all(map(np.array_equal, one_shot.masks, at_once))
    assert all(map(np.array_equal, final.masks, page.globs["masks"]))
    assert all(map(np.array_equal, half.masks, (W != 0 for W in page.globs["half"].weights)))


def test_flow_in_times_flow_out_is_the_score_in_and_out():
    """At every neuron (Theorem 1), with one total, R, at every layer of neurons (Theorem 2)."""
    into, out = figure_0.flows()
    first, second = synflow_scores(figure_0.NETWORK)
    through = [a * b for a, b in zip(into, out)]
    assert [t.tolist() for t in through] == [
        first.sum(axis=0).tolist(),
        first.sum(axis=1).tolist(),
        second.sum(axis=1).tolist(),
    ]
    assert {int(t.sum()) for t in through} == {38}


def test_figure_0_is_written_with_its_numbers(tmp_path):
    """One row for each weight that a panel shows, with its score now (Eq. 6); and a picture."""
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(main, ["figure", "0", "--results", str(tmp_path)])
    assert result.exit_code == 0, result.output
    picture = tmp_path / "figures/figure0.png"
    assert result.output == f"figure: {picture}\n"
    with Image.open(picture) as image:
        assert min(image.size) > 1000
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    with open(tmp_path / "figures/figure0.csv", newline="") as file:
        table = list(csv.DictReader(file))
    panels = [row["panel"] for row in table]
    assert [panels.count(name) for name in dict.fromkeys(panels)] == [12, 3, 6, 3]
    totals = Counter()
    for row in table:
        totals[row["panel"], row["layer"]] += int(row["score"])
    assert list(totals.values()) == [38, 38, 0, 16, 16, 6, 6]


def test_figure_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    """One sentence, exit code 1, and nothing is written."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = CliRunner().invoke(main, ["figure", "0", "--results", str(tmp_path / "new")])
    assert result.exit_code == 1
    assert "synflow[figures]" in result.output
    assert not (tmp_path / "new").exists()


def test_figures_that_are_not_there_are_refused(tmp_path):
    """A bad option: exit code 2, one sentence."""
    result = CliRunner().invoke(main, ["figure", "99", "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert "99" in result.output
