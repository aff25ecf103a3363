"""Conservation beyond MLPs: convolutions, batch norm, pooling, residual blocks (Sec. 4).

`==` wherever numbers are exact (torch_strategies.py): then no tolerance hides a small leak.
"""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.torch_strategies import Network, Residual, batch, fill, networks
from prune import Probe, prunable, prune
from train.models import build


def synaptic_flow(network):
    """(R, scores) of an unpruned network."""
    model, shape = network
    steps = []
    prune(model, "synflow", Probe(shape), 1, steps=1, report=steps.append)
    return steps[0].R, steps[0].scores


def layers_of(model):
    """Name of weight -> layer, in the order of the names."""
    return {name: model.get_submodule(name.rpartition(".")[0]) for name in prunable(model)}


def into_channels(layer, S):
    """The scores that enter each output channel of a layer."""
    return S.transpose(0, 1 if isinstance(layer, nn.ConvTranspose2d) else 0).flatten(1).sum(1)


def out_of_channels(layer, S, channels):
    """The scores that leave each channel before a layer, many inputs of a linear one."""
    if isinstance(layer, nn.Linear):
        return S.sum(0).view(channels, -1).sum(1)
    if isinstance(layer, nn.ConvTranspose2d):
        return S.flatten(1).sum(1)
    return S.unflatten(0, (layer.groups, -1)).flatten(3).sum((1, 3)).flatten()


# Synaptic flow


@given(networks(residual=False))
def test_synaptic_flow_is_conserved_by_layers(network):
    """Every layer of a chain is a cut: its scores sum to R (Theorem 2).

    Stride, padding, dilation, groups, any pooling, trained batch norm and biases and all.
    """
    R, scores = synaptic_flow(network)
    assert [S.sum() for S in scores.values()] == [R] * len(scores)


@given(networks(residual=False))
def test_synaptic_flow_is_conserved_by_channels(network):
    """Flow into a channel equals flow out of it (Theorem 1): one neuron at many places."""
    _, scores = synaptic_flow(network)
    layers = layers_of(network.model)
    for below, above in pairwise(scores):
        entering = into_channels(layers[below], scores[below])
        leaving = out_of_channels(layers[above], scores[above], len(entering))
        assert entering.tolist() == leaving.tolist()


def branch_of(shortcut, names):
    """The weights of the branch beside a shortcut, by name."""
    return [n for n in names if n.startswith(shortcut.removesuffix("shortcut.weight") + "branch.")]


@given(networks())
def test_branch_and_shortcut_together_carry_all_flow(network):
    """A residual block is a cut of two parts: branch + shortcut = R (Theorem 2).

    So each is less where the other carries anything; a maximum may choose a pixel that only one
    of them reaches, if a convolution before them saw nothing but its padding.
    """
    R, scores = synaptic_flow(network)
    sums = {name: S.sum() for name, S in scores.items()}
    for shortcut in (name for name in sums if name.endswith("shortcut.weight")):
        branch = [sums[name] for name in branch_of(shortcut, sums)]
        assert len(branch) == 2
        assert all(s + sums[shortcut] == R for s in branch)


def with_scored_shortcuts(model):
    """A copy whose identity shortcuts are 1x1 convolutions by 1, channel by channel."""
    model = copy.deepcopy(model)
    for block in model.modules():
        if isinstance(block, Residual) and isinstance(block.shortcut, nn.Identity):
            channels = next(block.branch.children())[0].in_channels
            block.shortcut = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
            nn.init.ones_(block.shortcut.weight)
    return model


@half_as_many
@given(networks())
def test_what_an_identity_carries_is_missing_in_its_branch(network):
    """Beside an identity a branch carries the rest; made visible, the two carry R (Theorem 2)."""
    R, scores = synaptic_flow(network)
    R_too, visible = synaptic_flow(network._replace(model=with_scored_shortcuts(network.model)))
    assert R_too == R
    assert all(torch.equal(visible[name], S) for name, S in scores.items())
    for shortcut in set(visible) - set(scores):
        for S in (scores[name].sum() for name in branch_of(shortcut, scores)):
            assert S + visible[shortcut].sum() == R


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_the_cuts_of_a_residual_network(name):
    """Stem, every block and the last layer carry R, a branch beside a shortcut less.

    Sums of normal weights in float64: relative 1e-12.
    """
    model = small(name)
    R, scores = synaptic_flow(Network(model, (3, 32, 32)))
    sums = {name: S.sum().item() / R for name, S in scores.items()}
    cuts = [sums["conv1.weight"], sums["fc.weight"]]
    for shortcut in (n for n in sums if "downsample" in n):
        block = shortcut.removesuffix("downsample.0.weight")
        branch = [sums[f"{block}conv{i}.weight"] for i in (1, 2)]
        cuts += [s + sums[shortcut] for s in branch]
        assert all(0 < s < 1 - 1e-3 for s in [*branch, sums[shortcut]])
    assert len(cuts) >= 6
    assert cuts == pytest.approx([1] * len(cuts), rel=1e-12)


def small(name, width=0.125):
    """An ordinary network with few channels, freshly initialised."""
    torch.manual_seed(0)
    return build(name, (3, 32, 32), 10, width)


# Synaptic saliency of any R


def saliency(model, x, dR_dy):
    """dR/dtheta * theta (Eq. 1) of all parameters, and <dR/dy, y>, for the R with that dR/dy."""
    model = model.double().eval()
    y = model(x)
    R = (y * dR_dy).sum()
    names, parameters = zip(*model.named_parameters())
    grads = torch.autograd.grad(R, parameters, allow_unused=True, materialize_grads=True)
    return {n: (g * p).detach() for n, g, p in zip(names, grads, parameters)}, R.item()


@st.composite
def cases(draw, **kwargs):
    """(model, x, dR_dy): a network, a batch, a gradient in its outputs, which stands for any R."""
    model, shape = draw(networks(**kwargs))
    x = batch(shape, draw(st.integers(0, 2**16)))
    return model, x, batch((model[-1].out_features,), draw(st.integers(0, 2**16)), len(x))


@given(cases(residual=False, biases=False))
def test_saliency_is_conserved_by_layers(case):
    """Over every layer of a chain it sums to <dR/dy, y>, for any R and any input (Theorem 2).

    Batch norm in eval mode, before it has seen means, is a factor for each channel.
    """
    S, R = saliency(*case)
    assert all(S[name].sum() == R for name in prunable(case[0]))


@given(cases(residual=False, biases=False))
def test_saliency_is_conserved_by_channels(case):
    """Saliency into a channel equals saliency out of it (Theorem 1)."""
    S, _ = saliency(*case)
    layers = layers_of(case[0])
    for below, above in pairwise(layers):
        entering = into_channels(layers[below], S[below])
        leaving = out_of_channels(layers[above], S[above], len(entering))
        assert entering.tolist() == leaving.tolist()


@given(cases(biases=False))
def test_saliency_of_branch_and_shortcut_is_conserved(case):
    """Together they sum to <dR/dy, y>; with signs, neither need be less (Theorem 2)."""
    S, R = saliency(*case)
    for shortcut in (name for name in S if name.endswith("shortcut.weight")):
        branch = branch_of(shortcut, layers_of(case[0]))
        assert all(S[name].sum() + S[shortcut].sum() == R for name in branch)


def with_means_in_beta(model):
    """The same function with beta = beta - gamma * mean / sqrt(var + eps), and means of 0."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            norm.bias.data -= scale.detach() * norm.running_mean
            norm.running_mean.zero_()
    return model


@given(cases(residual=False))
def test_after_training_layer_and_shifts_downstream_are_conserved(case):
    """A bias is a weight from an input of 1, and so is what trained batch norm adds (Theorem 2).

    Over a layer and every shift after it, S sums to <dR/dy, y>. The shift of batch norm is
    beta - gamma * mean / sqrt(var + eps); its scale gamma / sqrt(var + eps) does no harm.
    """
    model, x, dR_dy = case
    expected = model.double().eval()(x)
    model = with_means_in_beta(model)
    assert torch.equal(model(x), expected)
    S, R = saliency(model, x, dR_dy)
    downstream = 0
    for name in reversed(S):  # from the output back: shifts add up until the layer before them
        if name.endswith("bias"):
            downstream += S[name].sum()
        elif name in layers_of(model):
            assert S[name].sum() + downstream == R


def trained(model, steps=20):
    """The model after a few steps of ordinary training, so with statistics of its own."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.train().parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        images = torch.randn(16, 3, 32, 32, generator=generator) + 1
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(16) % 10).backward()
        optimizer.step()
    return model


def test_synaptic_flow_is_conserved_before_and_after_training():
    """It reads |gamma| / sqrt(var + eps) and no shift, so training changes nothing (Theorem 2).

    Sums of trained weights in float64: relative 1e-12.
    """
    model = small("vgg11")
    for net in (model, trained(model)):
        R, scores = synaptic_flow(Network(net, (3, 32, 32)))
        assert [S.sum().item() / R for S in scores.values()] == pytest.approx([1] * 9, rel=1e-12)
    assert not torch.equal(model.features[1].running_mean, torch.zeros(8))


def test_training_mode_does_not_conserve():
    """Batch norm then divides by its own input's size: whatever its layer's scale, R is the same.

    So that layer's saliency is 0 by Euler's theorem (up to eps: 1e-3), and not <dR/dy, y>: scores
    are those of eval mode (Sec. 4 speaks of a linear batch norm).
    """
    torch.manual_seed(0)
    conv, last = nn.Conv2d(2, 3, 3, bias=False), nn.Linear(3, 2, bias=False)
    model = nn.Sequential(conv, nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(*model, nn.Flatten(), last).double()
    R = model.train()(torch.randn(8, 2, 6, 6).double()).square().sum()
    R.backward()
    assert abs((conv.weight.grad * conv.weight).sum()) < 1e-3 * R
    # <dR/dy, y> = 2 R, but for the rounding of float64 sums
    torch.testing.assert_close((last.weight.grad * last.weight).sum(), 2 * R)


# What breaks conservation


@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Softplus()])
def test_conservation_needs_homogeneous_units(layer):
    """phi(z) = phi'(z) z fails, and the layers' sums differ by more than rounding (Theorem 1)."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), layer, nn.Linear(4, 2, bias=False))
    fill(model, seed=0)
    S, R = saliency(model, torch.ones(1, 3).double(), torch.ones(1, 2).double())
    first, last = (S[name].sum().item() for name in prunable(model))
    assert last == pytest.approx(R)
    assert first != pytest.approx(R, rel=1e-3)
