"""Hyperparameters: the table of App. 12.3, and that the optimiser follows it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.data import DATASETS
from train.loop import learning_rate, sgd
from train.models import MODELS, build
from train.recipes import RECIPES, Recipe, paper

# App. 12.3, row by row; in each column first CIFAR-10/100, then Tiny ImageNet.
TABLE = """
                     vgg11              vgg16              resnet18           wrn18
Training Epochs      160      100       160      100       160      100       160      100
Batch Size           128      128       128      128       128      128       128      128
Learning Rate        0.1      0.01      0.1      0.01      0.01     0.01      0.01     0.01
Learning Rate Drops  60,120   30,60,80  60,120   30,60,80  60,120   30,60,80  60,120   30,60,80
Drop Factor          0.1      0.1       0.1      0.1       0.2      0.1       0.2      0.1
Weight Decay         1e-4     1e-4      1e-4     1e-4      5e-4     1e-4      5e-4     1e-4
"""


def columns() -> list[tuple[str, str, Recipe]]:
    """(model, dataset, what its column says) of the 12 combinations."""
    names, *rows = TABLE.strip().splitlines()
    cells = [row[21:].split() for row in rows]
    found = []
    for i, (epochs, batch, lr, drops, factor, decay) in enumerate(zip(*cells, strict=True)):
        numbers = (int(epochs), int(batch), float(lr), tuple(map(int, drops.split(","))))
        recipe = Recipe(*numbers, float(factor), float(decay), momentum=0.9)
        for dataset in ("tiny-imagenet",) if i % 2 else ("cifar10", "cifar100"):
            found.append((names.split()[i // 2], dataset, recipe))
    return found


@pytest.mark.parametrize("model, dataset, expected", columns())
def test_recipe_paper_is_the_table_of_the_appendix(model, dataset, expected):
    """App. 12.3, for all 12 combinations of Fig. 6; momentum 0.9 is that of the authors' code."""
    assert paper(model, dataset) == expected


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", [*MODELS, "torchvision:resnet50", "package.module:factory"])
def test_every_model_has_a_recipe_on_every_data_set(model, dataset):
    recipe = paper(model, dataset)
    assert recipe.epochs >= 1 and recipe.batch_size >= 1 and recipe.momentum == 0.9
    assert 0 < recipe.lr <= 0.1 and 0 < recipe.drop_factor < 1 and recipe.weight_decay >= 0
    drops = [0, *recipe.lr_drops, recipe.epochs]
    assert drops == sorted(set(drops))


def test_networks_without_batch_norm_start_lower_than_those_with():
    for dataset in ("cifar10", "imagenet", "fashion-mnist"):
        assert paper("vgg19-plain", dataset).lr < paper("vgg19", dataset).lr


recipes = st.builds(
    Recipe,
    epochs=st.integers(1, 30),
    batch_size=st.just(128),
    lr=st.floats(1e-4, 1),
    lr_drops=st.sets(st.integers(1, 29), max_size=4).map(lambda drops: tuple(sorted(drops))),
    drop_factor=st.floats(0.01, 0.99),
    weight_decay=st.just(0.0),
)


@given(recipes)
def test_learning_rate_is_that_of_multi_step_lr(recipe):
    """As torch's MultiStepLR, stepped after each epoch: a drop after 60 is seen in the 61st."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], recipe.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, recipe.lr_drops, recipe.drop_factor)
    for epoch in range(recipe.epochs):
        assert learning_rate(recipe, epoch) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()


def test_learning_rates_of_vgg16_on_cifar100():
    recipe = paper("vgg16", "cifar100")
    rates = [learning_rate(recipe, epoch) for epoch in range(recipe.epochs)]
    assert rates[:60] == [0.1] * 60
    # approximate: 0.1 * 0.1 is not the float 0.01
    assert rates[60:] == pytest.approx([0.01] * 60 + [0.001] * 40)


@pytest.mark.parametrize("model", ["vgg11", "resnet18"])
def test_sgd_is_nesterov_momentum_with_weight_decay_on_everything(model):
    """Biases and normalisation layers, too; each parameter once (DEPARTURES.md, row 8)."""
    network = build(model, (3, 32, 32), 10, width=0.05)
    groups = sgd(network, paper(model, "cifar10")).param_groups
    for group in groups:
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, True, 0)
        assert group["weight_decay"] == paper(model, "cifar10").weight_decay
    listed = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, listed)) == sorted(map(id, network.parameters()))


@pytest.mark.parametrize("momentum, decay", [(0.9, 0.0), (0.9, 1e-2), (0.5, 1e-2)])
def test_sgd_steps_as_the_formula_says(momentum, decay):
    """g += decay w; v = momentum v + g; w -= lr (g + momentum v)."""
    recipe = replace(paper("mlp", "digits"), momentum=momentum, weight_decay=decay)
    network = torch.nn.Linear(3, 1, bias=False).double()
    optimizer = sgd(network, recipe)
    w, v = network.weight.detach().clone(), torch.zeros(1, 3, dtype=torch.float64)
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    for _ in range(5):
        optimizer.zero_grad()
        (network(x) ** 2).sum().backward()
        optimizer.step()
        g = 2 * (w @ x.T) @ x + decay * w
        v = momentum * v + g
        w = w - recipe.lr * (g + momentum * v)
        # rounding: torch adds in another order
        torch.testing.assert_close(network.weight.detach(), w, rtol=1e-12, atol=1e-12)


def test_recipes_are_found_by_name():
    assert RECIPES["paper"] is paper
