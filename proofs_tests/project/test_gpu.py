"""`python -m benchmarks gpu`: what it measures on a card."""

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu, gpu_parts
from benchmarks.__main__ import main


def said(*options):
    """Run the command on the CPU; return its exit code and its lines."""
    result = CliRunner().invoke(main, ["gpu", "--device", "cpu", "--quick", *options])
    return result.exit_code, result.output.splitlines()


def test_without_a_card_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["gpu", "--to", str(tmp_path)])
    assert result.exit_code == 1 and not list(tmp_path.iterdir())
    assert result.output.count("\n") == 1 and "finds no CUDA device here; run this" in result.output


def test_without_fashion_mnist_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "without_data", lambda part, folder: {part: f"nothing in {folder}"})
    options = ["--device", "cpu", "--parts", "figure6", "--to", str(tmp_path), "--data-dir", "d"]
    result = CliRunner().invoke(main, ["gpu", *options])
    assert (result.exit_code, result.output) == (0, "figure6: not run: nothing in d\n")


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
    found = {path.stem: path.read_text() for path in (tmp_path / "cpu").glob("*.md")}
    assert sorted(found) == sorted(names)
    assert "0 FAIL" in found["selfcheck"]
    assert " passed" in found["tests"] or " skipped" in found["tests"]
