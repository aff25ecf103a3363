"""Rarer operations are read as the linear operation that stands beside each of them here."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune import Probe, connected, prune
from prune.fast.flow import synaptic_flow as fast
from prune.masks import dense_masks
from prune.positive import flow_at_ends
from prune.scores import synaptic_flow

SHAPE = (3, 6, 6)


class Around(nn.Module):
    """A function of three streams (1, 4, 6, 6), two parameters, and layers before and after it."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.p, self.W = nn.Parameter(torch.randn(4, 1, 1)), nn.Parameter(torch.randn(4, 4))
        self.head, self.function = nn.Linear(4, 2), function

    def forward(self, x):
        y = self.function(self.a(x), self.b(x), self.p, self.W)
        return self.head(y.mean((2, 3)) if y.dim() == 4 else y)


def m(x):
    """The mean over the pixels, (1, 4)."""
    return x.mean((2, 3))


def f(x):
    """The first four columns of pixels, (1, 4, 4)."""
    return x.flatten(2)[..., :4]


ZERO, LAST = torch.tensor([0]), torch.tensor([3])
READ = {  # name -> (operation of a, b, p, W, its reading); below |.| is written out where it counts
    "addcmul": (lambda a, b, p, W: torch.addcmul(p, p, b, value=-2), lambda a, b, p, W: 2 * p * b),
    "addcmul of streams": (lambda a, b, p, W: a.addcmul(b, p), lambda a, b, p, W: a + b * p),
    "addcdiv": (lambda a, b, p, W: a.addcdiv(b, p.exp()), lambda a, b, p, W: a + b / p.exp()),
    "addcmul_": (lambda a, b, p, W: a.clone().addcmul_(b, p), lambda a, b, p, W: a + b * p),
    "lerp": (lambda a, b, p, W: a.lerp(b, 1.5), lambda a, b, p, W: 0.5 * a + 1.5 * b),
    "lerp, gate": (lambda a, b, p, W: a.lerp(b, a.sigmoid()), lambda a, b, p, W: a + b),
    "lerp, constant": (lambda a, b, p, W: torch.lerp(p, b, 0.25), lambda a, b, p, W: 0.25 * b),
    "pad": (lambda a, b, p, W: F.pad(a, (1, 1), value=2.0), lambda a, b, p, W: F.pad(a, (1, 1))),
    "maximum": (lambda a, b, p, W: torch.maximum(p, a), lambda a, b, p, W: a),
    "minimum": (lambda a, b, p, W: a.minimum(torch.tensor(1e-3)), lambda a, b, p, W: a),
    "logsumexp": (lambda a, b, p, W: a.logsumexp((2, 3)), lambda a, b, p, W: a.amax((2, 3))),
    "logaddexp": (lambda a, b, p, W: torch.logaddexp(a, b), lambda a, b, p, W: a.maximum(b)),
    "prod": (lambda a, b, p, W: a.prod(2).prod(2), lambda a, b, p, W: m(a)),
    "cumprod": (
        lambda a, b, p, W: a.cumprod(2),
        lambda a, b, p, W: a.cumsum(2) / torch.arange(1, 7)[:, None],
    ),
    "std": (lambda a, b, p, W: a.std((2, 3)), lambda a, b, p, W: m(a)),
    "var": (lambda a, b, p, W: a.var(1, True) + 0 * b, lambda a, b, p, W: a.mean(1, True) + 0 * b),
    "var_mean": (lambda a, b, p, W: torch.var_mean(a, (2, 3))[0], lambda a, b, p, W: m(a)),
    "grid_sample": (
        lambda a, b, p, W: F.grid_sample(a, b[:, :2].permute(0, 2, 3, 1), align_corners=False),
        lambda a, b, p, W: a,
    ),
    "bilinear": (
        lambda a, b, p, W: F.bilinear(m(a), m(b), W.expand(4, 4, 4), p.flatten()),
        lambda a, b, p, W: F.linear(m(a), W.expand(4, 4, 4).sum(2)),
    ),
    "outer": (
        lambda a, b, p, W: torch.outer(m(a)[0], m(b)[0]),
        lambda a, b, p, W: m(a)[0][:, None].expand(4, 4),
    ),
    "tensordot": (
        lambda a, b, p, W: torch.tensordot(a.flatten(2)[0], b.flatten(2)[0], ([1], [1])),
        lambda a, b, p, W: m(b).expand(4, 4),
    ),
    "addmv": (
        lambda a, b, p, W: torch.addmv(p.flatten(), W, m(a)[0], alpha=-2)[None],
        lambda a, b, p, W: 2 * (W @ m(a)[0])[None],
    ),
    "addr": (
        lambda a, b, p, W: torch.addr(W, m(a)[0], p.flatten()),
        lambda a, b, p, W: m(a)[0][:, None] * p.flatten(),
    ),
    "setitem": (
        lambda a, b, p, W: set_to(a, 3.0),
        lambda a, b, p, W: torch.cat([a[:, :3], 0 * a[:, 3:]], 1),
    ),
    "index_fill": (
        lambda a, b, p, W: a.index_fill(1, LAST, 3),
        lambda a, b, p, W: torch.cat([a[:, :3], 0 * a[:, 3:]], 1),
    ),
    "scatter": (
        lambda a, b, p, W: m(a).scatter(1, LAST[None], 3.0),
        lambda a, b, p, W: torch.cat([m(a)[:, :3], 0 * m(a)[:, 3:]], 1),
    ),
    "index_copy": (
        lambda a, b, p, W: a.index_copy(1, ZERO, p[:1].expand(1, 1, 6, 6).contiguous()),
        lambda a, b, p, W: torch.cat([0 * a[:, :1], a[:, 1:]], 1),
    ),
    "baddbmm": (
        lambda a, b, p, W: W[None].baddbmm(batch1=W[None], batch2=f(a), beta=3, alpha=-2).mean(2),
        lambda a, b, p, W: 2 * (W @ f(a)).mean(2),
    ),
    "addmm of a stream": (
        lambda a, b, p, W: torch.addmm(m(a), m(b), W, beta=3),
        lambda a, b, p, W: 3 * m(a) + m(b) @ W,
    ),
    "fft2": (
        lambda a, b, p, W: torch.fft.fft2(a).real,
        lambda a, b, p, W: a.sum((2, 3), True).expand(1, 4, 6, 6),
    ),
    "fftn": (
        lambda a, b, p, W: torch.fft.fftn(a, dim=(1, 2)).real,
        lambda a, b, p, W: a.sum((1, 2), True).expand(1, 4, 6, 6),
    ),
    "filter": (
        lambda a, b, p, W: torch.fft.irfft2(torch.fft.rfft2(a) * torch.complex(p, p), s=(6, 6)),
        lambda a, b, p, W: (a.sum((2, 3), True) * 2**0.5 * p).expand(1, 4, 6, 6),
    ),
    "diff": (lambda a, b, p, W: a.diff(dim=2), lambda a, b, p, W: a[:, :, 1:] + a[:, :, :-1]),
    "atan2": (lambda a, b, p, W: torch.atan2(a, b), lambda a, b, p, W: a),
    "hypot": (lambda a, b, p, W: torch.hypot(a, b), lambda a, b, p, W: a + b),
    "cdist": (
        lambda a, b, p, W: torch.cdist(m(a).T, m(b).T),
        lambda a, b, p, W: m(a).T + m(b),
    ),
    "complex": (
        lambda a, b, p, W: torch.view_as_real(turned(a, b)).mean(-1),
        lambda a, b, p, W: (a + b) / 2,
    ),
}  # fmt: skip


def set_to(x, value: float):
    y = x.clone()
    y[:, 3] = value
    return y


def turned(a, b):
    """A rotary embedding as it is written with complex numbers."""
    turn = torch.polar(torch.ones(6, dtype=a.dtype), torch.arange(6, dtype=a.dtype))
    return torch.view_as_complex(torch.stack([a, b], -1)) * turn


@pytest.mark.parametrize("name", READ)
def test_the_reading_is_the_linear_operation(name):
    models = [Around(function).double() for function in READ[name]]
    flows = [synaptic_flow(model, dense_masks(model), Probe(SHAPE)) for model in models]
    assert flows[0].R == pytest.approx(flows[1].R, rel=1e-12) and flows[0].R > 0
    for key, scores in flows[0].scores.items():
        torch.testing.assert_close(scores, flows[1].scores[key], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", READ)
def test_flow_is_conserved_and_masks_are_found(name):
    model, probe = Around(READ[name][0]), Probe(SHAPE)
    masks = dense_masks(model)
    at_input, at_output = flow_at_ends(model, masks, probe)
    assert at_input == pytest.approx(at_output, rel=1e-12)
    assert fast(model, masks, probe).R == pytest.approx(at_output, rel=1e-12)
    assert connected(model, prune(model, "synflow", probe, 4, steps=3), probe)
