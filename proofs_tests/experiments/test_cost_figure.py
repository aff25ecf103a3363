"""`figure cost`: FLOPs and seconds of training from results, also from those of older versions."""

import json

from experiments.figures import collect, cost
from experiments.runs.imp import imp
from experiments.runs.run import run
from proofs_tests.tools.network_figures import figure
from proofs_tests.tools.runs import configured
from proofs_tests.tools.sweeps import ablated, result, sweep

STEPS = 2 * 23  # epochs; batches of 64 of the 1,437 digits
FEW = {"options": {"epochs": 2, "lr_drops": ()}}


def trained(flops: int, seconds: float = 6.0) -> dict:
    return {"trained": {"step_flops": flops}, "seconds": {"prune": 2.0, "train": seconds}} | FEW


def test_points_lie_at_the_cost_of_all_steps_and_of_pruning_too(tmp_path):
    """Seeds are averaged; the star is the dense network."""
    result(tmp_path, "synflow", 1, 90.0, **trained(1000, 38.0))
    for seed in (0, 1):
        result(tmp_path, "synflow", 10, 80.0 + seed, seed=seed, **trained(100 + 100 * seed))
    drawing = cost.draw(tmp_path, {})
    for axis, dense, pruned in zip(drawing.figure.axes, (1000 * STEPS, 40), (150 * STEPS, 8)):
        lines = {line.get_label(): line for line in axis.lines}
        assert list(lines["SynFlow"].get_xdata()) == [dense, pruned]
        assert list(lines["SynFlow"].get_ydata()) == [90, 80.5]
        assert list(lines["Dense"].get_xdata()) == [dense]
        assert [text.get_text() for text in axis.texts] == ["10"]
    scales = [(axis.get_xscale(), axis.get_xlim()[0] == 0) for axis in drawing.figure.axes]
    assert scales == [("log", False), ("linear", True)]
    assert drawing.notes == [
        "MLP, digits, synflow at 10: 80.50 %, 0.150 of dense FLOPs of training, "
        "0.200 of dense seconds to prune and train"
    ]
    assert {row["training_flops"] for row in drawing.rows} == {n * STEPS for n in (1000, 100, 200)}


def test_the_best_epoch_and_variants(tmp_path):
    result(tmp_path, "synflow", 10, 80.0, **trained(100))
    ablated(tmp_path, "synflow", 10, 70.0)
    drawing = cost.draw(tmp_path, {}, best=True)
    assert len(drawing.rows) == 1
    assert "best epoch" in drawing.figure.axes[0].get_ylabel()
    assert list(drawing.figure.axes[0].lines[1].get_ydata()) == [81]


def test_cycles_cost_what_all_their_trainings_cost(tmp_path):
    directory = imp(configured(tmp_path, steps=None, cycles=2, compression=100.0)).parent
    found = json.loads((directory / "result.json").read_text())
    steps = [row["trained"]["step_flops"] for row in (*found["cycles"], found)]
    assert steps[0] > steps[2]
    [stored] = collect.runs(tmp_path)
    assert cost.training_flops(stored) == STEPS * sum(steps)


def test_an_old_result_with_its_masks_has_the_flops_and_not_the_seconds(tmp_path):
    """Its seconds are those of masked training."""
    path = run(configured(tmp_path))
    content = json.loads(path.read_text())
    expected = STEPS * content.pop("trained")["step_flops"]
    del content["sha256"]
    path.write_text(json.dumps(content))
    [row] = cost.draw(tmp_path, {}).rows
    assert row["training_flops"] == expected and row["seconds"] is None


def test_a_dense_run_needs_no_masks_and_others_are_left_out_and_counted(tmp_path):
    sweep(tmp_path)
    drawing = cost.draw(tmp_path, {})
    assert {row["series"] for row in drawing.rows} == {"dense"}
    assert drawing.notes == ["8 runs of unknown cost are left out"]


def test_without_any_cost_the_figure_is_refused(tmp_path):
    result(tmp_path, "synflow", 10, 80.0)
    outcome = figure("cost", tmp_path)
    assert outcome.exit_code == 1 and "their masks are not kept" in outcome.output
