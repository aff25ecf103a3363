"""Sums over channels, cuts made of layers, and the command `diagnose`."""

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cli import main
from prune.diagnosis.conservation import layer_cuts
from prune.diagnosis.order import Layout, by_channel
from prune.diagnosis.trace import INPUT, Operation

# The parts


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_by_channel_follows_the_layer(kind, groups):
    """The sums are the responses of a layer with these weights, by input and output channel."""
    conv = kind(4, 6, 3, groups=groups, bias=False)
    scores = torch.arange(conv.weight.numel()).double().reshape(conv.weight.shape)
    conv.weight.data.copy_(scores)
    into, out = by_channel(scores, Layout(groups, kind is nn.ConvTranspose1d))
    conv.double()
    for j in range(4):
        x = torch.zeros(1, 4, 3, dtype=torch.float64)
        x[0, j, 1] = 1
        assert conv(F.pad(x, (2, 2)) if kind is nn.Conv1d else x).sum().item() == out[j]
    ones = torch.ones(1, 4, 1, dtype=torch.float64)
    y = conv(F.pad(ones, (2, 2)) if kind is nn.Conv1d else ones)
    assert y.sum((0, 2)).tolist() == into.tolist()


@st.composite
def networks_of_layers(draw):
    """Layers that each read the input or earlier layers, and an output that reads some."""
    count = draw(st.integers(1, 5))
    names = [INPUT, *map(str, range(count))]
    reads = [draw(st.sets(st.sampled_from(names[: i + 1]), min_size=1)) for i in range(count)]
    at_output = draw(st.sets(st.sampled_from(names), min_size=1))
    weighted = [Operation("linear", "", (str(i),), frozenset(r), 0.0) for i, r in enumerate(reads)]
    return weighted, frozenset(at_output)


def paths(weighted, at_output):
    """Every path from the input to the output, as the set of its layers."""
    ways = {INPUT: [frozenset()]}
    for o in weighted:
        (name,) = o.layers
        ways[name] = [way | {name} for source in o.reads for way in ways[source]]
    return [way for name in at_output for way in ways[name]]


@given(networks_of_layers())
def test_each_path_crosses_a_cut_exactly_once(network):
    """C(S) of layers, S closed downstream (Theorem 2, Eq. 7)."""
    for cut in layer_cuts(*network):
        assert all(len(cut & way) == 1 for way in paths(*network))


@given(networks_of_layers())
def test_every_layer_that_is_a_cut_is_found(network):
    """If all layers lead to the output, those on every path, and no others, are cuts alone."""
    weighted, at_output = network
    ways = paths(weighted, at_output)
    if set().union(*ways) < {o.layers[0] for o in weighted}:
        return
    on_every_path = {name for name in set().union(*ways) if all(name in way for way in ways)}
    cuts = layer_cuts(weighted, at_output)
    assert {name for (name,) in (c for c in cuts if len(c) == 1)} == on_every_path


# The command


def test_the_command_prints_the_diagnosis_without_data(tmp_path, monkeypatch):
    """R, residuals, shares and last the verdict; exit code 0; no file is read or written."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        main, ["diagnose", "--model", "resnet20", "--dataset", "cifar100", "--width", "0.25"]
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("resnet20 for cifar100: 18,") and "R = " in lines[0]
    starts = ("neuron-wise", "cut-wise", "single cuts", "read as scale", "scores")
    assert all(line.startswith(start) for line, start in zip(lines[1:], starts))
    assert "conv1.weight, fc.weight" in lines[3]
    assert "21 batch_norm" in lines[4]
    assert "0.00% zero, 0.00% negative, 0.00% not finite" in lines[5]
    assert lines[-1].startswith("The guarantees (Theorems 1 to 4) hold")
    assert not list(tmp_path.iterdir())


def test_the_command_lists_the_layers_that_cause_trouble():
    """Each layer with zero, negative or non-finite scores has a line: shares and cause."""
    result = CliRunner().invoke(main, ["diagnose", "--model", "torchvision:resnet18"])
    assert result.exit_code == 0, result.output
    row = next(r for r in result.output.splitlines() if "layer4.1.conv1.weight" in r)
    assert row.split()[1:4] == ["88.89%", "0.00%", "0.00%"]
    assert row.endswith("8 of 9 kernel taps read only padding")


@pytest.mark.parametrize("option", ["model", "dataset", "init", "score-dtype", "device"])
def test_bad_options_are_refused(option):
    """The exit code is 2, and the message names the value."""
    result = CliRunner().invoke(main, ["diagnose", f"--{option}", "nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
