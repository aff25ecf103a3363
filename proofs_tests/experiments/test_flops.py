"""FLOPs: two for each weight and place where it is used, in layers of all kinds; in a step thrice.

The first layer's input needs no gradient, so a step counts that layer twice.
"""

import pytest
import torch
from torch import nn

from experiments.runs.flops import flops_of, step_flops

T, D, HIDDEN = 6, 8, 12  # tokens, features, hidden features


class First(nn.Module):
    """The first output of a module that has several."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(D, 2, HIDDEN, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


QUERIES, VALUES = 2 * T * T * D, 2 * T * T * D  # times keys; attention times them
ENCODER = 2 * T * (4 * D * D + 2 * D * HIDDEN) + QUERIES + VALUES
LSTM = 2 * T * 4 * HIDDEN * (D + HIDDEN)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("make", "shape", "flops"),
    [
        (lambda: nn.Linear(D, D), (1, D), 2 * D * D),
        (lambda: nn.Conv2d(4, 6, 3), (1, 4, 5, 5), 2 * 9 * 6 * 4 * 9),
        (lambda: nn.Conv2d(4, 8, 3, groups=4), (1, 4, 5, 5), 2 * 9 * 8 * 9),
        (lambda: nn.ConvTranspose2d(4, 8, 3, groups=2), (1, 4, 5, 5), 2 * 25 * 4 * 4 * 9),
        (encoder, (1, T, D), ENCODER),
        (lambda: First(nn.LSTM(D, HIDDEN, batch_first=True)), (1, T, D), LSTM),
        (lambda: First(nn.LSTM(D, HIDDEN, bidirectional=True)), (T, 1, D), 2 * LSTM),
    ],
)
def test_each_product_counts_once_forward_and_twice_backward(make, shape, flops, training):
    """A layer of its own before it, so that all inputs need gradients."""
    net = nn.Sequential(nn.Linear(shape[-1], shape[-1]), make()).train(training)
    before = 2 * torch.zeros(shape).numel() * shape[-1]
    images = torch.zeros(shape)
    assert flops_of(net, images) == before + flops
    assert step_flops(net, images) == 2 * before + 3 * flops


def test_counting_leaves_the_settings_of_torch_as_they_were():
    def settings():
        return (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cudnn.enabled,
            torch.backends.cuda.flash_sdp_enabled(),
        )

    before = settings()
    flops_of(encoder(), torch.zeros(1, T, D))
    with pytest.raises(AssertionError):
        flops_of(encoder(), torch.zeros(1, T, D + 1))
    assert settings() == before
