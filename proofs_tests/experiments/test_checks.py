"""Checks of `selfcheck`: the combinations, the table and the messages of single ones."""

from dataclasses import replace

import pytest

from experiments.checks import overfit, rehearsal, schedule
from experiments.checks.outcome import Failed
from proofs_tests.tools.runs import CPU
from train.data import DATASETS, known
from train.models import MODELS

pytestmark = pytest.mark.usefixtures("one_thread")

# (model, data set, epoch, lr, weight decay) around each drop, computed by hand from App. 12.3.
EPOCHS = [
    ("vgg11", "cifar10", 1, 0.1, 1e-4),
    ("vgg11", "cifar100", 60, 0.1, 1e-4),
    ("vgg16", "cifar10", 61, 0.01, 1e-4),
    ("vgg16", "cifar100", 120, 0.01, 1e-4),
    ("vgg11", "cifar100", 121, 0.001, 1e-4),
    ("vgg16", "cifar10", 160, 0.001, 1e-4),
    ("resnet18", "cifar10", 60, 0.01, 5e-4),
    ("resnet18", "cifar100", 61, 0.002, 5e-4),
    ("wrn18", "cifar10", 120, 0.002, 5e-4),
    ("wrn18", "cifar100", 121, 0.0004, 5e-4),
    ("vgg11", "tiny-imagenet", 30, 0.01, 1e-4),
    ("vgg16", "tiny-imagenet", 31, 1e-3, 1e-4),
    ("resnet18", "tiny-imagenet", 61, 1e-4, 1e-4),
    ("wrn18", "tiny-imagenet", 80, 1e-4, 1e-4),
    ("wrn18", "tiny-imagenet", 81, 1e-5, 1e-4),
]


def test_overfit_reports_the_number_of_epochs_that_it_trained(monkeypatch):
    """A network that has not memorised its images after 2 epochs is reported after 2."""
    monkeypatch.setattr(overfit, "RECIPE", replace(overfit.RECIPE, epochs=2))
    monkeypatch.setattr(overfit, "IMAGES", 64)
    evaluated = []
    evaluate = overfit.evaluate
    monkeypatch.setattr(overfit, "evaluate", lambda *args: evaluated.append(1) or evaluate(*args))
    with pytest.raises(Failed, match=r"^vgg16 at compression 1 classifies .* after 2 epochs$"):
        overfit.overfit(CPU)
    assert len(evaluated) == 2


def test_the_rehearsal_leaves_out_no_model_shape_or_recipe():
    """Every model fits every shape, but VGG 8 px; four models were published, on two shapes."""
    taken = [
        (model, dataset, bool(recipe.updates))
        for model, dataset, recipe in rehearsal.combinations()
    ]
    assert {known(dataset).shape for dataset in DATASETS} == {
        known(dataset).shape for dataset in rehearsal.SHAPES
    }
    by_the_paper = {
        (model, dataset, False)
        for model in MODELS
        for dataset in rehearsal.SHAPES
        if not (dataset == "digits" and model.startswith("vgg"))
    }
    as_published = {
        (model, dataset, True)
        for model in ("vgg11", "vgg16", "resnet18", "wrn18")
        for dataset in ("cifar100", "tiny-imagenet")
    }
    assert len(taken) == len(set(taken)) and set(taken) == by_the_paper | as_published


def test_the_table_of_appendix_12_3_is_expanded_to_every_epoch():
    """12 combinations; a drop after an epoch is seen in the next one."""
    epochs = list(schedule.expected_epochs())
    found = {(e.model, e.dataset, e.epoch): e for e in epochs}
    assert len(epochs) == len(found) == 8 * 160 + 4 * 100
    assert {(e.momentum, e.nesterov) for e in epochs} == {(0.9, True)}
    assert {(e.dataset, e.batches) for e in epochs} == {
        ("cifar10", 391),
        ("cifar100", 391),
        ("tiny-imagenet", 782),
    }
    for model, dataset, epoch, lr, weight_decay in EPOCHS:
        row = found[model, dataset, epoch]
        # approximate: a product of factors is rounded
        assert row.lr == pytest.approx(lr) and row.weight_decay == weight_decay
