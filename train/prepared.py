"""Prepare a network for its device: precision, memory layout, ranks, compilation."""

import ctypes
import sys
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.batch_norm import share_batch_norm
from train.ranks import ranks

PRECISIONS = ("float32", "bfloat16")
# Buffers are the same on all ranks: masks, and the statistics of batch norm, which they share.
_names = ("forward_sync_buffers", "broadcast_buffers")  # the second until torch 2.12
SYNCHRONISE = next(n for n in _names if n in signature(DistributedDataParallel).parameters)


class Autocast(nn.Module):
    """Products in bfloat16, weights and logits in float32."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.module(x).float()


def best_precision(device: str) -> str:
    """bfloat16 on a device that computes in it, and so is faster in it; otherwise float32."""
    return "bfloat16" if _has_tensor_cores(device) else "float32"


def _has_tensor_cores(device: str) -> bool:
    """True for a CUDA device that computes in bfloat16 (Ampere or later)."""
    return device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)


def _settle_cuda() -> None:
    """Make convolutions full float32 (no TF32) and deterministic."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Keep what a step frees for the next step, where the C library is glibc.

    By default glibc returns it to the system, which hands it out again page by page. The process
    keeps the most memory that it ever had.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # the most in old versions
        mallopt(trim_threshold, 2**31 - 1)


def prepared(model: nn.Module, precision: str = "float32", compile: bool = False) -> nn.Module:
    """The same network, with the same parameters, for training on its device.

    Several ranks average gradients by DistributedDataParallel and share batch norm's statistics.

    Args:
        model: Only its memory layout and its batch norm layers change.
        precision: A name in PRECISIONS.
        compile: Use torch.compile; the first epoch waits for it.
    """
    on_cuda = next(model.parameters()).device.type == "cuda"
    if on_cuda:
        _settle_cuda()
    else:
        keep_freed_memory()
    if precision == "bfloat16" or not (on_cuda or any(map(_overruns, model.modules()))):
        _put_channels_last(model)
    net = Autocast(model) if precision == "bfloat16" else model
    if ranks() > 1:
        share_batch_norm(model)
        net = DistributedDataParallel(net, **{SYNCHRONISE: False})
    if compile:
        net.compile()
    return net


def _put_channels_last(model: nn.Module) -> None:
    """Use the layout of tensor cores; on the CPU, convolutions are 1.3 times faster in it."""
    if all(weight.dim() <= 4 for weight in model.parameters()):
        model.to(memory_format=torch.channels_last)


def _overruns(module: nn.Module) -> bool:
    """True for a convolution whose backward pass overruns its memory in channels_last, float32.

    On a CPU with torch 2.14, if it is 1 x 1 with a stride and reads fewer channels than a vector
    register holds, 8 or 16 (github.com/uxlfoundation/oneDNN/issues/6035).
    """
    if not isinstance(module, nn.Conv2d):
        return False
    strided = module.kernel_size == (1, 1) and module.stride != (1, 1)
    return strided and module.in_channels // module.groups < 16


def plain(net: nn.Module) -> nn.Module:
    """The network inside the result of `prepared`, with its own tensor names."""
    while isinstance(net, Autocast | DistributedDataParallel):
        net = net.module
    return net
