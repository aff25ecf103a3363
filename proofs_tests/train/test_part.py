"""A trained part of a masked network: each step is that of the whole, in float64.

The part is that of `prune.compact.trainable`; `train.part` puts it back into the whole network.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD

from prune import Probe, apply, prunable, prune
from prune.compact import trainable
from prune.masks import Masks
from train.loop import begin_epoch, sgd, step
from train.models import MODELS, build
from train.part import Part, gather, idle, spread
from train.recipes import Recipe

BATCH, CLASSES, STEPS = 4, 5, 50
RECIPE = Recipe(2, BATCH, 0.02, (1,), 0.1, 5e-3)
REPEATED = replace(RECIPE, updates=(("features.", 2), ("layer1.", 3)))


class Net(NamedTuple):
    """A network and its optimizer."""

    model: nn.Module
    optimizer: SGD


class Case(NamedTuple):
    """The masked network, the part that is trained, and the whole that it is put back into."""

    masked: Net
    small: Net
    whole: Net
    part: Part
    shape: tuple[int, int, int]


def case(model: nn.Module, masks: Masks, shape: tuple[int, int, int], recipe: Recipe) -> Case:
    apply(model.double(), masks)
    whole = copy.deepcopy(model)
    small, places = trainable(model, masks, torch.zeros(2, *shape))
    nets = (Net(net.train(), sgd(net, recipe)) for net in (model, small, whole))
    return Case(*nets, Part(whole, places), shape)


def named(name: str, score: str, recipe: Recipe = RECIPE) -> Case:
    """A narrow model of the contract, with images small for it."""
    torch.manual_seed(0)
    size = {"vgg19-plain": 64, "vgg11": 32, "vgg16": 32, "vgg19": 32}.get(name, 8)
    width = 1 / 4 if name[6:] in ("20", "32", "56", "110") else 1 / 16
    shape = (2, size, size)
    model = build(name, shape, CLASSES, width)
    probe = Probe(shape, generator=torch.Generator().manual_seed(0))
    return case(model, prune(model, score, probe, 20, steps=5), shape, recipe)


def both(made: Case, number: int) -> tuple[Tensor, Tensor]:
    """The losses of the masked network and of the part in a step of each."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(BATCH, *made.shape, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (BATCH,), generator=generator)
    losses = []
    for net in (made.masked, made.small):
        torch.manual_seed(number)  # of dropout
        losses.append(step(net.model, net.optimizer, x, y, BATCH))
    return losses[0], losses[1]


def synchronise(made: Case) -> None:
    """Give the part what the masked network has, on the way that a resumed training takes."""
    made.whole.model.load_state_dict(made.masked.model.state_dict())
    made.whole.optimizer.load_state_dict(copy.deepcopy(made.masked.optimizer.state_dict()))
    gather(made.part, made.small.model, made.whole.optimizer, made.small.optimizer)


def put_back(made: Case, steps: int) -> None:
    spread(made.part, made.small.model, made.whole.optimizer, made.small.optimizer, steps)


def close(a: Tensor, b: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1, float(b.detach().abs().max())))


def compare_gradients(made: Case, tolerance: float) -> None:
    found = dict(made.small.model.named_parameters())
    for name, weight in made.masked.model.named_parameters():
        close(found[name].grad, weight.grad[made.part.places.get(name, ())], tolerance)


@torch.no_grad()
def compare_whole(made: Case, tolerance: float) -> None:
    """Weights and momenta are equal, the dead ones included; so are outputs in eval mode."""
    found = dict(made.whole.model.named_parameters())
    for name, weight in made.masked.model.named_parameters():
        close(found[name], weight, tolerance)
        momentum = made.whole.optimizer.state[found[name]]["momentum_buffer"]
        close(momentum, made.masked.optimizer.state[weight]["momentum_buffer"], tolerance)
    x = torch.ones(1, *made.shape, dtype=torch.float64)
    nets = (made.masked.model, made.small.model, made.whole.model)
    expected, *outputs = (net.eval()(x) for net in nets)
    for found in outputs:
        close(found, expected, tolerance)
    for net in nets:
        net.train()


RANDOM = ("mlp", "vgg11", "vgg19-plain", "resnet18", "resnet20")
SLOW = ("vgg19-plain", "resnet18")  # of RANDOM
DEEP = ("vgg19", "resnet32", "resnet56", "resnet110")
CASES = [
    *(pytest.param(n, "synflow", marks=[pytest.mark.slow] * (n in DEEP)) for n in MODELS),
    *(pytest.param(n, "random", marks=[pytest.mark.slow] * (n in SLOW)) for n in RANDOM),
]


@pytest.mark.parametrize(("name", "score"), CASES)
def test_each_of_50_steps_is_that_of_the_masked_network(name, score):
    """Loss, gradients, weights, momenta and statistics; each step begins with equal weights."""
    made = named(name, score)
    assert made.part.places
    for number in range(STEPS):
        synchronise(made)
        expected, found = both(made, number)
        close(found, expected, 1e-9)
        compare_gradients(made, 1e-8)
        put_back(made, 1)
        compare_whole(made, 1e-8)


@pytest.mark.parametrize("score", ["synflow", "random", "magnitude"])
@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet20"])
def test_50_steps_at_once_end_with_the_weights_of_the_masked_network(name, score):
    """Also the weights that nothing reads: weight decay and momentum move them."""
    made = named(name, score, REPEATED)
    for epoch in range(RECIPE.epochs):
        for net in (made.masked, made.small):
            begin_epoch(net.optimizer, RECIPE, epoch)
        for number in range(STEPS // 2):
            both(made, number + 100 * epoch)
        put_back(made, STEPS // 2)
    compare_whole(made, 1e-6)
    assert all(a["lr"] == b["lr"] for a, b in zip(*groups(made), strict=True))


def groups(made: Case) -> tuple[list[dict], list[dict]]:
    return made.whole.optimizer.param_groups, made.masked.optimizer.param_groups


def test_dropout_of_maps_draws_for_the_removed_channels():
    torch.manual_seed(0)
    maps = [nn.Conv2d(2, 8, 3), nn.Dropout2d(0.4), nn.Dropout(0.2), nn.Conv2d(8, 8, 3)]
    model = nn.Sequential(*maps, nn.Flatten(), nn.Dropout(0.1), nn.Linear(72, CLASSES))
    masks = {name: weight > -9 for name, weight in prunable(model).items()}
    masks["3.weight"][:, ::3] = False
    masks["6.weight"][:, :27] = False
    made = case(model, masks, (2, 7, 7), RECIPE)
    assert made.small.model[0].out_channels == made.small.model[3].out_channels == 5
    for number in range(5):
        expected, found = both(made, number)
        close(found, expected, 1e-12)


@given(
    lr=st.floats(1e-4, 1),
    decay=st.floats(0, 0.1),
    momentum=st.floats(0.1, 0.95),
    steps=st.integers(0, 40),
    updates=st.integers(1, 3),
)
def test_steps_without_gradient_are_one_product_with_a_matrix(lr, decay, momentum, steps, updates):
    """The weights and the momentum of torch's SGD with Nesterov's momentum."""
    weight = nn.Parameter(torch.tensor([1.5, 0.0], dtype=torch.float64))
    optimizer = SGD([weight], lr, momentum, weight_decay=decay, nesterov=True)
    start = torch.tensor([-0.7, 0.0], dtype=torch.float64)
    optimizer.state[weight]["momentum_buffer"] = start.clone()
    before = torch.stack([weight.detach().clone(), start])
    weight.grad = torch.zeros_like(weight)
    for _ in range(steps * updates):
        optimizer.step()
    matrix = torch.from_numpy(idle(optimizer.param_groups[0] | {"updates": updates}, steps))
    after = torch.stack([weight.detach(), optimizer.state[weight]["momentum_buffer"]])
    torch.testing.assert_close(matrix @ before, after, rtol=1e-9, atol=1e-12)
