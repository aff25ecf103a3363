"""The FLOPs of a network: additions and multiplications of its products, as torch counts them.

Torch's counter takes kernels that fuse several products for none, and counts the gradient of a
grouped convolution's weights as often as there are groups; both are set right here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch
from torch import nn
from torch.backends import cudnn, mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from train.evaluation import eval_mode

Shape = Sequence[int]


def flops_of(network: nn.Module, images: torch.Tensor) -> int:
    """Count the additions and multiplications of a forward pass, those with a 0 included."""
    with _counted() as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops()


def step_flops(network: nn.Module, images: torch.Tensor) -> int:
    """Count the additions and multiplications of a forward and a backward pass."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    with _counted() as counter, eval_mode(network):
        torch.autograd.grad(network(images).sum(), weights, allow_unused=True)
    return counter.get_total_flops()


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """Count each product by itself, where a kernel can be taken apart; FORMULAS has the others."""
    fused = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    try:
        with cudnn.flags(False), sdpa_kernel(SDPBackend.MATH), counter:
            yield counter
    finally:
        mha.set_fastpath_enabled(fused)


def _convolution_gradients(grad: Shape, x: Shape, weight: Shape, *more, **_) -> int:
    """Count the gradients of input and weight, each as much as the forward pass."""
    *_, transposed, _, _, (of_input, of_weight, _) = more
    return (of_input + of_weight) * conv_flop_count(x, weight, grad, transposed)


def _lstm(x: Shape, of_input: Shape, of_state: Shape, *_, **__) -> int:
    """Count a layer in one direction: x is (length, batch, features), or the first two swapped."""
    return 2 * x[0] * x[1] * (prod(of_input) + prod(of_state))


def _lstm_gradients(*shapes, **more) -> int:
    return 2 * _lstm(*shapes, **more)


FORMULAS = {
    torch.ops.aten.convolution_backward: _convolution_gradients,
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_gradients,
}
