"""The networks of the paper (App. 12.2), and the others with a name on the command line.

Tensor names follow torchvision's: `features.*` and `classifier.*` in a VGG, `conv1`, `layer1.0.*`,
`fc` in a ResNet.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from train.foreign import Shape, custom, factory, from_timm, from_torchvision, timm
from train.initial import INITS
from train.near import near

VGG = {  # output channels of the 3x3 convolutions; "M" halves the image
    11: [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512],
    16: [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3],
    19: [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4],
}


def scaled(channels: int, width: float) -> int:
    """round(w c), at least 1."""
    return max(1, round(width * channels))


def mlp(shape: Shape, classes: int, width: float = 1) -> nn.Module:
    """inputs-300-100-classes with biases (LeNet-300-100)."""
    inputs = shape[0] * shape[1] * shape[2]
    first, second = scaled(300, width), scaled(100, width)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, classes),
    )


class Vgg(nn.Module):
    """3x3 convolutions with biases, ReLU and pooling in a row, then a classifier."""

    def __init__(self, features: list[nn.Module], classifier: nn.Module):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg(depth: int, shape: Shape, classes: int, width: float = 1, batch_norm: bool = True):
    """VGG-11/16/19. Its head depends on the image: see `_vgg_head`.

    Raises:
        ValueError: Unless the image is 32, 64 or 224 pixels wide and high.
    """
    if shape[1] != shape[2] or shape[1] not in (32, 64, 224):
        raise ValueError(f"VGG takes images of 32, 64 or 224 px, not {shape[1]} x {shape[2]}")
    layers, channels = [], shape[0]
    for c in VGG[depth]:
        if c == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        before, channels = channels, scaled(c, width)
        layers.append(nn.Conv2d(before, channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
    # The lottery VGG of 32 px averages the last 2x2 pixels; the others take a fifth maximum.
    layers.append(nn.AvgPool2d(2) if shape[1] == 32 else nn.MaxPool2d(2, 2))
    return Vgg(layers, _vgg_head(shape[1], channels, classes, width))


def _vgg_head(pixels: int, channels: int, classes: int, width: float) -> nn.Module:
    """One linear layer at 32 px; three with dropout at 64 px (1024 wide) and 224 px (4096)."""
    if pixels == 32:
        return nn.Linear(channels, classes)
    hidden = scaled(1024 if pixels == 64 else 4096, width)
    return nn.Sequential(
        nn.Linear(channels * (pixels // 32) ** 2, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(hidden, classes),
    )


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (1x1 convolution where the shape changes)."""

    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or before != channels:
            shortcut = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """A stem, then `blocks` residual blocks for each entry of `channels`, then one linear layer."""

    def __init__(self, channels: list[int], blocks: int, shape: Shape, classes: int):
        super().__init__()
        large = shape[1] == 224  # ImageNet's stem: 224 -> 56 px before the first block
        stem = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = nn.Conv2d(shape[0], channels[0], *stem, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.stages, before = len(channels), channels[0]
        for i, c in enumerate(channels):
            first = Block(before, c, stride=1 if i == 0 else 2)
            self.add_module(
                f"layer{i + 1}", nn.Sequential(first, *(Block(c, c, 1) for _ in range(blocks - 1)))
            )
            before = c
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(shape: Shape, classes: int, width: float = 1) -> nn.Module:
    """ResNet-18, with a 3x3 stem without pooling below 224 px. `wrn18` is width = 2."""
    return ResNet([scaled(c, width) for c in (64, 128, 256, 512)], 2, shape, classes)


def wrn18(shape: Shape, classes: int, width: float = 1) -> nn.Module:
    """WideResNet-18: every layer of ResNet-18 twice as wide, from the stem on.

    The authors' "WideResNet-18" ignored its width and was ResNet-18.
    """
    return resnet18(shape, classes, 2 * width)


def cifar_resnet(depth: int, shape: Shape, classes: int, width: float = 1) -> nn.Module:
    """ResNet-20/32/56/110 of 16, 32, 64 channels; 1x1 convolutions where the shape changes."""
    return ResNet([scaled(c, width) for c in (16, 32, 64)], (depth - 2) // 6, shape, classes)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "vgg11": partial(vgg, 11),
    "vgg16": partial(vgg, 16),
    "vgg19": partial(vgg, 19),
    "vgg19-plain": partial(vgg, 19, batch_norm=False),
    "resnet18": resnet18,
    "wrn18": wrn18,
    "resnet20": partial(cifar_resnet, 20),
    "resnet32": partial(cifar_resnet, 32),
    "resnet56": partial(cifar_resnet, 56),
    "resnet110": partial(cifar_resnet, 110),
}


def input_shape(model: str, shape: Shape) -> Shape:
    """The shape of a model's input: 28-px images are padded to 32; torchvision gets 3 channels."""
    channels, height, width = shape
    if model.startswith("torchvision:"):
        channels = 3
    pad = height == 28 and ":" not in model and model != "mlp"
    return (channels, 32, 32) if pad else (channels, height, width)


def build(name: str, shape: Shape, classes: int, width: float = 1, init: str = "paper"):
    """Build the network `name` for inputs of `shape` (after `input_shape`), and initialise it.

    Args:
        name: A name in MODELS, `torchvision:NAME`, `timm:NAME`, which keeps the weights that timm
            makes, or `package.module:factory`. A factory is called with those of `num_classes`,
            `in_channels`, `input_shape` that are names of its parameters; its network keeps its
            weights.
        width: Scales every hidden width to round(w c); only for names in MODELS.
        init: A name in INITS.

    Raises:
        ValueError: If there is no such model, or it does not fit the arguments.
    """
    check_name(name)
    if name in MODELS:
        model = MODELS[name](shape, classes, width=width)
    elif width != 1:
        raise ValueError(f"width scales the models {', '.join(MODELS)}, not {name!r}")
    elif name.startswith("torchvision:"):
        model = from_torchvision(name.removeprefix("torchvision:"), classes)
    elif name.startswith("timm:"):
        return from_timm(name.removeprefix("timm:"), shape, classes)
    else:
        return custom(name, shape, classes)
    INITS[init](model, name)
    return model


def check_name(name: str) -> None:
    """Raise ValueError unless `build` has a model of this name (a factory is not yet called)."""
    if name.startswith("torchvision:"):
        plain = name.removeprefix("torchvision:")
        if name not in (theirs := _of_torchvision()):
            raise ValueError(
                f"torchvision has no classification model {plain!r}{near(name, theirs)}"
            )
    elif name.startswith("timm:"):
        if not timm().is_model(name.removeprefix("timm:")):
            raise ValueError(f"timm has no model {name.removeprefix('timm:')!r}")
    elif ":" in name:
        factory(name)
    elif name not in MODELS:
        raise ValueError(
            f"model {name!r} is unknown; choose from {', '.join(MODELS)}, torchvision:NAME, "
            f"timm:NAME, package.module:factory{near(name, [*MODELS, *_of_torchvision()], True)}"
        )


def _of_torchvision() -> list[str]:
    """The names of torchvision's classification models, with the prefix."""
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models(models)]
