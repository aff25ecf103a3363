"""Warnings and the last line of `prune`, and networks that collapsed silently before."""

import copy
import re
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from proofs_tests.tools.kinds import CLASSES, Kind, Sequence
from prune import LayerCollapse, NoFlow, Probe, connected, effective, prune
from prune.masks import dense_masks, kept
from prune.scores import synaptic_flow


def quiet(task):
    """Do it without any warning of collapse."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayerCollapse)
        return task()


@pytest.mark.slow
def test_mobilenet_stays_connected_at_100():
    """ReLU6 clips the flow of ones; read as ReLU it does not."""
    torch.manual_seed(0)
    model, probe = torchvision.models.mobilenet_v2(num_classes=10), Probe((3, 32, 32))
    masks = quiet(lambda: prune(model, "synflow", probe, 100))
    assert connected(model, masks, probe)


def test_relu6_is_read_as_relu():
    torch.manual_seed(0)
    made = [
        nn.Sequential(nn.Linear(50, 50), unit(), nn.Linear(50, 50), unit(), nn.Linear(50, 10))
        for unit in (nn.ReLU6, nn.ReLU)
    ]
    made[1].load_state_dict(made[0].state_dict())
    clipped, plain = (quiet(lambda m=m: prune(m, "synflow", Probe((50,)), 50)) for m in made)
    assert all(torch.equal(clipped[name], plain[name]) for name in plain)


@pytest.mark.parametrize(("steps", "closed"), [(1, 1), (4, 1)])
def test_a_collapse_by_magnitude_names_its_step(steps, closed):
    """The weights of the first layer are the smallest."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 100, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[1].weight.copy_(torch.linspace(2, 3, 200).view(100, 2))
    why = f"^layer-collapse: step {closed} of {steps} closed .* 5 of 204 weights are kept"
    with pytest.warns(LayerCollapse, match=why):
        masks = prune(model, "magnitude", Probe((2,)), 50, steps=steps)
    assert not connected(model, masks, (2,))


@pytest.mark.parametrize(("compression", "steps", "closed"), [(2, 1, 1), (4, 5, 5), (4, 2, 1)])
def test_a_collapse_by_synflow_names_its_step(compression, steps, closed):
    """All scores are equal, and the weights of the first layer come first."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    for w in model.parameters():
        nn.init.ones_(w)
    with pytest.warns(LayerCollapse, match=f"^layer-collapse: step {closed} of {steps} closed"):
        masks = prune(model, "synflow", Probe((1,)), compression, steps=steps)
    assert not connected(model, masks, (1,))


def test_weights_without_flow_are_named():
    """Three quarters of an LSTM feed its gates; a layer whose output is dropped has no flow."""
    torch.manual_seed(0)
    model = Kind(Sequence(nn.LSTM(6, 6, batch_first=True)))
    with pytest.warns(NoFlow, match=r"75% of middle.layer.weight_ih_l0, 75% of middle.layer.we"):
        masks = prune(model, "synflow", Probe((5, 6)), 4)
    assert connected(model, masks, (5, 6))
    masks = quiet(lambda: prune(model, "synflow", Probe((5, 6)), 4, exclude="middle"))
    assert list(masks) == ["first.weight", "last.weight"]


def residual(zero):
    """A residual network, with the last gamma of each branch 0 if `zero`."""
    torch.manual_seed(0)
    return torchvision.models.resnet.ResNet(
        torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 10, zero_init_residual=zero
    )


def test_branches_that_start_at_zero_are_read_as_ones_and_named():
    model, probe = residual(True), Probe((3, 32, 32))
    with pytest.warns(NoFlow, match=r"layer1.0.bn2.weight, .* and 1 more are 0 throughout"):
        masks = prune(model, "synflow", probe, 100, steps=5)
    expected = prune(residual(False), "synflow", probe, 100, steps=5)
    assert all(torch.equal(masks[name], expected[name]) for name in expected)


class Difference(nn.Module):
    """Two branches, one subtracted from the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 32), nn.Linear(12, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.c((self.a(x) - self.b(x)).abs())


def test_a_difference_closes_no_path():
    torch.manual_seed(0)
    model = Difference()
    assert connected(model, dense_masks(model), (12,))
    assert all(
        (S > 0).all() for S in synaptic_flow(model, dense_masks(model), Probe((12,)))[1].values()
    )


def test_paths_start_at_the_input():
    """Not at position embeddings and class tokens."""
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)
    masks = dense_masks(model)
    assert connected(model, masks, (3, 32, 32))
    masks["conv_proj.weight"][:] = False  # the only layer that reads the image
    assert not connected(model, masks, (3, 32, 32))
    assert kept(effective(model, masks, (3, 32, 32))) == 0


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("wrap", [compiled, compiled_in_place, nn.DataParallel])
@pytest.mark.parametrize("score", ["synflow", "snip"])
def test_wrapped_models_are_scored_within(wrap, score):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, CLASSES))
    data = [(torch.randn(4, 3, 8, 8), torch.randint(CLASSES, (4,)))]
    plain = prune(model, score, Probe((3, 8, 8), data), 10)
    inside = prune(wrap(copy.deepcopy(model)), score, Probe((3, 8, 8), data), 10)
    for mine, theirs in zip(plain.values(), inside.values(), strict=True):
        assert torch.equal(mine, theirs)


def test_quantization_aware_training_is_read_without_its_rounding():
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, CLASSES))
    plain = prune(model, "synflow", Probe((3, 8, 8)), 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own module deprecated
        model.train().qconfig = get_default_qat_qconfig("fbgemm")
        prepare_qat(model, inplace=True)
    data = [(torch.randn(4, 3, 8, 8), torch.randint(CLASSES, (4,)))]
    masks = prune(model, "synflow", Probe((3, 8, 8)), 10)
    assert all(torch.equal(masks[name], plain[name]) for name in plain)
    assert kept(prune(model, "snip", Probe((3, 8, 8), data), 10)) == kept(plain)


class Frozen(nn.Module):
    """A model that runs without gradients."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    @torch.no_grad()
    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize("score", ["synflow", "snip", "grasp"])
def test_models_without_gradients_are_refused(score):
    data = [(torch.randn(4, 6), torch.randint(CLASSES, (4,)))]
    with pytest.raises(ValueError, match="gradient"):
        prune(Frozen(), score, Probe((6,), data), 2)


def test_grasp_differentiates_hardsigmoid_and_attention_twice():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation=F.hardswish)
    data = [(torch.randn(4, 5, 6), torch.randint(CLASSES, (4,)))]
    masks = prune(Kind(layer), "grasp", Probe((5, 6), data), 2)
    assert kept(masks) == -(-sum(m.numel() for m in masks.values()) // 2)


def test_progress_and_the_last_line_go_to_stderr(capsys):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10))
    prune(model, "synflow", Probe((64,)), 100, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    last = (
        r"kept 222 of 22,200 weights; 22\d of them effective; connected; certified; compact would "
        r"leave \d{3} of 22,510 parameters"
    )
    assert re.fullmatch(last, err.splitlines()[-1])
