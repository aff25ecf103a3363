"""`python -m benchmarks cpu`: every table is one part, with its measurements as JSON beside it."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import cpu, growth, pruning, rounds, whole
from benchmarks.__main__ import main
from experiments.sweeps.presets import preset
from train.data import DATASETS


def run(*arguments):
    """Run a command; return the rows of its table as lists of cells."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    return [line[2:-2].split(" | ") for line in lines]


def test_every_part_is_a_command_with_its_file(tmp_path):
    for commands in (cpu.WHOLE, cpu.QUICK):
        for part in cpu.measurements(commands, tmp_path, "data"):
            name, *given = part.arguments[2:]
            command = main.commands[name]
            context = command.make_context(name, list(given), resilient_parsing=False)
            assert context.params["file"] == str(tmp_path / f"{part.name}.json")
    assert list(cpu.WHOLE) == list(cpu.QUICK)


def test_growth_draws_beside_its_page(tmp_path):
    (part,) = (p for p in cpu.measurements(cpu.QUICK, tmp_path, "data") if p.name == "growth")
    assert part.arguments[-2:] == ["--figure", str(tmp_path / "growth.png")]


@pytest.fixture
def jobs(monkeypatch):
    """Replace the measured processes: the n-th takes n seconds."""
    seen = []

    def measured(**job):
        seen.append(job)
        return {"seconds": float(len(seen)), "idle_mib": 100.0, "peak_mib": 110.0, "steps": 7}

    monkeypatch.setattr(rounds, "measured", measured)
    return seen


def test_rows_are_ratios_of_a_round_and_the_file_has_every_measurement(jobs, tmp_path):
    file = tmp_path / "a.json"
    names = "--networks", "mlp,vgg16"
    head, mlp, vgg = run("synflow", "--rounds", "2", *names, "--json", str(file))
    assert head == list(pruning.COLUMNS)
    assert mlp[:3] == ["mlp", "0.67 / 0.75 / 0.83", "0.50 / 0.65 / 0.80"]  # 2/3, 5/6; 1/2, 4/5
    stored = json.loads(file.read_text())
    assert list(stored["rows"]) == ["mlp", "vgg16"] and "2 rounds" in stored["what"]
    assert [r["seconds"] for r in stored["rows"]["vgg16"]["b"]] == [8, 11]
    assert vgg[4] == "9.5"


def test_a_row_is_kept_before_the_next_is_measured(jobs, tmp_path, monkeypatch):
    file, rows_of = tmp_path / "a.json", pruning.rounds_of

    def stopped(number, work):
        if work["a"]["network"] == "vgg16":
            raise KeyboardInterrupt
        return rows_of(number, work)

    monkeypatch.setattr(pruning, "rounds_of", stopped)
    arguments = ["synflow", "--networks", "mlp,vgg16", "--json", str(file)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "| mlp | " in result.stdout
    assert list(json.loads(file.read_text())["rows"]) == ["mlp"]


def test_growth_counts_what_is_above_the_model(jobs, tmp_path):
    path = tmp_path / "growth.png"
    head, first, second = run("growth", "--quick", "--rounds", "1", "--figure", str(path))
    assert head == list(growth.HEAD) and first[0] == "100,467" and second[0] == "316,875"
    assert first[2] == f"{1 / 100_467 * 1e7:.1f}" and first[3] == f"{10 * 2**20 / 100_467:.1f}"
    assert path.stat().st_size > 5_000


def test_runs_are_compacted_and_masked_with_the_same_options(monkeypatch):
    calls = []

    def trained(options, way):
        calls.append((options["compression"], options["seed"], way))
        return {"seconds": 30.0 if way == "compact" else 60.0, "top1": 80.0 + options["seed"]}

    monkeypatch.setattr(whole, "trained", trained)
    _, row = run("runs", "--compressions", "100", "--seeds", "2")
    assert row == ["100", "30.0", "60.0", "0.50 / 0.50 / 0.50", *["80.00 81.00"] * 2]
    assert calls == [("100", s, way) for s in (0, 1) for way in ("compact", "no-compact")]


def test_a_run_that_fails_ends_with_its_sentence(tmp_path):
    """Its data set is damaged."""
    (tmp_path / "fashion-mnist").mkdir()
    for name in DATASETS["fashion-mnist"].files:
        (tmp_path / "fashion-mnist" / name).write_bytes(b"")
    result = CliRunner().invoke(main, ["runs", "--data-dir", str(tmp_path), "--seeds", "1"])
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "fashion-mnist" in line


@pytest.mark.parametrize("way", whole.WAYS)
def test_a_run_is_trained_that_way_and_its_time_is_that_of_its_process(way, monkeypatch):
    timed, given = whole.timed, []
    monkeypatch.setattr(whole, "timed", lambda *a: given.extend(a) or timed(*a))
    run = whole.trained(whole.LAPTOP | whole.QUICK | {"compression": 10, "seed": 0}, way)
    assert 1 < run["seconds"] < 600 and 0 <= run["top1"] <= 100 and f"--{way}" in given


@pytest.mark.parametrize("command", ["training", "training-cpu"])
def test_an_unknown_network_is_refused_with_those_there_are(command):
    result = CliRunner().invoke(main, [command, "--networks", "resnet18,xyz"])
    assert result.exit_code == 2 and "xyz is none of " in result.output


def test_the_runs_have_the_options_of_the_laptop_presets():
    given = dict(whole.arguments(*option) for option in whole.LAPTOP.items())
    (config,) = (c for c in preset(["laptop-float32"], {}) if (c.compression, c.seed) == (100, 0))
    assert given["--lr-drops"] == "5,7" and given["--model"] == config.model
    assert int(given["--train-images"]) == config.train_images
