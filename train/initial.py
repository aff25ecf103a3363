"""Initial weights: of the paper's text, or of the authors' code.

Where the two differ: experiments/figures/published/DEPARTURES.md, rows 3 and 15.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    return (m for m in model.modules() if isinstance(m, nn.Linear | _ConvNd))


def paper(model: nn.Module, name: str) -> None:
    """Kaiming normal (fan_in) for every conv and linear weight, zero biases (App. 12.2)."""
    for layer in _layers(model):
        nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def published(model: nn.Module, name: str) -> None:
    """The initial weights of the authors' code, model by model.

    VGG with one linear layer (32 px): as `paper`. VGG with three: convolutions Kaiming normal
    (fan_out), linear N(0, 0.01). ResNet-18: convolutions Kaiming normal (fan_out), and the
    linear layer keeps PyTorch's uniform weights and biases.

    Raises:
        ValueError: For a model without published numbers.
    """
    if not name.startswith("vgg") and name not in ("resnet18", "wrn18"):
        raise ValueError(f"init 'published' is known for VGG, resnet18 and wrn18, not for {name}")
    layers = list(_layers(model))
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if name.startswith("vgg") and len(linear) == 1:
        paper(model, name)
        return
    for layer in layers:
        if layer not in linear:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        elif name.startswith("vgg"):
            nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None and not (layer in linear and "vgg" not in name):
            nn.init.zeros_(layer.bias)


INITS = {"paper": paper, "published": published}
