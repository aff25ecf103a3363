"""Check VGG and ResNet against torchvision, or against a literal transcription.

Both networks get the same weights. Outputs and all gradients are compared in float64.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torchvision.models import resnet, vgg

from experiments.checks.outcome import expect
from train.models import build, scaled

TOLERANCE = 1e-10  # relative to the largest gradient; another order of summation changes 1e-14
Forward = Callable[[dict[str, Tensor], Tensor], Tensor]  # (tensors by name, images) -> logits
Case = tuple[str, int, float, Forward]  # model, pixels, width, the forward pass to compare with
LITERAL_VGG = {  # the authors' layers without the last pooling (App. 12.2; "M": maximum of 2x2)
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512],
    "vgg16": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512],
}


def architectures(device: torch.device) -> str:
    """Compare VGGs and ResNets, narrow ones where that suffices."""
    cases = [*_torchvision_cases(), *_transcribed_cases()]
    largest = 0.0
    for name, pixels, width, forward in cases:
        difference = _difference(name, pixels, width, forward, device)
        expect(difference < TOLERANCE, f"{name} at {pixels} px is off by {difference:.0e}")
        largest = max(largest, difference)
    return f"{len(cases)} networks; largest difference {largest:.0e}"


def _torchvision_cases() -> Iterator[Case]:
    yield "resnet18", 224, 1, _resnet(small=False)
    yield "resnet18", 32, 1, _resnet(small=True)
    yield "vgg11", 224, 1 / 16, _vgg("A", 1 / 16, batch_norm=True)
    yield "vgg16", 224, 1 / 16, _vgg("D", 1 / 16, batch_norm=True)
    yield "vgg19", 224, 1 / 16, _vgg("E", 1 / 16, batch_norm=True)
    yield "vgg19-plain", 224, 1 / 16, _vgg("E", 1 / 16, batch_norm=False)


def _transcribed_cases() -> Iterator[Case]:
    for name in LITERAL_VGG:
        yield name, 32, 1 / 8, partial(literal_vgg, LITERAL_VGG[name], F.avg_pool2d)
        yield name, 64, 1 / 8, partial(literal_vgg, LITERAL_VGG[name], F.max_pool2d)
    for name in ("resnet18", "wrn18", "resnet20", "resnet56"):
        pixels = 64 if name == "wrn18" else 32
        yield name, pixels, 1 / 4, literal_resnet


def _resnet(small: bool) -> Forward:
    with torch.device("meta"):
        other = resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2], num_classes=10)
        if small:  # the usual stem below 224 px
            other.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            other.maxpool = nn.Identity()
    return partial(functional_call, other)


def _vgg(letter: str, width: float, batch_norm: bool) -> Forward:
    layers = [c if c == "M" else scaled(c, width) for c in vgg.cfgs[letter]]
    hidden = scaled(4096, width)
    sizes = {0: (layers[-2] * 49, hidden), 3: (hidden, hidden), 6: (hidden, 10)}
    with torch.device("meta"):
        features = vgg.make_layers(layers, batch_norm)
        other = vgg.VGG(features, num_classes=10, init_weights=False, dropout=0)
        for place, size in sizes.items():
            other.classifier[place] = nn.Linear(*size)
    return partial(functional_call, other)


def literal_vgg(layers: list, pool: Callable, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """Run the authors' VGG without dropout, on tensors in the order of their layers."""
    rest = iter(tensors.values())
    for layer in layers:
        if layer == "M":
            x = F.max_pool2d(x, 2, 2)
            continue
        x = F.conv2d(x, next(rest), next(rest), stride=1, padding=1)
        scale, shift, mean, var, _ = (next(rest) for _ in range(5))
        x = F.relu(F.batch_norm(x, mean, var, scale, shift, training=True))
    x = pool(x, 2).flatten(1)
    head = list(rest)
    for weight, bias in zip(head[:-2:2], head[1:-2:2], strict=True):
        x = F.relu(F.linear(x, weight, bias))
    weight, bias = head[-2:]
    return F.linear(x, weight, bias)


def literal_resnet(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """Run basic blocks (He et al., 2016) after a 3x3 stem; stages 2, 3, ... halve the image."""

    def conv_and_norm(x: Tensor, conv: str, norm: str, stride: int, padding: int) -> Tensor:
        x = F.conv2d(x, tensors[f"{conv}.weight"], None, stride, padding)
        mean, var, scale, shift = (
            tensors[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift, training=True)

    x = F.relu(conv_and_norm(x, "conv1", "bn1", 1, 1))
    names = dict.fromkeys(name.rpartition(".conv1.")[0] for name in tensors)
    for block in filter(None, names):
        stride = 2 if block.endswith(".0") and block != "layer1.0" else 1
        y = F.relu(conv_and_norm(x, f"{block}.conv1", f"{block}.bn1", stride, 1))
        y = conv_and_norm(y, f"{block}.conv2", f"{block}.bn2", 1, 1)
        if f"{block}.downsample.0.weight" in tensors:
            x = conv_and_norm(x, f"{block}.downsample.0", f"{block}.downsample.1", stride, 0)
        x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), tensors["fc.weight"], tensors["fc.bias"])


def _difference(
    name: str, pixels: int, width: float, other: Forward, device: torch.device
) -> float:
    """Find the largest difference of outputs and gradients, relative to the largest of them."""
    torch.manual_seed(0)
    model = build(name, (3, pixels, pixels), 10, width).double().to(device).train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.float64).to(device)
    weights = torch.randn(2, 10, dtype=torch.float64).to(device)
    copied = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = [key for key, _ in model.named_parameters()]
    theirs = _logits_and_gradients(other, copied, names, x, weights)
    forward = partial(functional_call, model)
    ours = _logits_and_gradients(forward, dict(model.state_dict()), names, x, weights)
    largest = max(t.abs().max().item() for t in theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) / largest


def _logits_and_gradients(
    forward: Forward, tensors: dict[str, Tensor], names: list[str], x: Tensor, weights: Tensor
) -> list[Tensor]:
    """Compute the logits, and the gradients of their weighted sum for the named tensors."""
    theta = {name: tensors[name].detach().requires_grad_() for name in names}
    logits = forward(tensors | theta, x)
    return [logits.detach(), *torch.autograd.grad((logits * weights).sum(), list(theta.values()))]
