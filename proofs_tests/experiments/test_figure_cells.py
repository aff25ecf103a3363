"""Cells of figures: their numbers are right, and an interrupted computation continues."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.figures import (
    cells,
    collect,
    one_shot,
    precision,
    prune_cut_ratio,
    statistics,
    walks,
)
from experiments.resolve import resolve
from experiments.runs.build import images, initial_model, probe, probe_shape
from experiments.runs.progress import Silent
from experiments.sweeps.presets import OTHERS
from proofs_tests.tools.network_figures import Counter, tiny
from prune import SCORES, Probe, Step, prune
from prune.masks import dense_masks, size
from train.data import DATASETS
from train.models import MODELS


def test_a_walk_gives_each_of_its_cells_what_prune_alone_gives(computed, few_steps):
    """A shared walk is exact: ratios to the last bit, and counts by tensor."""
    model, probe = initial_model(computed), Probe(probe_shape(computed))
    for cell in prune_cut_ratio.wanted(full=False)[::3]:
        taken: list[Step] = []
        masks = prune(
            model,
            "synflow",
            probe,
            cell.compression,
            cell.steps,
            cell.schedule,
            report=taken.append,
        )
        found = cells.load(cell.path(computed))
        assert found["max_prune_cut_ratio"] == max(step.prune_cut_ratio for step in taken)
        if "kept" in found:
            assert found["kept"] == {name: int(mask.sum()) for name, mask in masks.items()}


def test_walks_share_all_steps_that_begin_alike_and_miss_no_cell():
    """10^1 in 50 steps is the first half of 10^2 in 100, count by count."""
    wanted, N = prune_cut_ratio.wanted(full=False), 143_652_544
    planned = walks.walks(wanted, N)
    assert sorted(cell for walk in planned for cell, _ in walk) == sorted(wanted)
    for walk in planned:
        for cell, counts in walk:
            assert counts == cell.counts(N) == walk[0][1][: cell.steps]
    assert {walks.Cell("exponential", 10, 50), walks.Cell("exponential", 100, 100)} in [
        {cell for cell, _ in walk} for walk in planned
    ]
    steps = sum(walk[0][0].steps for walk in planned)
    assert steps == 1766 < sum(cell.steps for cell in wanted)


@pytest.mark.parametrize("pruner", ["magnitude", "random"])
def test_one_scoring_gives_the_counts_of_each_compression(computed, pruner):
    found = cells.load(one_shot.cell_path(computed, pruner))
    model = initial_model(computed)
    for compression, kept in found["kept"].items():
        generator = torch.Generator().manual_seed(one_shot.seed_of(0, one_shot.RANDOM_SCORES))
        probe = Probe(probe_shape(computed), generator=generator)
        masks = prune(model, pruner, probe, float(compression), steps=1)
        assert kept == [int(mask.sum()) for mask in masks.values()]
    assert 2 * int(compression) > size(dense_masks(model)) / 17 >= int(compression)


def test_units_conserve_synaptic_flow_and_magnitude_does_not(computed):
    """Theorem 1, in a convolutional network: S_in = S_out at each channel."""
    flow = cells.load(one_shot.cell_path(computed, "synflow"))["units"]
    convolutions = [m for m in initial_model(computed).features if isinstance(m, nn.Conv2d)]
    assert len(flow) == sum(layer.out_channels for layer in convolutions[:-1])
    assert statistics.relative_gaps(flow)[1] < 1e-12  # float64 sums
    magnitude = cells.load(one_shot.cell_path(computed, "magnitude"))["units"]
    assert statistics.relative_gaps(magnitude)[1] > 0.1


def test_layers_conserve_synaptic_flow(computed):
    """Theorem 2: each layer is a cut, so its total is R, and the average is R / size."""
    layers = cells.load(one_shot.cell_path(computed, "synflow"))["layers"]
    sums = [layer["score_sum"] for layer in layers]
    assert sums == pytest.approx([sums[0]] * 17, rel=1e-12)  # float64 sums


def test_grasp_is_also_cut_from_its_other_end(computed, monkeypatch):
    """The published data keep the lowest scores; both counts are saved."""
    monkeypatch.setattr(one_shot, "SUBSTITUTES", ("digits",))
    found = cells.load(one_shot.cell_path(computed, "grasp-text"))
    model, masks = initial_model(computed), dense_masks(initial_model(computed))
    batches, _ = one_shot.scoring_images(computed, Silent())
    scores = SCORES["grasp-text"](model, masks, Probe(probe_shape(computed), batches))
    order = torch.cat([S.flatten() for S in scores.values()])
    lowest = -(-size(masks) // 16)
    threshold = order.kthvalue(lowest).values
    kept = [int((S <= threshold).sum()) for S in scores.values()]
    assert found["kept_reversed"]["16"] == kept != found["kept"]["16"]


def test_scores_that_are_not_finite_are_refused_with_their_tensors():
    scores = {"fine": torch.ones(3), "torn": torch.tensor([1.0, torch.nan])}
    with pytest.raises(FloatingPointError, match=r"^scores of torn are not finite$"):
        list(one_shot.kept_counts(scores, reverse=False))


def test_snip_and_grasp_take_a_substitute_where_the_data_set_is_missing(computed):
    found = cells.load(one_shot.cell_path(computed, "snip"))
    assert found["images"] == "48 images of digits resized to 32 px"
    assert found["images"] in one_shot.images_note(computed)
    assert cells.load(one_shot.cell_path(computed, "magnitude"))["images"] is None


def test_a_data_set_on_disk_gives_the_images_that_a_run_scores_on():
    config = resolve({"pruner": "snip", "model": "mlp", "dataset": "digits"})
    batches, words = one_shot.scoring_images(config, Silent())
    assert words == "100 images of digits"
    ours = [t for batch in batches for t in batch]
    theirs = [t for batch in probe(config, images(config, Silent())).batches for t in batch]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_scoring_on_images_ticks_for_each_batch(monkeypatch):
    """A batch may take minutes (GraSP on VGG-19)."""
    monkeypatch.setattr(one_shot, "SCORING_BATCH", {"digits": 30})
    progress = Counter()
    config = resolve({"pruner": "snip", "model": "mlp", "dataset": "digits"})
    batches, _ = one_shot.scoring_images(config, progress)
    progress.ticks = 0  # of reading
    assert [len(labels) for _, labels in batches] == [30, 30, 30, 10]
    assert progress.ticks == progress.length == 4


def test_an_interrupted_computation_continues_with_the_next_cell(tmp_path, few_steps):
    config = tiny(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prune_cut_ratio.compute([config], Counter(limit=20))
    saved = {path: path.stat().st_mtime_ns for path in cells.folder(config).iterdir()}
    assert 0 < len(saved) < 36
    rest = Counter()
    prune_cut_ratio.compute([config], rest)
    assert rest.ticks == rest.length < 80
    assert {path: path.stat().st_mtime_ns for path in saved} == saved
    again = Counter()
    prune_cut_ratio.compute([config], again)
    assert again.ticks == 0 and len(list(cells.folder(config).iterdir())) == 36


def test_float64_masks_do_not_depend_on_the_kernel_and_coarser_scores_give_others(monkeypatch):
    """bfloat16 takes the place of float32, whose masks differ in large networks only."""
    monkeypatch.setitem(precision.WAYS, "float32", (precision.synflow, torch.bfloat16))
    config = resolve({"model": "vgg11", "dataset": "cifar10", "width": 0.1, "epochs": 0})
    *_, last = precision.agreement(initial_model(config), probe_shape(config), 5)
    ends = dict(zip(precision.PAIRS, last, strict=True))
    assert ends["float64", "float64, other kernel"] == 1
    assert ends["float64", "float64, prune.fast"] == 1
    assert 0.5 < ends["float32", "float64"] < 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_other_kernel_is_a_convolution_with_another_order_of_addition(dtype):
    """The results are equal except for rounding, and in float32 some bits differ."""
    torch.manual_seed(0)
    x, weight = torch.rand(1, 64, 9, 9, dtype=dtype), torch.rand(32, 64, 3, 3, dtype=dtype)
    for options in ({"padding": 1}, {"stride": 2}, {"bias": torch.rand(32, dtype=dtype)}):
        usual = F.conv2d(x, weight, **options)
        with precision.Unfolded():
            other = F.conv2d(x, weight, **options)
        assert torch.allclose(usual, other, rtol=100 * torch.finfo(dtype).eps)  # 576 terms
        assert dtype == torch.float64 or (usual != other).any()


def test_iou_is_intersection_over_union():
    a, b = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert precision.iou({"w": a}, {"w": b}) == 1 / 3


def test_every_network_and_data_set_has_a_name_for_figures():
    assert {*MODELS, *OTHERS["model"], *DATASETS} == {*collect.NAMES}
    config = resolve({"model": "resnet20", "dataset": "cifar100"})
    assert cells.title(config) == "ResNet-20, CIFAR-100 (32 px)"
