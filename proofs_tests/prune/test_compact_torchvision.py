"""`compact` on networks of torchvision: equal outputs, less left, free of this project."""

import pickle

import pytest
import torch
import torchvision
from torch import Tensor, nn

from proofs_tests.prune.test_compact import same, size
from proofs_tests.prune.test_compact_joined import damaged
from prune.compact import compact

MODELS = {  # name -> the side of the image, and the part of the parameters that is left at most
    "shufflenet_v2_x0_5": (64, 0.7),
    "mobilenet_v3_small": (64, 0.65),
    "squeezenet1_1": (64, 0.6),
    "regnet_y_400mf": (64, 0.88),
    "vit": (32, 0.9),
    "alexnet": (96, 0.5),
    "convnext_tiny": (64, 0.7),
    "densenet121": (64, 0.6),
    "efficientnet_b0": (64, 0.83),
    "googlenet": (64, 0.6),
    "inception_v3": (96, 0.65),
    "mnasnet0_5": (64, 0.65),
    "mobilenet_v2": (64, 0.64),
    "resnet18": (64, 0.74),
    "resnext50_32x4d": (64, 0.85),
    "vgg11_bn": (64, 0.53),
}
FAST = list(MODELS)[:5]
SCRIPTED = ("squeezenet1_1", "vit", "shufflenet_v2_x0_5", "resnet18", "resnext50_32x4d")


def lively(model: nn.Module, x: Tensor) -> nn.Module:
    """Give batch norms the statistics of their inputs, disturbed, so that outputs depend on x."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        model.train()(x)
        for norm in norms:
            norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= 0.5 + torch.rand(norm.num_features)
    return model.eval()


def network(name: str) -> nn.Module:
    if name == "vit":
        vit = torchvision.models.VisionTransformer(32, 8, 2, 4, 64, 128, num_classes=10)
        nn.init.normal_(vit.heads.head.weight)
        return vit
    more = (
        {"init_weights": False, "aux_logits": False} if "google" in name or "incep" in name else {}
    )
    return torchvision.models.get_model(name, num_classes=10, **more)


@pytest.mark.parametrize(
    "name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS if n not in FAST)]
)
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchvision(name):
    torch.manual_seed(0)
    side, part = MODELS[name]
    x = torch.randn(8, 3, side, side).double() * torch.arange(1, 9).view(8, 1, 1, 1)
    model = lively(damaged(network(name), 0, 0.2), x)
    small = compact(model, torch.ones(2, 3, side, side).double())
    assert same(model, small, x) and size(small) < part * size(model)
    with torch.no_grad():
        y = model(x)
    assert y.std(0).max() > 1e-3 * y.abs().max()  # it depends on the image
    assert b"prune" not in pickle.dumps(small)
    if name in SCRIPTED:
        assert same(small, torch.jit.script(small), x)
