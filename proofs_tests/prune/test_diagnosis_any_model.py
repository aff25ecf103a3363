"""Any model gets a verdict or one sentence: all kinds of calls, layers and code; unchanged."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from proofs_tests.tools.torch_strategies import Apply
from prune import Probe
from prune.diagnosis import diagnose, verdict

TINY = 1e-12
IDS = torch.arange(10).view(2, 5)


class Called(nn.Module):
    """Parts, and a function of them and of the arguments."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(parts)

    def forward(self, *args, **kwargs):
        return self.function(self.parts, *args, **kwargs)


def recurrent(kind, **options):
    def run(m, ids):
        return m["head"](m["rnn"](m["embedding"](ids))[0][:, -1])

    rnn = kind(8, 6, 2, batch_first=True, bidirectional=True, **options)
    return Called(run, embedding=nn.Embedding(20, 8), rnn=rnn, head=nn.Linear(12, 3))


def tied():
    model = Called(
        lambda m, ids: m["head"](F.relu(m["layer"](m["embedding"](ids)))),
        embedding=nn.Embedding(20, 8),
        layer=nn.Linear(8, 8),
        head=nn.Linear(8, 20, bias=False),
    )
    model.parts["head"].weight = model.parts["embedding"].weight
    return model


def two_inputs():
    return Called(
        lambda m, x, y: {"logits": m["c"](F.relu(m["a"](x) + m["b"](y))), "loss": None},
        a=nn.Linear(4, 3),
        b=nn.Linear(5, 3),
        c=nn.Linear(3, 2),
        unused=nn.Linear(3, 3),
    )


class Average(nn.Module):
    """Collects statistics of its input, detached or not."""

    def __init__(self, detach):
        super().__init__()
        self.layer, self.detach = nn.Linear(12, 10), detach
        self.register_buffer("average", torch.zeros(()))

    def forward(self, x):
        with torch.set_grad_enabled(self.detach):
            self.average.mul_(0.9).add_((x.detach() if self.detach else x).mean())
        return self.layer(x)


def image(*middle, to):
    """A convolution with 16 channels, the layers under test, and a linear layer."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *middle, nn.Flatten(), to)


def parametrised():
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(4, 8, 3, groups=2, padding=1)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Conv2d(8, 4, 3)),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def scripted(unit):
    return nn.Sequential(nn.Linear(12, 32), torch.jit.script(unit), nn.Linear(32, 10))


X, Y = torch.ones(1, 4), torch.ones(1, 5)
IMAGE = Probe((3, 8, 8))
# A model, its probe, and what is not homogeneous for itself.
MODELS = {
    "lstm": (lambda: recurrent(nn.LSTM), Probe(example=IDS), {"lstm"}),
    "gru": (lambda: recurrent(nn.GRU), Probe(example=IDS), {"gru"}),
    "rnn": (lambda: recurrent(nn.RNN), Probe(example=IDS), {"rnn_tanh"}),
    "relu": (lambda: recurrent(nn.RNN, nonlinearity="relu"), Probe(example=IDS), set()),
    "tied": (tied, Probe(example=IDS), set()),
    "tuple": (two_inputs, Probe(example=(X, Y)), set()),
    "dict": (two_inputs, Probe(example={"x": X, "y": Y}), set()),
    "parametrised": (parametrised, Probe((4, 6, 6)), set()),
    "scripted": (lambda: scripted(nn.ReLU()), Probe((12,)), set()),
    "average": (lambda: Average(True), Probe((12,)), set()),
    "average without gradients": (lambda: Average(False), Probe((12,)), set()),
    "parallel": (lambda: nn.DataParallel(image(nn.GELU(), to=nn.Linear(1024, 3))), IMAGE, {"gelu"}),
    "pixel shuffle": (lambda: image(nn.PixelShuffle(2), to=nn.Linear(1024, 3)), IMAGE, set()),
    "pixel unshuffle": (lambda: image(nn.PixelUnshuffle(2), to=nn.Linear(1024, 3)), IMAGE, set()),
    "flip": (lambda: image(Apply(lambda x: x.flip(1)), to=nn.Linear(1024, 3)), IMAGE, set()),
    "roll": (lambda: image(Apply(lambda x: x.roll(1, 1)), to=nn.Linear(1024, 3)), IMAGE, set()),
    "detached factor": (
        lambda: image(Apply(lambda x: x * x.detach().mean()), to=nn.Linear(1024, 3)),
        IMAGE,
        {"mul"},
    ),
    "clipped by a choice": (
        lambda: image(Apply(lambda x: torch.where(x < 6, x, 6.0)), to=nn.Linear(1024, 3)),
        IMAGE,
        {"where of a constant"},
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("name", MODELS)
def test_any_model_gets_a_verdict_and_stays_as_it_is(name):
    """As scored, R is conserved over cuts and at neurons (Theorem 1, Theorem 2)."""
    torch.manual_seed(0)
    make, probe, bent = MODELS[name]
    model = make().train()
    before = copy.deepcopy(model.state_dict())
    diagnosis = diagnose(model, probe)
    assert {one.name for one in diagnosis.otherwise} == bent
    assert not diagnosis.inhomogeneous
    assert max(diagnosis.neuron_wise.value, diagnosis.cut_wise.value) < TINY
    holds, sentence = verdict(diagnosis)
    assert holds
    assert ("not for the network itself" in sentence) == bool(bent)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert_unhooked(model)


def assert_unhooked(model):
    plain = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in plain)
    assert all(m.training for m in model.modules())


def test_a_tied_embedding_is_no_cut():
    """Each path uses its weight twice, so its scores sum to 2 R (Theorem 2)."""
    first, second = diagnose(tied(), Probe(example=IDS)).layers
    assert first.share == pytest.approx(2)
    assert second.share == pytest.approx(1)
    assert not first.is_cut


def test_a_layer_that_the_output_does_not_use_is_named():
    """All of its scores are 0."""
    layers = {one.name: one for one in diagnose(two_inputs(), Probe(example=(X, Y))).layers}
    assert layers["parts.unused.weight"].cause == "the output does not use it"
    assert layers["parts.a.weight"].cause == ""


# Channels (Theorem 1) are compared where their order is kept, and else left out.


def grouped(*middle):
    last = nn.Conv2d(16, 16, 3, groups=4)
    return nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), *middle, last, nn.Flatten())


def last_axis(x):
    return x.permute(0, 2, 3, 1)


ORDER = {
    "in order": (grouped(), 16),
    "shuffled": (grouped(nn.ChannelShuffle(4)), 0),
    "flipped": (grouped(Apply(lambda x: x.flip(1))), 0),
    "swapped and back": (grouped(Apply(lambda x: x.flip(1).flip(1))), 16),
    "side by side": (image(to=nn.Linear(1024, 3)), 16),
    "pixels": (image(nn.PixelUnshuffle(2), to=nn.Linear(1024, 3)), 16),
    "pixels of several": (image(nn.PixelShuffle(2), to=nn.Linear(1024, 3)), 0),
    "on the last axis": (
        nn.Sequential(nn.Conv2d(3, 16, 3), Apply(last_axis), nn.Linear(16, 2)),
        16,
    ),
    "flattened from there": (image(Apply(last_axis), to=nn.Linear(1024, 3)), 0),
}


@pytest.mark.parametrize("case", ORDER)
def test_channels_are_compared_where_they_keep_their_order(case):
    """S_in is compared with the S_out of the same channel, or not at all."""
    model, compared = ORDER[case]
    neuron_wise = diagnose(model, IMAGE).neuron_wise
    assert neuron_wise.compared == compared
    assert neuron_wise.value < TINY


# Code that cannot be read


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_scripted_code_that_is_not_homogeneous_is_noticed():
    """No reading reaches into it, so the theorems do not hold even as scored."""
    model = scripted(nn.GELU())
    for weight in model.parameters():
        weight.data.mul_(1e4)  # here GELU is the identity
    diagnosis = diagnose(model, Probe((12,)))
    assert diagnosis.cut_wise.value < TINY
    holds, sentence = verdict(diagnosis)
    assert not holds
    assert "scripted or custom code (once, in the model itself) is not homogeneous" in sentence
    assert "seen only when flow is as small as pruning makes it" in sentence


def fails(*_, **__):
    raise KeyError("missing")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(12, 3), Apply(fails)), "raises KeyError"),
        (nn.Sequential(nn.Linear(5, 3)), "raises RuntimeError"),
        (nn.Sequential(nn.Linear(12, 3), Apply(torch.detach)), "no output depends on the input"),
        (nn.Sequential(nn.Linear(12, 3, device="meta")), "meta device"),
        (nn.Sequential(nn.ReLU()), "nothing to prune"),
    ],
)
def test_a_model_that_cannot_be_diagnosed_is_refused_and_unchanged(model, words):
    """One sentence; no hook stays."""
    with pytest.raises(ValueError, match=words) as caught:
        diagnose(model, Probe((12,)))
    assert "\n" not in str(caught.value)
    assert_unhooked(model)


def test_no_hook_stays_if_a_module_takes_none(monkeypatch):
    """Hooks set before the failure are removed."""
    model = nn.Sequential(nn.Linear(12, 3), nn.ReLU())
    monkeypatch.setattr(model[1], "register_forward_hook", fails)
    with pytest.raises(KeyError):
        diagnose(model, Probe((12,)))
    assert_unhooked(model)
