"""`compact` and a network's own code: sizes it reads, tensors it overwrites, other names of one."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from proofs_tests.prune.test_compact import same
from prune.compact import compact

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()


class Coded(nn.Module):
    """Two convolutions of eight channels, some code, a head that reads channels 0 to 3."""

    def __init__(self, code):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(2, 8, 1), nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 1)
        self.code, self.spare = code, nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.head.weight[:, 4:] = 0
            self.a.weight[:2] = 0
            self.a.bias[:2] = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.code(self, torch.relu(self.a(x)), torch.relu(self.b(x))))


def overwritten(net, a, b):
    a.add_(b)
    return a


def overwritten_under_two_names(net, a, b):
    c = F.dropout(a, 0.5, False)
    c.add_(b)
    return a


def flat_and_back(net, a, b):
    n, c, h, w = b.shape
    return b.flatten(1).view(n, c, h, w)


CODES = {  # name -> the code, and the widths that are left of the two convolutions
    "handed on": (lambda net, a, b: F.dropout(b, 0.5, False), 4),
    "handed on to a cast": (lambda net, a, b: b.to(b.dtype).contiguous(), 4),
    "flat and back": (flat_and_back, 4),
    "its width is a number": (lambda net, a, b: b.view(-1, 8, 6, 6), 8),
    "its width is a factor": (lambda net, a, b: b / b.size(1), 8),
    "a factor made of its width": (lambda net, a, b: b * b.shape[1] ** -0.5, 8),
    "its height is a factor": (lambda net, a, b: b * b.size(2), 4),
    "overwritten": (overwritten, 4),
    "overwritten under two names": (overwritten_under_two_names, 4),
    "a number for all channels": (lambda net, a, b: b * a[:, :1], 4),
    "an index that is a tensor": (lambda net, a, b: b[:, torch.arange(8)], 8),
    "divided": (lambda net, a, b: b / (1 + a), 8),
    "softmax": (lambda net, a, b: b.softmax(1), 8),
    "unused": (lambda net, a, b: (net.spare(a[:, 4:]), b)[1], 4),
    "sum over rows": (lambda net, a, b: b.sum(2, keepdim=True), 4),
    "sum over channels": (lambda net, a, b: b.sum(1, keepdim=True) + b, 8),
}


@pytest.mark.parametrize("name", CODES)
def test_the_outputs_are_the_same_whatever_the_code_reads(name):
    code, width = CODES[name]
    torch.manual_seed(0)
    model = Coded(code).double()
    small = compact(model, torch.zeros_like(X))
    assert same(model, small, X)
    assert small.b.out_channels == width


@pytest.mark.parametrize(
    "code, reason",
    [
        (lambda net, a, b: b / net.b.out_channels, "computes something else"),
        (lambda net, a, b: b.add(1 // (net.b.out_channels - 4)), "fails"),
    ],
)
def test_code_that_reads_a_layers_width_is_refused(code, reason):
    with pytest.raises(ValueError, match=f"made smaller: with narrower layers its code {reason}"):
        compact(Coded(code).double(), X)


def test_random_numbers_are_the_same_and_later_ones_are_not_changed():
    model = Coded(lambda net, a, b: F.dropout(b, 0.5, True)).double().eval()
    torch.manual_seed(1)
    small = compact(model, X)
    drawn = torch.randn(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.randn(3))
    outputs = []
    for net in (model, small):
        torch.manual_seed(0)
        outputs.append(net(X))
    assert torch.equal(*outputs)


def test_several_inputs_are_given_as_a_tuple_and_not_overwritten():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 5), nn.Linear(5, 2)
            with torch.no_grad():
                self.head.weight[:, 2:] = 0

        def forward(self, x, scale):
            return self.head(torch.relu(self.a(x.mul_(scale))))

    model, x = Two().double(), torch.randn(3, 4).double()
    before, scale = x.clone(), torch.randn(3, 1).double()
    small = compact(model, (x, scale))
    assert torch.equal(x, before) and small.a.out_features == 2
    assert torch.allclose(model(x.clone(), scale), small(x.clone(), scale), atol=1e-14)


def test_the_mode_of_training_and_the_model_itself_stay():
    model = Coded(overwritten).double().train()
    model.b.weight.requires_grad_(False)
    before = [weight.clone() for weight in model.parameters()]
    small = compact(model, X)
    assert model.training and not small.training
    assert all(map(torch.equal, before, model.parameters()))
    assert [w.requires_grad for w in small.parameters()] == [
        w.requires_grad for w in model.parameters()
    ]
