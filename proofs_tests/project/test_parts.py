"""Measurements in parts: pages are written part by part, and a stop loses nothing."""

import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from benchmarks import gpu
from benchmarks import parts as machinery
from benchmarks.__main__ import main
from proofs_tests.tools import ROOT

TWO = """
from benchmarks import gpu, parts
hang = "import os, time; print(os.getpid(), '| first row |'); time.sleep({seconds})"
gpu.measurements = lambda *_: [
    parts.Part("one", 60, ["-c", "print('| a row |')"]), parts.Part("two", 60, ["-c", hang])
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
        made = [machinery.Part(n, limit, ["-c", code]) for n, (code, limit) in sources.items()]
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
    assert (
        first == machinery.header("gpu", "one", "cpu")
        and rest[1].startswith("Load")
        and rest[3] == "| a row |"
    )
    assert rest[-1].startswith("Finished in ")


@pytest.mark.parametrize("change", ["day", "code"])
def test_a_page_of_another_day_or_code_is_written_anew(parts, tmp_path, monkeypatch, change):
    parts({"one": ("print(1)", 60)})
    page = (tmp_path / "cpu/one").with_suffix(".md")
    if change == "day":
        page.write_text(page.read_text().replace(", 20", ", 19"))
    else:
        monkeypatch.setattr(machinery, "code", lambda: "0" * 12)
    code, lines = parts({"one": ("print(2)", 60)})
    assert code == 0 and "Finished" in lines[0]
    assert page.read_text().splitlines()[4] == "2"


def test_the_code_is_that_of_every_source_file(tmp_path, monkeypatch):
    monkeypatch.setattr(machinery, "ROOT", tmp_path)
    (tmp_path / "prune/fast").mkdir(parents=True)
    hashes = {machinery.code()}
    for name in ("cli.py", "prune/fast/a.py", "prune/fast/b.py"):
        (tmp_path / name).write_text("x = 1")
        hashes.add(machinery.code())
    (tmp_path / "prune/fast/a.py").write_text("x = 2")
    assert len(hashes | {machinery.code()}) == 5


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


def test_no_part_runs_past_the_end(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(machinery, "SHORTEST", 1)
    hang = "import time; time.sleep(60)"
    start = time.monotonic()
    code, lines = parts({"one": (hang, 60), "two": (hang, 60)}, "--minutes", "0.04")
    assert code == 1 and time.monotonic() - start < 30
    assert "Stopped after 2 s" in lines[0] and "two: not started" in lines[1]


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
    assert machinery.slug(name) == folder
