"""Figure 0 shows the network of reference/README.md, and the numbers that the page derives."""

import csv
import doctest
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from PIL import Image

from cli import main
from experiments.figures import first_pictures, small_network
from experiments.figures import worked_example as figure_0
from proofs_tests.tools import ROOT
from proofs_tests.tools.pages import examples
from proofs_tests.tools.strategies import networks, small_fractions, small_ints
from reference.pruning import all_kept, keep_top
from reference.saliency import synaptic_saliency, synflow_scores

PAGES_NETWORK = "2,-5;5,1;-1,3|-1,1,1;1,1,-2"


@pytest.fixture(scope="module")
def page():
    """The variables of reference/README.md after its last line."""
    test = examples((ROOT / "reference/README.md").read_text(), "page")
    doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None, clear_globs=False)
    return test.globs


def figure(folder, *options):
    return CliRunner().invoke(main, ["figure", "0", "--results", str(folder), *options])


def rows_of(folder):
    with open(folder / "figures/figure0.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_picture_is_of_the_network_of_the_page(page):
    """The weights, and the masks after one shot and after two steps, are those of the page."""
    assert all(map(np.array_equal, page["net"].weights, figure_0.NETWORK.weights))
    one_shot, half, final = figure_0.pruned_panels()
    at_once = keep_top(page["scores"], all_kept(figure_0.NETWORK), 3)
    assert all(map(np.array_equal, one_shot.masks, at_once))
    assert all(map(np.array_equal, final.masks, page["masks"]))
    assert all(map(np.array_equal, half.masks, (W != 0 for W in page["half"].weights)))


def test_the_first_pictures_are_of_the_networks_of_the_page(page):
    """One shows the saliency of section 3, one the network of widths 1-4-4-1 and what is left."""
    x = first_pictures.ONES
    saliency = synaptic_saliency(first_pictures.NETWORK, x, x)
    assert all(map(np.array_equal, saliency, (page["S1"], page["S2"])))
    wide = first_pictures.WIDE
    assert all(map(np.array_equal, page["wide"].weights, wide.weights))
    one_shot, in_steps = first_pictures.masks_of_wide(1), first_pictures.masks_of_wide(8)
    assert [int(mask.sum()) for mask in one_shot] == [4, 0, 4]
    assert [int(mask.sum()) for mask in in_steps] == [4, 3, 1]


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
    result = figure(tmp_path)
    assert result.exit_code == 0, result.output
    picture = tmp_path / "figures/figure0.png"
    assert result.output == f"figure: {picture}\n"
    for name, height in [("figure0", 1000), ("figure0-saliency", 600), ("figure0-collapse", 600)]:
        with Image.open(tmp_path / f"figures/{name}.png") as image:
            assert image.size[0] > 1000 and image.size[1] > height
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    table = rows_of(tmp_path)
    panels = [row["panel"] for row in table]
    assert [panels.count(name) for name in dict.fromkeys(panels)] == [12, 3, 6, 3]
    assert list(totals(table).values()) == [38, 38, 0, 16, 16, 6, 6]


def totals(table):
    """The score of each layer of each panel."""
    sums = Counter()
    for row in table:
        sums[row["panel"], row["layer"]] += Fraction(row["score"])
    return sums


def test_the_network_of_the_page_can_be_given_as_text(tmp_path):
    """Read exactly, it gives the same picture, byte for byte, and the same numbers."""
    assert figure(tmp_path / "built in").exit_code == 0
    assert figure(tmp_path / "text", "--weights", PAGES_NETWORK).exit_code == 0
    for name in ("figure0.png", "figure0.csv"):
        built_in, text = (tmp_path / way / "figures" / name for way in ("built in", "text"))
        assert built_in.read_bytes() == text.read_bytes()


def test_fractions_and_decimals_are_drawn_exactly(tmp_path):
    """A network of three layers: every number is a fraction, and each layer sums to R (Eq. 5)."""
    result = figure(tmp_path, "--weights", "1/3,-.25; 0,1.5 |2,-1/7;1,+1|-0.1,3")
    assert result.exit_code == 0, result.output
    table = rows_of(tmp_path)
    dense = [row for row in table if row["panel"] == "dense"]
    weights = ["1/3", "-1/4", "0", "3/2", "2", "-1/7", "1", "1", "-1/10", "3"]
    assert [row["weight"] for row in dense] == weights
    assert {total for (panel, _), total in totals(table).items() if panel == "dense"} == {
        Fraction(7, 12) * Fraction(16, 5) + Fraction(3, 2) * (Fraction(1, 70) + 3)
    }


@pytest.mark.parametrize(
    "weights",
    ["2", "0,1;2,3|0,0", "1,1,1,1,1,1|2;2;2;2;2;2|1,1,1,1,1,1|3;3;3;3;3;3"],
    ids=["one weight", "no path", "the largest picture"],
)
def test_the_smallest_the_largest_and_a_closed_network_are_drawn(weights):
    """No division by R = 0, and all words and numbers are inside the picture."""
    pytest.importorskip("matplotlib")
    picture = figure_0.draw(small_network.parse(weights)).figure
    texts = [text for axes in picture.axes for text in (*axes.texts, axes.title)]
    assert len(texts) > 20
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= picture.bbox.x1, text
        assert 0 <= box.y0 < box.y1 <= picture.bbox.y1, text


@given(networks(small_ints, max_width=6, max_size=144) | networks(small_fractions, max_width=6))
def test_a_network_is_read_as_it_is_written(network):
    """Layers by |, neurons by ;, weights by , (integers and fractions)."""
    text = "|".join(";".join(",".join(map(str, row)) for row in W) for W in network.weights)
    assert all(map(np.array_equal, small_network.parse(text).weights, network.weights))


@pytest.mark.parametrize(
    "weights, words",
    [
        ("", '"" is not a weight; write an integer, a decimal or a fraction'),
        ("1,x", '"x" is not a weight'),
        ("1,,2", '"" is not a weight'),
        ("1;2|", '"" of layer 2 has 1 weights in place of 2'),
        ("1/0", '"1/0" is not a weight'),
        ("1e9", '"1e9" is not a weight'),
        ("nan", '"nan" is not a weight'),
        ("1_0", '"1_0" is not a weight'),
        ("1234567", "in at most 6 characters"),
        ("1,2;3", 'neuron "3" of layer 1 has 1 weights in place of 2'),
        ("1;2|3", 'neuron "3" of layer 2 has 1 weights in place of 2'),
        ("1|1|1|1|1", "5 layers; at most 4 can be drawn"),
        ("1,1,1,1,1,1,1", "layer 1 leads from 7 to 1 neurons; at most 6 can be drawn"),
        ("1;1;1;1;1;1;1", "layer 1 leads from 1 to 7 neurons; at most 6 can be drawn"),
    ],
)
def test_what_is_no_small_network_is_refused(weights, words, tmp_path):
    """One sentence with what was given and what is allowed, exit code 2; nothing is written."""
    result = figure(tmp_path / "new", "--weights", weights)
    assert result.exit_code == 2
    assert words in result.output and "--weights" in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_weights_mean_nothing_to_other_figures(tmp_path):
    """As every option that would do nothing."""
    command = ["figure", "7", "--weights", "1", "--results", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--weights means nothing to figure 7" in result.output


def test_numbers_stand_on_their_own_lines_and_apart():
    """In a network of 16 weights per layer no number covers another, nor a neuron."""
    pytest.importorskip("matplotlib")
    from experiments.figures.canvas import canvas

    network = first_pictures.WIDE
    sketch = small_network.Sketch(canvas(6, 4).add_subplot(), network, "")
    sketch.lines(network.weights, all_kept(network), lambda weight: {"color": "red"})
    assert len(sketch.taken) == 10 + 24
    for i, (place, size) in enumerate(sketch.taken[10:], 10):
        for other, other_size in sketch.taken[:i]:
            assert (abs(place - other) >= size + other_size).any()


def test_figure_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    """One sentence, exit code 1, and nothing is written."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = figure(tmp_path / "new")
    assert result.exit_code == 1
    assert "synflow[figures]" in result.output
    assert not (tmp_path / "new").exists()


def test_figures_that_are_not_there_are_refused(tmp_path):
    """A bad option: exit code 2, one sentence."""
    result = CliRunner().invoke(main, ["figure", "99", "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert "99" in result.output
