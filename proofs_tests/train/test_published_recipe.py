"""`--recipe published`: several momentum updates of a tensor per step.

See experiments/figures/published/DEPARTURES.md, row 8.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.resolve import resolve
from train.loop import sgd, step, update
from train.models import MODELS, build
from train.recipes import paper, published

TABLE = [(model, data) for model in ("vgg11", "vgg16", "resnet18", "wrn18")
         for data in ("cifar10", "cifar100", "tiny-imagenet")]  # fmt: skip


def counts(model: str, dataset: str) -> dict[str, int]:
    pixels = 64 if dataset == "tiny-imagenet" else 32
    network = build(model, (3, pixels, pixels), 10, width=1 / 16)
    recipe = published(model, dataset)
    return {name: recipe.updates_of(name) for name, _ in network.named_parameters()}


def authors_modules(model: str, dataset: str, name: str) -> int:
    """The number of modules of the authors' networks that contain a tensor: each listed it once.

    Lottery VGG: model, layers, conv module, layer; its classifier: model, fc. Tiny ImageNet's
    VGG: model, features or classifier, layer. ResNet: model, stem, layer; model, stage, block,
    residual function or shortcut, layer; model, fc.
    """
    if model.startswith("vgg"):
        if dataset == "tiny-imagenet":
            return 3
        return 4 if name.startswith("features") else 2
    if name.startswith("layer"):
        return 5
    return 2 if name.startswith("fc") else 3


@pytest.mark.parametrize(("model", "dataset"), TABLE)
def test_each_tensor_is_updated_as_often_as_the_authors_listed_it(model, dataset):
    found = counts(model, dataset)
    assert found == {name: authors_modules(model, dataset, name) for name in found}


@pytest.mark.parametrize(("model", "dataset"), TABLE)
def test_all_else_is_the_recipe_of_the_paper(model, dataset):
    assert replace(published(model, dataset), updates=()) == paper(model, dataset)


@pytest.mark.parametrize(
    ("model", "dataset"),
    [(m, "cifar10") for m in MODELS if m not in ("vgg11", "vgg16", "resnet18", "wrn18")]
    + [("vgg16", "digits"), ("resnet18", "imagenet"), ("vgg11", "fashion-mnist")],
)
def test_what_was_not_published_has_no_published_recipe(model, dataset):
    with pytest.raises(ValueError, match=f"not for {model} on {dataset}"):
        resolve({"model": model, "dataset": dataset, "recipe": "published"})


def test_it_reaches_the_optimiser_of_a_run():
    config = resolve({"model": "resnet18", "dataset": "cifar10", "recipe": "published"})
    network = build("resnet18", (3, 32, 32), 10, width=1 / 16)
    groups = sgd(network, config.training).param_groups
    assert {group["updates"]: len(group["params"]) for group in groups} == {3: 3, 5: 57, 2: 2}


def test_equals_an_optimiser_that_lists_a_tensor_several_times():
    """torch's own SGD, with each tensor as often as the authors listed it: bit by bit."""
    torch.manual_seed(0)
    ours = build("resnet18", (3, 32, 32), 10, width=1 / 16)
    theirs = copy.deepcopy(ours)
    recipe = published("resnet18", "cifar10")
    listed = [p for n, p in theirs.named_parameters() for _ in range(recipe.updates_of(n))]
    with pytest.warns(UserWarning, match="duplicate parameters"):
        old = torch.optim.SGD(listed, recipe.lr, 0.9, weight_decay=recipe.weight_decay,
                              nesterov=True, fused=True)  # fmt: skip
    for parameter in theirs.parameters():  # one for all listings, as torch 1.5 made it
        old.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    optimizer = sgd(ours, recipe)
    for _ in range(3):
        inputs, labels = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
        step(ours.train(), optimizer, inputs, labels, 8)
        old.zero_grad()
        F.cross_entropy(theirs.train()(inputs), labels).backward()
        old.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        assert torch.equal(a, b), name


def test_m_updates_with_one_gradient_by_hand():
    """Nesterov by its formula: v = 0.9 v + g, w = w - lr (g + 0.9 v), twice with g = 1."""
    weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
    group = {"params": [weight], "updates": 2}
    optimizer = torch.optim.SGD([group], lr=0.5, momentum=0.9, nesterov=True)
    weight.grad = torch.ones_like(weight)
    update(optimizer)
    v1, v2 = 1, 0.9 + 1  # torch starts v at g; approximate, as 0.9 is no float
    assert weight.item() == pytest.approx(-0.5 * ((1 + 0.9 * v1) + (1 + 0.9 * v2)))
