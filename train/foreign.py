"""Networks from elsewhere: torchvision's, and those of a user's `package.module:factory`."""

import importlib
import inspect
from collections.abc import Callable

import torch
import torchvision
from torch import nn

Shape = tuple[int, int, int]  # channels, height, width


def from_torchvision(name: str, classes: int) -> nn.Module:
    """A classification model of torchvision without pretrained weights or auxiliary heads."""
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    extra |= {"aux_logits": False} if extra else {}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **extra)


def factory(name: str) -> Callable[..., nn.Module]:
    """The user's function; ValueError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
        inspect.signature(make)
    except Exception as error:  # the user's module may fail in any way
        raise ValueError(f"model {name!r} is no factory that can be imported: {error}") from error
    return make


def custom(name: str, shape: Shape, classes: int) -> nn.Module:
    """What the factory makes; it is told what it asks for, and must give (n, classes) logits."""
    make = factory(name)
    offered = {"num_classes": classes, "in_channels": shape[0], "input_shape": shape}
    wanted = inspect.signature(make).parameters
    try:
        model = make(**{key: value for key, value in offered.items() if key in wanted})
    except Exception as error:  # as may the factory
        raise ValueError(f"model {name!r} cannot be made: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {name!r} made a {type(model).__name__}, not a torch.nn.Module")
    return model


def check_output(model: nn.Module, shape: Shape, classes: int) -> None:
    """Raise ValueError unless two images of `shape` give logits of shape (2, classes)."""
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *shape))
    except Exception as error:  # the user's model may fail in any way
        raise ValueError(f"the model does not take images of shape {shape}: {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"two images give {given} and not logits of shape {(2, classes)}")
