"""Small networks of other kinds, for images of 28 and 32 px: factories for `--model`.

`train.small:vit` and `train.small:mobilenet_v3` keep the initial weights that torch gives them.
"""

import torch
import torchvision
from torch import nn

from train.foreign import Shape

PATCH, DIM, HEADS, DEPTH = 4, 64, 4, 4


class Vit(nn.Module):
    """A vision transformer: patches of 4 x 4 pixels, pre-norm layers, the mean of all tokens."""

    def __init__(self, num_classes: int, input_shape: Shape):
        super().__init__()
        channels, height, width = input_shape
        self.patch = nn.Conv2d(channels, DIM, PATCH, PATCH)
        tokens = (height // PATCH) * (width // PATCH)
        self.position_bias = nn.Parameter(0.02 * torch.randn(1, tokens, DIM))
        layer = nn.TransformerEncoderLayer(
            DIM, HEADS, 2 * DIM, 0.0, "gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(DIM)
        self.encoder = nn.TransformerEncoder(layer, DEPTH, norm, enable_nested_tensor=False)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.position_bias
        return self.head(self.encoder(tokens).mean(1))


def vit(num_classes: int, input_shape: Shape) -> nn.Module:
    """A vision transformer of four layers of 64 features."""
    return Vit(num_classes, input_shape)


def mobilenet_v3(num_classes: int, in_channels: int) -> nn.Module:
    """torchvision's small MobileNetV3 at half its width; its first convolution has stride 1."""
    net = torchvision.models.mobilenet_v3_small(num_classes=num_classes, width_mult=0.5)
    first = net.features[0][0]
    net.features[0][0] = nn.Conv2d(in_channels, first.out_channels, 3, 1, 1, bias=False)
    return net
