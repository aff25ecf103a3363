"""The tape of a network: one run of the model, repeated at each step (prune/fast/tape.py)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from proofs_tests.tools.kinds import KINDS, made, probe
from prune import Probe, prune
from prune.fast.flow import read, synaptic_flow
from prune.masks import dense_masks
from prune.scores import synaptic_flow as plain_flow
from train.models import MODELS, build

IMAGE = (3, 32, 32)


def tape_of(model, probe):
    return read(model, dense_masks(model), probe)[0].tape


def assert_same_flow(model, probe):
    masks = dense_masks(model)
    R, scores = plain_flow(model, masks, probe)
    flow = synaptic_flow(model, masks, probe)
    assert flow.R == pytest.approx(R, rel=1e-12)
    for name in masks:
        assert torch.allclose(flow.scores[name], scores[name], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_models_of_the_project_are_repeated(name):
    """Else each step would run the model, which is correct, but takes longer."""
    assert tape_of(build(name, IMAGE, 10, 0.1), Probe(IMAGE)) is not None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_layers_of_all_kinds_are_repeated(kind):
    """The tape gives R and the scores of the model itself."""
    model = made(kind)
    assert (tape_of(model, probe()) is None) == (kind in NOT_REPEATED)
    assert_same_flow(model, probe())


NOT_REPEATED = {"cached", "scripted"}  # one compares values, torch does not show the other


class Model(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between
        self.register_buffer("count", torch.zeros(()))
        nn.init.zeros_(self.first.bias)

    def forward(self, x):
        return self.last(self.between(self, self.first(x)))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def branch(model, x):
    return 2 * x if x.sum() > 0 else x


def number(model, x):
    return x * float(model.first.weight.detach().sum())


def written(model, x):
    model.count.add_(1)
    return x * model.count


def view_written(model, x):
    model.count.view(1)[0] = 3
    return x * model.count


class Held:
    """An object that no one can look into."""

    def __init__(self, index):
        self.index = index

    def __index__(self):
        return self.index


OTHER = {
    "branch": branch,
    "number": number,
    "written": written,
    "view written": view_written,
    "custom function": lambda model, x: Doubled.apply(x),
    "custom function, then in place": lambda model, x: Doubled.apply(x).mul_(3),
    "object": lambda model, x: x.narrow(-1, Held(0), 6),
}


@pytest.mark.parametrize("kind", OTHER)
def test_a_model_that_does_more_is_run_itself(kind):
    """It has no tape, and its flow is that of the plain pass."""
    model = Model(OTHER[kind])
    assert tape_of(model, Probe((4,))) is None
    assert_same_flow(model, Probe((4,)))


def without_gradient(model, x):
    with torch.no_grad():
        scale = x.sum() / x.numel()
    return x * scale


def filled(model, x):
    y = torch.zeros(x.shape)
    y[..., :3] = x[..., :3]
    y += x
    return y


REPEATED = {
    "without gradient": without_gradient,
    "filled": filled,
    "list": lambda model, x: torch.cat([x, x[..., :0]], dim=-1),
    "by name": lambda model, x: F.relu(input=x),
    "several results": lambda model, x: x.sort(dim=-1)[0],
    "constants": lambda model, x: x * torch.arange(6.0).add(1).sqrt(),
    "shape": lambda model, x: x.view(len(x), x.shape[1], *x.stride()[2:]),
}


@pytest.mark.parametrize("kind", REPEATED)
def test_functions_of_torch_are_repeated(kind):
    """With lists and named arguments, writes to tensors of the pass, parts without gradients."""
    model = Model(REPEATED[kind])
    assert tape_of(model, Probe((4,))) is not None
    assert_same_flow(model, Probe((4,)))


def test_what_reads_constants_only_is_computed_once():
    """The square root of the constants above is not among the entries."""
    tape = tape_of(Model(REPEATED["constants"]), Probe((4,)))
    assert [entry.func.__name__ for entry in tape.entries] == ["linear", "mul", "linear"]


@pytest.mark.parametrize("small", [True, False])
def test_prune_runs_the_model_once_for_all_steps(small, monkeypatch):
    """The other runs are those of the checks at the end, whatever the number of steps."""
    monkeypatch.setattr("prune.fast.algorithm.SMALL", 2**17 if small else 0)
    runs = []
    for steps in (2, 20):
        model = Model(lambda model, x: F.relu(x))
        calls = []
        model.first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        prune(model, "synflow", Probe((4,)), 2, steps=steps)
        runs.append(len(calls))
    assert runs[0] == runs[1]


def test_a_tape_that_gives_another_R_is_not_used():
    """A function of random numbers gives others each time."""
    assert tape_of(Model(lambda model, x: x * torch.rand_like(x)), Probe((4,))) is None
