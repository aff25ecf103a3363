"""bfloat16, channels_last and torch.compile: what they change in a network, and what not."""

import json
import resource
import sys

import pytest
import torch
from torch import nn

from experiments.resolve import resolve
from experiments.runs.run import run
from proofs_tests.tools.runs import configured
from prune import Probe, apply, prune
from prune.held import mask_of
from train.models import build
from train.prepared import Autocast, _settle_cuda, best_precision, plain, prepared

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (3, 32, 32)


def pruned() -> nn.Module:
    torch.manual_seed(0)
    model = build("resnet18", SHAPE, 10, width=1 / 16)
    apply(model, prune(model, "magnitude", Probe(SHAPE), compression=10))
    return model


def test_a_network_in_float32_is_used_as_it_is():
    model = pruned()
    assert prepared(model) is model and plain(model) is model


def test_bfloat16_products_float32_logits_weights_and_gradients():
    model = pruned()
    net = prepared(model, "bfloat16")
    seen = []
    model.layer1.register_forward_hook(lambda layer, x, y: seen.append(y.dtype))
    logits = net(torch.randn(2, *SHAPE))
    logits.sum().backward()
    assert seen == [torch.bfloat16] and logits.dtype == torch.float32
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())


def test_bfloat16_is_near_float32():
    """8 bits of a product's 24 are kept: 18 layers add up to a few percent."""
    model, x = pruned().eval(), torch.randn(4, *SHAPE)
    exact = model(x)
    near = prepared(model, "bfloat16")(x)
    assert 0 < (near - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_a_step_on_a_cpu_uses_the_memory_of_the_step_before():
    """Otherwise each step gets thousands of pages from the system."""
    model = prepared(build("vgg11", SHAPE, 10, width=1 / 8))
    images = torch.randn(64, *SHAPE)
    for _ in range(8):
        model(images).sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        model(images).sum().backward()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000


@pytest.mark.parametrize("width, layout", [(1 / 8, "contiguous_format"), (1 / 4, "channels_last")])
def test_a_network_that_would_overrun_its_memory_keeps_its_layout(width, layout):
    """The shortcut of 8 channels is a strided 1x1 convolution, which oneDNN computes wrongly."""
    model = prepared(build("resnet18", SHAPE, 10, width=width))
    assert model.layer1[0].conv1.weight.is_contiguous(memory_format=getattr(torch, layout))


def test_channels_last_goes_with_bfloat16_for_weights_and_masks():
    model = pruned()
    prepared(model, "bfloat16")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            for tensor in (layer.weight, mask_of(layer.weight)):
                assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_names_parameters_and_masks_stay_what_they_were():
    model = pruned()
    keys, before = list(model.state_dict()), dict(model.named_parameters())
    net = prepared(model, "bfloat16", compile=True)
    assert plain(net) is model and isinstance(net, Autocast)
    assert list(plain(net).state_dict()) == keys
    assert all(p is before[name] for name, p in plain(net).named_parameters())


def test_compile_is_asked_of_the_network_that_is_trained(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda net: asked.append(net))
    assert asked == [prepared(pruned(), "bfloat16", compile=True)]
    prepared(pruned())
    assert len(asked) == 1


def test_the_default_is_what_the_device_gains_from(monkeypatch):
    """bfloat16 from Ampere on (a CUDA device is pretended)."""
    assert best_precision("cpu") == "float32"
    for capability, expected in (((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert best_precision("cuda:0") == expected


def test_on_cuda_products_are_whole_and_repeat_themselves(monkeypatch):
    """No TF32, no algorithm that adds in another order each time."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    _settle_cuda()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32


def test_precision_and_compilation_are_part_of_a_run(tmp_path):
    """They change its last bits, so each is a run of its own, and the result says which."""
    plain_run = configured(tmp_path)
    near, compiled = (
        configured(tmp_path, **given) for given in ({"precision": "bfloat16"}, {"compile": True})
    )
    assert configured(tmp_path, precision="float32") == plain_run
    assert len({config.directory for config in (plain_run, near, compiled)}) == 3
    result = json.loads(run(near).read_text())
    assert result["config"]["precision"] == "bfloat16" and result["final"]["top1"] > 80


@pytest.mark.parametrize(
    "given",
    [
        {"precision": "float16"},
        {"precision": "bfloat16", "epochs": 0},
        {"compile": True, "epochs": 0},
        {"rewind": False},
        {"cycles": 2, "epochs": 0},
        {"cycles": -1},
    ],
)
def test_what_would_do_nothing_or_is_unknown_is_refused(given):
    with pytest.raises(ValueError, match=r"--(precision|compile|rewind|cycles)"):
        resolve({"device": "cpu", **given})
