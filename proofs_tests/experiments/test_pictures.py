"""The look of all figures: dark, in grey print, at 800 pixels; powers, order and x range."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from experiments.figures import accuracy, dark, iterative_magnitude, precision, style
from proofs_tests.tools.drawings import drawings
from proofs_tests.tools.network_figures import figure
from proofs_tests.tools.sweeps import result, sweep

FIGURES = (*"01234567", "cost", "critical", "precision", "variants")
FIGURES = (*FIGURES, "figure0-saliency", "figure0-collapse")
BACKGROUND = dark.in_dark((1, 1, 1))
colours = st.tuples(*[st.floats(0, 1)] * 3)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, computed):
    """Each figure, by its number or name."""
    return drawings(tmp_path_factory.mktemp("drawn"), computed)


def texts(picture) -> list:
    """The texts of a figure that are not empty, those of ticks included."""
    from matplotlib.text import Text

    picture.draw_without_rendering()
    return [text for text in picture.findobj(Text) if text.get_text() and text.get_visible()]


def test_every_figure_is_among_the_drawings(drawn):
    assert set(drawn) == set(FIGURES)


# ---- 800 pixels, powers -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_the_smallest_text_has_9_pixels_where_the_picture_has_800(name, drawn):
    picture = drawn[name].figure
    pixels = 800 / picture.get_size_inches()[0] / 72  # of a point
    assert min(text.get_fontsize() for text in texts(picture)) * pixels >= 9


@pytest.mark.parametrize("name", FIGURES)
def test_powers_are_drawn_as_superscripts(name, drawn):
    for text in texts(drawn[name].figure):
        plain = re.sub(r"\$.*?\$", "", text.get_text())
        assert not re.search(r"\^|\de[+-]?\d", plain), plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4^0 to 4^11", "$4^{0}$ to $4^{11}$"),
        ("10^0.5, 10^-2.", "$10^{0.5}$, $10^{-2}$."),
        ("at 10^(k/4) up", "at $10^{k/4}$ up"),
        ("1e4, 1e+04 and 1e-05", "$10^{4}$, $10^{4}$ and $10^{-5}$"),
        ("2.5e+10", r"$2.5\times10^{10}$"),
        ("resnet18 at 1e", "resnet18 at 1e"),
    ],
)
def test_a_power_is_written_for_matplotlib(text, expected):
    assert style.powers(text) == expected


# ---- order and range of panels ------------------------------------------------------------------


def test_panels_stand_in_the_order_of_the_paper_with_one_range_of_compressions(tmp_path):
    for model in ("mlp", "resnet18", "vgg16", "vgg11"):
        for dataset in ("tiny-imagenet", "cifar10")[model == "mlp" :]:
            options = {"model": model, "dataset": dataset}
            most = 100 if model == "mlp" else 1000
            for compression in (1, most):
                result(tmp_path, "synflow", compression, 50.0, options=options)
    axes = accuracy.draw_all(tmp_path, {}).figure.axes
    networks = ("VGG-11", "VGG-16", "ResNet-18")
    expected = [f"{model}, {data}" for model in networks for data in ("CIFAR-10", "Tiny ImageNet")]
    assert [axis.get_title() for axis in axes] == [*expected, "MLP, CIFAR-10"]
    (limits,) = {axis.get_xlim() for axis in axes}
    assert limits[0] < 1 and 1000 < limits[1] < 2000


@pytest.mark.parametrize("name", FIGURES)
def test_the_titles_of_panels_have_one_size(name, drawn):
    axes = [axis for axis in drawn[name].figure.axes if axis.get_title()]
    assert len({axis.title.get_fontsize() for axis in axes}) <= 1


def test_a_long_title_makes_the_others_as_small():
    _, axes = style.panels(1, 2, (3, 2), "")
    for axis, text in zip(axes, ["a title as long as can be, of a panel", "short"], strict=True):
        style.title(axis, text)
    assert len({axis.title.get_fontsize() for axis in axes}) == 1


@pytest.mark.parametrize("name", ["2", "4", "critical"])
def test_panels_of_one_quantity_have_one_range(name, drawn):
    assert len({axis.get_xlim() for axis in drawn[name].figure.axes}) == 1


# ---- grey print ---------------------------------------------------------------------------------


def area(marker) -> np.ndarray:
    """The points of a grid that a marker covers."""
    from matplotlib.markers import MarkerStyle

    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    lines = np.linspace(-0.8, 0.8, 81)
    return path.contains_points(np.stack(np.meshgrid(lines, lines), -1).reshape(-1, 2))


def alike(a, b) -> bool:
    """True for markers that cover nearly the same, also if one is larger."""
    first, second = area(a), area(b)
    return (first & second).sum() > 0.82 * (first | second).sum()


def distinct(a: style.Look, b: style.Look) -> bool:
    """True if two looks can be distinguished in grey: by lightness, or by marker and line."""
    from matplotlib.colors import to_rgb

    apart = abs(dark.lightness(to_rgb(a.color)) - dark.lightness(to_rgb(b.color)))
    return apart >= 10 or (not alike(a.marker, b.marker) and a.line != b.line)


GROUPS = {
    "pruners": list(style.LOOKS.values()),
    "others": [style.other("", place) for place in range(2 * len(style.OTHERS))],
    "precision": [style.Look(*look) for look in precision.LOOKS],
    "cycles": [style.Look("", c, m, "-") for c, m in zip(iterative_magnitude.BLUES, "os^Dv")],
}


@pytest.mark.parametrize("group", GROUPS)
def test_curves_of_a_figure_can_be_distinguished_in_grey(group):
    pairs = combinations(GROUPS[group], 2)
    assert not [(a.label, a.color, b.label, b.color) for a, b in pairs if not distinct(a, b)]


def test_looks_that_differ_in_hue_only_are_not_distinct():
    """Orange and sky blue have one grey."""
    orange, blue = (style.Look("", color, "o", "-") for color in ("#e69f00", "#56b4e9"))
    assert not distinct(orange, blue) and alike("o", "H") and not alike("o", "s")


# ---- the dark theme -----------------------------------------------------------------------------


def hexadecimal(color: str) -> tuple[float, ...]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_dark_with_texts_that_can_be_read(name, drawn, tmp_path):
    """In the SVG each text names its colour, and nothing is white; in the PNG most is dark."""
    drawing = drawn[name]._replace(figure=_again(drawn[name].figure))
    path = style.write(drawing, tmp_path, "drawn", ("svg", "png"), dark=True)
    assert path == tmp_path / "drawn-dark.svg"
    svg = path.read_text()
    plain = re.findall(r"<text ([^>]*font-size[^>]*)>", svg)
    words = plain + re.findall(r"<!-- .*? -->\s*<g ([^>]*)>", svg)  # and formulas
    fills = [re.search(r"fill: (#\w{6})", style) for style in words]
    assert plain and all(fills) and "#ffffff" not in svg
    assert min(dark.contrast(hexadecimal(fill[1]), BACKGROUND) for fill in fills) >= 3
    with Image.open(path.with_suffix(".png")) as image:
        count, color = max(image.convert("RGB").getcolors(1 << 24))
    assert np.allclose(np.array(color) / 255, BACKGROUND, atol=0.01)
    assert count > 0.5 * image.size[0] * image.size[1]


def _again(picture):
    """A copy of a figure."""
    import pickle

    return pickle.loads(pickle.dumps(picture))


def test_a_dark_picture_stands_beside_the_light_one(tmp_path):
    sweep(tmp_path)
    figure("6", tmp_path)
    light = (tmp_path / "figures/figure6.png").read_bytes()
    outcome = figure("6", tmp_path, "--dark")
    assert outcome.exit_code == 0 and outcome.output.endswith("figures/figure6-dark.png\n")
    assert (tmp_path / "figures/figure6.png").read_bytes() == light
    assert (tmp_path / "figures/figure6-dark.png").read_bytes() != light
    refused = figure("table", tmp_path, "--dark")
    assert refused.exit_code == 2 and "--dark means nothing to figure table" in refused.output


def is_grey(color) -> bool:
    return max(color) - min(color) < dark.GREY


@given(colours, colours)
def test_of_two_colours_or_two_greys_the_order_is_kept_or_turned_round(a, b):
    if is_grey(a) == is_grey(b) and dark.lightness(a) < dark.lightness(b):
        first, second = (dark.lightness(dark.in_dark(color)) for color in (a, b))
        assert first >= second - 1e-6 if is_grey(a) else first <= second + 1e-6


@given(colours)
def test_a_colour_can_be_seen_on_the_dark_background_and_keeps_its_hue(color):
    found = dark.in_dark(color)
    assert all(0 <= channel <= 1 for channel in found)
    if not is_grey(color):
        assert dark.contrast(found, BACKGROUND) > 2.9
        ranked = [found[i] for i in np.argsort(color)]
        assert ranked == pytest.approx(sorted(found), abs=1e-6)


def test_lightness_and_contrast_are_those_of_their_definitions():
    white, black = (1, 1, 1), (0, 0, 0)
    assert dark.contrast(white, black) == pytest.approx(21) == dark.contrast(black, white)
    assert dark.lightness(white) == pytest.approx(100) and dark.lightness(black) == 0
    assert dark.lightness(hexadecimal("#777777")) == pytest.approx(50.03, abs=0.01)
    assert dark.contrast(hexadecimal("#777777"), white) == pytest.approx(4.48, abs=0.01)
