"""`python -m benchmarks gpu`: pages are written part by part, and a stop loses nothing."""

import os
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu, gpu_parts
from benchmarks.__main__ import main
from proofs_tests.tools import ROOT

TWO = """
from benchmarks import gpu
hang = "import os, time; print(os.getpid(), '| first row |'); time.sleep({seconds})"
gpu.measurements = lambda *_: [
    gpu.Part("one", 60, ["-c", "print('| a row |')"]), gpu.Part("two", 60, ["-c", hang])
]
gpu.gpu()
"""


def said(*options):
    """Run the command on the CPU; return its exit code and its lines."""
    result = CliRunner().invoke(main, ["gpu", "--device", "cpu", "--quick", *options])
    return result.exit_code, result.output.splitlines()


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """Make a part of each name -> (source, limit); return a function that runs them."""

    def run(sources, *options):
        made = [gpu.Part(n, limit, ["-c", code]) for n, (code, limit) in sources.items()]
        monkeypatch.setattr(gpu, "measurements", lambda *_: made)
        return said("--to", str(tmp_path), "--parts", ",".join(sources), *options)

    return run


def pages(folder):
    return {path.stem: path.read_text() for path in (folder / "cpu").glob("*.md")}


def test_a_page_is_written_once_and_again_if_asked(parts, tmp_path):
    source = f"open({str(tmp_path / 'calls')!r}, 'a').write('x'); print('| a row |')"
    for options, calls in [([], "x"), ([], "x"), (["--again"], "xx")]:
        code, lines = parts({"one": (source, 60)}, *options)
        assert (code, (tmp_path / "calls").read_text()) == (0, calls), lines
    (text,) = pages(tmp_path).values()
    first, *rest = text.splitlines()
    assert first == gpu.header("one", "cpu") and rest[1] == "| a row |"
    assert rest[-1].startswith("Finished in ")


@pytest.mark.parametrize("change", ["day", "code"])
def test_a_page_of_another_day_or_code_is_written_anew(parts, tmp_path, monkeypatch, change):
    parts({"one": ("print(1)", 60)})
    page = (tmp_path / "cpu/one").with_suffix(".md")
    if change == "day":
        page.write_text(page.read_text().replace(", 20", ", 19"))
    else:
        monkeypatch.setattr(gpu, "code", lambda: "0" * 12)
    code, lines = parts({"one": ("print(2)", 60)})
    assert code == 0 and "Finished" in lines[0]
    assert page.read_text().splitlines()[2] == "2"


def test_the_code_is_that_of_every_source_file(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    (tmp_path / "prune/fast").mkdir(parents=True)
    hashes = {gpu.code()}
    for name in ("cli.py", "prune/fast/a.py", "prune/fast/b.py"):
        (tmp_path / name).write_text("x = 1")
        hashes.add(gpu.code())
    (tmp_path / "prune/fast/a.py").write_text("x = 2")
    assert len(hashes | {gpu.code()}) == 5


@pytest.mark.parametrize(
    "source, limit, end",
    [
        ("print('| new |'); raise SystemExit(3)", 60, "Failed with status 3 after"),
        ("import time; print('| new |'); time.sleep(60)", 2, "Stopped after 2 s."),
    ],
)
def test_an_unfinished_part_leaves_its_rows_and_the_earlier_page(
    parts, tmp_path, source, limit, end
):
    parts({"one": ("print('| old |')", 60)})
    code, lines = parts({"one": (source, limit), "two": ("print(2)", 60)}, "--again")
    assert code == 1 and "Finished" in lines[1]  # the second part still runs
    found = pages(tmp_path)
    assert "| old |" in found["one"] and "two" in found
    assert "| new |" in found["one-unfinished"] and end in found["one-unfinished"]
    parts({"one": ("print('| new |')", 60)}, "--again")
    assert "| new |" in pages(tmp_path)["one"] and len(pages(tmp_path)) == 2


def test_no_part_runs_past_the_end(parts, tmp_path):
    hang = "import time; time.sleep(60)"
    start = time.monotonic()
    code, lines = parts({"one": (hang, 60), "two": (hang, 60)}, "--minutes", "0.1")
    assert code == 1 and time.monotonic() - start < 30
    assert "Stopped after 6 s" in lines[0] and "two: not started" in lines[1]


@pytest.mark.slow
def test_a_stop_between_parts_loses_nothing(tmp_path):
    """SIGTERM during the second part; the same command then runs only that one."""

    def command(seconds):
        call = [sys.executable, "-c", TWO.replace("{seconds}", str(seconds))]
        where = ["--device", "cpu", "--quick", "--to", str(tmp_path), "--parts", "one,two"]
        return subprocess.Popen([*call, *where], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    stopped, draft = command(3600), (tmp_path / "cpu/two-unfinished").with_suffix(".md")
    while not (draft.exists() and "| first row |" in draft.read_text()):
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.terminate()
    stopped.communicate(timeout=60)
    assert "| a row |" in pages(tmp_path)["one"] and "two" not in pages(tmp_path)
    pid = int(draft.read_text().split(" | first row |")[0].splitlines()[-1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    lines = command(0).communicate(timeout=60)[0].splitlines()
    assert "already in" in lines[0] and "Finished" in lines[1]
    assert "| first row |" in pages(tmp_path)["two"]


def test_without_a_card_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["gpu", "--to", str(tmp_path)])
    assert result.exit_code == 1 and not list(tmp_path.iterdir())
    assert result.output.count("\n") == 1 and "finds no CUDA device here; run this" in result.output


def test_without_fashion_mnist_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "without_data", lambda data_dir: f"nothing in {data_dir}")
    options = ["--device", "cpu", "--parts", "figure6", "--to", str(tmp_path), "--data-dir", "d"]
    result = CliRunner().invoke(main, ["gpu", *options])
    assert (result.exit_code, result.output) == (0, "figure6: not run: nothing in d\n")


def test_an_unknown_part_is_refused(tmp_path):
    code, lines = said("--parts", "steps,xyz", "--to", str(tmp_path))
    assert code == 1
    assert lines == [
        "Error: --parts xyz: the parts are selfcheck, tests, synflow-mlp, steps, figure6"
    ]


@pytest.mark.parametrize(
    "name, folder",
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb-hbm3"),
        ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090"),
        ("cpu", "cpu"),
    ],
)
def test_the_folder_is_named_after_the_card(name, folder):
    assert gpu.slug(name) == folder


# ---- the parts ------------------------------------------------------------------------------


def rows(*arguments):
    """Run a part here; return the first cells of its rows."""
    options = ["--device", "cpu", "--quick"]
    result = CliRunner().invoke(gpu_parts.main, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return [line.split(" | ")[0] for line in result.output.splitlines() if line.startswith("| ")]


def test_synflow_is_compared_with_the_plain_algorithm_and_with_passes():
    each = ["| (c) passes", "| (b) ours", "| (a) literal"]
    assert rows("synflow", "mlp") == ["| process", *each, "| network", "| mlp"]


def test_steps_are_those_of_masked_and_compacted_networks(one_thread, monkeypatch):
    forms = {name: form for name, form in gpu_parts.FORMS.items() if not form[2]}
    monkeypatch.setattr(gpu_parts, "FORMS", forms)
    found = rows("steps")
    assert found[0] == "| step" and len(found) == 1 + 2 * 2
    assert "| mlp, masked, float32, channels_last" in found
    assert "| mlp, compacted at 10, bfloat16, channels_last" in found


def test_the_networks_are_dense_masked_and_smaller(one_thread, monkeypatch):
    made = gpu_parts.variants("resnet18", 0.0625, torch.device("cpu"), quick=True)
    sizes = {name: sum(p.numel() for p in m.parameters()) for name, m in made.items()}
    assert list(made) == ["dense", "masked", "compacted at 10"]
    assert sizes["compacted at 10"] < sizes["masked"] == sizes["dense"]
    kept = {n: sum(int((p != 0).sum()) for p in m.parameters()) for n, m in made.items()}
    assert kept["masked"] < kept["dense"] / 5


def test_figure_6_keeps_its_runs(tmp_path):
    where = ["--results", str(tmp_path)]
    assert rows("figure6", *where) == ["| pruner", "| synflow"]
    results = list(tmp_path.glob("*/result.json"))
    times = [path.stat().st_mtime_ns for path in results]
    rows("figure6", *where)
    assert len(results) == 1 and [path.stat().st_mtime_ns for path in results] == times


@pytest.mark.slow
def test_the_whole_command_runs_on_a_cpu(tmp_path):
    code, lines = said("--to", str(tmp_path), "--minutes", "20")
    assert code == 0, lines
    names = ["selfcheck", "tests", "synflow-mlp", "steps", "figure6"]
    assert sorted(pages(tmp_path)) == sorted(names)
    assert "0 FAIL" in pages(tmp_path)["selfcheck"]
    assert " passed" in pages(tmp_path)["tests"] or " skipped" in pages(tmp_path)["tests"]
