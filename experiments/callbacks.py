"""The callbacks of --log: TensorBoard's, and a user's own `package.module:callback`.

A callback is a function of (step, values, run). `step` counts the epochs; `values` has numbers by
name; `run` has the name, the directory and the config of the run. All of it is plain data.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from train.foreign import imported
from train.near import near

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Callback = Callable[[int, dict[str, float], dict[str, object]], object]

_open: dict[str, "SummaryWriter"] = {}  # of the run that this process does: its folder -> writer


def callback(name: str) -> Callback:
    """Return the callback of this name, and import it if it is the user's.

    Raises:
        ValueError: If there is no such callback, it takes other arguments, or TensorBoard is
            missing.
    """
    if name == "tensorboard":
        _writers()
        return tensorboard
    if ":" not in name:
        raise ValueError(
            f"--log must be tensorboard or package.module:callback, not {name}"
            f"{near(name, ['tensorboard'], functions=True)}"
        )
    found = imported("log", name, "callback")
    try:
        inspect.signature(found).bind(0, {}, {})
    except TypeError as error:
        raise ValueError(f"--log {name} must take (step, values, run): {error}") from None
    return found


def tensorboard(step: int, values: Mapping[str, float], run: Mapping[str, object]) -> None:
    """Add the values to the event file in the run's folder."""
    folder = str(run["directory"])
    if folder not in _open:
        close()
        _open[folder] = _writers()(folder)
    for name, value in values.items():
        _open[folder].add_scalar(name, value, step)
    _open[folder].flush()


def close() -> None:
    """Close the event file of the run before."""
    while _open:
        _open.popitem()[1].close()


def _writers() -> "type[SummaryWriter]":
    """Import the class of TensorBoard's writers.

    Raises:
        ValueError: If the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        text = "--log tensorboard needs the package tensorboard: pip install 'synflow[tensorboard]'"
        raise ValueError(text) from None
    return SummaryWriter
