"""`report`: one HTML page about a run, with what `inspect` prints; it loads nothing."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from experiments.commandline import charts, elements
from experiments.figures.dark import contrast
from experiments.runs.imp import imp
from experiments.runs.run import run
from proofs_tests.tools.runs import configured
from proofs_tests.tools.sweeps import sweep

pytestmark = pytest.mark.usefixtures("one_thread")
EMPTY = {"meta", "circle", "line", "path", "polyline"}


class Reader(HTMLParser):
    """The words of a page, and its elements; a wrong nesting is an error."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.found, self.words = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.words))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(directory: Path) -> Reader:
    """Make the page of a run and read it."""
    outcome = call("report", directory)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output == f"report: {directory / 'report.html'}\n"
    return Reader((directory / "report.html").read_text())


@pytest.fixture
def trained(finished, tmp_path) -> Path:
    """A copy of a finished run of two epochs."""
    return shutil.copytree(finished, tmp_path / finished.name)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory) -> Path:
    """The directory of a run without training, of 3 weights in one shot: layers are empty."""
    options = {"compression": 50_200 / 3, "steps": 1, "epochs": 0}
    return run(configured(tmp_path_factory.mktemp("pruned"), **options)).parent


def test_the_page_has_all_that_inspect_prints(trained):
    shown, page = call("inspect", trained).stdout, read(trained)
    sentences = [
        line for line in shown.splitlines() if line.startswith(("certified", "compact", "at"))
    ]
    assert len(sentences) == 3
    assert all(line[1:] + "." in page.text for line in sentences)
    rows = [line.split() for line in shown.splitlines()[1:4]]
    for place, row in enumerate(rows, 1):
        assert " ".join([str(place), *row]) in page.text
    assert "5,020 of 50,200" in page.text and "connected yes" in page.text


def test_the_accuracies_are_those_of_the_result_and_of_each_epoch(trained):
    result, page = json.loads((trained / "result.json").read_text()), read(trained)
    for name, key in (("untrained", "untrained"), ("best epoch", "best"), ("last epoch", "final")):
        numbers = " ".join(f"{result[key][column]:.2f}" for column in ("top1", "top5", "loss"))
        assert f"{name} {numbers}" in page.text
    lines = [facts for tag, facts in page.found if tag == "polyline"]
    assert len(lines) == 4  # two of densities, one of steps, one of epochs
    heights = [float(point.split(",")[1]) for point in lines[3]["points"].split()]
    assert len(heights) == 3
    last = charts.TOP + (1 - result["final"]["top1"] / 100) * (charts.BOTTOM - charts.TOP)
    assert heights[-1] == pytest.approx(last, abs=0.1)


def test_the_sizes_are_those_that_export_measures(trained):
    page = read(trained)
    for line in call("export", trained).stdout.splitlines()[1:3]:
        *name, before, after, _ = line.split()
        ratio = int(after.replace(",", "")) / int(before.replace(",", ""))
        assert " ".join([*name, before, after, f"{ratio:.3f}"]) in page.text
    assert re.search(r"3\.weight 100x300 \d\dx\d+", page.text)


def test_a_run_without_training_has_no_accuracies_and_shows_empty_layers(pruned):
    page = read(pruned)
    assert "pruned and not trained" in page.text and "top-1" not in page.text
    assert "No path from input to output is left: layer-collapse." in page.text
    assert "Not certified: a step removed" in page.text
    assert "Empty tensors: 1.weight" in page.text
    (cross,) = [facts["d"] for tag, facts in page.found if tag == "path" and "class" in facts
                and facts["class"] == "a"]  # fmt: skip
    assert cross.count("M") == page.text.count(" 0.00% ")


def test_cycles_have_a_page_without_a_certificate(tmp_path):
    directory = imp(configured(tmp_path, steps=None, cycles=2, compression=30.0)).parent
    page = read(directory)
    assert "No certificate: Theorem 4 needs a conserved" in page.text
    assert "synflow imp --compression 30 --cycles 2" in page.text
    assert "imp, 2 cycles to compression 30" in page.text
    assert sum(tag == "polyline" for tag, _ in page.found) == 3


def test_the_page_loads_nothing_and_forbids_it(trained):
    page = read(trained)
    assert {"script", "link", "img", "a", "iframe"}.isdisjoint(tag for tag, _ in page.found)
    assert {"src", "href", "style"}.isdisjoint(name for _, facts in page.found for name in facts)
    (policy,) = [f["content"] for t, f in page.found if t == "meta" and "http-equiv" in f]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    text = (trained / "report.html").read_text()
    assert "url(" not in text and "@import" not in text and "http:" not in text


def test_texts_of_a_result_are_no_code_in_the_page(pruned, tmp_path):
    copy = shutil.copytree(pruned, tmp_path / "copy")
    result = json.loads((copy / "result.json").read_text())
    del result["sha256"]
    result["notes"] = ["<script>alert(1)</script> & <b>more</b>"]
    (copy / "result.json").write_text(json.dumps(result))
    page = read(copy)
    assert "<script>alert(1)</script> & <b>more</b>" in page.text
    assert {"script", "b"}.isdisjoint(tag for tag, _ in page.found)


def test_folders_without_a_run_are_refused_in_one_sentence(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    sweep(tmp_path / "packed")  # results without masks, as packed runs
    (trained / "history.csv").write_text("torn")
    packed = next((tmp_path / "packed").iterdir())
    for directory in (tmp_path / "nowhere", tmp_path / "empty", packed, trained):
        outcome = call("report", directory)
        assert outcome.exit_code == 1 and outcome.stdout == ""
        assert re.fullmatch(r"Error: [^\n]+\n", outcome.stderr) and str(directory) in outcome.stderr
        assert not (directory / "report.html").exists()


# ---- charts -------------------------------------------------------------------------------------


def test_a_scale_has_its_ends_at_the_ends_and_its_ticks_between():
    y = charts.decades([0.02, 0.3, 1.0])
    assert (y(0.01), y(0.1), y(1)) == (charts.BOTTOM, (charts.BOTTOM + charts.TOP) / 2, charts.TOP)
    assert y.ticks == {1: "1", 0.1: "10⁻¹", 0.01: "10⁻²"}
    assert charts.decades([]).values == (1, 10)
    x = charts.counts(1, 100)
    assert list(x.ticks) == [1, 20, 40, 60, 80, 100]
    assert x(1) < x(20) < x(100) < charts.RIGHT
    assert list(charts.counts(0, 3).ticks) == [0, 1, 2, 3]
    assert list(charts.counts(1, 1).ticks) == [1, 2]
    assert len(charts.decades([1e-40, 1.0]).ticks) <= charts.MOST_TICKS + 1


def test_a_curve_has_a_gap_where_a_logarithm_has_no_value():
    points, x = [(1, 0.5), (2, 0.0), (3, 0.5)], charts.counts(1, 3)
    log, linear = (
        charts.curve("a", points, x, y) for y in (charts.decades([0.5]), charts.percent())
    )
    assert (log.count("polyline"), log.count("circle")) == (2, 2)
    assert (linear.count("polyline"), linear.count("circle")) == (1, 3)


def test_a_line_outside_a_chart_is_left_out():
    y = charts.decades([0.02, 0.3])
    assert charts.level(2, y) == "" and 'y1="10.0"' in charts.level(1, y)


# ---- colours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [str, elements.turned], ids=["light", "dark"])
def test_texts_and_curves_can_be_read_on_their_background(theme):
    colours = {name: theme(color) for name, color in elements.COLOURS.items()}
    rgb = {name: [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name, c in colours.items()}
    for name, least in (("ink", 7), ("quiet", 4.5), ("curve", 3)):
        assert contrast(rgb[name], rgb["paper"]) >= least
    assert contrast(rgb["ink"], rgb["box"]) >= 7
