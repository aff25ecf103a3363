"""(ii) VGG and ResNet against torchvision's and, where it has none, a literal transcription.

Weights are copied, everything is float64; outputs and all gradients are compared.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torchvision.models import resnet, vgg

from experiments.checks.verdict import expect
from train.models import build, scaled

TOLERANCE = 1e-10  # of the largest gradient; the same sums in another order differ by 1e-14
Forward = Callable[[dict[str, Tensor], Tensor], Tensor]  # (tensors by name, images) -> logits
Case = tuple[str, int, float, Forward]  # model, pixels, width, the other forward pass
LITERAL_VGG = {  # FACTS.md 2: the authors' layers, without the last pooling
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512],
    "vgg16": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512],
}


def architectures(device: torch.device) -> str:
    """Every VGG and ResNet, narrow where that suffices, computes what the other one does."""
    cases = [*_of_torchvision(), *_transcribed()]
    worst = 0.0
    for name, pixels, width, forward in cases:
        difference = _difference(name, pixels, width, forward, device)
        expect(difference < TOLERANCE, f"{name} at {pixels} px is off by {difference:.0e}")
        worst = max(worst, difference)
    return f"{len(cases)} networks; largest difference {worst:.0e}"


def _of_torchvision() -> Iterator[Case]:
    yield "resnet18", 224, 1, _resnet(small=False)
    yield "resnet18", 32, 1, _resnet(small=True)
    yield "vgg11", 224, 1 / 16, _vgg("A", 1 / 16, batch_norm=True)
    yield "vgg16", 224, 1 / 16, _vgg("D", 1 / 16, batch_norm=True)
    yield "vgg19", 224, 1 / 16, _vgg("E", 1 / 16, batch_norm=True)
    yield "vgg19-plain", 224, 1 / 16, _vgg("E", 1 / 16, batch_norm=False)


def _transcribed() -> Iterator[Case]:
    for name in LITERAL_VGG:
        yield name, 32, 1 / 8, partial(literal_vgg, LITERAL_VGG[name], F.avg_pool2d)
        yield name, 64, 1 / 8, partial(literal_vgg, LITERAL_VGG[name], F.max_pool2d)
    for name in ("resnet18", "wrn18", "resnet20", "resnet56"):
        yield name, 64 if name == "wrn18" else 32, 1 / 4, literal_resnet


def _resnet(small: bool) -> Forward:
    with torch.device("meta"):
        other = resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2], num_classes=10)
        if small:  # the stem that is usual below 224 px
            other.conv1, other.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
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
    """The authors' VGG without dropout: the tensors are used in the order of their names."""
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
    for weight, bias in zip(head[:-2:2], head[1:-2:2]):
        x = F.relu(F.linear(x, weight, bias))
    return F.linear(x, *head[-2:])


def literal_resnet(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """He et al.'s basic blocks behind a 3x3 stem; a stage after the first halves the image."""

    def unit(x: Tensor, conv: str, norm: str, stride: int, padding: int) -> Tensor:
        x = F.conv2d(x, tensors[f"{conv}.weight"], None, stride, padding)
        mean, var, scale, shift = (
            tensors[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift, training=True)

    x = F.relu(unit(x, "conv1", "bn1", 1, 1))
    names = dict.fromkeys(name.rpartition(".conv1.")[0] for name in tensors)
    for block in filter(None, names):
        stride = 2 if block.endswith(".0") and block != "layer1.0" else 1
        y = F.relu(unit(x, f"{block}.conv1", f"{block}.bn1", stride, 1))
        y = unit(y, f"{block}.conv2", f"{block}.bn2", 1, 1)
        if f"{block}.downsample.0.weight" in tensors:
            x = unit(x, f"{block}.downsample.0", f"{block}.downsample.1", stride, 0)
        x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), tensors["fc.weight"], tensors["fc.bias"])


def _difference(
    name: str, pixels: int, width: float, other: Forward, device: torch.device
) -> float:
    """Largest difference of outputs and gradients, relative to the largest of them."""
    torch.manual_seed(0)
    model = build(name, (3, pixels, pixels), 10, width).double().to(device).train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.float64).to(device)
    weigh = torch.randn(2, 10, dtype=torch.float64).to(device)
    copied = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    names = [key for key, _ in model.named_parameters()]
    theirs = _outcome(other, copied, names, x, weigh)
    ours = _outcome(partial(functional_call, model), dict(model.state_dict()), names, x, weigh)
    largest = max(t.abs().max().item() for t in theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) / largest


def _outcome(
    forward: Forward, tensors: dict[str, Tensor], names: list[str], x: Tensor, weigh: Tensor
) -> list[Tensor]:
    """The logits, and the gradients of their weighted sum."""
    theta = {name: tensors[name].detach().requires_grad_() for name in names}
    logits = forward(tensors | theta, x)
    return [logits.detach(), *torch.autograd.grad((logits * weigh).sum(), list(theta.values()))]
