"""Damaged packs: each bad line is named in one sentence, and it stops its own run only."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from experiments.runs import files
from experiments.runs.pack import pack, unpack
from experiments.runs.run import run
from experiments.sweeps.sweep import state
from proofs_tests.tools.packs import made, names, of_config, only_packed, three
from proofs_tests.tools.runs import raw


@pytest.fixture
def folder(tmp_path) -> Path:
    """A results folder with the pack of three runs, and nothing else."""
    return three(tmp_path)


def line(text: str, number: int, change) -> str:
    """The text with one of its lines changed."""
    lines = text.splitlines(keepends=True)
    lines[number - 1] = change(lines[number - 1])
    return "".join(lines)


RUNS = {
    "torn": (3, lambda text: text[:100]),
    "without its end": (3, lambda text: text.rstrip("\n")),
    "no JSON": (2, lambda text: "run: 1\n"),
    "empty": (2, lambda text: "\n"),
    "number": (1, lambda text: "3\n"),
    "nameless": (2, lambda text: text.replace('"run"', '"ran"')),
    "name that is none": (2, lambda text: '{"run": 3}\n'),
    "no text": (2, lambda text: text[:50] + "\0\n"),
}
HISTORIES = {
    "torn": (4, lambda text: text[:-20]),
    "without its end": (4, lambda text: text.rstrip("\n")),
    "missing column": (1, lambda text: text.replace(",lr", "")),
    "other column": (1, lambda text: text.replace(",lr", ",rate")),
    "missing cell": (3, lambda text: text.rpartition(",")[0] + "\n"),
    "word": (2, lambda text: text.replace(",1,", ",one,")),
    "infinite": (2, lambda text: text.replace(",1,", ",inf,")),
    "quote": (2, lambda text: '"' + text),
    "quote within": (2, lambda text: '"a"' + text),
    "empty": (2, lambda text: "\n"),
}


def damaged(path: Path, number: int, change) -> str:
    """Damage a line; the beginning of the sentence that must name it."""
    text = line(path.read_text(), number, change)
    assert text != path.read_text()
    path.write_text(text)
    return f"{path} is damaged in line {number}: it should "


@pytest.mark.parametrize(("number", "change"), RUNS.values(), ids=RUNS)
def test_a_damaged_line_of_results_is_named_and_the_other_runs_are_read(folder, number, change):
    intact = [name for i, name in enumerate(names(folder), 1) if i != number]
    before = {name: files.read_result(folder / name / "result.json") for name in intact}
    sentence = damaged(folder / "runs.jsonl", number, change)
    with pytest.warns(files.PassedOver) as warned:
        found = {path.name: result for result, path in files.read_results(folder)}
    assert found == before
    [text] = {str(warning.message) for warning in warned}
    assert text.startswith(f"left out: {sentence}") and "\n" not in text
    packed_before = raw(folder)
    with pytest.raises(ValueError) as error:  # nothing is lost by packing again
        pack(folder)
    assert str(error.value).startswith(sentence) and raw(folder) == packed_before


@pytest.mark.parametrize(("number", "change"), HISTORIES.values(), ids=HISTORIES)
def test_a_damaged_line_of_histories_is_named(folder, number, change):
    """It stops the run that it belongs to, or may belong to, and no other."""
    every = names(folder)
    sentence = damaged(folder / "histories.csv", number, change)
    before = (folder / "runs.jsonl").read_bytes()
    own = every[max(number, 2) - 2]
    for read in (pack, lambda path: unpack(path / own)):
        with pytest.raises(ValueError) as error:
            read(folder)
        assert str(error.value).startswith(sentence) and "\n" not in str(error.value)
    assert (folder / "runs.jsonl").read_bytes() == before and not (folder / own).exists()
    other = every[-1 if own == every[0] else 0]
    assert unpack(folder / other) and (folder / other / "history.csv").exists()


def test_a_run_that_is_packed_twice_is_damage(folder):
    path, twice = folder / "runs.jsonl", names(folder)[1]
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(ValueError, match=r"is damaged in line 4: .* a name of its own"):
        files.read_result(folder / twice / "result.json")


def test_a_result_that_lacks_something_is_named_with_its_line(folder):
    path = folder / "runs.jsonl"
    path.write_text(line(path.read_text(), 2, lambda text: text.replace('"kept"', '"held"')))
    second = names(folder)[1]
    with pytest.raises(ValueError) as error:
        files.read_result(folder / second / "result.json")
    cure = "delete the line to make its run again"
    assert str(error.value) == f"{path} is damaged in line 2: it lacks kept; {cure}"


def test_histories_that_are_gone_or_empty_are_named(folder):
    first, path = names(folder)[0], folder / "histories.csv"
    path.write_text("")
    with pytest.raises(ValueError, match="is damaged in line 1"):
        unpack(folder / first)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        unpack(folder / first)
    assert not (folder / first).exists()


def test_a_run_in_neither_is_no_finished_run(folder):
    with pytest.raises(FileNotFoundError) as error:
        files.read_result(folder / "other" / "result.json")
    text = f"{folder / 'other' / 'result.json'} does not exist: no finished run is in"
    assert str(error.value) == f"{text} {folder / 'other'}"


GRID = ["--pruners", "magnitude", "--compressions", "10", "--seeds", "0,1", "--epochs", "0"]


@pytest.fixture
def pair(tmp_path) -> Path:
    """A folder with the pack of the two runs of GRID."""
    for seed in (0, 1):
        options = {"epochs": 0, "device": "cpu"}
        made(tmp_path, "magnitude", 70.0, seed=seed, options=options)
    for path in tmp_path.glob("*/"):
        path.rename(path.with_name(path.name.rpartition("-")[0]))  # as `run` names it
    only_packed(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("cut", "first"), [(100, "failed"), (12, "to do")])
def test_a_damaged_line_stops_no_other_run_of_a_sweep(pair, cut, first):
    """A run whose name is readable has failed; otherwise the sentence is all that is known."""
    sentence = damaged(pair / "runs.jsonl", 1, lambda text: text[:cut] + "\n")
    sweep = ["sweep", *GRID, "--device", "cpu", "--results", str(pair)]
    outcome = CliRunner().invoke(main, [*sweep, "--dry-run"])
    rows = outcome.stdout.splitlines()[:2]
    assert [row[:8].strip() for row in rows] == [first, "finished"]
    assert (sentence in outcome.stderr) == (first == "to do")
    assert sentence in CliRunner().invoke(main, [*sweep, "--status"]).output
    if first == "failed":
        outcome = CliRunner().invoke(main, sweep)
        assert outcome.exit_code == 1 and outcome.stderr.count(sentence) == 2
        assert "1 of 2 runs are not finished" in outcome.stderr


def test_a_run_of_a_damaged_line_is_not_begun(tmp_path, finished, nothing_is_built):
    config = of_config(tmp_path, finished)
    damaged(tmp_path / "runs.jsonl", 1, lambda text: text[:200] + "\n")
    with pytest.raises(ValueError, match=r"runs\.jsonl is damaged in line 1: .* delete the line"):
        run(config)
    assert not config.directory.exists()


def test_a_damaged_result_of_its_own_is_still_a_failure_of_that_run(tmp_path, finished):
    config = of_config(tmp_path, finished)
    config.directory.mkdir()
    (config.directory / "result.json").write_text("{")
    assert state(config) == "failed"
