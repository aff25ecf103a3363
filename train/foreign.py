"""Networks from elsewhere: of torchvision, of timm, and of a user's `package.module:factory`.

`imported` reads the user's functions of other kinds too.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

Shape = tuple[int, int, int]  # channels, height, width


def from_torchvision(name: str, classes: int) -> nn.Module:
    """A classification model of torchvision without pretrained weights or auxiliary heads."""
    from torchvision import models  # which takes longer to import than all of ours

    extra = {}
    if name in ("googlenet", "inception_v3"):
        extra = {"init_weights": False, "aux_logits": False}
    return models.get_model(name, weights=None, num_classes=classes, **extra)


def timm() -> ModuleType:
    """Import timm, which is no dependency.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        raise ValueError(
            "models timm:NAME need the package timm: pip install 'synflow[timm]'"
        ) from None


def from_timm(name: str, shape: Shape, classes: int) -> nn.Module:
    """A model of timm with the weights that it makes, for this size where its size is fixed."""
    options = {"pretrained": False, "num_classes": classes, "in_chans": shape[0]}
    try:
        return timm().create_model(name, img_size=shape[1:], **options)
    except TypeError:  # most models take images of any size, and no argument for it
        return timm().create_model(name, **options)


def factory(name: str) -> Callable[..., nn.Module]:
    """Import the user's `package.module:factory`; errors are those of `imported`."""
    return imported("model", name, "factory")


def is_code(name: str) -> bool:
    """True for `package.module:function`: using this model, data set or score runs user's code."""
    return ":" in name and not name.startswith(("torchvision:", "timm:", "folder:"))


def imported(option: str, name: str, noun: str = "function") -> Callable:
    """Import the user's function `package.module:function`, also from the current folder.

    Args:
        option: The kind of thing that the function is, for the error.
        name: The module's and the function's name.
        noun: The word for the function, for the error.

    Raises:
        ValueError: If it cannot be imported, or is no function.
        OSError: If the module ends the program.
    """
    module, _, attribute = name.partition(":")
    try:
        _search_current_folder()
        found = getattr(importlib.import_module(module), attribute)
        inspect.signature(found)
    except SystemExit as error:  # a script
        raise OSError(f"{option} {name!r} cannot be imported: {_reason(error)}") from error
    except Exception as error:  # the user's module may fail in any way
        reason = f"{error}{_location(module)}"
        raise ValueError(
            f"{option} {name!r} is no {noun} that can be imported: {reason}"
        ) from error
    return found


def _reason(error: BaseException) -> str:
    """The text of an error; a script that is imported may end the program."""
    return f"it calls sys.exit({error.code!r})" if isinstance(error, SystemExit) else str(error)


def _location(module: str) -> str:
    """The file of a module's package, in brackets: it may be another one than was meant."""
    package = sys.modules.get(module.partition(".")[0])
    file = getattr(package, "__file__", None)
    return f" ({package.__name__} is {file})" if file else ""


def _search_current_folder() -> None:
    """Append the current folder to sys.path, where a train.py or a csv.py hides no other module.

    Our own folder comes before it: an editable installation is found by a hook that Python asks
    only after all of sys.path.
    """
    for folder in (str(Path(__file__).resolve().parents[1]), os.getcwd()):
        if folder not in sys.path:
            sys.path.append(folder)


def custom(name: str, shape: Shape, classes: int) -> nn.Module:
    """Call the user's factory with the arguments that it names.

    Raises:
        ValueError: If the factory raises or returns no network.
    """
    make = factory(name)
    offered = {"num_classes": classes, "in_channels": shape[0], "input_shape": shape}
    wanted = inspect.signature(make).parameters
    try:
        model = make(**{key: value for key, value in offered.items() if key in wanted})
    except (Exception, SystemExit) as error:  # the factory, too, may fail in any way
        raise ValueError(f"model {name!r} cannot be made: {_reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {name!r} made a {type(model).__name__}, not a torch.nn.Module")
    return model


def check_output(model: nn.Module, shape: Shape, classes: int) -> None:
    """Raise ValueError unless two images of `shape` give logits of shape (2, classes)."""
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *shape))
    except (Exception, SystemExit) as error:  # the user's model may fail in any way
        text = f"the model does not take images of shape {shape}: {_reason(error)}"
        raise ValueError(text) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"two images give {given} and not logits of shape {(2, classes)}")
