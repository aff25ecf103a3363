"""The tables of results/laptop, and the committed files: complete, small, of finished runs."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from experiments.config import restore
from experiments.figures.tables import accuracies, completed, differences
from experiments.runs import packed
from experiments.runs.files import HISTORY_COLUMNS, finished, read_result
from experiments.sweeps.presets import preset
from experiments.sweeps.sweep import state
from proofs_tests.tools import ROOT
from proofs_tests.tools.sweeps import ablated, result, sweep

LAPTOP = ROOT / "results" / "laptop"
PARTS = (LAPTOP / "cost", LAPTOP / "epochs", LAPTOP / "rounding")
PACKS = (LAPTOP, *PARTS, ROOT / "results" / "small")
FINISHED = finished(LAPTOP)
some = pytest.mark.skipif(not FINISHED, reason="no run of results/laptop is here")


# Tables


def test_a_table_has_a_number_for_each_seed_and_a_star_where_no_path_is_left(tmp_path):
    sweep(tmp_path)
    assert accuracies(tmp_path, ["magnitude", "synflow"]).splitlines() == [
        "compression  magnitude   synflow",
        "1            90.0 91.0   90.0 91.0",
        "10           80.0 79.0   85.0 86.0",
        "100          60.0 59.0*  65.0 66.0",
    ]


def test_only_the_series_asked_for_are_in_it_and_a_gap_is_a_dash(tmp_path):
    sweep(tmp_path)
    result(tmp_path, "snip", 10, 70.0)
    *_, last = accuracies(tmp_path, ["snip", "synflow"]).splitlines()
    assert last == "100          -          65.0 66.0"
    assert accuracies(tmp_path, ["grasp"]).splitlines()[1:] == ["1            90.0 91.0"]
    assert "79.0" not in accuracies(tmp_path, ["snip", "synflow"])


def test_a_pruner_in_many_steps_has_a_column_of_its_own(tmp_path):
    result(tmp_path, "snip", 10, 70.0)
    result(tmp_path, "snip", 10, 75.0, options={"steps": 100})
    assert accuracies(tmp_path, ["snip", "snip, 100 steps"]).splitlines() == [
        "compression  snip  snip, 100 steps",
        "10           70.0  75.0",
    ]


def test_several_networks_are_refused_until_one_is_chosen(tmp_path):
    sweep(tmp_path)
    result(tmp_path, "synflow", 10, 70.0, options={"width": 0.5})
    with pytest.raises(ValueError, match="choose by --model"):
        accuracies(tmp_path, ["synflow"])
    assert "70.0" in accuracies(tmp_path, ["synflow"], width=0.5)


def test_differences_are_of_equal_seeds_and_compressions(tmp_path):
    """The runs without ablation have 85 and 86 at 10, 65 and 66 at 100."""
    sweep(tmp_path)
    for seed, top1 in ((0, 84.0), (1, 87.5)):
        ablated(tmp_path, "synflow", 10, top1, seed)
    ablated(tmp_path, "synflow", 100, 65.5, ablate="invert")
    assert differences(tmp_path).splitlines() == [
        "variant          10         100",
        "SynFlow invert   -          +0.5",
        "SynFlow shuffle  -1.0 +1.5  -",
    ]


def test_completed_counts_the_finished_runs_of_each_preset_that_has_one(tmp_path):
    first = preset(["laptop-float32"], {"results": str(tmp_path)})[0]
    made = result(tmp_path, "synflow", 10, 80.0, config=first.decisive)
    assert completed(tmp_path) == ""
    made.rename(first.directory)
    assert completed(tmp_path) == "laptop-float32         1 of 9 runs"


# Committed files


def committed() -> list[Path]:
    """The files of results/ that git would carry, or all that are here without git."""
    folders = [ROOT / "results" / name for name in ("laptop", "measured", "paper", "small")]
    command = ["git", "ls-files", "-co", "--exclude-standard", *folders]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [ROOT / name for name in listed.stdout.splitlines()]


@some
def test_only_packs_of_finished_runs_a_page_and_pictures_are_committed():
    """And each run, since all of them were trained, has its history."""
    files = committed()
    kinds = {path.name for path in files if path.parent in PACKS}
    assert kinds == {"README.md", "histories.csv", "runs.jsonl"}
    weights = LAPTOP / "weights"  # of five runs, which recorded them (Fig. 5b)
    packs = [path for path in files if LAPTOP in path.parents and weights not in path.parents]
    assert {path.parent for path in packs} <= {
        *PACKS,
        LAPTOP / "figures",
        LAPTOP / "cost" / "figures",
    }
    assert sum(path.stat().st_size for path in files) < 10_000_000
    for folder in PACKS:
        assert set(packed.histories(folder, HISTORY_COLUMNS)) == packed.names(folder)


@some
def test_each_run_is_one_of_the_preset_and_finished_by_its_result_alone():
    """So a fresh clone goes on where this one stopped."""
    wanted = {config.directory: config for config in preset(["laptop"], {"results": str(LAPTOP)})}
    for path in FINISHED:
        config = wanted[path.parent]
        assert restore(read_result(path)["config"]).decisive == config.decisive
        assert state(config) == "finished"


@some
@pytest.mark.parametrize("name", ["figure6", "figure5", "variants", "cost"])
def test_a_committed_picture_is_drawn_again_from_the_results_alone(name, tmp_path):
    """The CSV is compared byte for byte; pixels depend on the version of matplotlib."""
    folder = LAPTOP / name if name == "cost" else LAPTOP
    table = folder / "figures" / f"{name}.csv"
    if not table.exists():
        pytest.skip(f"{name} is not drawn yet")
    (tmp_path / "runs.jsonl").write_bytes((folder / "runs.jsonl").read_bytes())
    outcome = CliRunner().invoke(
        main, ["figure", name.removeprefix("figure"), "--results", tmp_path]
    )
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "figures" / table.name).read_bytes() == table.read_bytes()
